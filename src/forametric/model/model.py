"""A model: an embedder and an identifier, and the folder that holds both on disk.

A model is a folder: `model.json`, `model.onnx`, `weights.safetensors`, `references.parquet`,
`calibration.json` and `README.md` (a Hugging Face model card). Nothing in it is ever unpickled, and
a damaged file is refused by its hash.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from forametric._typing import FloatArray, IntArray, NameArray, PathLike
from forametric._version import __version__
from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings, skipped_table
from forametric.data.inputs import check_output_folder
from forametric.data.sources import ImageSource, list_images
from forametric.data.tables import Column, read_table
from forametric.data.taxonomy import Taxonomy
from forametric.embedding.embedder import Embedder
from forametric.embedding.recipe import Recipe
from forametric.embedding.runtime import ONNX, OpenVinoRuntime, Runtime, TorchRuntime, has_gpu
from forametric.errors import InputError, MissingExtraError, ModelError
from forametric.identification.calibration import Calibration
from forametric.identification.identifier import MIN_PROBABILITY, Identifier
from forametric.identification.references import K, ReferenceSet
from forametric.identification.search import SpecimenIndex
from forametric.model.card import CALIBRATION, FILE, REFERENCES, WEIGHTS, ModelCard
from forametric.model.identify import Identifications, identify_images, raise_unreadable
from forametric.utils.files import sha256, write_json, write_text
from forametric.utils.outputs import atomic_folder
from forametric.utils.results import Result

if TYPE_CHECKING:
    from forametric.embedding.network import SpecimenNetwork

logger = logging.getLogger(__name__)
SKIPPED = [Column("image", required=True), Column("reason", required=True)]


@dataclass(frozen=True, eq=False, repr=False)
class Model(Result):
    """Images → embeddings → names.

    Attributes
    ----------
    embedder : Embedder
        Images → vectors.
    identifier : Identifier
        Vectors → names.
    card : ModelCard
        What the model was made from.
    folder : Path or None
        Where it was loaded from.
    skipped : DataFrame
        The images that could not be read when it was made: image, reason.

    Examples
    --------
    >>> model = Model.load("models/planktic")  # doctest: +SKIP
    >>> embeddings = model.embed("cores/GC37")  # doctest: +SKIP
    >>> names = model.identify("new-plates/").table  # doctest: +SKIP
    """

    embedder: Embedder
    identifier: Identifier
    card: ModelCard
    folder: Path | None = None
    skipped: pd.DataFrame = field(default_factory=skipped_table)

    def __len__(self) -> int:
        return len(self.taxa)

    def __str__(self) -> str:
        return (
            f"{self.recipe.name}, {len(self.taxa)} taxa, {len(self.references)} references, "
            f"{'calibrated' if self.calibration else 'not calibrated'}, {self.fingerprint[:12]}"
        )

    @property
    def summary(self) -> dict[str, Any]:
        """What was made: taxa, references, backbone, calibration, training, fingerprint."""
        shown = {"specimens", "temperature", "distance_weight", "novelty_threshold",
                 "rejection_rate"}  # fmt: skip
        calibration = None
        if self.calibration:
            interval = [round(limit, 4) for limit in self.calibration.rejection_rate_95]
            known = self.calibration.model_dump(include=shown)
            calibration = known | {"rejection_rate_95": interval}
        return {
            "recipe": self.recipe.name,
            "taxa": len(self.taxa),
            "references": len(self.references),
            "backbone": self.card.backbone,
            "calibration": calibration,
            "training": self.card.training,
            "fingerprint": self.fingerprint,
        }

    @property
    def table(self) -> pd.DataFrame:
        """The number of references of each taxon: taxon, references."""
        counts = pd.Series(self.references.taxa).value_counts().sort_index()
        return pd.DataFrame({"taxon": counts.index, "references": counts.to_numpy()})

    @property
    def references(self) -> ReferenceSet:
        """The reference specimens."""
        return self.identifier.references

    @property
    def calibration(self) -> Calibration | None:
        """The calibration, where there is one."""
        return self.identifier.calibration

    @property
    def calibrated(self) -> Calibration:
        """The calibration; `ModelError` for a model that has none."""
        return self.identifier.calibrated

    @property
    def taxa(self) -> list[str]:
        """The taxa that the model can name, in alphabetical order."""
        return self.identifier.taxa

    @property
    def recipe(self) -> Recipe:
        """How it was trained."""
        return self.card.recipe

    @property
    def weights_sha256(self) -> str:
        """The hash of the weights; embeddings made with other weights do not compare."""
        return self.card.weights_sha256

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that changes an identification.

        The weights, the network and its classes, the references and the calibration.
        """
        card = self.card
        network = card.recipe.network.model_dump(mode="json")
        described = [card.dimensions, card.classes, network, card.recipe.tta_views]
        seen = hashlib.sha256(self.weights_sha256.encode())
        seen.update(json.dumps(described).encode())
        references = self.references
        seen.update(json.dumps([references.ids, references.taxa.tolist()]).encode())
        seen.update(references.vectors.astype("<f4").tobytes())
        seen.update(references.statistics.astype("<f4").tobytes())
        seen.update(self.calibration.model_dump_json().encode() if self.calibration else b"")
        return seen.hexdigest()

    @property
    def title(self) -> str:
        """What identifies this model in records: software, recipe, collection, fingerprint."""
        return self.card.model_copy(update={"fingerprint": self.fingerprint}).title

    @property
    def network(self) -> SpecimenNetwork:
        """The PyTorch network, for further training; read from the folder if necessary.

        Raises
        ------
        ModelError
            For a model that was neither trained nor loaded here.
        """
        if isinstance(self.embedder.runtime, TorchRuntime):
            return self.embedder.runtime.network
        if self.folder is None:
            raise ModelError("this model has no PyTorch network: load it from its folder.")
        return read_network(self.folder, self.card)

    # Use

    def embed(self, images: ImageSource, *, progress: str = "embedding") -> Embeddings:
        """Embed a collection, a folder, image files, PIL images or arrays.

        Unreadable images are listed in the result's `skipped`.

        Raises
        ------
        InputError
            When there are no images, or none can be read.
        """
        return embed_source(self.embedder, images, progress=progress)

    def identify(
        self,
        images: ImageSource | Embeddings,
        *,
        min_probability: float = MIN_PROBABILITY,
        conformal_alpha: float | None = None,
        taxonomy: Taxonomy | None = None,
        similar_in: SpecimenIndex | None = None,
    ) -> Identifications:
        """Name every image of a collection or folder, image files, PIL images or arrays.

        Parameters
        ----------
        images
            Also embeddings that this model made.
        min_probability : float
            The least probability at which a species or a genus is named.
        conformal_alpha : float, optional
            Add conformal prediction sets: they lack the true taxon in at most this share of cases.
        taxonomy : Taxonomy, optional
            For the genera of taxa that the built-in table does not know.
        similar_in : SpecimenIndex, optional
            Also find the most similar specimens in an index of embeddings.

        Raises
        ------
        InputError
            When there are no images, none can be read, or there are too few validation specimens
            for such sets.
        ModelError
            When sets are asked of a model without calibration.
        """
        return identify_images(
            self.embedder,
            self.identifier,
            images,
            min_probability=min_probability,
            conformal_alpha=conformal_alpha,
            taxonomy=taxonomy,
            similar_in=similar_in,
            model=self.title,
        )

    def predict(self, embeddings: Embeddings | FloatArray) -> NameArray:
        """The most probable taxon of each embedded specimen: `Identifier.predict`."""
        return self.identifier.predict(embeddings)

    def predict_proba(self, embeddings: Embeddings | FloatArray) -> FloatArray:
        """Calibrated probabilities, shape (n, taxa): `Identifier.predict_proba`."""
        return self.identifier.predict_proba(embeddings)

    def novelty(self, embeddings: Embeddings | FloatArray) -> FloatArray:
        """How unlike the references each specimen is, shape (n,): `ReferenceSet.novelty`."""
        return self.identifier.novelty(embeddings)

    def kneighbors(
        self, embeddings: Embeddings | FloatArray, n_neighbors: int = K
    ) -> tuple[FloatArray, IntArray]:
        """Distances and positions of the nearest references: `ReferenceSet.kneighbors`."""
        return self.identifier.kneighbors(embeddings, n_neighbors)

    # Change: each returns a new model

    def with_identifier(self, identifier: Identifier) -> Model:
        """The same network with other references or another calibration."""
        return replace(self, identifier=identifier)

    def add_references(self, collection: Collection) -> Model:
        """A model that has a collection's labelled specimens as references, without training.

        Specimens that are references already are left out; unreadable images are in `skipped`.

        Raises
        ------
        InputError
            When the collection has no labelled specimen that is not a reference already.
        """
        new = ~collection.specimens["id"].isin(set(self.references.ids)).to_numpy()
        chosen = collection.select(new & (collection.taxa() != ""))
        if not len(chosen):
            raise InputError(
                "the collection has no labelled specimen that is not a reference already."
            )
        self._warn_of_twins(chosen.taxa())
        embeddings = self.embed(chosen)
        ids = embeddings.table["id"].astype(str).tolist()
        added = embeddings.taxa(), embeddings.vectors, embeddings.statistics
        identifier = self.identifier.add_references(ids, *added)
        return replace(self, identifier=identifier, skipped=embeddings.skipped)

    def _warn_of_twins(self, taxa: NameArray) -> None:
        """Say which new taxa a model cannot tell from others, for it learnt from reflections."""
        handed = Taxonomy.load().handed({str(t) for t in taxa} - set(self.taxa))
        if handed and self.recipe.epochs and self.recipe.augment.mirror is not False:
            logger.warning(
                "%s: told from others by the direction of coiling, of which this model learnt "
                "nothing, for it was trained on images and their reflections. Train a model with "
                "these taxa.",
                ", ".join(handed),
            )

    def calibrate(self, validation: Collection) -> Model:
        """A model calibrated on labelled specimens that it did not learn and does not refer to.

        Raises
        ------
        InputError
            When there are too few, or some of them are references.
        """
        labelled = validation.select(validation.taxa() != "")
        if not len(labelled):
            raise InputError("there are no labelled validation specimens to calibrate on.")
        if labelled.specimens["id"].isin(set(self.references.ids)).any():
            raise InputError(
                "some validation specimens are references of the model; calibrate on others, or "
                "with the split that the model was trained with."
            )
        embeddings = self.embed(labelled)
        identifier = self.identifier.calibrate(embeddings, embeddings.taxa())
        return replace(self, identifier=identifier, skipped=embeddings.skipped)

    # Folder

    @classmethod
    def load(cls, folder: PathLike) -> Model:
        """Load a model folder, to run on a GPU where there is one, else on the processor.

        Raises
        ------
        ModelError
            When a file is missing or damaged, they do not fit each other, or the format is not
            known to this version.
        """
        folder = Path(folder)
        card = ModelCard.load(folder)
        _check_files(folder, card)
        try:
            references = ReferenceSet.load(folder / REFERENCES)
        except InputError as error:
            raise ModelError(str(error)) from None
        has_calibration = CALIBRATION in card.files
        calibration = Calibration.load(folder / CALIBRATION) if has_calibration else None
        runtime, fits = _load_runtime(folder, card)
        if not fits or references.vectors.shape[1] != card.dimensions:
            raise ModelError(
                f"{folder / FILE} does not fit the network and the references: image size, "
                f"dimensions or number of classes differ; copy the folder again whole."
            )
        identifier = Identifier(references, calibration, card.classes)
        unread = read_skipped(folder / "skipped.csv")
        model = cls(embedder_for(runtime, card), identifier, card, folder, unread)
        if model.fingerprint != card.fingerprint:
            raise ModelError(
                f"{folder / FILE} was changed after the model was saved (its fingerprint "
                f"differs); copy the folder again whole."
            )
        return model

    def save(self, folder: PathLike, *, overwrite: bool = False) -> Path:
        """Write the model folder, whole or not at all; returns its path.

        Raises
        ------
        InputError
            When the folder exists, or is the one that the model was loaded from.
        """
        folder = Path(folder)
        check_output_folder(folder, overwrite, self.folder)
        with atomic_folder(folder, overwrite) as temporary:
            names = [*self._save_network(temporary), REFERENCES]
            self.references.save(temporary / REFERENCES)
            if len(self.skipped):
                self.skipped.to_csv(temporary / "skipped.csv", index=False)
            if self.calibration:
                self.calibration.save(temporary / CALIBRATION)
                names.append(CALIBRATION)
            files = {name: sha256(temporary / name) for name in names}
            saved = replace(self, card=self.card.model_copy(update={"files": files}))
            card = saved.card.model_copy(update={"fingerprint": saved.fingerprint})
            write_json(temporary / FILE, json.loads(card.model_dump_json()))
            counts = pd.Series(self.references.taxa).value_counts()
            references = {str(taxon): int(n) for taxon, n in counts.items()}
            sentence = _calibration_sentence(self.calibration)
            write_text(temporary / "README.md", card.readme(references, sentence))
        return folder

    def _save_network(self, folder: Path) -> list[str]:
        """Write weights and graph, or copy those of the folder that the model came from."""
        if self.folder:
            names = [name for name in (WEIGHTS, ONNX) if name in self.card.files]
            for name in names:
                shutil.copyfile(self.folder / name, folder / name)
            return names
        from forametric.embedding.network import export_onnx
        from forametric.utils.tensors import write_tensors

        network, recipe = self.network, self.card.recipe
        write_tensors(folder / WEIGHTS, network.state_dict(), {})
        try:
            export_onnx(network, recipe.tta_views, recipe.network.image_size, folder / ONNX)
        except Exception as error:  # of some thousand backbones a few cannot be exported
            logger.warning(
                "%s cannot be written as ONNX (%s); this model needs PyTorch to run.",
                self.card.backbone,
                type(error).__name__,
            )
            return [WEIGHTS]
        return [WEIGHTS, ONNX]


