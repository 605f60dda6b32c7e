"""Names for new specimens: from their nearest references in the gallery."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from forametric.collection import Collection
from forametric.embedder import Embedder
from forametric.errors import InputError
from forametric.sources.folder import image_files

K = 5


@dataclass(frozen=True)
class Identifications:
    """Names, one row a specimen, and the images that could not be read (image, reason)."""

    table: pd.DataFrame
    skipped: pd.DataFrame


def identify(model: Embedder, images: str | Path) -> Identifications:
    """Name every image of a folder, of a collection, or one image file.

    Returns
    -------
    Identifications
        `table` has `image`, `taxon`, `score` (mean of the class head's probability and the share
        of the five nearest references' votes; not calibrated), `second`, `second_score`,
        `distance` (mean Euclidean distance to the five nearest: large means strange to the model),
        and for n = 1 … 5
        `neighbour_n`, `neighbour_n_taxon`, `neighbour_n_distance`.

    Raises
    ------
    InputError
        When there are no images, or none can be read.
    """
    names, paths = _listed(Path(images))
    got = model.embed_images(paths, what="identifying")
    skipped = pd.DataFrame(
        [(names[i], reason) for i, reason in sorted(got.failures.items())],
        columns=["image", "reason"],
    )
    if not got.rows:
        raise InputError(
            f"none of the {len(paths)} images of {images} can be read; "
            f"the first: {skipped['image'].iloc[0]}: {skipped['reason'].iloc[0]}."
        )
    gallery = model.gallery
    scores = model.predict_proba(got)
    classes = np.asarray(gallery.classes_, dtype=object)
    order = np.argsort(-scores, axis=1, kind="stable")
    each = np.arange(len(scores))
    distances, rows = gallery.nearest(got.vectors, K)
    table = pd.DataFrame(
        {
            "image": [names[i] for i in got.rows],
            "taxon": classes[order[:, 0]],
            "score": scores[each, order[:, 0]].round(4),
        }
    )
    if len(classes) > 1:
        second = scores[each, order[:, 1]]
        table["second"] = np.where(second > 0, classes[order[:, 1]], "")
        table["second_score"] = second.round(4)
    table["distance"] = distances.mean(1).round(4)
    for n in range(rows.shape[1]):
        table[f"neighbour_{n + 1}"] = [gallery.ids[i] for i in rows[:, n]]
        table[f"neighbour_{n + 1}_taxon"] = gallery.taxa[rows[:, n]]
        table[f"neighbour_{n + 1}_distance"] = distances[:, n].round(4)
    return Identifications(table, skipped)


def _listed(images: Path) -> tuple[list[str], list[Path]]:
    """The images to name: how each is called in the result, and where it lies."""
    if (images / "collection.json").is_file():
        collection = Collection.open(images)
        return collection.specimens["image"].astype(str).tolist(), collection.paths()
    if images.is_dir():
        paths = image_files(images)
        if not paths:
            raise InputError(f"{images} holds no images.")
        return [p.relative_to(images).as_posix() for p in paths], paths
    if images.is_file():
        return [images.name], [images]
    raise InputError(f"{images} does not exist; give a folder of images, a collection or an image.")
