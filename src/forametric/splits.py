"""Splits: which specimen plays which role, drawn by a seed, written to CSV, read back, hashed.

Roles: `train`, `val` (selection), `test` (known taxa), `unseen` (taxa held out whole), `unknown`
(pictures of no taxon, met only at evaluation), `unused`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from forametric.collection import Collection, content_of
from forametric.errors import InputError
from forametric.files import atomic_path

ROLES = ("train", "val", "test", "unseen", "unknown", "unused")


def draw_split(
    collection: Collection,
    *,
    seed: int = 0,
    test: float = 0.2,
    val: float = 0.15,
    unseen: int = 0,
) -> pd.Series:
    """Draw a stratified split that never cuts a group.

    Specimens that share a `group`, or whose files are identical, stay on one side. In each taxon
    groups are dealt to test, then val, until each has its share; a taxon of one group goes to
    train whole, of two to train and test. Unlabelled specimens are `unused`.

    Parameters
    ----------
    test, val : float
        Shares of each known taxon's specimens.
    unseen : int
        How many taxa to hold out whole; chosen among those of at least five specimens, first.

    Returns
    -------
    Series of str
        A role for each specimen, in the order of the collection, indexed by id.
    """
    if not (0 < test < 1 and 0 < val < 1 and test + val < 1):
        raise InputError(f"the shares test={test} and val={val} must leave something to train on.")
    rng = np.random.default_rng(seed)
    table = collection.specimens
    taxa = pd.Series(collection.taxa(), index=table.index)
    counts = taxa[taxa != ""].value_counts()
    if len(counts) - unseen < 2:
        raise InputError(
            f"{len(counts)} labelled taxa with {unseen} held out leave fewer than two to learn."
        )
    eligible = (
        sorted(counts.index[counts >= 5]) if (counts >= 5).sum() >= unseen else sorted(counts.index)
    )
    held_out = set(rng.choice(eligible, unseen, replace=False))
    groups = kept_together(table)
    roles = pd.Series("unused", index=table.index)
    roles[taxa.isin(held_out)] = "unseen"
    for taxon in sorted(set(counts.index) - held_out):
        rows = table.index[(taxa == taxon) & (roles == "unused")]
        sizes = groups[rows].value_counts(sort=False)
        order = rng.permutation(np.asarray(sorted(sizes.index), dtype=object))
        dealt = {name: "train" for name in order}
        wanted = {"test": test * len(rows), "val": val * len(rows)}
        free = list(order)
        for role in ("test", "val"):
            got = 0
            while free and len(free) > 1 and (got == 0 or got + sizes[free[-1]] <= wanted[role]):
                name = free.pop()
                dealt[name] = role
                got += sizes[name]
        roles[rows] = groups[rows].map(dealt)
    # A group shared by several taxa takes one role: the first that was dealt to it.
    known = roles.isin(("train", "val", "test"))
    first = roles[known].groupby(groups[known]).first()
    roles[known] = groups[known].map(first)
    return pd.Series(roles.to_numpy(), index=table["id"].to_numpy(), name="role")


def small_taxa(collection: Collection, least: int = 3) -> dict[str, int]:
    """Taxa with fewer than `least` specimens, which cannot stand in train, val and test alike."""
    counts = pd.Series(collection.taxa()).value_counts()
    return {str(t): int(n) for t, n in counts.items() if t and n < least}


def save_split(roles: pd.Series, path: Path) -> None:
    """Write a split as CSV with the columns id and role."""
    with atomic_path(path) as temporary:
        roles.rename("role").rename_axis("id").to_csv(temporary)


def load_split(collection: Collection, split: str) -> pd.Series:
    """The roles of a collection's specimens from one of its columns or from a CSV file.

    Specimens that a file does not name are `unused`.

    Raises
    ------
    InputError
        When there is neither such a column nor such a file, or a role is unknown.
    """
    table = collection.specimens
    if split in table.columns:
        roles = pd.Series(table[split].to_numpy(), index=table["id"].to_numpy(), name="role")
    elif Path(split).is_file():
        written = pd.read_csv(split, dtype=str)
        if not {"id", "role"} <= set(written.columns) or written["id"].duplicated().any():
            raise InputError(f"{split} should have the columns id and role, each id once.")
        roles = written.set_index("id")["role"].reindex(table["id"].to_numpy())
        if roles.isna().all():
            raise InputError(f"{split} names none of this collection's specimens.")
    else:
        raise InputError(
            f"{split!r} is neither a column of the collection nor a CSV file; "
            f"draw one with: forametric split COLLECTION -o SPLIT.csv"
        )
    roles = roles.fillna("unused").replace("", "unused")
    strange = set(roles) - set(ROLES)
    if strange:
        raise InputError(
            f"the split {split} has the role {sorted(strange)[0]!r}; roles are {', '.join(ROLES)}."
        )
    return roles


def split_hash(roles: pd.Series) -> str:
    """A short hash of who plays what, whatever the order of the rows."""
    lines = sorted(f"{i},{r}" for i, r in roles.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def kept_together(table: pd.DataFrame) -> pd.Series:
    """The group of each specimen; identical files share one, the groupless stand alone."""
    own = table["group"].where(table["group"].notna(), "id:" + table["id"].astype(str)).astype(str)
    return own.groupby(content_of(table["id"])).transform("first")
