"""Splits of a collection into subsets, drawn from a seed or read from a column or a CSV file.

Subsets: `train`, `val` (selection and calibration), `test` (known taxa), `unseen` (held-out taxa),
`distractor` (images of no taxon, used only in evaluation), `unused`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forametric._typing import BoolArray, PathLike
from forametric.data.collection import Collection, content_hash
from forametric.data.tables import Column, read_table
from forametric.data.verdicts import name_no_specimens
from forametric.errors import InputError
from forametric.utils.files import atomic_path
from forametric.utils.outputs import check_file
from forametric.utils.ranges import NUMBER, SEED, SHARE
from forametric.utils.results import Result
from forametric.utils.text import printable

SUBSETS = ("train", "val", "test", "unseen", "distractor", "unused")
# Some published data sets use `unknown` for images of no taxon.
READ_AS = {"": "unused", "unknown": "distractor"}


@dataclass(frozen=True, eq=False, repr=False)
class Split(Result):
    """A collection, and the subset of each of its specimens.

    Attributes
    ----------
    collection : Collection
    subsets : Series of str
        One of `SUBSETS` for each specimen, in the order of the collection, indexed by id.
    name : str
        Where it comes from: a column, a file, or a seed.

    Examples
    --------
    >>> split = make_split(collection, held_out_taxa=5, seed=1)  # doctest: +SKIP
    >>> len(split.train), len(split.unseen)  # doctest: +SKIP
    """

    collection: Collection
    subsets: pd.Series
    name: str = ""

    def __post_init__(self) -> None:
        if len(self.subsets) != len(self.collection):
            raise InputError(
                f"the split has {len(self.subsets)} rows and the collection "
                f"{len(self.collection)} specimens; give one subset for each specimen."
            )
        other = {str(subset) for subset in self.subsets} - set(SUBSETS)
        if other:
            raise InputError(
                f"the split {self.name} has the subset {sorted(other)[0]!r}; subsets are "
                f"{', '.join(SUBSETS)}."
            )

    def __len__(self) -> int:
        return len(self.subsets)

    def __str__(self) -> str:
        return ", ".join(f"{n} {subset}" for subset, n in self.counts.items())

    @property
    def summary(self) -> dict[str, Any]:
        """hash, subsets."""
        return {"hash": self.hash, "subsets": self.counts}

    @property
    def small_taxa(self) -> dict[str, int]:
        """Taxa with fewer than three specimens, too few for train, val and test together."""
        return small_taxa(self.collection)

    @property
    def table(self) -> pd.DataFrame:
        """id, subset, taxon of each specimen."""
        return pd.DataFrame(
            {
                "id": self.collection.specimens["id"].to_numpy(),
                "subset": self.subsets.to_numpy(),
                "taxon": self.collection.taxa(),
            }
        )

    @property
    def counts(self) -> dict[str, int]:
        """The number of specimens of each subset."""
        return {str(subset): int(n) for subset, n in self.subsets.value_counts().items()}

    def of(self, *subsets: str) -> BoolArray:
        """Which specimens belong to any of these subsets, shape (n,)."""
        return np.asarray(self.subsets.isin(subsets))

    @property
    def train(self) -> Collection:
        """The specimens for training."""
        return self.collection.select(self.of("train"))

    @property
    def val(self) -> Collection:
        """The specimens for selecting the epoch and for calibration."""
        return self.collection.select(self.of("val"))

    @property
    def test(self) -> Collection:
        """Held-out specimens of known taxa."""
        return self.collection.select(self.of("test"))

    @property
    def unseen(self) -> Collection:
        """Specimens of held-out taxa."""
        return self.collection.select(self.of("unseen"))

    @cached_property
    def hash(self) -> str:
        """A short hash of the ids and subsets, independent of their order."""
        lines = sorted(f"{i},{subset}" for i, subset in self.subsets.items())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def to_csv(self, path: PathLike, *, overwrite: bool = False) -> Path:
        """Write as CSV with the columns id and subset; returns the path."""
        path = Path(path)
        check_file(path, overwrite)
        with atomic_path(path) as temporary:
            self.subsets.rename("subset").rename_axis("id").to_csv(temporary)
        return path

    @classmethod
    def load(cls, collection: Collection, split: PathLike) -> Split:
        """The split in one of a collection's columns, or in a CSV file of id and subset.

        Specimens that a file does not name are `unused`.

        Raises
        ------
        InputError
            When there is neither such a column nor such a file, or a subset is not one of
            `SUBSETS`.
        """
        table = collection.specimens
        if str(split) in table.columns:
            values = table[str(split)].astype(object).to_numpy()
            subsets = pd.Series(values, index=table["id"].to_numpy(), name="subset", dtype=object)
        elif Path(split).is_file():
            subsets = _read(Path(split)).reindex(table["id"].to_numpy())
            if subsets.isna().all():
                raise InputError(f"{split} names none of this collection's specimens.")
        else:
            raise InputError(
                f"{str(split)!r} is neither a column of the collection nor a CSV file; "
                f"draw one with: forametric split COLLECTION -o SPLIT.csv"
            )
        return cls(collection, subsets.fillna("unused").replace(READ_AS), printable(str(split)))


def make_split(
    collection: Collection,
    *,
    held_out_taxa: int = 0,
    test: float = 0.2,
    val: float = 0.15,
    separate_groups: bool = False,
    seed: int = 0,
) -> Split:
    """Create a stratified split that keeps groups together and can hold out entire taxa.

    Known specimens that share a `group`, or whose files are identical, are in the same subset. The
    groups of each taxon are assigned to test, then to val, until each has its share. A taxon with
    one group is in train only, a taxon with two in train and test. Unlabelled specimens are
    `unused`.

    Parameters
    ----------
    held_out_taxa : int
        The number of taxa to hold out, with at least five specimens each if possible. Labels of
        what is not a specimen are not among them.
    test, val : float
        Shares of each known taxon's specimens.
    separate_groups : bool
        Do not learn from a group that has specimens of held-out taxa, either: its known specimens
        in train and val become `unused`. Without it, most groups of held-out taxa are learnt from.

    Raises
    ------
    InputError
        When the shares leave nothing to train on, or fewer than two taxa remain.
    """
    SEED.check(seed=seed)
    NUMBER.check(held_out_taxa=held_out_taxa)
    SHARE.check(test=test, val=val)
    if test + val >= 1:
        raise InputError(f"the shares test={test} and val={val} must leave something to train on.")
    rng = np.random.default_rng(seed)
    table = collection.specimens
    taxa = pd.Series(collection.taxa(), index=table.index)
    counts = taxa[taxa != ""].value_counts()
    of_taxa = counts[~name_no_specimens(counts.index)]
    if len(counts) - held_out_taxa < 2 or len(of_taxa) < held_out_taxa:
        raise InputError(
            f"{len(of_taxa)} labelled taxa with {held_out_taxa} held out leave fewer than two for "
            f"training."
        )
    enough = of_taxa >= 5
    eligible = sorted(of_taxa.index[enough] if enough.sum() >= held_out_taxa else of_taxa.index)
    held_out = set(rng.choice(eligible, held_out_taxa, replace=False))
    groups = group_ids(table)
    subsets = pd.Series("unused", index=table.index)
    subsets[taxa.isin(held_out)] = "unseen"
    for taxon in sorted(set(counts.index) - held_out):
        rows = table.index[(taxa == taxon) & (subsets == "unused")]
        sizes = groups[rows].value_counts(sort=False)
        order = rng.permutation(np.asarray(sorted(sizes.index), dtype=object))
        assigned = {name: "train" for name in order}
        target = {"test": test * len(rows), "val": val * len(rows)}
        free = list(order)
        for subset in ("test", "val"):
            taken = 0
            while len(free) > 1 and (taken == 0 or taken + sizes[free[-1]] <= target[subset]):
                name = free.pop()
                assigned[name] = subset
                taken += sizes[name]
        subsets[rows] = groups[rows].map(assigned)
    # A group with several taxa gets the first of the subsets that it was assigned to.
    known = subsets.isin(("train", "val", "test"))
    first = subsets[known].groupby(groups[known]).first()
    subsets[known] = groups[known].map(first)
    if separate_groups:
        shared = groups.isin(set(groups[subsets == "unseen"]))
        subsets[shared & subsets.isin(("train", "val"))] = "unused"
        left = set(taxa[subsets == "train"])
        if len(left) < 2:
            raise InputError(
                f"of {len(left)} taxa there are specimens in groups without held-out taxa; two are "
                f"needed."
            )
    named = pd.Series(subsets.to_numpy(), index=table["id"].to_numpy(), name="subset")
    return Split(collection, named, f"seed {seed}")


def small_taxa(collection: Collection, least: int = 3) -> dict[str, int]:
    """Taxa with fewer than `least` specimens, too few for train, val and test together."""
    counts = pd.Series(collection.taxa()).value_counts()
    return {str(t): int(n) for t, n in counts.items() if t and n < least}


def group_ids(table: pd.DataFrame) -> pd.Series:
    """The group of each specimen: shared by identical files, unique for specimens without one."""
    own = table["group"].where(table["group"].notna(), "id:" + table["id"].astype(str)).astype(str)
    return own.groupby(content_hash(table["id"])).transform("first")


def _read(path: Path) -> pd.Series:
    table = read_table(
        path,
        [
            Column("id", required=True, filled=True, unique=True),
            Column("subset", required=True, values=(*SUBSETS, *READ_AS)),
        ],
    )
    return table.rows.set_index("id")["subset"]
