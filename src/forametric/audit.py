"""Look a collection over: what cannot be read, what stands twice, what leaks, what is misnamed.

Every finding is a row that names its specimen, what was found, and where there is one the other
specimen that it was found against: the table can be acted on, and the page made of it shows both.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from forametric.collection import Collection, content_of
from forametric.embedder import Embedder, Vectors
from forametric.errors import ImageError, InputError
from forametric.gallery import Gallery
from forametric.images import decode, photograph, prepare
from forametric.page import thumbnail_url, write_page
from forametric.progress import in_parallel
from forametric.splits import ROLES, small_taxa

THUMB = 32  # px, the side of the picture by which near copies are told
BLOCK = 2048  # pictures compared with as many others at once
NEAR = 0.99  # correlation of two such pictures above which they are near copies
OFF_SCALE = 4.0  # times larger or smaller than the middle of its taxon
NEIGHBOURS, FOLDS = 10, 5
SHOWN = 60  # findings of a kind on the page
SUSPECT = 0.5  # least margin of another name's score over the specimen's own, to be reported
KINDS = {
    "unreadable": "cannot be read",
    "blank": "shows next to nothing",
    "conflict": "the same file under another name",
    "duplicate": "the same file again",
    "near copy": "nearly the same picture",
    "leak": "a copy or group mate stands on another side of a split",
    "off scale": "far larger or smaller than others of its taxon",
    "label": "its neighbours bear another name",
}
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Audit:
    """What was found.

    Attributes
    ----------
    findings : DataFrame
        kind (a key of `KINDS`), id, image, label, other_id, other_image, other_label, score (the
        higher the more certain, within a kind), says (in words); ordered by kind, then score.
    summary : dict
        specimens, taxa, unlabelled, the number of each kind, `small` (taxon → number, fewer than
        three specimens), `counts` (taxon → number).
    """

    findings: pd.DataFrame
    summary: dict[str, Any]

    def of(self, kind: str) -> pd.DataFrame:
        """The findings of one kind."""
        return self.findings[self.findings["kind"] == kind]


def check_collection(collection: Collection, got: Vectors | None = None) -> Audit:
    """Read every image again and report what is wrong; by its vectors, likely label errors too.

    Parameters
    ----------
    got : Vectors, optional
        What a model made of its named specimens: `embed_labelled`, or of all.
    """
    thumbs, deviations, sides, failures = _read(collection)
    rows: list[dict[str, Any]] = []
    table = collection.specimens

    def find(kind: str, row: int, other: int | None, score: float, says: str) -> None:
        rows.append({"kind": kind, "row": row, "other": other, "score": score, "says": says})

    for row, reason in failures.items():
        find("unreadable", row, None, 1.0, reason)
    readable = np.array([i for i in range(len(table)) if i not in failures], int)
    for row in readable[deviations[readable] < 2]:
        find("blank", int(row), None, 1.0, f"grey levels differ by {deviations[row]:.1f} only")
    pairs = _exact(table)
    for row, other, conflict in pairs:
        kind = "conflict" if conflict else "duplicate"
        find(kind, row, other, 1.0, KINDS[kind])
    contents = content_of(table["id"]).tolist()
    same = {(a, b) for a, b, _ in pairs}
    near = [
        (later, earlier, likeness)
        for earlier, later, likeness in near_copies(thumbs, deviations)
        if (later, earlier) not in same and contents[later] != contents[earlier]
    ]
    for row, other, likeness in near:
        find("near copy", row, other, likeness, f"correlation {likeness:.3f}")
    copies = [(row, other) for row, other, _ in [*pairs, *near]]
    for row, other, says in _leaks(table, copies):
        find("leak", row, other, 1.0, says)
    for row, ratio in _off_scale(table, sides, readable):
        find("off scale", row, None, max(ratio, 1 / ratio), f"{ratio:.2g} times its taxon's middle")
    if got is not None:
        for row, other, margin, says in label_errors(collection, got):
            find("label", row, other, margin, says)
    return Audit(_findings(rows, table), _summary(collection, rows))


def near_copies(thumbs: npt.NDArray[np.uint16], deviations: Floats) -> list[tuple[int, int, float]]:
    """Pairs (earlier, later, correlation) of pictures that are nearly the same.

    Parameters
    ----------
    thumbs : ndarray of uint16, shape (n, THUMB * THUMB)
        Pictures in shades of grey; the scale does not matter.
    deviations : ndarray of float32, shape (n,)
        The standard deviation of each in grey levels of 256; pictures of nearly one grey are not
        compared.
    """
    compared = np.flatnonzero(deviations >= 2)
    found: list[tuple[int, int, float]] = []
    # Only what comes later in the table: each pair once, and never a full matrix.
    for start in range(0, len(compared), BLOCK):
        rows = compared[start : start + BLOCK]
        these = _standardised(thumbs[rows])
        for later in range(start, len(compared), BLOCK):
            others = compared[later : later + BLOCK]
            likeness = these @ _standardised(thumbs[others]).T
            found += [
                (int(rows[i]), int(others[j]), float(likeness[i, j]))
                for i, j in zip(*np.nonzero(likeness > NEAR), strict=True)
                if others[j] > rows[i]
            ]
    return found


def _standardised(thumbs: npt.NDArray[np.uint16]) -> Floats:
    """Each picture with mean 0 and length 1, so that products are correlations."""
    flat = thumbs.astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    return flat


def embed_labelled(model: Embedder, collection: Collection) -> Vectors:
    """The vectors of the specimens that have a name; others cannot have a wrong one."""
    rows = np.flatnonzero(collection.taxa() != "").tolist()
    paths = collection.paths()
    got = model.embed_images([paths[row] for row in rows], what="comparing with neighbours")
    return Vectors([rows[i] for i in got.rows], got.vectors, got.head, {})


def label_errors(collection: Collection, got: Vectors) -> list[tuple[int, int, float, str]]:
    """Specimens whose neighbours bear another name: (row, nearest of that name, margin, words).

    Each labelled specimen is judged by others alone, in the model's vectors: by its ten nearest,
    and by a logistic regression fitted to the specimens of other folds (confident learning,
    Northcutt et al. 2021, J. Artif. Intell. Res. 70, 1373). The margin is the mean score of the
    best other name less that of its own. The most certain come first.
    """
    taxa, rows = collection.taxa(), np.asarray(got.rows, int)
    named = taxa[rows] != ""
    rows, vectors = rows[named], got.vectors[named]
    names, numbers = np.unique(taxa[rows].astype(str), return_inverse=True)
    if len(rows) < 3 or len(names) < 2:
        return []
    contents = content_of(collection.specimens["id"]).to_numpy()[rows]
    scores, near = _neighbours_say(vectors, numbers, len(names), contents)
    scores = (scores + _folds_say(vectors, numbers, len(names))) / 2
    everyone = np.arange(len(rows))
    own = scores[everyone, numbers].copy()
    scores[everyone, numbers] = -1
    rivals = scores.argmax(1)
    margins = scores[everyone, rivals] - own
    found: list[tuple[int, int, float, str]] = []
    for i in np.flatnonzero(margins >= SUSPECT):
        agreeing = near[i][numbers[near[i]] == rivals[i]]
        if len(agreeing):
            says = f"{len(agreeing)} of {len(near[i])} nearest: {names[rivals[i]]}"
            found.append((int(rows[i]), int(rows[agreeing[0]]), float(margins[i]), says))
    return sorted(found, key=lambda f: -f[2])


def _neighbours_say(
    vectors: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.int64],
    count: int,
    contents: npt.NDArray[np.object_],
) -> tuple[npt.NDArray[np.float64], list[npt.NDArray[np.int64]]]:
    """Share of each name in the votes of the ten nearest, and who they are."""
    gallery = Gallery([str(i) for i in range(len(vectors))], numbers.astype(object), vectors)
    distances, nearest = gallery.nearest(vectors, NEIGHBOURS + 4)
    scores, near = np.zeros((len(vectors), count)), []
    for i, row in enumerate(nearest):
        # Neither itself nor another copy of the same file may speak for it.
        others = contents[row] != contents[i]
        near.append(row[others][:NEIGHBOURS])
        far = distances[i][others][:NEIGHBOURS].astype(float) ** 2
        np.add.at(scores[i], numbers[near[-1]], np.exp(-far / max(_mean(far), 1e-12)))
    return scores / np.maximum(scores.sum(1, keepdims=True), 1e-12), near


def _folds_say(
    vectors: npt.NDArray[np.float32], numbers: npt.NDArray[np.int64], count: int
) -> npt.NDArray[np.float64]:
    """Probability of each name by a logistic regression that did not see the specimen."""
    scores = np.zeros((len(vectors), count))
    folds = KFold(min(FOLDS, len(vectors)), shuffle=True, random_state=0)
    for others, these in folds.split(vectors):
        if len(np.unique(numbers[others])) < 2:
            continue
        # Unit vectors have small entries: hardly any shrinkage, or the fit stays flat. Sixty rounds
        # rank as well as convergence does.
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            fitted = LogisticRegression(C=100.0, max_iter=60).fit(vectors[others], numbers[others])
        scores[np.ix_(these, fitted.classes_)] = fitted.predict_proba(vectors[these])
    return scores


def fixed(collection: Collection, audit: Audit) -> Collection:
    """A new collection without what is surely wrong, and with the doubtful marked.

    Left out: unreadable images, and copies of the same file under the same name. A file that stands
    under two names is kept once, without a taxon. A likely label error keeps its label; the column
    `suspect` says which name its neighbours bear.
    """
    table = collection.specimens.copy()
    conflicting = set(audit.of("conflict")["id"]) | set(audit.of("conflict")["other_id"])
    table.loc[table["id"].isin(conflicting), "taxon"] = None
    doubtful = audit.of("label").drop_duplicates("id").set_index("id")["says"]
    table["suspect"] = table["id"].map(doubtful).fillna("")
    out = pd.concat([audit.of(kind)["id"] for kind in ("unreadable", "duplicate", "conflict")])
    kept = table[~table["id"].isin(set(out))].reset_index(drop=True)
    if kept.empty:
        raise InputError("nothing would be left of the collection.")
    return Collection(kept, collection.images, dict(collection.info))


def write_audit(audit: Audit, collection: Collection, folder: Path, *, judged: bool) -> None:
    """Write `findings.csv`, and `check.html` with the first of each kind in pictures."""
    audit.findings.to_csv(folder / "findings.csv", index=False)
    place = {str(i): row for row, i in enumerate(collection.specimens["id"])}
    found = {
        kind: [
            row
            | {
                "picture": thumbnail_url(collection, place.get(row["id"])),
                "other_picture": thumbnail_url(collection, place.get(row["other_id"])),
            }
            for row in audit.of(kind).head(SHOWN).to_dict("records")
        ]
        for kind in KINDS
        if audit.summary[kind]
    }
    write_page(
        folder / "check.html",
        "check.html",
        title=f"Check of {collection.info.get('name') or 'a collection'}",
        summary=audit.summary,
        kinds=KINDS,
        found=found,
        judged=judged,
        most=max(audit.summary["counts"].values(), default=1),
    )


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0


def _read(
    collection: Collection,
) -> tuple[npt.NDArray[np.uint16], Floats, npt.NDArray[np.int64], dict[int, str]]:
    """A small grey picture of each specimen (256 times its grey levels) and its deviation in grey
    levels, the longer side of its photograph, and failures, which have deviation 0.
    """
    thumbs = np.zeros((len(collection), THUMB * THUMB), np.uint16)
    deviations = np.zeros(len(collection), np.float32)
    sides = np.zeros(len(collection), np.int64)

    def look(row: int) -> str | None:
        try:
            photo = photograph(decode(collection.path(row)))
        except (ImageError, InputError) as error:
            return str(error)
        grey = prepare(photo, THUMB).mean(2, dtype=np.float32).ravel()
        thumbs[row], deviations[row] = (grey * 256).round(), grey.std()
        sides[row] = max(photo.shape[:2])
        return None

    looked = enumerate(in_parallel("reading images", look, range(len(sides))))
    failures = {row: reason for row, reason in looked if reason}
    return thumbs, deviations, sides, failures


def _exact(table: pd.DataFrame) -> list[tuple[int, int, bool]]:
    """(row, the earlier row of the same file, whether their labels differ)."""
    contents, labels = content_of(table["id"]).tolist(), table["label"].fillna("").tolist()
    first = {content: row for row, content in reversed(list(enumerate(contents)))}
    again = [(row, first[c]) for row, c in enumerate(contents) if first[c] != row]
    return [(row, other, labels[row] != labels[other]) for row, other in again]


def _leaks(table: pd.DataFrame, copies: list[tuple[int, int]]) -> list[tuple[int, int, str]]:
    """Copies and group mates that a split of the collection puts on different sides.

    A copy that is held out as unseen or unknown was not learnt either: sides are learnt (train,
    val) and measured (test, unseen, unknown).
    """
    side = {"train": "learnt", "val": "learnt"} | dict.fromkeys(
        ("test", "unseen", "unknown"), "held"
    )
    columns = [
        c
        for c in table.columns
        if not pd.api.types.is_numeric_dtype(table[c])
        and len(table[c].dropna())
        and set(table[c].dropna()) <= set(ROLES)
    ]
    mates = table.reset_index().dropna(subset=["group"]).groupby("group")["index"]
    grouped = [(int(b), int(rows.iloc[0])) for _, rows in mates for b in rows.iloc[1:]]
    found = []
    for column in columns:
        sides = table[column].map(side).to_numpy(dtype=object)
        for why, pairs in (("a copy", copies), ("the same group", grouped)):
            for row, other in pairs:
                if {sides[row], sides[other]} == {"learnt", "held"}:
                    roles = f"{table[column].iloc[row]} and {table[column].iloc[other]}"
                    found.append((row, other, f"{why} in {column}: {roles}"))
    return found


def _off_scale(
    table: pd.DataFrame, sides: npt.NDArray[np.int64], readable: npt.NDArray[np.int64]
) -> list[tuple[int, float]]:
    """Rows whose size, in µm where every scale is known and else in pixels, is far from usual."""
    scale = table["um_per_px"].to_numpy(float)
    known = np.isfinite(scale[readable]).all() and len(readable) > 0
    size = pd.Series(sides * (scale if known else 1.0)).iloc[readable]
    taxa = table["taxon"].fillna("").iloc[readable].to_numpy()
    numbers = size.groupby(taxa).transform("size")
    middle = size.groupby(taxa).transform("median").where(numbers >= 5, size.median())
    ratio = (size / middle.clip(lower=1e-9)).to_numpy()
    far = (ratio > OFF_SCALE) | (ratio < 1 / OFF_SCALE)
    return [(int(row), float(r)) for row, r in zip(readable[far], ratio[far], strict=True)]


def _findings(rows: list[dict[str, Any]], table: pd.DataFrame) -> pd.DataFrame:
    columns = [
        "kind",
        "id",
        "image",
        "label",
        "other_id",
        "other_image",
        "other_label",
        "score",
        "says",
    ]
    found = pd.DataFrame(rows, columns=["kind", "row", "other", "score", "says"])
    for prefix, column in (("", "row"), ("other_", "other")):
        taken = found[column].map(lambda r: -1 if pd.isna(r) else int(r)).to_numpy(int)
        for name in ("id", "image", "label"):
            values = [*table[name].fillna("").astype(str), ""]  # -1 is the last: nothing
            found[prefix + name] = [values[r] for r in taken]
    order = pd.Categorical(found["kind"], list(KINDS), ordered=True)
    found = found.assign(order=order).sort_values(["order", "score"], ascending=[True, False])
    return found[columns].reset_index(drop=True)


def _summary(collection: Collection, rows: list[dict[str, Any]]) -> dict[str, Any]:
    taxa = pd.Series(collection.taxa())
    counts = taxa[taxa != ""].value_counts()
    return {
        "specimens": len(collection),
        "taxa": len(counts),
        "unlabelled": int((taxa == "").sum()),
        **{kind: sum(r["kind"] == kind for r in rows) for kind in KINDS},
        "small": small_taxa(collection),
        "counts": {str(t): int(n) for t, n in counts.items()},
    }
