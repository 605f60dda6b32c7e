"""Taxonomy: accepted names, synonyms and higher ranks, from a table.

The table in the package has the 35 species of Endless Forams under that library's names. Another
table is a CSV file with the columns name, genus, family, order, synonyms (separated by |), aphia_id
and, if it has any, coiling: the direction that tells a taxon from others, sinistral or dextral.
"""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pandas as pd

from forametric._typing import PathLike
from forametric.data.tables import Column, read_table
from forametric.errors import InputError
from forametric.utils.outputs import write_csv
from forametric.utils.results import Result

COLUMNS = ("name", "genus", "family", "order", "synonyms", "aphia_id")
COILING = ("sinistral", "dextral")
COILING_IN_NAME = re.compile(r"\b(sin|sinistral|dex|dextral)\W*$")
RANKS = ("genus", "family", "order")
WORMS = "https://www.marinespecies.org/rest"
BATCH = 50


@dataclass(frozen=True, eq=False, repr=False)
class Taxonomy(Result):
    """A table of accepted names, one row each, as text; unknown values are empty.

    >>> taxonomy = Taxonomy.load()
    >>> taxonomy.accepted("trilobatus_sacculifer")
    'Globigerinoides sacculifer'
    >>> taxonomy.above("Orbulina universa")["family"]
    'Globigerinidae'
    """

    table: pd.DataFrame

    @classmethod
    def load(cls, path: PathLike | None = None) -> Taxonomy:
        """Read a table, by default the one in the package. Only the column `name` is required.

        Raises
        ------
        InputError
            When it cannot be read, has no names, or a spelling is ambiguous.
        """
        packaged = files("forametric.data") / "facts" / "planktic_foraminifera.csv"
        with nullcontext(Path(path)) if path else as_file(packaged) as source:
            columns = [Column(c, required=c == "name") for c in COLUMNS]
            table = read_table(source, [*columns, Column("coiling", values=("", *COILING))]).rows
        if not (table["name"].str.strip() != "").all() or table.empty:
            raise InputError(f"the taxonomy {path} has no names, or a row without a name.")
        left_out = [c for c in (*COLUMNS, "coiling") if c not in table]
        table = table.reset_index(drop=True).assign(**dict.fromkeys(left_out, ""))
        taxonomy = cls(table)
        taxonomy._names  # noqa: B018  raises for an ambiguous spelling
        return taxonomy

    def __len__(self) -> int:
        return len(self.table)

    def __str__(self) -> str:
        return f"{len(self)} names"

    @property
    def summary(self) -> dict[str, Any]:
        """names."""
        return {"names": len(self)}

    def to_csv(self, path: PathLike, *, overwrite: bool = False) -> Path:
        """Write the table as CSV; returns its path."""
        return write_csv(self.table, path, overwrite=overwrite)

    @cached_property
    def _names(self) -> dict[str, str]:
        """The accepted name of each known spelling, which is folded."""
        names: dict[str, str] = {}
        for name, synonyms in zip(self.table["name"], self.table["synonyms"], strict=True):
            for spelling in (name, *filter(None, synonyms.split("|"))):
                key = fold(spelling)
                if names.setdefault(key, name) != name:
                    raise InputError(f"{spelling!r} stands for both {names[key]} and {name}.")
        return names

    @cached_property
    def _rows(self) -> dict[str, dict[str, str]]:
        rows = self.table.astype(str).to_dict("records")
        return {row["name"]: {str(k): v for k, v in row.items()} for row in rows}

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and fold(name) in self._names

    def accepted(self, name: str) -> str:
        """The accepted name for a spelling or synonym; an unknown name is returned unchanged."""
        return self._names.get(fold(name), name)

    def above(self, name: str) -> dict[str, str]:
        """Genus, family and order of a name; for an unknown binomen the genus alone."""
        row = self._rows.get(self.accepted(name), dict.fromkeys(RANKS, ""))
        words = name.split()
        is_binomen = len(words) > 1 and words[0][0].isupper()
        ranks = {rank: row[rank] for rank in RANKS}
        return ranks if ranks["genus"] or not is_binomen else ranks | {"genus": words[0]}

    def aphia_id(self, name: str) -> str:
        """The AphiaID of WoRMS, as text; empty if it was not fetched."""
        return self._rows.get(self.accepted(name), {}).get("aphia_id", "")

    def coiling(self, name: str) -> str:
        """The direction of coiling that tells a taxon from others: sinistral, dextral or "".

        From the table, else from a name that ends in one of these words, or in sin or dex.

        >>> Taxonomy.load().coiling("Neogloboquadrina pachyderma")
        'sinistral'
        >>> Taxonomy.load().coiling("Globorotalia truncatulinoides (dex.)")
        'dextral'
        """
        row = self._rows.get(self.accepted(name), {})
        if row.get("coiling"):
            return row["coiling"]
        found = COILING_IN_NAME.search(name.lower().replace("_", " "))
        return {"sin": COILING[0], "dex": COILING[1]}[found[1][:3]] if found else ""

    def handed(self, taxa: Iterable[str]) -> list[str]:
        """Those of some taxa that differ from others by the direction of coiling, each once.

        >>> Taxonomy.load().handed(["Orbulina universa", "Neogloboquadrina incompta"])
        ['Neogloboquadrina incompta']
        """
        return sorted(taxon for taxon in {str(t) for t in taxa} if self.coiling(taxon))

    def refreshed(self, url: str = WORMS) -> Taxonomy:
        """The table with AphiaIDs from WoRMS, and with empty families and orders filled.

        Raises
        ------
        InputError
            When WoRMS cannot be reached or its response is unexpected.
        """
        table = self.table.copy()
        for start in range(0, len(table), BATCH):
            rows = table.index[start : start + BATCH]
            records = _match_names(url, table.loc[rows, "name"].tolist())
            for row, record in zip(rows, records, strict=True):
                if record is None:
                    continue
                table.loc[row, "aphia_id"] = str(record["AphiaID"])
                for rank in ("family", "order"):
                    if not table.loc[row, rank] and record.get(rank):
                        table.loc[row, rank] = str(record[rank])
        return Taxonomy(table)


def fold(name: str) -> str:
    """A name for comparison: lower case, single spaces, no rank marks, numbers or punctuation.

    >>> fold(" 3 - Globigerina_bulloides ")
    'globigerina bulloides'
    """
    words = re.sub(r"[^\w().]|_|\d", " ", name.casefold()).replace(".", " ").split()
    return " ".join(word for word in words if word not in ("cf", "aff", "sp", "ssp"))


def _match_names(url: str, names: Sequence[str]) -> list[dict[str, Any] | None]:
    """The best exact match of each name in WoRMS, or None."""
    query = urllib.parse.urlencode(
        [("scientificnames[]", name) for name in names] + [("marine_only", "false")]
    )
    try:
        with urllib.request.urlopen(f"{url}/AphiaRecordsByMatchNames?{query}", timeout=60) as file:
            answers = json.load(file) if file.status != 204 else [[] for _ in names]
    except (OSError, ValueError) as error:
        raise InputError(f"could not reach WoRMS: {error}; try again later.") from None
    if not isinstance(answers, list) or len(answers) != len(names):
        raise InputError("WoRMS returned an unexpected response; try again later.")
    exact = [[r for r in answer if r.get("match_type") == "exact"] for answer in answers]
    return [records[0] if records else None for records in exact]
