"""Request bodies and responses of the HTTP interface, as pydantic models."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from forametric.data.verdicts import Verdict
from forametric.server.access.roles import Role

# Ids, samples and columns are named by users, with any characters: in an address they stand in the
# query, since "/" and ".." mean something else in a path.
SpecimenId = Annotated[str, Field(min_length=1, max_length=1000)]
SampleName = Annotated[str, Field(max_length=1000)]
# No control characters, and none of the characters that separate names in lists.
PLAIN = r"^[^\x00-\x1f<>|\x7f-\x9f]*$"
Name = Annotated[str, Field(max_length=120, pattern=PLAIN)]
Reviewer = Annotated[str, Field(min_length=1, max_length=60, pattern=PLAIN)]
MorphotypeNumber = Annotated[int, Field(ge=0, le=2**31 - 1)]
ModelNumber = Annotated[int, Field(ge=0, le=1000)]
ModelDecision = Literal["accepted", "genus", "ambiguous", "unknown", "not_a_specimen"]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


def _missing(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


# JSON has no NaN: a number that is not defined is null.
Number = Annotated[float | None, BeforeValidator(_missing)]


class Body(BaseModel):
    """A request body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(BaseModel):
    """A response, made from a dataclass or a dictionary."""

    model_config = ConfigDict(
        from_attributes=True, json_schema_serialization_defaults_required=True
    )


# Requests


class DecisionIn(Body):
    """A verdict on one specimen, and what the page had suggested when it was given."""

    specimen: SpecimenId
    verdict: Annotated[Verdict, Field(strict=False)]
    taxon: Annotated[Name, Field(description="The name, for the verdict `taxon`; else empty.")] = ""
    suggested: Name | None = None
    probability: Probability | None = None


class DecisionBatch(Body):
    """A reviewer's decisions; all of them are recorded, or none."""

    reviewer: Reviewer
    decisions: Annotated[list[DecisionIn], Field(min_length=1, max_length=5000)]


class ReviewerRequest(Body):
    """Who makes the request."""

    reviewer: Reviewer


class MoveRequest(ReviewerRequest):
    """Specimens to move into a morphotype."""

    specimens: Annotated[list[SpecimenId], Field(min_length=1, max_length=5000)]
    morphotype: Annotated[
        MorphotypeNumber | None,
        Field(description="0 removes them from their morphotypes; null makes a new morphotype."),
    ] = None


class MergeRequest(ReviewerRequest):
    """Morphotypes to merge into the first of them."""

    morphotypes: Annotated[list[MorphotypeNumber], Field(min_length=2, max_length=100)]


class NameRequest(ReviewerRequest):
    """The name of a morphotype."""

    name: Annotated[Name, Field(min_length=1)]


class SwitchRequest(Body):
    """The model that identifies the specimens from now on."""

    model: ModelNumber


class PasswordChange(Body):
    """The present password, and the one that replaces it."""

    password: Annotated[str, Field(max_length=1000)]
    new_password: Annotated[str, Field(max_length=1000)]


# Answers


class Problem(Answer):
    """Why a request was refused, in one sentence."""

    detail: str


class InvalidField(Answer):
    """A field of a request that is missing or not valid."""

    loc: list[str | int]
    msg: str
    type: str


class InvalidRequest(Answer):
    """The fields for which a request was refused."""

    detail: list[InvalidField]


class JobStarted(Answer):
    """Whether long work was started; false when work of this kind is already under way."""

    started: bool


class Job(Answer):
    """The state of one kind of long work."""

    state: Literal["idle", "waiting", "running", "done", "failed"]
    message: Annotated[str, Field(description="Its progress, its result, or why it failed.")]


class Progress(Answer):
    """How far the review has come."""

    specimens: Count
    settled: Annotated[Count, Field(description="Specimens on which the reviewers agree.")]
    conflicts: Annotated[Count, Field(description="Specimens on which reviewers differ.")]
    expected_accuracy: Annotated[
        Probability, Field(description="Expected share of right names over all specimens.")
    ]


