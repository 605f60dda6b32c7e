"""Check a collection: unreadable files, duplicates, leaks between subsets, sizes, wrong labels.

Every finding is a row that names its specimen, what was found and, where there is one, the other
specimen that it was found against: the table can be acted on, and its page shows both.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from forametric._typing import AnyArray, Float64Array, FloatArray, IntArray, NameArray, PathLike
from forametric.data.collection import Collection, content_hash
from forametric.data.embeddings import Embeddings
from forametric.data.inputs import check_output_folder
from forametric.data.sources import open_collection
from forametric.data.splits import READ_AS, SUBSETS, small_taxa
from forametric.data.thumbnails import thumbnail_url
from forametric.errors import InputError
from forametric.identification.references import ReferenceSet
from forametric.images import crop_plate, decoding, preprocess
from forametric.model.model import Model
from forametric.utils.html import write_page
from forametric.utils.outputs import atomic_folder
from forametric.utils.progress import in_parallel
from forametric.utils.results import Result

THUMBNAIL = 32  # px, the side of the image by which near copies are recognised
BLOCK = 1024  # images compared with as many others at once
NEAR_COPY = 0.99  # correlation of two such images above which they are near copies
OFF_SCALE = 4.0  # times larger or smaller than the median of its taxon
NEIGHBORS, FOLDS = 10, 5
SHOWN = 60  # findings of a kind on the page
LABEL_MARGIN = 0.5  # least margin of another name's score over the specimen's own to be reported
KINDS = {
    "unreadable": "cannot be read",
    "blank": "shows almost nothing",
    "conflict": "the same file under another name",
    "duplicate": "the same file again",
    "near copy": "nearly the same image",
    "leak": "a copy or a specimen of the same group is on another side of a split",
    "shared group": "of a held-out taxon, but of the same group as learnt specimens",
    "off scale": "far larger or smaller than others of its taxon",
    "label": "its neighbors have another name",
}
COLUMNS = ("kind", "id", "image", "label", "other_id", "other_image", "other_label", "score",
           "message")  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class CheckReport(Result):
    """What was found in a collection.

    Attributes
    ----------
    table : DataFrame
        One row for each finding: kind (a key of `KINDS`), id, image, label, other_id, other_image,
        other_label, score (higher is more certain, within a kind), message; ordered by kind, then
        score.
    counts : dict
        specimens, taxa, unlabelled, the number of each kind, `small` (taxon → number, fewer than
        three specimens), `per_taxon` (taxon → number).
    collection : Collection
    labels_checked : bool
        Whether a model was given to check the labels with.
    """

    table: pd.DataFrame
    counts: dict[str, Any]
    collection: Collection
    labels_checked: bool = False

    def __len__(self) -> int:
        return len(self.table)

    def __str__(self) -> str:
        found = ", ".join(f"{self.counts[kind]} {kind}" for kind in KINDS if self.counts[kind])
        specimens = f"{self.counts['specimens']} specimens of {self.counts['taxa']} taxa"
        return f"{specimens}: {found or 'no findings'}"

    @property
    def summary(self) -> dict[str, Any]:
        """`counts`, and all findings."""
        return self.counts | {"findings": self.table.to_dict("records")}

    @property
    def preview(self) -> pd.DataFrame | None:
        """The first ten findings of each kind."""
        first = self.table.groupby("kind", sort=False).head(10)
        names = ["kind", "image", "label", "other_image", "other_label", "message"]
        return first[names] if len(first) else None

    @property
    def skipped(self) -> pd.DataFrame:
        """The images that cannot be read: image, reason."""
        unreadable = self.of("unreadable")[["image", "message"]]
        return unreadable.rename(columns={"message": "reason"}).reset_index(drop=True)

    def of(self, kind: str) -> pd.DataFrame:
        """The findings of one kind."""
        return self.table[self.table["kind"] == kind]

    def fix(self) -> Collection:
        """A collection without what is certainly wrong, and with what is uncertain marked.

        Left out: unreadable images, and copies of the same file under the same name. A file with
        two names is kept once, without a taxon. A likely label error keeps its label; the column
        `suspect` gives the name of its neighbors.

        Raises
        ------
        InputError
            When nothing would be left.
        """
        table = self.collection.specimens.copy()
        conflicting = set(self.of("conflict")["id"]) | set(self.of("conflict")["other_id"])
        table.loc[table["id"].isin(conflicting), "taxon"] = None
        suspects = self.of("label").drop_duplicates("id").set_index("id")["message"]
        table["suspect"] = table["id"].map(suspects).astype(object).fillna("")
        out = pd.concat([self.of(kind)["id"] for kind in ("unreadable", "duplicate", "conflict")])
        kept = table[~table["id"].isin(set(out))].reset_index(drop=True)
        if kept.empty:
            raise InputError("nothing would be left of the collection.")
        return Collection(kept, self.collection.images, dict(self.collection.info))

    def save(self, folder: PathLike, *, overwrite: bool = False) -> Path:
        """Write `findings.csv`, and `check.html` with images of the first of each kind."""
        folder = Path(folder)
        check_output_folder(folder, overwrite, self.collection)
        with atomic_folder(folder, overwrite) as temporary:
            self.table.to_csv(temporary / "findings.csv", index=False)
            self.to_html(temporary / "check.html")
        return folder

    def to_html(self, path: PathLike) -> Path:
        """Write the page; returns its path."""
        path, collection = Path(path), self.collection
        row_of = {str(i): row for row, i in enumerate(collection.specimens["id"])}
        findings = {
            kind: [
                finding
                | {
                    "thumbnail": thumbnail_url(collection, row_of.get(finding["id"])),
                    "other_thumbnail": thumbnail_url(collection, row_of.get(finding["other_id"])),
                }
                for finding in self.of(kind).head(SHOWN).to_dict("records")
            ]
            for kind in KINDS
            if self.counts[kind]
        }
        write_page(
            path,
            "check.html",
            title=f"Check of {collection.info.get('name') or 'a collection'}",
            summary=self.counts,
            kinds=KINDS,
            findings=findings,
            labels_checked=self.labels_checked,
            most=max(self.counts["per_taxon"].values(), default=1),
        )
        return path


def check(collection: Collection | PathLike, model: Model | None = None) -> CheckReport:
    """Read every image again and report what is wrong; with a model, likely label errors too.

    Parameters
    ----------
    collection
        A collection or its folder; a folder of images has no labels to check.
    model : Model, optional
        Labelled specimens are compared with their neighbors in its embeddings.

    Examples
    --------
    >>> report = check("collections/plates")  # doctest: +SKIP
    >>> report.fix().save("collections/plates-clean")  # doctest: +SKIP
    """
    collection = open_collection(collection)
    return check_embedded(collection, None if model is None else embed_labelled(model, collection))


def check_embedded(collection: Collection, embeddings: Embeddings | None = None) -> CheckReport:
    """As `check`, with embeddings of the collection's labelled specimens, or of all."""
    thumbs, deviations, sides, failures = _read(collection)
    rows: list[dict[str, Any]] = []
    table = collection.specimens

    def add(kind: str, row: int, other: int | None, score: float, message: str) -> None:
        rows.append({"kind": kind, "row": row, "other": other, "score": score, "message": message})

    for row, reason in failures.items():
        add("unreadable", row, None, 1.0, reason)
    readable = np.array([i for i in range(len(table)) if i not in failures], int)
    for row in readable[deviations[readable] < 2]:
        add("blank", int(row), None, 1.0, f"grey levels differ by {deviations[row]:.1f} only")
    pairs = _exact(table)
    for row, other, conflict in pairs:
        kind = "conflict" if conflict else "duplicate"
        add(kind, row, other, 1.0, KINDS[kind])
    # A file that occurs again is compared once.
    compared = (deviations >= 2) & ~content_hash(table["id"]).duplicated().to_numpy()
    near = near_copies(thumbs, np.flatnonzero(compared))
    together = Counter(earlier for earlier, _, _ in near)
    for earlier, later, correlation in near:
        number = together[earlier] + 1
        many = f", one of {number} near copies" if number > 2 else ""
        add("near copy", later, earlier, correlation, f"correlation {correlation:.3f}{many}")
    copies = [(row, other) for row, other, _ in [*pairs, *near]]
    for kind, row, other, message in _leaks(table, copies):
        add(kind, row, other, 1.0, message)
    for row, ratio in _off_scale(table, sides, readable):
        message = f"{ratio:.2g} times the median size of its taxon"
        add("off scale", row, None, max(ratio, 1 / ratio), message)
    if embeddings is not None:
        for row, other, margin, message in label_errors(collection, embeddings):
            add("label", row, other, margin, message)
    counts = _counts(collection, rows)
    return CheckReport(_findings(rows, table), counts, collection, embeddings is not None)


