"""A review project: a collection, the models that identify it, and its cached embeddings.

On disk a folder: `project.json` (the paths of the collection, the models and the collections with
reference images), `decisions.sqlite` unless the decisions are kept in another database, and
`cache/`, one folder for each network, with embeddings, map and sheets of thumbnails. The cache may
be deleted; it is made again when it is needed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from forametric._typing import FloatArray, IntArray, PathLike
from forametric._version import __version__
from forametric.analysis.morphospace import Morphospace
from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings
from forametric.data.inputs import check_output_folder
from forametric.errors import InputError, NotFoundError
from forametric.model.embed_collection import embed_to_file, embeddings_of
from forametric.model.model import Model
from forametric.review.store import DecisionStore
from forametric.utils.files import read_json, write_json

FORMAT = 1
FILE = "project.json"
STORE = "decisions.sqlite"
EXTERNAL = "external"  # the decisions are in another database, whose address is not written down
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Project:
    """The parts of a review project.

    Attributes
    ----------
    folder, collection : Path
    models : tuple of Path
        The first model, and those trained from it.
    current : int
        Which of them identifies the specimens.
    reference_images : tuple of Path
        Collections that have the images of the models' references.
    depth : str
        The column with each sample's depth or age; "" for none.
    database : str
        `decisions.sqlite` in the folder, or `external`.

    Examples
    --------
    >>> project = Project.create("core-review", "core", "model")  # doctest: +SKIP
    """

    folder: Path
    collection: Path
    models: tuple[Path, ...]
    current: int = 0
    reference_images: tuple[Path, ...] = ()
    depth: str = ""
    database: str = STORE

    @classmethod
    def create(
        cls,
        folder: PathLike,
        collection: Collection | PathLike,
        model: Model | PathLike,
        *,
        reference_images: Sequence[PathLike] = (),
        depth: str = "",
        external: bool = False,
    ) -> Project:
        """Check the parts of a project and write `project.json`.

        A collection or a model that is not a folder yet is saved inside the project.

        Parameters
        ----------
        external : bool
            Whether the decisions are kept in another database.

        Raises
        ------
        InputError
            When the folder is not empty, or the collection or the column cannot be used.
        ModelError
            For a model that cannot be loaded or has no calibration.
        """
        folder = Path(folder)
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty; name a new folder for the project.")
        parts = [model.folder if isinstance(model, Model) else model, collection]
        check_output_folder(folder, False, *parts, *reference_images)
        opened = collection if isinstance(collection, Collection) else Collection.open(collection)
        loaded = model if isinstance(model, Model) else Model.load(model)
        loaded.calibrated  # noqa: B018  refuse before anything is written
        images = tuple(Path(other) for other in reference_images)
        for other in images:
            Collection.open(other)
        if depth and depth not in opened.specimens:
            raise InputError(f"the collection has no column {depth!r}.")
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(collection, Collection):
            collection = opened.save(folder / "collection")
        if isinstance(model, Model):
            model = loaded.folder or loaded.save(folder / "models" / "model")
        database = EXTERNAL if external else STORE
        project = cls(folder, Path(collection), (Path(model),), 0, images, depth, database)
        project.save()
        return project

    @classmethod
    def open(cls, folder: PathLike) -> Project:
        """Read `project.json`; `InputError` says what is missing or damaged."""
        folder = Path(folder)
        if not (folder / FILE).is_file():
            raise NotFoundError(
                f"{folder} is not a review project (no {FILE}); create one with: forametric review "
                f"{folder} --collection COLLECTION --model MODEL"
            )
        data = read_json(folder / FILE)
        if data.get("format") != FORMAT:
            raise InputError(
                f"{folder} has project format {data.get('format')!r}; this version reads {FORMAT}. "
                f"Update Forametric."
            )
        try:
            project = cls(
                folder,
                _resolved(folder, data["collection"]),
                tuple(_resolved(folder, model) for model in data["models"]),
                int(data["current"]),
                tuple(_resolved(folder, other) for other in data["reference_images"]),
                str(data["depth"]),
                str(data["database"]),
            )
            project.model  # noqa: B018  the number is that of a model
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{folder / FILE} is damaged: {error!r}.") from None
        return project

    def save(self) -> None:
        """Write `project.json`."""
        data = {
            "format": FORMAT,
            "made_by": f"forametric {__version__}",
            "collection": self._relative(self.collection),
            "models": [self._relative(model) for model in self.models],
            "reference_images": [self._relative(other) for other in self.reference_images],
            "current": self.current,
            "depth": self.depth,
            "database": self.database,
        }
        write_json(self.folder / FILE, data)

    def _relative(self, path: Path) -> str:
        return Path(os.path.relpath(path.absolute(), self.folder.absolute())).as_posix()

    @property
    def model(self) -> Path:
        """The model that identifies the specimens."""
        return self.models[self.current]

    def open_store(self) -> DecisionStore:
        """The store in the project's folder, created at first use.

        Raises
        ------
        InputError
            When the decisions are kept in another database.
        """
        if self.database == EXTERNAL:
            raise InputError(
                f"the decisions of {self.folder} are kept in another database; give its address."
            )
        return DecisionStore(self.folder / STORE)

    def with_model(self, model: PathLike) -> Project:
        """The project with one more model, which is not in use yet; saved."""
        changed = replace(self, models=(*self.models, Path(model)))
        changed.save()
        return changed

    def at(self, number: int) -> Project:
        """The project with another of its models in use; not saved.

        Raises
        ------
        NotFoundError
            When the project has no such model.
        """
        if not 0 <= number < len(self.models):
            raise NotFoundError(f"model {number} does not exist; there are {len(self.models)}.")
        return replace(self, current=number)


def open_or_create(
    folder: PathLike,
    collection: PathLike | None = None,
    model: PathLike | None = None,
    reference_images: Sequence[PathLike] = (),
    depth: str = "",
    database: str = "",
) -> tuple[Project, DecisionStore]:
    """Open a project, or create it from a collection and a model; and its store of decisions.

    Parameters
    ----------
    database : str
        The address of a PostgreSQL database for the decisions; "" for a file in the folder.

    Raises
    ------
    InputError
        When a project is missing, exists already, or keeps its decisions elsewhere.
    """
    folder = Path(folder)
    if (folder / FILE).is_file():
        if collection or model or reference_images or depth:
            raise InputError(
                f"{folder} is a project already, with its own collection and model; open it with: "
                f"forametric review {folder}"
            )
        project = Project.open(folder)
    elif collection is None or model is None:
        raise NotFoundError(
            f"{folder} is not a review project yet; create it with --collection and --model."
        )
    else:
        project = Project.create(
            folder,
            collection,
            model,
            reference_images=reference_images,
            depth=depth,
            external=bool(database),
        )
    if (project.database == EXTERNAL) != bool(database):
        where = "its folder: omit --database" if database else "a database: give --database"
        raise InputError(f"the decisions of {folder} are kept in {where}.")
    return project, DecisionStore(database) if database else project.open_store()


@dataclass(frozen=True, eq=False)
class EmbeddedCollection:
    """A collection, embedded and mapped with one model.

    Attributes
    ----------
    model : Model
    collection : Collection
        The specimens whose images could be read.
    embeddings : Embeddings
        Of each of them, in the same order.
    morphospace : Morphospace
        Their map.
    skipped : DataFrame
        The images that could not be read: image, reason.
    cache : Path
        The folder of this model's cached files.
    """

    model: Model
    collection: Collection
    embeddings: Embeddings
    morphospace: Morphospace
    skipped: pd.DataFrame
    cache: Path

    def __len__(self) -> int:
        return len(self.collection)

    def __repr__(self) -> str:
        return f"EmbeddedCollection({len(self)} specimens, {len(self.skipped)} images skipped)"

    @cached_property
    def order(self) -> IntArray:
        """The specimens along a Z-order curve on the map (Morton 1966), shape (n,).

        Thumbnails are packed into sheets in this order, so that a part of the map needs few sheets.
        """
        xy = self.morphospace.coordinates_
        extent = np.maximum(np.ptp(xy, axis=0), 1e-9)
        cells = ((xy - xy.min(0)) / extent * 1023).astype(np.int64)
        key = np.zeros(len(cells), np.int64)
        for bit in range(10):
            key |= ((cells[:, 0] >> bit) & 1) << (2 * bit)
            key |= ((cells[:, 1] >> bit) & 1) << (2 * bit + 1)
        return np.argsort(key, kind="stable")

    @cached_property
    def statistic_differences(self) -> FloatArray:
        """`Identifier.statistic_differences` from the model's own references, shape (n, 9 or 0)."""
        return self.model.identifier.statistic_differences(self.embeddings)