class Status(Answer):
    """The state of the server, for regular polling."""

    identification_run: Annotated[
        Count, Field(description="Rises when all specimens have been identified again.")
    ]
    model: Annotated[Count, Field(description="The number of the model in use.")]
    jobs: dict[str, Job]
    collection_changed: Annotated[
        bool, Field(description="Whether the collection on disk has changed since it was opened.")
    ]
    progress: Progress


class SheetLayout(Answer):
    """How thumbnails are arranged in sheets."""

    count: Count
    columns: Count
    thumbnail_size: Annotated[Count, Field(description="The side of a thumbnail in pixels.")]
    per_sheet: Count


class Project(Answer):
    """What the page needs to start."""

    name: str
    version: str
    specimens: Count
    skipped: Annotated[Count, Field(description="Images that could not be read.")]
    taxa: Annotated[list[str], Field(description="The taxa that the model can name.")]
    taxonomy: Annotated[list[str], Field(description="The accepted names of the taxonomy.")]
    synonyms: Annotated[dict[str, str], Field(description="The accepted name of each synonym.")]
    columns: Annotated[list[str], Field(description="Columns by which to color the map.")]
    sheets: SheetLayout
    exports: Annotated[list[str], Field(description="Files offered at `/exports/{kind}`.")]
    model: Annotated[str, Field(description="The folder name of the model in use.")]
    fingerprint: Annotated[str, Field(description="Identifies the model in decisions.")]
    has_samples: bool
    warnings: Annotated[
        list[str],
        Field(description="Samples whose images are unlike those that the model was validated on."),
    ]


class Reference(Answer):
    """A reference specimen near a specimen."""

    id: str
    distance: float


class Candidate(Answer):
    """A probable taxon of a specimen, with its nearest reference specimens."""

    taxon: str
    probability: Probability
    references: list[Reference]


class QueuedSpecimen(Answer):
    """A specimen to be reviewed, with what the model suggests."""

    id: str
    image: Annotated[str, Field(description="The path of the image inside the collection.")]
    label: Annotated[str, Field(description="The name as recorded; empty where there is none.")]
    sample: str
    decision: ModelDecision
    suggested: Annotated[str, Field(description="The most probable taxon.")]
    probability: Annotated[Probability, Field(description="The probability of `suggested`.")]
    suggests_unlisted: Annotated[
        bool,
        Field(description="Whether to offer `unlisted` in place of `suggested`."),
    ]
    suggestion_probability: Annotated[
        Probability, Field(description="The probability that what is offered is right.")
    ]
    error_probability: Annotated[
        Probability,
        Field(
            description="The probability that the model's decision is wrong; where it is "
            "ambiguous, that the suggestion is."
        ),
    ]
    explanation: Annotated[str, Field(description="Why the model decided so, in words.")]
    candidates: list[Candidate]


class HistoryRow(Answer):
    """One row of the decision store."""

    number: int
    specimen: str
    verdict: Verdict | Literal["undo"]
    taxon: str
    reviewer: str
    time: str
    previous_verdict: Annotated[
        Verdict | Literal[""], Field(description="The reviewer's earlier verdict.")
    ]
    previous_taxon: str
    suggested: str
    probability: Number
    model: Annotated[str, Field(description="The fingerprint of the model that suggested.")]
    undoes: Annotated[int | None, Field(description="The number of the row that this one undoes.")]


class Specimen(QueuedSpecimen):
    """Everything known about a specimen."""

    taxon: Annotated[
        str, Field(description="As settled by the reviewers, else as identified; may be empty.")
    ]
    state: Literal[
        "settled", "conflict", "accepted", "genus", "ambiguous", "unknown", "not_a_specimen"
    ]
    verdict: Annotated[
        Verdict | None, Field(description="The verdict on which the reviewers agree.")
    ]
    novelty: float
    metadata: Annotated[
        dict[str, str], Field(description="The other columns of the collection, as text.")
    ]
    history: list[HistoryRow]