def near_copies(thumbs: AnyArray, compared: IntArray) -> list[tuple[int, int, float]]:
    """(earlier, later, correlation) for each image that is nearly the same as an earlier one.

    Each image is named once as the later one, so that thousands of nearly equal images give as
    many rows, not millions of pairs. The earlier one is the first that has no near copy before
    itself, where there is one; so all of a group name the same image.

    Parameters
    ----------
    thumbs : ndarray of uint16, shape (n, THUMBNAIL * THUMBNAIL)
        Images in shades of grey; the scale does not matter.
    compared : ndarray of int
        The rows to compare, ascending; none of them of one grey only.
    """
    found: list[tuple[int, int, float]] = []
    first, copies = compared[:0], compared[:0]
    for start in range(0, len(compared), BLOCK):
        rows = compared[start : start + BLOCK]
        vectors = _standardised(thumbs[rows])
        matches = dict[int, tuple[int, float]]()
        for earlier in (first, copies):
            for part in range(0, len(earlier), BLOCK):
                others = earlier[part : part + BLOCK]
                left = [i for i in range(len(rows)) if i not in matches]
                near = vectors[left] @ _standardised(thumbs[others]).T
                matches |= _first_of(near, left, others)
        near = np.tril(vectors @ vectors.T, -1)
        near[list(matches)] = 0
        matches |= _first_of(near, list(range(len(rows))), rows)
        found += [(matches[i][0], int(rows[i]), matches[i][1]) for i in sorted(matches)]
        is_copy = np.isin(np.arange(len(rows)), list(matches))
        first, copies = np.append(first, rows[~is_copy]), np.append(copies, rows[is_copy])
    return found


