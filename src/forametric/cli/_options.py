"""Arguments and options of the commands."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, CallbackParam, Option

from forametric.errors import InputError
from forametric.utils.ranges import (
    COUNT,
    DAYS,
    LENGTH,
    NUMBER,
    PORT,
    PROBABILITY,
    SEED,
    SHARE,
    SIDE,
    Range,
)

DATA, MODEL, ANALYSIS, REVIEW, EXAMPLES = "Data", "Model", "Analysis", "Review", "Examples"
SourceFormat = StrEnum(
    "SourceFormat", ["auto", "folder", "table", "endless-forams", "ecotaxa", "particle-trieur"]
)
ExportFormat = StrEnum(
    "ExportFormat", ["csv", "excel", "ecotaxa", "particle-trieur", "darwin-core"]
)
Role = StrEnum("Role", ["viewer", "reviewer", "curator", "admin"])


def _number(limits: Range, text: str, *names: str) -> Any:
    """An option whose number must be in a range, which the library states for Python too."""

    def check(parameter: CallbackParam, value: float | None) -> float | None:
        limits.check(**{parameter.opts[-1]: value})
        return value

    return Option(*names, help=text, callback=check)


def _new_path(parameter: CallbackParam, path: Path | None) -> Path | None:
    """Refuse an output that is a folder in use: ".", ".." and "/"."""
    if path is not None and path.name in ("", ".."):
        raise InputError(f"{parameter.opts[-1]} {path}: name a new file or folder.")
    return path


# Every command
Json = Annotated[bool, Option("--json", help="Print the result as JSON.")]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace an existing output.")]
Output = Annotated[Path, Option("-o", "--output", help="Where to write.", callback=_new_path)]
ModelPath = Annotated[Path, Argument(help="A model folder.")]
CollectionPath = Annotated[Path, Argument(help="A collection folder.")]
Images = Annotated[Path, Argument(help="A collection, a folder of images, or one image.")]
Seed = Annotated[int, _number(SEED, "Seed of all random draws.")]
Corruptions = Annotated[
    bool,
    Option(
        "--corruptions",
        help="Also name corrupted images: noise, blur, light, color and losses of other "
        "microscopes. Takes minutes.",
    ),
]
SplitName = Annotated[
    str, Option("--split", help="A column of the collection, or a CSV (id, subset).")
]
Names = Annotated[
    Path | None, Option("--taxonomy", help="A table of names: genera, AphiaIDs, coiling.")
]

# Data
Source = Annotated[Path, Argument(help="A folder, a table, a project or a ZIP.")]
Format = Annotated[SourceFormat, Option("--source", help="The format of the source.")]
BarUm = Annotated[float | None, _number(LENGTH, "Length of the scale bar on each label strip, µm.")]
ImagesRoot = Annotated[
    Path | None,
    Option(help="The folder below which the images of a table lie; paths may then be absolute."),
]
Slides = Annotated[list[Path], Argument(help="Images of slides, or folders of them.")]
UmPerPx = Annotated[float | None, _number(LENGTH, "µm per pixel; else what a TIFF file states.")]
MinDiameter = Annotated[
    float | None, _number(LENGTH, "Least diameter, µm (pixels without a scale).")
]
Refresh = Annotated[bool, Option("--refresh", help="Ask WoRMS for AphiaIDs and families.")]
CheckModel = Annotated[
    Path | None, Option("--model", help="Also check the labels with this model.")
]
CheckOutput = Annotated[
    Path | None, Option("-o", "--output", help="Folder for check.html and findings.csv.")
]
Fix = Annotated[Path | None, Option(help="Write a new collection without what is certainly wrong.")]
HeldOutTaxa = Annotated[int, _number(NUMBER, "Number of taxa to hold out whole.")]
TestShare = Annotated[float, _number(SHARE, "Share of each known taxon for the test.", "--test")]
SeparateGroups = Annotated[
    bool, Option("--separate-groups", help="Do not learn from groups that have held-out taxa.")
]
ValShare = Annotated[float, _number(SHARE, "Share for selection and calibration.", "--val")]
ToFormat = Annotated[ExportFormat, Option("--format", help="The format to write.")]
NamesFile = Annotated[
    Path | None, Option("--identifications", help="Names from identify (CSV) to export.")
]
NamedBy = Annotated[
    Path | None, Option("--model", help="The model that gave them; recorded as identifiedBy.")
]
Folder = Annotated[Path | None, Argument(help="A model or a collection.")]

# Model
RecipeName = Annotated[
    str, Option("--recipe", help="A name or TOML file; else that of --init-from, or default.")
]
Settings = Annotated[list[str] | None, Option("--set", help="Change a recipe setting: key=value.")]
Reproduce = Annotated[Path | None, Option(help="Results: train with their recipe, seed and split.")]
InitFrom = Annotated[Path | None, Option(help="Fine-tune from this model's backbone.")]
Decisions = Annotated[
    str, Option(help="Train with the labels agreed on in this store of decisions.")
]
Extra = Annotated[
    list[Path] | None, Option("--extra-collection", help="Another labelled collection to train on.")
]
TrainSeed = Annotated[
    int | None, _number(SEED, "Seed of all random draws, 0 by default.", "--seed")
]
Recipes = Annotated[str, Option(help="Recipes or TOML files, separated by commas.")]
Splits = Annotated[str, Option(help="Columns or CSV files, separated by commas; else --repeats.")]
Repeats = Annotated[int, _number(COUNT, "Number of splits to draw.")]
BenchTaxa = Annotated[
    int | None, _number(NUMBER, "Held out whole; else a quarter.", "--held-out-taxa")
]
Seeds = Annotated[int, _number(COUNT, "Trainings of each recipe on each split.")]
Against = Annotated[str, Option(help="The recipe to compare the others with; else the first.")]
Paper = Annotated[
    bool, Option("--endless-forams", help="Splits and figures of Karaderi et al. 2022.")
]
Labelled = Annotated[
    Path, Argument(help="A labelled collection, or a folder of named morphotypes.")
]

# Analysis
MinProbability = Annotated[float, _number(PROBABILITY, "Minimum probability for reporting a name.")]
Alpha = Annotated[
    float | None,
    _number(SHARE, "Also report conformal sets, error rate e.g. 0.05.", "--conformal-alpha"),
]
Neighbors = Annotated[
    Path | None, Option(help="Also find the ten most similar specimens in this output of embed.")
]
Where = Annotated[
    list[str] | None, Option(help="With --neighbors: only taxon=NAME or sample=NAME.")
]
Cluster = Annotated[
    str | None, Option(help="Work on a Ray cluster: its address, auto or local; writes a folder.")
]
Store = Annotated[str | None, Option("--images", help="With --cluster: e.g. s3://bucket/plates.")]
All = Annotated[bool, Option("--all", help="Group all specimens, not only the unknown.")]
NGroups = Annotated[int | None, _number(COUNT, "The number of groups, if known; else estimated.")]
By = Annotated[str, Option(help="The column that names the sample.")]
Depth = Annotated[str, Option(help="The column with each sample's depth or age.")]
Draws = Annotated[
    bool,
    Option("--keep-draws", help="Also write draws.parquet: 500 single draws of each composition."),
]
Onto = Annotated[Path | None, Option(help="A map (.parquet) to place the specimens in.")]
EmbeddingsFile = Annotated[
    Path | None, Option("--embeddings", help="The output of embed for these images, to save time.")
]

# Review
StoreUrl = Annotated[str, Option("--store", help="Decisions: an SQLite file, or postgresql://….")]
StorePlace = Annotated[str, Argument(help="Decisions: an SQLite file, or postgresql://….")]
StoreCopy = Annotated[
    str, Option("-o", "--output", help="The other store: a file, or postgresql://….")
]
Settled = Annotated[str, Option("--store", help="Decisions: what they settle is left out.")]
ReferenceImages = Annotated[
    list[Path] | None, Option(help="Collections with the images of the references.")
]
Table = Annotated[Path, Argument(help="CSV or Excel: id or image, and a column expert.")]
Reviewer = Annotated[str, Option(help="The name of the expert who decided.")]
History = Annotated[
    Path | None, Option("-o", "--output", help="Where to write the whole history, as CSV.")
]
ProjectPath = Annotated[Path, Argument(help="The folder of the review project.")]
ToReview = Annotated[
    Path | None, Option("--collection", help="For a new project: the collection to review.")
]
ReviewModel = Annotated[
    Path | None, Option("--model", help="For a new project: the model that identifies it.")
]
Database = Annotated[str, Option(help="Keep decisions in postgresql://…, not in the project.")]
Host = Annotated[str, Option(help="Address to serve on; others than this machine need a token.")]
Port = Annotated[int, _number(PORT, "0 takes any free port.")]
Proxy = Annotated[
    str,
    Option(metavar="URL", help="Address of a proxy in front, e.g. https://review.example.org."),
]
Browser = Annotated[bool, Option(help="Open the page in the browser.")]
Projects = Annotated[Path, Argument(help="A folder of review projects, or one of them.")]
ACCOUNTS = Path("accounts.sqlite")
AccountsFile = Annotated[
    Path, Option("--accounts", help="The users of the server, an SQLite file.")
]
LabHost = Annotated[str, Option("--host", help="Address to serve on; 0.0.0.0 for all networks.")]
UserName = Annotated[str, Argument(help="The name under which decisions are recorded.")]
UserRole = Annotated[Role, Option(help="What the user may do; each includes those before it.")]
NewRole = Annotated[Role, Argument(help="What the user may do; each includes those before it.")]
NoPassword = Annotated[bool, Option("--no-password", help="No log-in; only tokens for scripts.")]
TokenLabel = Annotated[str, Argument(help="What the token is for.")]
TokenDays = Annotated[int, _number(DAYS, "Days until the token ends.")]
LogCount = Annotated[int, _number(COUNT, "Number of entries.")]

# Examples
Total = Annotated[int, _number(COUNT, "Total number of shells.")]
LongTail = Annotated[bool, Option("--long-tail", help="As imbalanced as Endless Forams.")]
Size = Annotated[int, _number(SIDE, "Side of the images in pixels.")]
Masks = Annotated[bool, Option("--masks", help="Write the outlines too, below masks.")]