class SimilarSpecimen(Answer):
    """A specimen of the collection near a given vector."""

    id: str
    taxon: str
    distance: float


class SearchResult(Answer):
    """The specimens that a search found."""

    count: Count
    ids: list[str]


class Identification(Answer):
    """The identification of an uploaded image."""

    taxon: str
    decision: ModelDecision
    reason: str
    probability: Probability
    novelty: float
    candidates: list[Candidate]
    similar: list[SimilarSpecimen]
    x: Annotated[float, Field(description="Its coordinates on the map.")]
    y: float


class QueueBatch(Answer):
    """The next specimens of a reviewer's queue; they are reserved for the reviewer."""

    specimens: list[QueuedSpecimen]
    n_remaining: Annotated[Count, Field(description="Specimens that the reviewer has not seen.")]


class DecisionsRecorded(Answer):
    """The answer to recorded decisions: once it is given, they are on the disk."""

    numbers: Annotated[
        list[int], Field(description="Row numbers; decisions that were not new have none.")
    ]
    progress: Progress


class DecisionsUndone(Answer):
    """The decisions that were undone, all of which were recorded together."""

    specimen: Annotated[str | None, Field(description="The first; null when there were none.")]
    verdict: Verdict | None
    taxon: str
    count: Count
    progress: Progress


class CohenKappa(Answer):
    """Agreement of two reviewers beyond chance (Cohen 1960)."""

    reviewers: Annotated[list[str], Field(min_length=2, max_length=2)]
    specimens: Annotated[Count, Field(description="Specimens that both judged.")]
    kappa: Annotated[float | None, Field(description="Null where it is not defined.")]


class FleissKappa(Answer):
    """Agreement of all reviewers beyond chance (Fleiss 1971)."""

    specimens: Annotated[Count, Field(description="Specimens that all judged.")]
    kappa: Annotated[float | None, Field(description="Null where it is not defined.")]


class ReviewerDecision(Answer):
    """A reviewer's current decision on a specimen."""

    reviewer: str
    verdict: Verdict
    taxon: str
    time: str


class Conflict(Answer):
    """A specimen on which reviewers differ."""

    specimen: str
    decisions: list[ReviewerDecision]


class Agreement(Answer):
    """How far the reviewers agree."""

    decisions: Annotated[Count, Field(description="Rows of the decision store.")]
    reviewers: list[str]
    cohen: list[CohenKappa]
    fleiss: FleissKappa
    conflicts: list[Conflict]


class NearestTaxon(Answer):
    """A known taxon near a morphotype."""

    taxon: str
    distance: float
    reference: Annotated[str, Field(description="The id of its nearest reference specimen.")]


class Morphotype(Answer):
    """A proposed group of specimens."""

    number: int
    name: Annotated[str, Field(description="Empty while it has none.")]
    specimens: Count
    members: Annotated[list[str], Field(description="Ids, the most typical first; at most 400.")]
    cohesion: Annotated[float, Field(description="Mean cosine between members and centroid.")]
    probability_known: Annotated[
        Probability, Field(description="Mean probability that a member is of a known taxon.")
    ]
    nearest: list[NearestTaxon]


class MorphotypeChanged(Answer):
    """The morphotype that a change has made or enlarged."""

    number: Annotated[int, Field(description="0 when specimens were removed from morphotypes.")]


class MorphotypeNamed(Answer):
    """The answer to a name for a morphotype."""

    decisions: Annotated[Count, Field(description="How many decisions were recorded.")]
    progress: Progress


class MorphotypeUndone(Answer):
    """The step with morphotypes that was undone."""

    undone: Annotated[
        Literal["discover", "move", "merge", "split", "name"] | None,
        Field(description="Null when there was none."),
    ]
    progress: Progress