def _first_of(
    correlation: FloatArray, left: list[int], others: IntArray
) -> dict[int, tuple[int, float]]:
    """The first of `others` with which each of `left` has a high correlation, and how high."""
    near = correlation > NEAR_COPY
    return {
        left[i]: (int(others[at]), float(correlation[i, at]))
        for i, at in enumerate(near.argmax(1))
        if near[i, at]
    }


def _standardised(thumbs: AnyArray) -> FloatArray:
    """Each image with mean 0 and length 1, so that products are correlations."""
    flat = thumbs.astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    return flat


def embed_labelled(model: Model, collection: Collection) -> Embeddings:
    """The embeddings of the labelled specimens; `rows` are positions in the collection."""
    rows = np.flatnonzero(collection.taxa() != "")
    embeddings = model.embed(collection.select(rows), progress="comparing with neighbors")
    return replace(embeddings, rows=rows[embeddings.rows])


def label_errors(
    collection: Collection, embeddings: Embeddings
) -> list[tuple[int, int, float, str]]:
    """Specimens whose neighbors have another name: (row, nearest of that name, margin, message).

    Each labelled specimen is judged by the others alone: by its ten nearest, and by a logistic
    regression fitted to the specimens of other folds (confident learning, Northcutt et al. 2021,
    J. Artif. Intell. Res. 70, 1373). The margin is the mean score of the best other name minus that
    of its own. The most certain come first.
    """
    taxa, rows = collection.taxa(), np.asarray(embeddings.rows, int)
    named = taxa[rows] != ""
    rows, vectors = rows[named], embeddings.vectors[named]
    names, numbers = np.unique(taxa[rows].astype(str), return_inverse=True)
    if len(rows) < 3 or len(names) < 2:
        return []
    contents = content_hash(collection.specimens["id"]).to_numpy()[rows]
    scores, near = _neighbor_scores(vectors, numbers, len(names), contents)
    scores = (scores + _regression_scores(vectors, numbers, len(names))) / 2
    everyone = np.arange(len(rows))
    own = scores[everyone, numbers].copy()
    scores[everyone, numbers] = -1
    rivals = scores.argmax(1)
    margins = scores[everyone, rivals] - own
    found: list[tuple[int, int, float, str]] = []
    for i in np.flatnonzero(margins >= LABEL_MARGIN):
        agreeing = near[i][numbers[near[i]] == rivals[i]]
        if len(agreeing):
            message = f"{len(agreeing)} of {len(near[i])} nearest: {names[rivals[i]]}"
            found.append((int(rows[i]), int(rows[agreeing[0]]), float(margins[i]), message))
    return sorted(found, key=lambda f: -f[2])


