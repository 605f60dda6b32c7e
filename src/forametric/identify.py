"""Names for new specimens: probabilities, decisions with their reasons, and the nearest references.

A specimen is `accepted` as a species, or as a `genus` when only the species is in doubt, or called
`unknown`; always with the reason in words and the reference specimens that speak for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from forametric.calibration import Calibration
from forametric.collection import Collection
from forametric.embedder import Embedder, Vectors
from forametric.errors import InputError
from forametric.similar import Searched
from forametric.sources.folder import image_files
from forametric.taxonomy import Taxonomy

K = 5
SURE = 0.5  # least probability of a name that is given: more likely right than wrong
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Identifications:
    """Names, one row a specimen, and the images that could not be read (image, reason).

    `similar`, where it was asked for: what `Searched.nearest` says of each image.
    """

    table: pd.DataFrame
    skipped: pd.DataFrame
    similar: pd.DataFrame | None = None


def identify(
    model: Embedder,
    images: str | Path,
    *,
    sure: float = SURE,
    set_error: float | None = None,
    taxonomy: Taxonomy | None = None,
    searched: Searched | None = None,
) -> Identifications:
    """Name every image of a folder, of a collection, or one image file.

    Parameters
    ----------
    sure : float
        Least probability of a species or genus for it to be named.
    set_error : float, optional
        Add prediction sets that lack the right species in at most this share of cases.
    searched : Searched, optional
        Specimens to find the most similar of: `Searched.open(vectors, model.weights)`.

    Returns
    -------
    Identifications
        `table` has `image`; `taxon` (species, or genus, or "" for the unknown), `decision`
        (accepted, genus, unknown), `probability` (of `taxon`; of `best` where it is unknown),
        `reason`; `best` and `second`, the likeliest species, with `best_probability` and
        `second_probability`; `novelty` (mean of the distances to the nearest taxon's centre and to
        the five nearest references); `species_set` if asked for; and for n = 1 … 5 `neighbour_n`,
        `neighbour_n_taxon`, `neighbour_n_distance`. `sample` comes along where the collection has
        it. A model without calibration gives `score` in place of decisions and probabilities, and
        `taxon` is always its best.

    Raises
    ------
    InputError
        When there are no images, none can be read, or a set is asked of too few data.
    ModelError
        When sets are asked of a model without calibration.
    """
    if set_error is not None:
        model.calibrated.limit_of_sets(set_error)  # refuse before the long work
    listed, paths = _listed(Path(images))
    taxonomy = taxonomy or Taxonomy.load()
    tables, similar, failures = [], list[pd.DataFrame](), dict[int, str]()
    for got in model.embed_in_parts(paths, what="identifying"):
        failures |= got.failures
        if not got.rows:
            continue
        known = listed.iloc[got.rows].reset_index(drop=True)
        ranking = model.ranking(got)
        named = name_vectors(model, got, ranking, sure=sure, taxonomy=taxonomy)
        table = pd.concat([known, named], axis=1)
        if set_error is not None:
            members = model.calibrated.prediction_sets(ranking, set_error)
            table["species_set"] = _sets(ranking, members, model.gallery.classes_)
        tables.append(pd.concat([table, _neighbours(model, got)], axis=1))
        if searched:
            similar.append(searched.nearest(known["image"].tolist(), got.vectors))
    skipped = _failed(listed["image"], failures)
    return Identifications(
        pd.concat(tables, ignore_index=True),
        skipped,
        pd.concat(similar, ignore_index=True) if similar else None,
    )


def calibrate(model: Embedder, collection: Collection, roles: pd.Series) -> pd.DataFrame:
    """Calibrate a model on the specimens of role val; returns the images that cannot be read.

    Raises
    ------
    InputError
        When there are too few that the gallery names, or some of them stand in the gallery.
    """
    rows = np.flatnonzero((roles == "val").to_numpy() & (collection.taxa() != ""))
    ids = collection.specimens["id"].iloc[rows]
    if ids.isin(set(model.gallery.ids)).any():
        raise InputError(
            "specimens of role val stand in the model's gallery; calibrate on others, or by the "
            "split that the model was trained with."
        )
    if not len(rows):
        raise InputError("the split has no named specimens of role val to calibrate on.")
    chosen = collection.select(rows.tolist())
    got, failed = embed_readable(model, chosen.specimens["image"], chosen.paths())
    model.calibrate(got, chosen.taxa()[got.rows])
    return failed


def add_references(model: Embedder, collection: Collection) -> tuple[int, pd.DataFrame]:
    """Put a collection's named specimens into the gallery; those already there are left out.

    Returns
    -------
    int, DataFrame
        How many were added, and the images that could not be read (image, reason).

    Raises
    ------
    InputError
        When the collection names no specimen that is not there already.
    """
    new = ~collection.specimens["id"].isin(set(model.gallery.ids)).to_numpy()
    chosen = collection.select(new & (collection.taxa() != ""))
    if not len(chosen):
        raise InputError("the collection names no specimen that is not in the gallery already.")
    got, failed = embed_readable(model, chosen.specimens["image"], chosen.paths())
    ids = chosen.specimens["id"].iloc[got.rows].tolist()
    model.gallery = model.gallery.with_more(ids, chosen.taxa()[got.rows], got.vectors)
    return len(got.rows), failed


def embed_readable(
    model: Embedder, images: pd.Series, paths: Sequence[Path], *, what: str = "embedding"
) -> tuple[Vectors, pd.DataFrame]:
    """Embed the images that can be read; the others by name, and why (image, reason).

    Raises
    ------
    InputError
        When none can be read.
    """
    got = model.embed_images(paths, what=what)
    return got, _failed(images, got.failures)


def _failed(images: pd.Series, failures: dict[int, str]) -> pd.DataFrame:
    """The images that could not be read, by name; an error when these are all."""
    rows = [(images.iloc[i], reason) for i, reason in sorted(failures.items())]
    if len(rows) == len(images):
        first = f"; the first: {rows[0][0]}: {rows[0][1]}" if rows else ""
        raise InputError(f"none of the {len(images)} images can be read{first}.")
    return pd.DataFrame(rows, columns=["image", "reason"])


def name_vectors(
    model: Embedder,
    got: Vectors,
    ranking: Floats,
    *,
    sure: float = SURE,
    taxonomy: Taxonomy | None = None,
) -> pd.DataFrame:
    """The columns of `identify` from `taxon` to `novelty`, for embedded specimens.

    Parameters
    ----------
    ranking : ndarray of float32, shape (n, taxa)
        What `Embedder.ranking` gives for them.

    Raises
    ------
    InputError
        When `sure` is no probability.
    """
    if not 0 <= sure <= 1:
        raise InputError(f"the least probability of a name is between 0 and 1, not {sure}.")
    taxa = model.gallery.classes_
    novelty = model.gallery.novelty(got.vectors, K)
    best = _ranks(ranking, taxa)
    if model.calibration is None:
        best = best.rename(columns=lambda c: c.replace("probability", "score"))
        return best.assign(novelty=novelty.round(4)).rename(
            columns={"best": "taxon", "best_score": "score"}
        )
    decided = decide(
        ranking, novelty, taxa, model.calibration, sure=sure, taxonomy=taxonomy or Taxonomy.load()
    )
    return pd.concat([decided, best], axis=1).assign(novelty=novelty.round(4))


def decide(
    probabilities: Floats,
    novelty: Floats,
    taxa: Sequence[str],
    calibration: Calibration,
    *,
    sure: float,
    taxonomy: Taxonomy,
) -> pd.DataFrame:
    """Accept a species or a genus, or call a specimen unknown, and say why.

    Parameters
    ----------
    probabilities : ndarray of float32, shape (n, taxa)
        Calibrated.
    novelty : ndarray of float32, shape (n,)

    Returns
    -------
    DataFrame
        taxon, decision, probability, reason; one row a specimen.
    """
    genera = [taxonomy.above(t)["genus"] for t in taxa]
    names = sorted(set(genera) - {""})
    of_genus = np.zeros((len(probabilities), len(names)), np.float32)
    for column, genus in enumerate(genera):
        if genus:
            of_genus[:, names.index(genus)] += probabilities[:, column]
    rows = []
    for row, far in zip(range(len(probabilities)), novelty, strict=True):
        best = int(probabilities[row].argmax())
        chance = float(probabilities[row, best])
        top = int(of_genus[row].argmax()) if names else 0
        together = float(of_genus[row, top]) if names else 0.0
        if far > calibration.strange:
            why = (
                f"stranger than {1 - calibration.rejected:.0%} of known specimens "
                f"(novelty {far:.2f}, limit {calibration.strange:.2f})"
            )
            rows.append(("", "unknown", chance, why))
        elif chance >= sure:
            rows.append((taxa[best], "accepted", chance, f"probability {chance:.2f}"))
        elif names and together >= sure:
            why = f"species in doubt ({taxa[best]} {chance:.2f}), genus {together:.2f}"
            rows.append((names[top], "genus", together, why))
        else:
            why = f"no name is as likely as {sure:g} (best: {taxa[best]} {chance:.2f})"
            rows.append(("", "unknown", chance, why))
    table = pd.DataFrame(rows, columns=["taxon", "decision", "probability", "reason"])
    return table.assign(probability=table["probability"].round(4))


def _ranks(probabilities: Floats, taxa: Sequence[str]) -> pd.DataFrame:
    """The likeliest species and, where there are two, the one after it."""
    names = np.asarray(taxa, dtype=object)
    order = np.argsort(-probabilities, axis=1, kind="stable")
    table = pd.DataFrame()
    for rank, word in enumerate(("best", "second")[: len(taxa)]):
        chance = probabilities[np.arange(len(order)), order[:, rank]]
        table[word] = np.where(chance > 0, names[order[:, rank]], "")
        table[f"{word}_probability"] = chance.round(4)
    return table


def _sets(probabilities: Floats, members: npt.NDArray[np.bool_], taxa: Sequence[str]) -> list[str]:
    """The members of each specimen's set, the likeliest first, parted by |."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    return [
        "|".join(taxa[i] for i in ranked if inside[i])
        for ranked, inside in zip(order, members, strict=True)
    ]