class Finding(Answer):
    """One finding of the check of the collection."""

    kind: str
    id: str
    image: str
    label: str
    taxon: Annotated[str, Field(description="The accepted name of the label.")]
    other_id: Annotated[str, Field(description="Empty when no other specimen is concerned.")]
    other_image: str
    other_label: str
    other_taxon: str
    score: Number
    message: str


class CheckFindings(Answer):
    """The findings of the last check, without specimens that were settled since."""

    made: Annotated[bool, Field(description="Whether the collection has been checked.")]
    findings: list[Finding]


class Abundance(Answer):
    """The abundance of a taxon in a sample, with its 95 % interval."""

    sample: str
    taxon: Annotated[str, Field(description="The last of each sample is `unknown`.")]
    count: Count
    raw: Annotated[float, Field(description="The count's proportion of the specimens.")]
    abundance: float
    low: float
    high: float


class Sample(Answer):
    """The size and diversity of a sample."""

    sample: str
    depth: Number = None
    specimens: Count
    accepted: Count
    indeterminate: Annotated[Count, Field(description="Only a genus, or ambiguous.")]
    unknown: Count
    not_specimens: Annotated[
        Count, Field(description="Images of debris and the like, which are not counted.")
    ]
    rarefied_to: Count
    richness: Number
    richness_low: Number
    richness_high: Number
    rarefied: Number
    rarefied_low: Number
    rarefied_high: Number
    shannon: Number
    shannon_low: Number
    shannon_high: Number
    simpson: Number
    simpson_low: Number
    simpson_high: Number
    pielou: Number
    pielou_low: Number
    pielou_high: Number
    effective_draws: Annotated[
        float, Field(description="The least number of independent draws behind an abundance.")
    ]
    r_hat: Annotated[float, Field(description="Close to 1 where the sampler has converged.")]
    unlike: Annotated[
        str, Field(description="How its images differ from those of validation; mostly empty.")
    ] = ""


class Samples(Answer):
    """The samples as they were last counted."""

    made: Annotated[bool, Field(description="Whether the samples have been counted.")]
    depth: Annotated[str, Field(description="The column with the depth; empty for none.")]
    abundances: list[Abundance]
    samples: list[Sample]


class SamplePrecision(Answer):
    """How precisely the abundances of a sample are known now."""

    specimens: Count
    settled: Count
    interval_width: Annotated[
        float, Field(description="The mean width of the 95 % intervals of its abundances.")
    ]


class ModelMeasures(Answer):
    """What the comparison of models measured, on reviewed specimens that no model learnt."""

    tested: Count
    accuracy: float
    accuracy_95: Annotated[list[float], Field(min_length=2, max_length=2)]
    macro_f1: float
    ece: Annotated[Number, Field(description="The expected calibration error.")]


class ModelSummary(Answer):
    """A model of the project."""

    number: Count
    name: str
    current: bool
    has_report: Annotated[bool, Field(description="Whether `/models/{number}/report` exists.")]
    measured: ModelMeasures | None


class ProjectLink(Answer):
    """One of the projects of a server."""

    name: str
    path: Annotated[str, Field(description="The address of its page on this server.")]


class Account(Answer):
    """Who is logged in."""

    name: Annotated[str, Field(description="Empty on a server without accounts.")]
    role: Role
    projects: Annotated[
        list[ProjectLink] | None,
        Field(description="Null for the page of a project, which is one of them."),
    ]


class User(Answer):
    """A user of the server."""

    name: str
    role: Role
    has_password: bool
    created: str
    tokens: Annotated[
        dict[str, str], Field(description="The tokens by their labels, and when they end.")
    ]


class LogEntry(Answer):
    """An entry of the log of the server."""

    number: Count
    time: Annotated[str, Field(description="In UTC.")]
    user: Annotated[str, Field(description="Empty where it is not known.")]
    address: Annotated[str, Field(description="The network address of the client.")]
    project: str
    action: str
    detail: str