def _neighbor_scores(
    vectors: FloatArray,
    numbers: IntArray,
    count: int,
    contents: NameArray,
) -> tuple[Float64Array, list[IntArray]]:
    """Share of each name in the votes of the ten nearest, and who they are."""
    references = ReferenceSet(
        [str(i) for i in range(len(vectors))], numbers.astype(object), vectors
    )
    distances, nearest = references.kneighbors(vectors, NEIGHBORS + 4)
    scores, near = np.zeros((len(vectors), count)), []
    for i, row in enumerate(nearest):
        # Neither itself nor another copy of the same file may speak for it.
        others = contents[row] != contents[i]
        near.append(row[others][:NEIGHBORS])
        far = distances[i][others][:NEIGHBORS].astype(float) ** 2
        np.add.at(scores[i], numbers[near[-1]], np.exp(-far / max(_mean(far), 1e-12)))
    return scores / np.maximum(scores.sum(1, keepdims=True), 1e-12), near


def _regression_scores(vectors: FloatArray, numbers: IntArray, count: int) -> Float64Array:
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


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _read(
    collection: Collection,
) -> tuple[AnyArray, FloatArray, IntArray, dict[int, str]]:
    """What is needed of each image: a thumbnail, its contrast, its size, or why it failed.

    The thumbnails hold 256 times the grey levels; the deviations are in grey levels, 0 for
    failures; the sizes are those of the longer side.
    """
    thumbs = np.zeros((len(collection), THUMBNAIL * THUMBNAIL), np.uint16)
    deviations = np.zeros(len(collection), np.float32)
    sides = np.zeros(len(collection), np.int64)

    def read(row: int) -> str | None:
        try:
            with decoding(collection.path(row)) as image:
                photo = crop_plate(image)
                grey = preprocess(photo, THUMBNAIL).mean(2, dtype=np.float32).ravel()
                sides[row] = max(photo.shape[:2])
        except InputError as error:
            return str(error)
        thumbs[row], deviations[row] = (grey * 256).round(), grey.std()
        return None

    results = enumerate(in_parallel("reading images", read, range(len(sides))))
    failures = {row: reason for row, reason in results if reason}
    return thumbs, deviations, sides, failures