def _check_files(folder: Path, card: ModelCard) -> None:
    for name, expected in card.files.items():
        if not (folder / name).is_file():
            raise ModelError(f"the model {folder} lacks its file {name}; copy it again whole.")
        if sha256(folder / name) != expected:
            raise ModelError(f"{folder / name} is damaged (its hash differs); copy it again.")


def _load_runtime(folder: Path, card: ModelCard) -> tuple[Runtime, bool]:
    """The network, and whether it has the image size and the widths that the card states."""
    if ONNX in card.files and not has_gpu():
        graph = OpenVinoRuntime(folder / ONNX)
        widths = tuple(width for width in (card.dimensions, card.n_classes) if width)
        stated = card.recipe.network.image_size, widths
        try:
            return graph, (graph.image_size, graph.widths) == stated
        except RuntimeError:  # it has no input or output of a fixed size
            return graph, False
    network = read_network(folder, card)
    return TorchRuntime(network, card.recipe.tta_views), network.dimensions == card.dimensions


def read_skipped(path: Path) -> pd.DataFrame:
    """The images that a result lists as skipped; none where there is no such file."""
    if not path.is_file():
        return skipped_table()
    return read_table(path, SKIPPED).rows.reset_index(drop=True)


def embedder_for(runtime: Runtime, card: ModelCard) -> Embedder:
    """The embedder of a model's network."""
    return Embedder(
        runtime,
        card.recipe.network.image_size,
        card.dimensions,
        card.n_classes,
        card.projection_dim,
        {"made_by": f"forametric {__version__}, {card.title}", "model": card.weights_sha256},
    )


