"""Groups among the unknown: candidate morphotypes, for an expert to look at and to name.

Ward clustering of the vectors, cut where the groups are compact and apart, and refined; each group
with its exemplars, the known taxa it lies nearest to, how tight it is and how well it stands
resampling. What the refinement moves, and groups too small to be one, stay noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances, pairwise_distances_argmin, silhouette_score

from forametric.calibration import Calibration
from forametric.collection import Collection
from forametric.embedder import Embedder
from forametric.errors import InputError
from forametric.files import atomic_folder, refuse_existing
from forametric.gallery import Gallery
from forametric.identify import embed_readable, name_vectors
from forametric.page import thumbnail_url, write_page
from forametric.strangers import chance_known

LEAST = 4  # specimens that can be clustered at all
SMALLEST = 3  # specimens of a morphotype; fewer are noise
MOST_GROUPS = 100
DIRECT = 5000  # specimens clustered with each other; of more, so many by chance, the rest placed
STEP = 0.3  # how much a leap in the merge heights counts beside the silhouette
RESAMPLED, DRAWS = 2000, 20
EXEMPLARS = 10
SEED = 0
NAMES = "morphotypes.csv"
Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Morphotypes:
    """What `discover` found.

    Attributes
    ----------
    groups : DataFrame
        One row a morphotype, the largest first: `morphotype` (1, 2, …), `specimens`, `cohesion`
        (mean cosine between its specimens and its centre), `stability` (mean greatest Jaccard
        overlap with a group of a resampled clustering, Hennig 2007: above 0.75 it may be
        trusted), `nearest_1` … `nearest_3` (known taxa) with their distances, and `recognised`:
        the known taxon that it is, if any.
    morphotype : ndarray of int64, shape (n,)
        The morphotype of each specimen, 0 for noise.
    exemplars : dict of int to list of int
        Positions of a morphotype's most typical specimens, the most typical first.
    """

    groups: pd.DataFrame
    morphotype: Numbers
    exemplars: dict[int, list[int]]


def discover(
    vectors: Floats,
    gallery: Gallery,
    calibration: Calibration | None = None,
    *,
    number: int | None = None,
    learned: int = 0,
) -> Morphotypes:
    """Group specimens into candidate morphotypes; the same specimens always give the same groups.

    Parameters
    ----------
    vectors : ndarray of float32, shape (n, dimensions)
        Embedded specimens, usually those that `identify` calls unknown.
    gallery : Gallery
        The known taxa, as anchors.
    calibration : Calibration, optional
        By it a group whose specimens are on average more likely of known taxa than not is told
        from a new one (`strangers.chance_known`); without it no group is recognised.
    number : int, optional
        The number of groups, where it is known; else it is estimated.
    learned : int
        `Embedder.learned`: these leading numbers are left out of account when the number of groups
        is estimated.

    Raises
    ------
    InputError
        With fewer than four specimens, or a number of groups that they cannot give.
    """
    if len(vectors) < LEAST:
        raise InputError(
            f"{len(vectors)} specimens are too few to group; at least {LEAST} are needed."
        )
    if number is not None and not 1 <= number <= len(vectors):
        raise InputError(f"{len(vectors)} specimens cannot form {number} groups.")
    rng = np.random.default_rng(SEED)
    chance = chance_known(gallery.novelty(vectors), calibration) if calibration else None
    vectors, known = _unit(vectors), _unit(gallery.centres)
    core = _some(len(vectors), DIRECT, rng)
    number = number or estimate_clusters(untaught(vectors[core], learned))
    groups, first = groups_of(vectors[core], number)
    centres = _centres(vectors[core], groups)
    found = np.empty(len(vectors), np.int64)
    found[core] = np.where(groups == first, groups, 0)
    rest = np.setdiff1d(np.arange(len(vectors)), core)
    if len(rest):
        found[rest] = pairwise_distances_argmin(vectors[rest], centres) + 1
    sizes = np.bincount(found)
    found = _largest_first(np.where(sizes[found] >= SMALLEST, found, 0))
    stability = _stability(vectors, found, rng)
    rows, exemplars = [], {}
    for group in range(1, int(found.max(initial=0)) + 1):
        members = np.flatnonzero(found == group)
        centre = _centres(vectors[members], np.ones(len(members), np.int64))
        typical = vectors[members] @ centre[0]
        exemplars[group] = members[np.argsort(-typical, kind="stable")[:EXEMPLARS]].tolist()
        away = pairwise_distances(centre, known)[0]
        near = np.argsort(away, kind="stable")[:3]
        row: dict[str, Any] = {
            "morphotype": group,
            "specimens": len(members),
            "cohesion": round(float(typical.mean()), 3),
            "stability": round(stability[group], 3),
        }
        for place, taxon in enumerate(near, 1):
            row[f"nearest_{place}"] = gallery.classes_[taxon]
            row[f"nearest_{place}_distance"] = round(float(away[taxon]), 3)
        usual = chance is not None and chance[members].mean() > 0.5
        row["recognised"] = gallery.classes_[near[0]] if usual else ""
        rows.append(row)
    return Morphotypes(pd.DataFrame(rows), found, exemplars)


def discover_collection(
    model: Embedder,
    collection: Collection,
    output: Path,
    *,
    everything: bool = False,
    number: int | None = None,
    overwrite: bool = False,
) -> tuple[Morphotypes, pd.DataFrame]:
    """Group a collection's unknown specimens and write them as a folder to look at and to name.

    The folder is itself a collection of those specimens, with the columns `morphotype`, `novelty`
    and `best` (the likeliest known taxon). `discover.html` shows each group; `morphotypes.csv` has
    an empty column `name` for the expert, which `named_morphotypes` reads.

    Parameters
    ----------
    everything : bool
        Group all specimens, not only the unknown.

    Returns
    -------
    Morphotypes, DataFrame
        And the images that could not be read (image, reason).

    Raises
    ------
    InputError
        When too few are unknown, or the model has no calibration to say which.
    """
    refuse_existing(output, overwrite)
    if model.calibration is None and not everything:
        raise InputError(
            "this model has no calibration, so it calls nothing unknown; calibrate it, or group "
            "all specimens with --all."
        )
    images = collection.specimens["image"]
    got, failures = embed_readable(model, images, collection.paths())
    names = name_vectors(model, got, model.ranking(got))
    chosen = np.arange(len(names))
    if not everything:
        chosen = np.flatnonzero(names["decision"] == "unknown")
        if len(chosen) < LEAST:
            raise InputError(
                f"{len(chosen)} of {len(names)} specimens are unknown: too few to group; "
                f"--all groups all of them."
            )
    found = discover(
        got.vectors[chosen],
        model.gallery,
        model.calibration,
        number=number,
        learned=model.learned,
    )
    part = collection.select([got.rows[i] for i in chosen])
    best = names.get("best", names["taxon"])
    table = part.specimens.assign(
        morphotype=found.morphotype,
        novelty=names["novelty"].to_numpy()[chosen],
        best=best.to_numpy()[chosen],
    )
    part = Collection(table, part.images, {**part.info, "made_by": model.card.title})
    with atomic_folder(output, overwrite) as temporary:
        part.write_into(temporary, output)
        table.to_csv(temporary / "specimens.csv", index=False)
        found.groups.assign(name="").to_csv(temporary / NAMES, index=False)
        if len(failures):
            failures.to_csv(temporary / "skipped.csv", index=False)
        _write_page(temporary, part, found, len(names), collection.info.get("name", ""))
    return found, failures


def named_morphotypes(folder: Path) -> Collection:
    """The specimens of the morphotypes that `morphotypes.csv` names by now, these names as taxa.

    Raises
    ------
    InputError
        When the table is not as `discover_collection` wrote it, or names nothing yet.
    """
    collection = Collection.open(folder)
    try:
        table = pd.read_csv(folder / NAMES, dtype=str, keep_default_na=False)
        names = dict(zip(table["morphotype"].astype(int), table["name"].str.strip(), strict=True))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder / NAMES} cannot be read as morphotypes: {error}.") from None
    taxa = collection.specimens["morphotype"].map(names).fillna("")
    if not (taxa != "").any():
        raise InputError(
            f"no morphotype is named yet: fill in the column name of {folder / NAMES}."
        )
    table = collection.specimens.assign(taxon=taxa)
    return Collection(table, collection.images, collection.info).select((taxa != "").to_numpy())


def _write_page(folder: Path, part: Collection, found: Morphotypes, of: int, name: str) -> None:
    groups = found.groups.to_dict("records")
    for group in groups:
        rows = found.exemplars[group["morphotype"]]
        group["pictures"] = [thumbnail_url(part, row) for row in rows]
    write_page(
        folder / "discover.html",
        "discover.html",
        title=f"Morphotypes in {name}",
        groups=groups,
        specimens=len(part),
        noise=int((found.morphotype == 0).sum()),
        of=of,
    )


def untaught(vectors: Floats, learned: int) -> Floats:
    """The part of vectors in which groups are counted (see `Embedder.learned`), to length 1."""
    return _unit(vectors[:, learned:])


def groups_of(vectors: Floats, clusters: int) -> tuple[Numbers, Numbers]:
    """A given number of groups, numbered from 1: those of Ward's method, then refined.

    Ward's merges cannot be undone; k-means, begun from the centres of its groups, moves what lies
    nearer to another. On species of pollen grains held out of training specimens that matched 1.2
    points more of them.

    Returns
    -------
    refined, first : ndarray of int64, shape (n,)
        The group of each vector, and the one that Ward's method gave it.
    """
    if len(vectors) == 1:
        return np.ones(1, np.int64), np.ones(1, np.int64)
    first = _cut(linkage(vectors, "ward"), clusters)
    centres = np.stack([vectors[first == g].mean(0) for g in np.unique(first)])
    refined = KMeans(len(centres), init=centres, n_init=1).fit_predict(vectors)
    return refined.astype(np.int64) + 1, first


def estimate_clusters(vectors: Floats, most: int = MOST_GROUPS) -> int:
    """How many groups there are: compact, apart, and followed by a leap in the Ward tree.

    Of every number k from 2 to `most` (at most half the specimens) the one with the highest mean
    silhouette (Rousseeuw 1987) plus 0.3 × leap, where the leap is by how much the next merge is
    higher than the last one made, at most 0.3. The silhouette alone often prefers a few groups
    more or less at almost the same value. Both numbers were chosen on species of pollen grains
    held out of training specimens.
    """
    tree = linkage(vectors, "ward")
    heights = tree[::-1, 2]
    scores = {}
    for clusters in range(2, min(most, len(vectors) // 2) + 1):
        groups = _cut(tree, clusters)
        if len(np.unique(groups)) < clusters:
            break  # only equal vectors are left to be parted
        silhouette = silhouette_score(
            vectors,
            groups,
            sample_size=min(len(vectors), 2000),
            random_state=SEED,
        )
        leap = heights[clusters - 2] / max(heights[clusters - 1], 1e-12) - 1
        scores[clusters] = silhouette + STEP * min(leap, 0.3)
    return max(scores, key=lambda k: scores[k], default=1)


def _cut(tree: npt.NDArray[np.float64], clusters: int) -> Numbers:
    return np.asarray(fcluster(tree, clusters, "maxclust"), dtype=np.int64)


def _some(count: int, most: int, rng: np.random.Generator) -> Numbers:
    """All positions, or `most` of them by chance, ascending."""
    if count <= most:
        return np.arange(count)
    return np.sort(rng.choice(count, most, replace=False))


def _centres(vectors: Floats, groups: Numbers) -> Floats:
    """The mean of each group, scaled to length 1, in the order of the groups' numbers."""
    return _unit(np.stack([vectors[groups == g].sum(0) for g in np.unique(groups)]))


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def _largest_first(groups: Numbers) -> Numbers:
    """The same groups, numbered 1, 2, … by size; noise stays 0."""
    sizes = pd.Series(groups[groups > 0]).value_counts(sort=False).sort_index()
    order = sizes.sort_values(ascending=False, kind="stable").index
    number = {old: new for new, old in enumerate(order, 1)} | {0: 0}
    return np.asarray([number[g] for g in groups.tolist()], dtype=np.int64)


def _stability(vectors: Floats, groups: Numbers, rng: np.random.Generator) -> dict[int, float]:
    """For each group how much of it comes back in clusterings of bootstrap samples."""
    count = int(groups.max(initial=0))
    overlaps: dict[int, list[float]] = {g: [] for g in range(1, count + 1)}
    grouped = np.flatnonzero(groups)
    if not len(grouped):
        return {}
    for _ in range(DRAWS):
        drawn = np.unique(rng.choice(grouped, min(len(grouped), RESAMPLED)))
        table = pd.crosstab(groups[drawn], groups_of(vectors[drawn], count)[0])
        shared = table.to_numpy()
        union = shared.sum(1, keepdims=True) + shared.sum(0) - shared
        for group, jaccard in zip(table.index, (shared / union).max(1), strict=True):
            overlaps[int(group)].append(float(jaccard))
    return {g: float(np.mean(found)) if found else 0.0 for g, found in overlaps.items()}