def embed_project(project: Project) -> EmbeddedCollection:
    """Embed and map a project's collection, or read the cached embeddings and map.

    An interrupted run resumes when it is repeated.

    Raises
    ------
    InputError
        When the collection cannot be opened, or no image can be read.
    ModelError
        When the model cannot be loaded or has no calibration.
    """
    logger.info("loading the model %s", project.model)
    model = Model.load(project.model)
    model.calibrated  # noqa: B018  refuse before the long work
    logger.info("opening the collection %s", project.collection)
    collection = Collection.open(project.collection)
    cache = project.folder / "cache" / model.weights_sha256[:16]
    vectors, layout, notes = cache / "vectors.parquet", cache / "map.parquet", cache / "cache.json"
    columns = collection.specimens[["id", "image"]].astype(str)
    run = {"specimens": int(pd.util.hash_pandas_object(columns, index=False).sum())}
    if not (notes.is_file() and read_json(notes)["run"] == run):
        if notes.is_file():  # the collection has changed since
            _empty_cache(cache)
        cache.mkdir(parents=True, exist_ok=True)
        logger.info("embedding %d specimens", len(collection))
        skipped = embed_to_file(model, collection, vectors, overwrite=True)
        layout.unlink(missing_ok=True)
        write_json(notes, {"run": run, "skipped": skipped.to_dict("records")})
    else:
        logger.info("reading the embeddings of %d specimens", len(collection))
    embeddings = embeddings_of(model, collection, vectors)
    readable = collection.select(embeddings.rows)
    if layout.is_file():
        morphospace = Morphospace.load(layout)
    else:
        logger.info("laying out the map of %d specimens", len(readable))
        morphospace = Morphospace().fit(embeddings)
        morphospace.save(layout)
    unreadable = pd.DataFrame(read_json(notes)["skipped"], columns=["image", "reason"])
    embeddings = replace(embeddings, rows=np.arange(len(readable)), skipped=unreadable)
    return EmbeddedCollection(model, readable, embeddings, morphospace, unreadable, cache)


def _empty_cache(cache: Path) -> None:
    """Remove what was made from a collection that has changed since."""
    for name in ("cache.json", "map.parquet", "vectors.parquet"):
        (cache / name).unlink(missing_ok=True)
    for sheet in (cache / "sheets").glob("[0-9][0-9][0-9][0-9][0-9].jpg"):
        sheet.unlink()


def _resolved(folder: Path, path: object) -> Path:
    return Path(os.path.normpath(folder / str(path)))