def _exact(table: pd.DataFrame) -> list[tuple[int, int, bool]]:
    """(row, the earlier row of the same file, whether their labels differ)."""
    contents, labels = content_hash(table["id"]).tolist(), table["label"].fillna("").tolist()
    first = {content: row for row, content in reversed(list(enumerate(contents)))}
    again = [(row, first[c]) for row, c in enumerate(contents) if first[c] != row]
    return [(row, other, labels[row] != labels[other]) for row, other in again]


def _leaks(table: pd.DataFrame, copies: list[tuple[int, int]]) -> list[tuple[str, int, int, str]]:
    """Copies and specimens of one group that a split puts on different sides.

    The sides are learnt (train, val) and held out (test, unseen, distractor). Each specimen that is
    held out is named once, with the first that is learnt of its group. It is a "shared group", not
    a "leak", where the one is of a known taxon and the other is not: their names do not leak.
    """
    side = {"train": "learnt", "val": "learnt"} | dict.fromkeys(
        ("test", "unseen", "distractor", "unknown"), "held"
    )
    columns = [
        c
        for c in table.columns
        if not pd.api.types.is_numeric_dtype(table[c])
        and len(table[c].dropna())
        and set(table[c].dropna()) <= {*SUBSETS, *READ_AS}
    ]
    links = {
        "a copy": pd.Series(_connected(len(table), copies)),
        "the same group": table["group"].reset_index(drop=True),
    }
    found = []
    for column in columns:
        subsets = table[column].reset_index(drop=True)
        sides = subsets.map(side)
        for why, groups in links.items():
            learnt = groups[sides == "learnt"].dropna().drop_duplicates()
            first = {group: row for row, group in zip(learnt.index.tolist(), learnt, strict=True)}
            held = groups[sides == "held"].dropna()
            found += [
                (
                    _kind_of_leak(why, subsets[row]),
                    row,
                    first[group],
                    f"{why} in {column}: {subsets[row]} and {subsets[first[group]]}",
                )
                for row, group in zip(held.index.tolist(), held, strict=True)
                if group in first
            ]
    return found


def _kind_of_leak(why: str, subset: str) -> str:
    return "leak" if why == "a copy" or subset == "test" else "shared group"


def _connected(count: int, pairs: list[tuple[int, int]]) -> IntArray:
    """A number for each row; rows that are connected by pairs have the same."""
    rows = np.array(pairs, np.int64).reshape(-1, 2)
    links = coo_array((np.ones(len(rows), bool), (rows[:, 0], rows[:, 1])), (count, count))
    return np.asarray(connected_components(links, directed=False)[1], dtype=np.int64)


def _off_scale(table: pd.DataFrame, sides: IntArray, readable: IntArray) -> list[tuple[int, float]]:
    """Rows whose size is far from the median of their taxon.

    The size of the longer side, in µm where every scale is known, else in pixels.
    """
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
    findings = pd.DataFrame(rows, columns=["kind", "row", "other", "score", "message"])
    for prefix, column in (("", "row"), ("other_", "other")):
        taken = findings[column].map(lambda r: -1 if pd.isna(r) else int(r)).to_numpy(int)
        for name in ("id", "image", "label"):
            values = [*table[name].fillna("").astype(str), ""]  # -1 is the last: nothing
            findings[prefix + name] = [values[r] for r in taken]
    order = pd.Categorical(findings["kind"], list(KINDS), ordered=True)
    findings = findings.assign(order=order)
    findings = findings.sort_values(["order", "score"], ascending=[True, False])
    return findings[list(COLUMNS)].reset_index(drop=True)


def _counts(collection: Collection, rows: list[dict[str, Any]]) -> dict[str, Any]:
    taxa = pd.Series(collection.taxa())
    counts = taxa[taxa != ""].value_counts()
    return {
        "specimens": len(collection),
        "taxa": len(counts),
        "unlabelled": int((taxa == "").sum()),
        **{kind: sum(r["kind"] == kind for r in rows) for kind in KINDS},
        "small": small_taxa(collection),
        "per_taxon": {str(t): int(n) for t, n in counts.items()},
    }
