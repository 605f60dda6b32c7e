"""The model card: `model.json`, and the README that Hugging Face reads."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from forametric._version import __version__
from forametric.embedding.recipe import Recipe
from forametric.embedding.runtime import ONNX
from forametric.errors import InputError, ModelError
from forametric.utils.files import read_json

FORMAT = 3
FILE = "model.json"
WEIGHTS = "weights.safetensors"
REFERENCES = "references.parquet"
CALIBRATION = "calibration.json"
DATA = {"collection": str, "split": str, "split_name": str, "train": int, "val": int,
        "skipped": int}  # fmt: skip
FILES = (WEIGHTS, ONNX, REFERENCES, CALIBRATION)


def _each_once(classes: list[str]) -> list[str]:
    if len(set(classes)) < len(classes):
        raise ValueError("a class occurs more than once")
    return classes


def _known_files(files: dict[str, str]) -> dict[str, str]:
    if unknown := sorted(set(files) - set(FILES)):
        raise ValueError(f"{unknown[0]!r} is not a file of a model")
    return files


def _wrong_record(card: ModelCard) -> str:
    """The first entry of `data` and `training` that the README needs and that is wrong."""
    for key, kind in DATA.items():
        if not isinstance(card.data.get(key), kind):
            return f"data.{key}"
    if not isinstance(card.training.get("seconds", 0), int | float):
        return "training.seconds"
    handed = card.training.get("handed", [])
    if not isinstance(handed, list) or not all(isinstance(taxon, str) for taxon in handed):
        return "training.handed"
    epochs = card.training.get("epochs")
    numbers = ("epoch", "val_macro_f1")
    if not isinstance(epochs, list) or not all(
        isinstance(row, dict) and all(isinstance(row.get(key, 0), int | float) for key in numbers)
        for row in epochs
    ):
        return "training.epochs"
    return ""


Name = Annotated[str, StringConstraints(min_length=1)]
Hash = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class ModelCard(BaseModel):
    """What `model.json` holds.

    Attributes
    ----------
    classes : list of str
        The taxa that the network was trained on, and the columns of a class head.
    fingerprint : str
        A hash of everything that changes an identification: weights, network, classes, references,
        calibration.
    files : dict of str to str
        The SHA-256 of each file of the folder.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    format: int
    made_by: dict[str, str]
    backbone: str
    dimensions: Annotated[int, Field(ge=1)]
    classes: Annotated[list[Name], AfterValidator(_each_once)]
    recipe: Recipe
    seed: int
    data: dict[str, Any]
    training: dict[str, Any]
    licence: dict[str, str]
    fingerprint: str = ""
    files: Annotated[dict[str, Hash], AfterValidator(_known_files)] = {}

    @property
    def title(self) -> str:
        """What identifies this model: software and version, recipe, collection, fingerprint."""
        made = f"forametric {self.made_by.get('forametric', '')}"
        name = f"model {self.recipe.name} of {self.data.get('collection', '')}"
        return f"{made}, {name} ({self.fingerprint[:12]})"

    @property
    def weights_sha256(self) -> str:
        """The hash of the weights, "" before they are saved: vectors of others do not compare."""
        return self.files.get(WEIGHTS, "")

    @property
    def projection_dim(self) -> int:
        """The width of the trained projection in vectors of two parts; 0 in vectors of one."""
        projection = self.recipe.network.projection_dim
        return projection if 0 < projection < self.dimensions else 0

    @property
    def n_classes(self) -> int:
        """The width of the class head; 0 for a network without one."""
        return len(self.classes) if self.recipe.has_class_head else 0

    @classmethod
    def describe(cls, **known: Any) -> ModelCard:
        """A card for a model made now, with the installed versions."""
        packages = ("torch", "timm", "pytorch-metric-learning", "numpy")
        versions = {name: version(name) for name in packages}
        return cls(
            format=FORMAT,
            made_by={"forametric": __version__, "python": platform.python_version(), **versions},
            licence={
                "backbone": "ImageNet weights of the backbone: see its source",
                "data": str(known["data"].get("licence", "not stated")),
            },
            **known,
        )

    @classmethod
    def load(cls, folder: Path) -> ModelCard:
        """Read `model.json`; a format that this version does not know is refused first.

        Raises
        ------
        ModelError
            When the folder is not a model, or its card is damaged or of another format.
        """
        if not (folder / FILE).is_file():
            raise ModelError(
                f"{folder} is not a model (no {FILE}); make one with: forametric train"
            )
        try:
            data = read_json(folder / FILE)
        except InputError as error:
            raise ModelError(str(error)) from None
        if data.get("format") != FORMAT:
            raise ModelError(
                f"{folder} has model format {data.get('format')!r}; this version reads {FORMAT}. "
                f"Update Forametric, or train the model again."
            )
        try:
            card = cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ModelError(f"{folder / FILE} is damaged: {where}: {first['msg']}.") from None
        if missing := {WEIGHTS, REFERENCES} - set(card.files):
            raise ModelError(f"{folder / FILE} is damaged: it does not list {min(missing)}.")
        if wrong := _wrong_record(card):
            raise ModelError(f"{folder / FILE} is damaged: {wrong} is missing or of another kind.")
        return card

    def readme(self, references: Mapping[str, int], calibration: str) -> str:
        """The model card in the form that Hugging Face reads.

        Parameters
        ----------
        references : mapping of str to int
            The number of reference specimens of each taxon, as they are now.
        calibration : str
            One sentence on the calibration.
        """
        recipe, epochs = self.recipe, self.training.get("epochs", [])
        last = epochs[-1] if epochs else {}
        scores = [row.get("val_macro_f1", 0.0) for row in epochs]
        replaced = self.backbone != recipe.network.backbone
        added = sorted(set(references) - set(self.classes))
        handed = [] if recipe.augment.mirror is True else self.training.get("handed", [])
        lines = [
            "---",
            "library_name: forametric",
            "tags: [microfossils, metric-learning]",
            "---",
            "",
            f"# {recipe.name} model of {self.data.get('collection') or 'a collection'}",
            "",
            f"{recipe.about}.",
            "",
            f"- Backbone: {self.backbone}"
            + f" (in place of {recipe.network.backbone}, whose weights were not available)"
            * replaced,
            f"- Image size: {recipe.network.image_size} px; embedding: {self.dimensions} "
            f"dimensions; {recipe.tta_views} view(s) averaged",
            f"- Trained on {self.data['train']} specimens of {len(self.classes)} taxa; selected "
            f"on {self.data['val']}; {self.data['skipped']} unreadable images skipped",
            f"- Split: {self.data['split_name']} (hash {self.data['split']}); seed {self.seed}",
            f"- Epochs: {last.get('epoch', 0)}; best macro F1 on validation: "
            + (f"{max(scores):.3f}" if scores else "none"),
            f"- Training time: {self.training.get('seconds', 0):.0f} s",
            *(
                [f"- Differ from other taxa by coiling, not mirrored: {', '.join(handed)}"]
                if handed
                else []
            ),
            f"- Calibration: {calibration}",
            f"- Made by: {', '.join(f'{k} {v}' for k, v in self.made_by.items())}",
            f"- Licence: {'; '.join(f'{k}: {v}' for k, v in self.licence.items())}",
            f"- Fingerprint: {self.fingerprint}",
            "",
            "## Taxa",
            "",
            f"{sum(references.values())} reference specimens of {len(references)} taxa. The model "
            f"cannot give names outside this list.",
            *([f"Added after training: {', '.join(added)}."] if added else []),
            "",
            *[f"- {taxon} ({count})" for taxon, count in sorted(references.items())],
            "",
        ]
        return "\n".join(lines)
