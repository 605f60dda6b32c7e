"""A saved model: squares or images in, vectors out; with its gallery, classes and provenance.

A model is a folder: `model.json`, `model.onnx`, `weights.safetensors`, `gallery.parquet`,
`calibration.json` and `README.md` (a Hugging Face model card). Nothing in it is ever unpickled, and
a damaged file is refused by its hash.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from forametric import __version__
from forametric.calibration import Calibration, Evidence, fit_calibration
from forametric.collection import Collection
from forametric.errors import InputError, MissingExtraError, ModelError
from forametric.files import (
    atomic_folder,
    read_json,
    sha256,
    write_json,
    write_text,
)
from forametric.gallery import Gallery
from forametric.images import load_squares
from forametric.learning.recipe import Recipe
from forametric.progress import bar, console
from forametric.runtime import ONNX, OpenVinoRuntime, Runtime, TorchRuntime, has_gpu

if TYPE_CHECKING:
    from forametric.learning.network import SpecimenNetwork

FORMAT = 1
WEIGHTS = "weights.safetensors"
CHUNK = 1024  # images held in memory at once
Floats = npt.NDArray[np.float32]
Loaded = tuple[npt.NDArray[np.uint8], list[int], dict[int, str]]


class ModelCard(BaseModel):
    """What `model.json` says."""

    model_config = ConfigDict(extra="forbid")

    format: int
    made_by: dict[str, str]
    backbone: str
    dimensions: int
    classes: list[str]
    recipe: Recipe
    seed: int
    data: dict[str, Any]
    training: dict[str, Any]
    licence: dict[str, str]
    files: dict[str, str] = {}

    @property
    def title(self) -> str:
        """What names this very model: software and version, recipe, collection, its weights."""
        weights = self.files.get(WEIGHTS, "")[:12]
        made = f"forametric {self.made_by.get('forametric', '')}"
        return f"{made}, model {self.recipe.name} of {self.data.get('collection', '')} ({weights})"

    @classmethod
    def describe(cls, **known: Any) -> ModelCard:
        """A card for a model made now, by these versions."""
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


@dataclass(frozen=True)
class Vectors:
    """Embedded specimens.

    Attributes
    ----------
    rows : list of int
        Which of the given images were embedded; the others could not be read.
    vectors : ndarray of float32, shape (n, dimensions)
    head : ndarray of float32, shape (n, classes)
        The class head's probabilities; no columns for a model without one.
    failures : dict of int to str
        Why each of the others could not be read.
    """

    rows: list[int]
    vectors: Floats
    head: Floats
    failures: dict[int, str]


class Embedder:
    """Image → vector, with the gallery that gives vectors names.

    Examples
    --------
    >>> model = Embedder.load("models/planktic")  # doctest: +SKIP
    >>> vectors = model.embed(Collection.open("cores/GC37"))  # doctest: +SKIP
    """

    def __init__(
        self,
        runtime: Runtime,
        card: ModelCard,
        gallery: Gallery,
        calibration: Calibration | None = None,
        folder: Path | None = None,
    ) -> None:
        self.runtime = runtime
        self.card = card
        self.gallery = gallery
        self.calibration = calibration
        self.folder = folder  # where it was loaded from, if it was

    @property
    def classes_(self) -> list[str]:
        """The taxa that the class head was trained on."""
        return self.card.classes

    @property
    def about(self) -> dict[str, str]:
        """What a file of its vectors says of their origin: see `forametric.vectors`."""
        made_by = f"forametric {__version__}, {self.card.title}"
        return {"made_by": made_by, "model": self.weights}

    @property
    def weights(self) -> str:
        """The hash of the weights, "" before they are saved; vectors of others mean nothing."""
        return self.card.files.get(WEIGHTS, "")

    @property
    def learned(self) -> int:
        """How many leading numbers of a vector are the trained projection's, beside others.

        Names, novelty and groups rest on whole vectors. How many groups of unseen species there are
        is read from what follows alone: the projection was taught to tell the training species
        apart, and draws new ones together. 0 for a model whose vectors have one part.
        """
        learned = self.card.recipe.network.embedding
        return learned if 0 < learned < self.card.dimensions else 0

    @property
    def network(self) -> SpecimenNetwork:
        """The PyTorch network, for going on with training; read from the folder if need be."""
        if isinstance(self.runtime, TorchRuntime):
            return self.runtime.network
        assert self.folder is not None
        return read_network(self.folder, self.card)

    def with_gallery(self, gallery: Gallery) -> Embedder:
        """The same model with other references."""
        return Embedder(self.runtime, self.card, gallery, self.calibration, self.folder)

    @classmethod
    def load(cls, folder: str | Path) -> Embedder:
        """Load a model folder: to run on a GPU where there is one, else on the processor.

        Raises
        ------
        ModelError
            When a file is missing or damaged, or the format is not known to this version.
        """
        folder = Path(folder)
        card = read_card(folder)
        for name, expected in card.files.items():
            if not (folder / name).is_file():
                raise ModelError(f"the model {folder} lacks its file {name}; copy it again whole.")
            if sha256(folder / name) != expected:
                raise ModelError(f"{folder / name} is damaged (its hash differs); copy it again.")
        gallery = Gallery.load(folder / "gallery.parquet")
        found = "calibration.json" in card.files
        calibration = Calibration.load(folder / "calibration.json") if found else None
        runtime: Runtime
        if ONNX in card.files and not has_gpu():
            runtime = OpenVinoRuntime(folder / ONNX)
        else:
            runtime = TorchRuntime(read_network(folder, card), card.recipe.views)
        return cls(runtime, card, gallery, calibration, folder)

    def save(
        self, folder: Path, *, overwrite: bool = False, skipped: dict[str, str] | None = None
    ) -> None:
        """Write the model folder, whole or not at all."""
        with atomic_folder(folder, overwrite) as temporary:
            names = self._save_network(temporary)
            self.gallery.save(temporary / "gallery.parquet")
            if skipped:
                table = pd.DataFrame(list(skipped.items()), columns=["image", "reason"])
                table.to_csv(temporary / "skipped.csv", index=False)
            names.append("gallery.parquet")
            if self.calibration:
                self.calibration.save(temporary / "calibration.json")
                names.append("calibration.json")
            self.card.files = {name: sha256(temporary / name) for name in names}
            write_json(temporary / "model.json", json.loads(self.card.model_dump_json()))
            write_text(temporary / "README.md", model_readme(self.card))

    def _save_network(self, folder: Path) -> list[str]:
        """Write weights and graph, or copy those of the folder that the model came from."""
        if self.folder:
            names = [name for name in (WEIGHTS, ONNX) if name in self.card.files]
            for name in names:
                shutil.copyfile(self.folder / name, folder / name)
            return names
        from forametric.learning.checkpoint import write_tensors
        from forametric.learning.network import export_onnx

        network, recipe = self.network, self.card.recipe
        write_tensors(folder / WEIGHTS, network.state_dict(), {})
        try:
            export_onnx(network, recipe.views, recipe.network.size, folder / ONNX)
        except Exception as error:  # of some thousand backbones a few cannot be exported
            console.print(
                f"[yellow]warning:[/] {self.card.backbone} cannot be written as ONNX "
                f"({type(error).__name__}); this model needs PyTorch to run.",
                highlight=False,
            )
            return [WEIGHTS]
        return [WEIGHTS, ONNX]

    def embed_squares(
        self, squares: npt.NDArray[np.uint8], *, what: str = "embedding"
    ) -> tuple[Floats, Floats]:
        """Embed prepared squares of shape (n, size, size, 3).

        Returns vectors (n, dimensions) and the class head's probabilities (n, classes).
        """
        with bar(what, len(squares)) as advance:
            return self.runtime.run(squares, advance)

    def embed(self, images: Collection | Sequence[Path]) -> Floats:
        """Vectors of a collection's or of listed images, shape (n, dimensions).

        Raises `InputError` when an image cannot be read; `embed_images` goes on instead.
        """
        paths = images.paths() if isinstance(images, Collection) else list(images)
        result = self.embed_images(paths)
        if result.failures:
            row, reason = next(iter(result.failures.items()))
            raise InputError(
                f"{len(result.failures)} of {len(paths)} images cannot be read; the first: "
                f"{paths[row]}: {reason}. embed_images() leaves them out."
            )
        return result.vectors

    def embed_images(self, paths: Sequence[Path], *, what: str = "embedding") -> Vectors:
        """Decode, prepare and embed image files; those that cannot be read are left out, named."""
        parts = list(self.embed_in_parts(paths, what=what))
        failures: dict[int, str] = {}
        for part in parts:
            failures |= part.failures
        rows = [row for part in parts for row in part.rows]
        vectors = np.concatenate([part.vectors for part in parts])
        return Vectors(rows, vectors, np.concatenate([part.head for part in parts]), failures)

    def embed_in_parts(
        self, paths: Sequence[Path], *, what: str = "embedding"
    ) -> Iterator[Vectors]:
        """As `embed_images`, but `CHUNK` images at a time, as they come.

        The next ones are decoded meanwhile; memory does not grow with their number.
        """
        size, starts = self.card.recipe.network.size, range(0, len(paths), CHUNK)
        with bar(what, len(paths)) as advance, ThreadPoolExecutor(1) as ahead:

            def read(start: int) -> Future[Loaded]:
                part = paths[start : start + CHUNK]
                return ahead.submit(load_squares, part, size, what="")

            coming = read(0)
            for start in starts or (0,):
                squares, readable, failed = coming.result()
                coming = read(start + CHUNK)
                advance(len(failed))
                vectors, head = self._run(squares, advance)
                rows = [start + i for i in readable]
                yield Vectors(rows, vectors, head, {start + i: r for i, r in failed.items()})

    def _run(
        self, squares: npt.NDArray[np.uint8], advance: Callable[[int], None]
    ) -> tuple[Floats, Floats]:
        if len(squares):
            return self.runtime.run(squares, advance)
        width = len(self.card.classes) if self.card.recipe.network.neck != "none" else 0
        return np.zeros((0, self.card.dimensions), np.float32), np.zeros((0, width), np.float32)

    def scores(self, got: Vectors) -> Floats:
        """Scores of the gallery's taxa for embedded specimens, shape (n, len(gallery.classes_)).

        The mean of the votes of the nearest references and the class head's probabilities. A taxon
        that was added to the gallery after training is not known to the head: the more of the votes
        such taxa have, the less the head counts. A row sums to 1; these are not probabilities.
        """
        votes = self.gallery.votes(got.vectors)
        names = self.gallery.classes_
        shared = [(names.index(t), i) for i, t in enumerate(self.classes_) if t in set(names)]
        if not got.head.shape[1] or not shared:
            return votes
        columns, of_head = (np.array(c) for c in zip(*shared, strict=True))
        head = got.head[:, of_head]
        half = votes[:, columns].sum(1, keepdims=True) / 2
        scores = votes * (1 - half)
        scores[:, columns] += half * head / np.maximum(head.sum(1, keepdims=True), 1e-12)
        return np.asarray(scores, dtype=np.float32)

    @property
    def calibrated(self) -> Calibration:
        """The calibration; `ModelError` for a model that has none."""
        if self.calibration is None:
            raise ModelError(
                "this model has no calibration, so its scores are no probabilities and it calls "
                "nothing unknown; calibrate it with: forametric calibrate MODEL COLLECTION "
                "--split SPLIT -o NEW_MODEL"
            )
        return self.calibration

    def predict_proba(self, got: Vectors) -> Floats:
        """Calibrated probabilities of the gallery's taxa, shape (n, len(gallery.classes_)).

        Raises
        ------
        ModelError
            For a model that was not calibrated.
        """
        return self.calibrated.probabilities(
            self.scores(got), self.gallery.remoteness(got.vectors), self.gallery.classes_
        )

    def ranking(self, got: Vectors) -> Floats:
        """Probabilities, or scores where there is no calibration: what specimens are named by."""
        return self.predict_proba(got) if self.calibration else self.scores(got)

    def evidence(self, got: Vectors, taxa: npt.NDArray[np.object_]) -> Evidence:
        """What speaks for and against the names of embedded specimens of known taxa.

        Specimens of taxa that the gallery does not know are left out.
        """
        known = np.isin(taxa.astype(str), self.gallery.classes_)
        vectors, taxa = got.vectors[known], taxa[known]
        return Evidence(
            self.gallery.classes_,
            self.scores(got)[known],
            self.gallery.remoteness(vectors),
            taxa.astype(str),
            self.gallery.novelty(vectors),
            self.gallery.novelty_if_new(vectors, taxa),
        )

    def calibrate(self, got: Vectors, taxa: npt.NDArray[np.object_]) -> None:
        """Calibrate on embedded validation specimens, which are not in the gallery, and their taxa.

        Raises
        ------
        InputError
            When there are too few of taxa that the gallery knows.
        """
        self.calibration = fit_calibration(self.evidence(got, taxa))


def read_network(folder: Path, card: ModelCard) -> SpecimenNetwork:
    """The PyTorch network of a model folder.

    Raises
    ------
    MissingExtraError
        Where PyTorch is not installed.
    ModelError
        When its weights are not those of a network that this version knows.
    """
    try:
        from safetensors.torch import load_file

        from forametric.learning.network import SpecimenNetwork
    except ModuleNotFoundError:
        raise MissingExtraError("running this model", "train") from None
    import torch

    weights = load_file(folder / WEIGHTS)
    whitened = len(weights.get("whitened.weight", ()))
    network = SpecimenNetwork(card.recipe.network, card.backbone, len(card.classes), whitened)
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        made_by = card.made_by.get("forametric", "?")
        raise ModelError(
            f"the weights of {folder}, made by forametric {made_by}, do not fit the network of "
            f"this version; train the model again."
        ) from None
    return network.to(memory_format=torch.channels_last)


def read_card(folder: Path) -> ModelCard:
    """Read `model.json`, refusing unknown formats before anything else is looked at."""
    if not (folder / "model.json").is_file():
        raise ModelError(
            f"{folder} is not a model (no model.json); make one with: forametric train"
        )
    try:
        data = read_json(folder / "model.json")
    except InputError as error:
        raise ModelError(str(error)) from None
    if data.get("format") != FORMAT:
        raise ModelError(
            f"{folder} has model format {data.get('format')!r}; this version reads {FORMAT}. "
            f"Update Forametric, or train the model again."
        )
    try:
        return ModelCard.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ModelError(f"{folder / 'model.json'} is damaged: {where}: {first['msg']}.") from None


def model_readme(card: ModelCard) -> str:
    """The model card, in the form Hugging Face reads."""
    recipe, last = card.recipe, (card.training.get("epochs") or [{}])[-1]
    fell_back = card.backbone != recipe.network.backbone
    scores = [row.get("val_macro_f1", 0.0) for row in card.training.get("epochs", [])]
    lines = [
        "---",
        "library_name: forametric",
        "tags: [microfossils, metric-learning]",
        "---",
        "",
        f"# {recipe.name} model of {card.data.get('collection') or 'a collection'}",
        "",
        f"{recipe.about}.",
        "",
        f"- Backbone: {card.backbone}"
        + (f" (in place of {recipe.network.backbone}, whose weights could not be had)" * fell_back),
        f"- Image size: {recipe.network.size} px; embedding: {card.dimensions} numbers; "
        f"{recipe.views} view(s) averaged",
        f"- Taxa: {len(card.classes)}; specimens trained on: {card.data['train']}; "
        f"selected on: {card.data['val']}; left out as unreadable: {card.data['skipped']}",
        f"- Split: {card.data['split_name']} (hash {card.data['split']}); seed {card.seed}",
        f"- Epochs: {last.get('epoch', 0)}; best macro F1 on validation: "
        + (f"{max(scores):.3f}" if scores else "none"),
        f"- Training time: {card.training.get('seconds', 0):.0f} s",
        f"- Made by: {', '.join(f'{k} {v}' for k, v in card.made_by.items())}",
        f"- Licence: {'; '.join(f'{k}: {v}' for k, v in card.licence.items())}",
        "",
        "## Taxa",
        "",
        *[f"- {taxon}" for taxon in card.classes],
        "",
        "Names outside this list are not known to the model.",
        "",
    ]
    return "\n".join(lines)