def _neighbours(model: Embedder, got: Vectors) -> pd.DataFrame:
    gallery = model.gallery
    distances, rows = gallery.nearest(got.vectors, K)
    ids = np.asarray(gallery.ids, dtype=object)
    table = pd.DataFrame()
    for n in range(rows.shape[1]):
        table[f"neighbour_{n + 1}"] = ids[rows[:, n]]
        table[f"neighbour_{n + 1}_taxon"] = gallery.taxa[rows[:, n]]
        table[f"neighbour_{n + 1}_distance"] = distances[:, n].round(4)
    return table


def _listed(images: Path) -> tuple[pd.DataFrame, list[Path]]:
    """The images to name: how each is called in the result, its sample if known; where it lies."""
    if (images / "collection.json").is_file():
        collection = Collection.open(images)
        table = pd.DataFrame({"image": collection.specimens["image"].astype(str)})
        if collection.specimens["sample"].notna().any():
            table["sample"] = collection.specimens["sample"]
        return table, collection.paths()
    if images.is_dir():
        paths = image_files(images)
        if not paths:
            raise InputError(f"{images} holds no images.")
        return pd.DataFrame({"image": [p.relative_to(images).as_posix() for p in paths]}), paths
    if images.is_file():
        return pd.DataFrame({"image": [images.name]}), [images]
    raise InputError(f"{images} does not exist; give a folder of images, a collection or an image.")
