"""Draw the morphospace of images, or place them in an existing map."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forametric._typing import PathLike
from forametric.analysis.morphospace import Morphospace
from forametric.analysis.plots.morphospace_figure import SUFFIXES
from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings
from forametric.data.inputs import check_output_file
from forametric.data.sources import open_collection
from forametric.errors import InputError
from forametric.model.embed_collection import embeddings_of
from forametric.model.model import Model
from forametric.utils.results import Result

UNLABELLED = "unnamed"


@dataclass(frozen=True, eq=False, repr=False)
class MapReport(Result):
    """A drawn map.

    Attributes
    ----------
    space : Morphospace
    embeddings : Embeddings
        The specimens that were laid out, or placed.
    layout : Path
        The Parquet file of the map.
    knn_preservation : dict of str to float
        `Morphospace.knn_preservation`; empty where specimens were placed in an existing map.
    """

    space: Morphospace
    embeddings: Embeddings
    layout: Path
    knn_preservation: dict[str, float]

    def __len__(self) -> int:
        return len(self.embeddings)

    def __str__(self) -> str:
        kept = ", ".join(f"{share:.0%} of {of}" for of, share in self.knn_preservation.items())
        note = f"; ten nearest neighbors kept: {kept}" if kept else ""
        return f"{len(self)} specimens{note}"

    @property
    def table(self) -> pd.DataFrame:
        """The specimens."""
        return self.embeddings.table

    @property
    def skipped(self) -> pd.DataFrame:
        """The images that could not be read: image, reason."""
        return self.embeddings.skipped

    @property
    def summary(self) -> dict[str, Any]:
        """layout, specimens, knn_preservation."""
        return {
            "layout": str(self.layout),
            "specimens": len(self),
            "knn_preservation": self.knn_preservation,
        }


def map_images(
    model: Model | PathLike,
    images: Collection | PathLike,
    output: PathLike,
    *,
    onto: PathLike | None = None,
    embeddings: PathLike | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> MapReport:
    """Embed images, lay out their morphospace, and draw it with thumbnails and taxa.

    Parameters
    ----------
    output : path
        .png, .pdf or .svg for print, .html for an interactive map. The layout is saved next to it
        as .parquet.
    onto : path, optional
        An existing layout: the images are placed in it, the old specimens do not move.
    embeddings : path, optional
        What `forametric embed` wrote for these images.

    Raises
    ------
    InputError
        For another suffix, an existing output, or a damaged layout.
    """
    output = Path(output)
    suffix, layout = output.suffix.lower(), output.with_suffix(".parquet")
    if suffix not in (*SUFFIXES, ".html"):
        raise InputError(f"{output} should end in .html, {', '.join(SUFFIXES)}.")
    if onto and suffix == ".html":
        raise InputError("only PNG, PDF and SVG show specimens placed onto a map.")
    sources = (model.folder if isinstance(model, Model) else model, images, onto, embeddings)
    check_output_file(output, overwrite, *sources)
    # A run that was killed before it drew the map has left its layout, which may be replaced.
    earlier = None if onto or overwrite or output.exists() else _map_in(layout)
    if onto is None:
        check_output_file(layout, overwrite or earlier is not None, *sources)
    known = Morphospace.load(onto) if onto else None
    model = model if isinstance(model, Model) else Model.load(model)
    made = embeddings_of(model, open_collection(images), embeddings)
    taxa = [taxon or UNLABELLED for taxon in made.taxa()]
    if known is not None:
        known.plot(output, new=made)
        return MapReport(known, made, Path(str(onto)), {})
    space = Morphospace(seed=seed).fit(made)
    if earlier is not None and not _is_same_map(earlier, space):
        check_output_file(layout, overwrite, *sources)
    space.save(layout, overwrite=True)
    if suffix == ".html":
        space.to_html(output, color=taxa, title=output.stem)
    else:
        space.plot(output, color=taxa)
    return MapReport(space, made, layout, space.knn_preservation())


def _map_in(layout: Path) -> Morphospace | None:
    """The layout in a file, or None if there is none that can be read."""
    try:
        return Morphospace.load(layout)
    except InputError:
        return None


def _is_same_map(one: Morphospace, other: Morphospace) -> bool:
    """Whether two layouts are of the same specimens, vectors and seed."""
    return (
        one.seed == other.seed
        and one.ids_ == other.ids_
        and one.vectors_.shape == other.vectors_.shape
        and np.allclose(one.vectors_, other.vectors_, atol=1e-4)
    )