def embed_source(embedder: Embedder, images: ImageSource, *, progress: str) -> Embeddings:
    """Embed whatever `list_images` takes; `InputError` when nothing can be read."""
    table, files = list_images(images)
    embeddings = embedder.embed_images(files, table, progress=progress)
    if not len(embeddings):
        raise_unreadable(embeddings.skipped)
    return replace(embeddings, source=images)


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

        from forametric.embedding.network import SpecimenNetwork
    except ModuleNotFoundError:
        raise MissingExtraError("running this model", "train") from None
    import torch

    weights = load_file(folder / WEIGHTS)
    whitened = len(weights.get("whitened.weight", ()))
    network = SpecimenNetwork(card.recipe.network, card.backbone, card.n_classes, whitened)
    try:
        network.load_state_dict(weights)
    except RuntimeError:
        made_by = card.made_by.get("forametric", "?")
        raise ModelError(
            f"the weights of {folder}, made by forametric {made_by}, do not fit the network of "
            f"this version; train the model again."
        ) from None
    return network.to(memory_format=torch.channels_last)


def _calibration_sentence(calibration: Calibration | None) -> str:
    if calibration is None:
        return "none; the model gives scores, and calls nothing unknown"
    low, high = calibration.rejection_rate_95
    rough = bool(calibration.caution)
    return (
        f"on {calibration.specimens} validation specimens"
        + ", so its probabilities are rough" * rough
        + f"; unknown above a novelty of {calibration.novelty_threshold:.2f}, which rejects "
        f"{calibration.rejection_rate:.0%} ({low:.1%} to {high:.1%}) of known specimens"
    )
