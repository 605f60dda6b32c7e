"""Decisions: who called which specimen what, when, and instead of what.

A table in SQLite (one file) or PostgreSQL to which rows are only ever added: a change of mind is
another row, an undone decision stays on record, and the database itself refuses to change or delete
one. What stands follows from the rows: of each reviewer the last decision on a specimen that was
not undone; of several reviewers what more than half of them say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sql
from sklearn.metrics import cohen_kappa_score
from sqlalchemy.exc import SQLAlchemyError

from forametric.collection import Collection
from forametric.errors import InputError
from forametric.files import atomic_path

VERSION = 1
WRITER = 0x666F72616D  # PostgreSQL's name for the right to write: "foram"
FEW = 5000  # specimens that a query can name one by one
TAXON, UNKNOWN, NONE, SKIP, UNDO = "taxon", "unknown", "none", "skip", "undo"
DUPLICATE = "duplicate"
VERDICTS = (TAXON, UNKNOWN, NONE, DUPLICATE, SKIP)

_tables = sql.MetaData()
_about = sql.Table(
    "about",
    _tables,
    sql.Column("key", sql.String, primary_key=True),
    sql.Column("value", sql.String, nullable=False),
)
_rows = sql.Table(
    "decisions",
    _tables,
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("specimen", sql.String, nullable=False, index=True),
    sql.Column("verdict", sql.String, nullable=False),
    sql.Column("taxon", sql.String, nullable=False),
    sql.Column("reviewer", sql.String, nullable=False, index=True),
    sql.Column("time", sql.String, nullable=False),
    sql.Column("previous", sql.String, nullable=False),
    sql.Column("suggested", sql.String, nullable=False),
    sql.Column("probability", sql.Float),
    sql.Column("model", sql.String, nullable=False),
    sql.Column("undoes", sql.Integer),
    sqlite_autoincrement=True,
)
# What was done with groups of specimens: only ever added to as well, one JSON a step.
_steps = sql.Table(
    "steps",
    _tables,
    sql.Column("number", sql.Integer, primary_key=True, autoincrement=True),
    sql.Column("reviewer", sql.String, nullable=False),
    sql.Column("time", sql.String, nullable=False),
    sql.Column("step", sql.Text, nullable=False),
    sqlite_autoincrement=True,
)
COLUMNS = [column.name for column in _rows.columns]
# What keeps rows as they are, whoever opens the database.
_GUARDS = {
    "sqlite": [
        f"CREATE TRIGGER IF NOT EXISTS no_{what}_{table} BEFORE {what} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} are only ever added to'); END"
        for what in ("update", "delete")
        for table in ("decisions", "steps")
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION forametric_only_added() RETURNS trigger AS $$ "
        "BEGIN RAISE EXCEPTION 'decisions are only ever added to'; END $$ LANGUAGE plpgsql",
        *[
            f"CREATE OR REPLACE TRIGGER no_change BEFORE UPDATE OR DELETE ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION forametric_only_added()"
            for table in ("decisions", "steps")
        ],
    ],
}


@dataclass(frozen=True)
class Decision:
    """One expert's word on one specimen.

    Attributes
    ----------
    specimen : str
        Its id.
    verdict : str
        `taxon`; `unknown`: a shell, but of no taxon known here; `none`: no shell at all;
        `duplicate`: another picture of a specimen that is counted already; `skip`.
    taxon : str
        The name, for the verdict `taxon`; else empty.
    reviewer : str
    suggested, probability, model : str, float, str
        What the model had said, how sure it was, and the hash of its weights.
    """

    specimen: str
    verdict: str
    taxon: str
    reviewer: str
    suggested: str = ""
    probability: float | None = None
    model: str = ""

    @property
    def name(self) -> str:
        """The taxon, or the verdict in angle brackets."""
        return self.taxon if self.verdict == TAXON else f"<{self.verdict}>"

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise InputError(f"a verdict is one of {', '.join(VERDICTS)}, not {self.verdict!r}.")
        if (self.verdict == TAXON) != bool(self.taxon.strip()):
            raise InputError(f"the verdict {self.verdict!r} and the name {self.taxon!r} disagree.")
        if not self.reviewer.strip() or not self.specimen.strip():
            raise InputError("a decision needs a specimen and the name of its reviewer.")


class Decisions:
    """A store of decisions.

    Parameters
    ----------
    place : str or Path
        A file, for SQLite, made if it is not there; or `postgresql://user@host/database`.

    Attributes
    ----------
    place : str
        The same, without a password.

    Raises
    ------
    InputError
        When it cannot be opened, is no store of decisions, or is of a newer version.
    """

    def __init__(self, place: str | Path) -> None:
        self.place, self._password = _without_password(str(place))
        remote = "://" in self.place
        if remote and not self.place.startswith(("postgresql://", "postgresql+")):
            raise InputError(f"{self.place} is neither a file nor a postgresql:// address.")
        url = str(place) if remote else f"sqlite:///{self.place}"
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        if not remote:
            Path(self.place).parent.mkdir(parents=True, exist_ok=True)
        try:
            self._engine = sql.create_engine(url)
            if not remote:
                sql.event.listen(self._engine, "connect", _durable)
            with self._writing() as database:
                self._prepare(database)
        except ModuleNotFoundError as error:
            raise InputError(
                f"{error.name} is not installed: pip install 'forametric[postgresql]'"
            ) from None
        except SQLAlchemyError as error:
            raise InputError(f"{self.place} cannot hold decisions: {_first(error)}") from None

    @property
    def environment(self) -> dict[str, str]:
        """What another process needs beside `place` to open the same store: libpq's variable."""
        return {"PGPASSWORD": self._password} if self._password else {}

    @classmethod
    def existing(cls, place: str | Path) -> Decisions:
        """As `Decisions(place)`, but a file has to be there."""
        if "://" not in str(place) and not Path(place).is_file():
            raise InputError(f"{place} does not exist; decisions are made by: forametric decide")
        return cls(place)

    def _prepare(self, database: sql.Connection) -> None:
        present = set(sql.inspect(database).get_table_names())
        if present and "decisions" not in present and self._engine.dialect.name == "sqlite":
            raise InputError(f"{self.place} is a database of something else; name another file.")
        _tables.create_all(database)
        for guard in _GUARDS[self._engine.dialect.name]:
            database.execute(sql.text(guard))
        found = database.execute(sql.select(_about.c.value).where(_about.c.key == "version"))
        version = found.scalar()
        if version is None:
            database.execute(sql.insert(_about).values(key="version", value=str(VERSION)))
        elif int(version) > VERSION:
            raise InputError(
                f"{self.place} is of version {version}, this Forametric knows {VERSION}; update it."
            )

    @contextmanager
    def _writing(self) -> Iterator[sql.Connection]:
        """A transaction of the only writer there is meanwhile.

        So what stood before is still so when a row is added, and rows become visible in the order
        of their numbers: who asks for those after the last one seen misses none.
        """
        with self._engine.begin() as database:
            sqlite = self._engine.dialect.name == "sqlite"
            taking = "BEGIN IMMEDIATE" if sqlite else f"SELECT pg_advisory_xact_lock({WRITER})"
            database.exec_driver_sql(taking)
            yield database

    def record(self, decisions: Sequence[Decision]) -> list[int]:
        """Add decisions, all or none; once this returns, they are on the disk.

        Returns
        -------
        list of int
            Their numbers, by which they can be undone.
        """
        with self._writing() as database:
            return self._add(database, [(one, None) for one in decisions])

    def unsaid(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Those that differ from what their reviewer says already: the same may be sent twice."""
        now = standing(self.history(specimens=[d.specimen for d in decisions]), skipped=True)
        said = dict(
            zip(zip(now["specimen"], now["reviewer"], strict=True), now["name"], strict=True)
        )
        return [one for one in decisions if said.get((one.specimen, one.reviewer)) != one.name]

    def undo(self, reviewer: str) -> list[Decision]:
        """Take back what a reviewer recorded last, of what stands; empty when there is nothing.

        Decisions that were recorded together are taken back together. They stay on record, followed
        by rows that undo them.
        """
        with self._writing() as database:
            mine = _not_undone().where(_rows.c.reviewer == reviewer)
            last = database.execute(mine.order_by(_rows.c.number.desc()).limit(1)).first()
            if last is None:
                return []
            return self._undone(database, mine.where(_rows.c.time == last.time))

    def take_back(self, numbers: Sequence[int]) -> list[Decision]:
        """Undo decisions by their numbers, all or none; those undone already are left out."""
        taken: list[Decision] = []
        with self._writing() as database:
            for start in range(0, len(numbers), FEW):
                some = list(numbers[start : start + FEW])
                taken += self._undone(database, _not_undone().where(_rows.c.number.in_(some)))
        return taken

    def _undone(self, database: sql.Connection, wanted: sql.Select[Any]) -> list[Decision]:
        rows = [row._asdict() for row in database.execute(wanted.order_by(_rows.c.number))]
        taken = [Decision(**{k: row[k] for k in Decision.__dataclass_fields__}) for row in rows]
        undoes = [row["number"] for row in rows]
        self._add(database, list(zip(taken, undoes, strict=True)))
        return taken

    def add_step(self, reviewer: str, step: dict[str, Any]) -> int:
        """Keep a step taken with groups of specimens (`forametric.review.groups`); its number."""
        values = {"reviewer": reviewer, "time": _now(), "step": json.dumps(step)}
        with self._writing() as database:
            key = database.execute(sql.insert(_steps).values(values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def steps(self, after: int = 0) -> list[tuple[int, str, dict[str, Any]]]:
        """The steps after a number, in their order: number, reviewer, step."""
        wanted = sql.select(_steps).where(_steps.c.number > after).order_by(_steps.c.number)
        with self._engine.connect() as database:
            rows = database.execute(wanted).all()
        return [(row.number, row.reviewer, json.loads(row.step)) for row in rows]

    def _add(
        self, database: sql.Connection, decisions: Sequence[tuple[Decision, int | None]]
    ) -> list[int]:
        """Rows with what stood before them for their reviewer and specimen; their numbers."""
        stood: dict[tuple[str, str], str] = {}
        specimens = sorted({one.specimen for one, _ in decisions})
        for start in range(0, len(specimens), FEW):
            some = sql.select(_rows).where(_rows.c.specimen.in_(specimens[start : start + FEW]))
            rows = database.execute(some.order_by(_rows.c.number)).all()
            for said in standing(pd.DataFrame(rows, columns=COLUMNS)).to_dict("records"):
                stood[said["specimen"], said["reviewer"]] = said["name"]
        time, values = _now(), []
        for one, undoes in decisions:
            whose = (one.specimen, one.reviewer)
            values.append(
                {
                    "specimen": one.specimen,
                    "verdict": UNDO if undoes else one.verdict,
                    "taxon": "" if undoes else one.taxon,
                    "reviewer": one.reviewer,
                    "time": time,
                    "previous": stood.get(whose, ""),
                    "suggested": one.suggested,
                    "probability": one.probability,
                    "model": one.model,
                    "undoes": undoes,
                }
            )
            if not undoes and one.verdict != SKIP:
                stood[whose] = one.name
        if not values:
            return []
        added = sql.insert(_rows).returning(_rows.c.number, sort_by_parameter_order=True)
        return [int(number) for number in database.execute(added, values).scalars()]

    def history(self, after: int = 0, specimens: Sequence[str] | None = None) -> pd.DataFrame:
        """Every row after a number, in the order in which they came: the columns of the table.

        `specimens`: only the rows about these.
        """
        wanted = sql.select(_rows).where(_rows.c.number > after).order_by(_rows.c.number)
        few = specimens is not None and len(specimens) <= FEW
        if specimens is not None and few:
            wanted = wanted.where(_rows.c.specimen.in_(list(specimens)))
        with self._engine.connect() as database:
            found = pd.DataFrame(database.execute(wanted).all(), columns=COLUMNS)
        if specimens is None or few:
            return found
        return found[found["specimen"].isin(set(specimens))].reset_index(drop=True)

    def write_csv(self, path: Path) -> None:
        """The whole history as CSV."""
        with atomic_path(path) as temporary:
            self.history().to_csv(temporary, index=False)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()


def standing(history: pd.DataFrame, *, skipped: bool = False) -> pd.DataFrame:
    """What each reviewer says now: specimen, reviewer, verdict, taxon, name, time.

    `name` is the taxon, or the verdict in angle brackets. Skipped specimens have a row only if
    asked for.
    """
    gone = {int(number) for number in history["undoes"].dropna()}
    kept = history[(history["verdict"] != UNDO) & ~history["number"].isin(gone)]
    # Who skips what was judged before has not changed the judgement.
    said = kept[kept["verdict"] != SKIP].drop_duplicates(["specimen", "reviewer"], keep="last")
    if skipped:
        both = pd.concat([kept[kept["verdict"] == SKIP], said])
        said = both.drop_duplicates(["specimen", "reviewer"], keep="last")
    last = said.reset_index(drop=True)
    name = last["taxon"].where(last["verdict"] == TAXON, "<" + last["verdict"] + ">")
    return last.assign(name=name)[["specimen", "reviewer", "verdict", "taxon", "name", "time"]]


def consensus(history: pd.DataFrame) -> pd.DataFrame:
    """What the reviewers say together, one row a specimen.

    Returns
    -------
    DataFrame
        specimen; verdict and taxon that more than half of its reviewers give ("" where none has
        more than half); reviewers (their names, parted by |); agreement (the share that gives the
        commonest answer); conflict (whether they differ); time (of the last word).
    """
    said = standing(history)
    answers = said.groupby(["specimen", "name"], sort=False).agg(
        votes=("reviewer", "size"),
        verdict=("verdict", "first"),
        taxon=("taxon", "first"),
        agreeing=("reviewer", lambda names: "|".join(sorted(names))),
    )
    answers = answers.reset_index()
    of = answers.groupby("specimen", sort=False)
    found = answers.loc[of["votes"].idxmax()].set_index("specimen")
    share = found["votes"] / of["votes"].sum()
    by = said.sort_values("reviewer", kind="stable").groupby("specimen")
    settled = share > 0.5
    table = pd.DataFrame(
        {
            "verdict": found["verdict"].where(settled, ""),
            "taxon": found["taxon"].where(settled, ""),
            "reviewers": by["reviewer"].agg("|".join),
            "agreeing": found["agreeing"].where(settled, ""),
            "agreement": share.round(3),
            "conflict": of.size() > 1,
            "time": by["time"].max(),
        },
        index=found.index,
    )
    return table.reset_index()


def agreement(history: pd.DataFrame) -> dict[str, Any]:
    """How far reviewers agree beyond chance.

    Returns
    -------
    dict
        `cohen`: for each two reviewers, kappa over the specimens that both judged (Cohen 1960) and
        their number; `fleiss`: kappa over those that all judged (Fleiss 1971), and their number.
        Kappa is None where it is not defined: no common specimens, or one answer to all.
    """
    table = standing(history).pivot(index="specimen", columns="reviewer", values="name")
    pairs = []
    for one, other in combinations(table.columns, 2):
        both = table[[one, other]].dropna()
        kappa = cohen_kappa(both[one].to_numpy(), both[other].to_numpy())
        pairs.append({"reviewers": [one, other], "specimens": len(both), "kappa": kappa})
    of_all = table.dropna() if table.shape[1] > 1 else table.iloc[:0]
    return {
        "cohen": pairs,
        "fleiss": {"specimens": len(of_all), "kappa": fleiss_kappa(of_all.to_numpy())},
    }


def cohen_kappa(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float | None:
    """Agreement of two raters beyond chance; None where there is nothing to agree on.

    >>> cohen_kappa(np.array(list("abab")), np.array(list("abbb")))
    0.5
    """
    if len({*one, *other}) < 2:
        return None
    return round(float(cohen_kappa_score(one, other)), 6)


def fleiss_kappa(answers: np.ndarray[Any, Any]) -> float | None:
    """Agreement of raters beyond chance; None where there is nothing to agree on.

    Parameters
    ----------
    answers : ndarray of str, shape (specimens, raters)
    """
    if answers.size == 0:
        return None
    names, of = np.unique(answers.astype(str), return_inverse=True)
    counts = np.zeros((*answers.shape, len(names)))
    np.put_along_axis(counts, of.reshape(answers.shape)[..., None], 1, axis=2)
    raters = answers.shape[1]
    together = counts.sum(1)
    seen = float(((together**2).sum(1) - raters).mean() / (raters * (raters - 1)))
    shares = together.mean(0) / raters
    chance = float(shares @ shares)
    return round((seen - chance) / (1 - chance), 6) if chance < 1 else None


def labelled(collection: Collection, decisions: Decisions) -> Collection:
    """The collection as its reviewers see it: a name that they agree on takes the taxon's place.

    What they call unknown, no shell or a duplicate loses its name. Where they differ, the old name
    stays. `label` is never touched. Columns are added: `decided` (the verdict), `decided_by` (those
    who say so) and `decided_on`.

    Raises
    ------
    InputError
        When no specimen of the collection has been decided on.
    """
    found = consensus(decisions.history()).set_index("specimen")
    ids = collection.specimens["id"]
    found = found.reindex(ids).reset_index(drop=True)
    settled = found["verdict"].fillna("").ne("").to_numpy()
    if not settled.any():
        raise InputError(f"{decisions.place} settles no specimen of this collection.")
    table = collection.specimens.reset_index(drop=True)
    name = found["taxon"].where(found["verdict"] == TAXON, None)
    table["taxon"] = table["taxon"].where(~settled, name)
    for column, source in (
        ("decided", "verdict"), ("decided_by", "agreeing"), ("decided_on", "time"),
    ):  # fmt: skip
        table[column] = found[source].where(settled, None)
    return Collection(table, collection.images, collection.info)


def decisions_in(table: pd.DataFrame, collection: Collection, reviewer: str) -> list[Decision]:
    """The decisions in a table that an expert has filled in.

    Parameters
    ----------
    table : DataFrame
        `id` or `image` says which specimen; `expert` what it is: a name, `unknown`, `none` (no
        shell), `duplicate`, or nothing where the expert has not looked. `best`,
        `best_probability` and `model`, as `queue` writes them, are kept as what the model had said.

    Raises
    ------
    InputError
        When a column is missing, a specimen is not of the collection, or nothing is filled in.
    """
    key = next((column for column in ("id", "image") if column in table), None)
    if key is None or "expert" not in table:
        raise InputError("the table needs a column `expert`, and `id` or `image` beside it.")
    filled = table[table["expert"].notna() & (table["expert"].astype(str).str.strip() != "")]
    if not len(filled):
        raise InputError("the column `expert` is empty: there is nothing to record.")
    known = dict(
        zip(collection.specimens[key].astype(str), collection.specimens["id"], strict=True)
    )
    rows = []
    for row in filled.to_dict("records"):
        if str(row[key]) not in known:
            raise InputError(f"{row[key]} is no specimen of the collection.")
        verdict, taxon = verdict_of(str(row["expert"]))
        sure = float(pd.to_numeric(row.get("best_probability", ""), errors="coerce"))
        rows.append(
            Decision(
                known[str(row[key])],
                verdict,
                taxon,
                reviewer,
                suggested=_text(row.get("best")),
                probability=None if np.isnan(sure) else sure,
                model=_text(row.get("model")),
            )
        )
    return rows


def verdict_of(said: str) -> tuple[str, str]:
    """What somebody wrote, as a verdict and a name: `unknown`, `none`, `duplicate` are no names.

    >>> verdict_of(" Orbulina  universa"), verdict_of("None")
    (('taxon', 'Orbulina universa'), ('none', ''))
    """
    said = " ".join(said.split())
    plain = said.lower() in (UNKNOWN, NONE, DUPLICATE)
    return (said.lower(), "") if plain else (TAXON, said)


def _not_undone() -> sql.Select[Any]:
    """All decisions that stand, or are superseded: those that were not taken back."""
    undone = sql.select(_rows.c.undoes).where(_rows.c.undoes.is_not(None))
    return sql.select(_rows).where(_rows.c.verdict != UNDO, _rows.c.number.not_in(undone))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)


def _without_password(place: str) -> tuple[str, str]:
    """An address without its password, and that, "" where there is none; a file as it is."""
    if "://" not in place:
        return place, ""
    try:
        url = sql.make_url(place)
    except (SQLAlchemyError, ValueError):  # whose message may hold the password
        raise InputError(
            "the store's address cannot be read; it looks like postgresql://user@host/database."
        ) from None
    if "password" in url.query:
        raise InputError("write the password as postgresql://user:password@host/database.")
    plain = sql.URL.create(
        url.drivername, url.username, None, url.host, url.port, url.database, url.query
    )
    return plain.render_as_string(), str(url.password or "")


def _first(error: Exception) -> str:
    return str(error).splitlines()[0]


def _durable(connection: Any, _: Any) -> None:
    """Readers do not wait for writers, and what is committed is on the disk."""
    connection.isolation_level = None  # transactions begin where `_writing` says
    cursor = connection.cursor()
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
