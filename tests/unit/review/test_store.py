"""Decisions are kept for good: by whom, in place of what; nothing acknowledged is ever lost."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading

import pytest

from forametric.data.verdicts import Verdict
from forametric.errors import InputError, NotFoundError
from forametric.review import Decision, DecisionStore
from forametric.review.decisions import current_decisions


@pytest.fixture
def store(tmp_path):
    return DecisionStore(tmp_path / "decisions.sqlite")


def _is(specimen, taxon, reviewer="A"):
    return Decision(specimen, Verdict.TAXON, taxon, reviewer, "Orbulina universa", 0.4, "abc")


def _answers(history):
    current = current_decisions(history).set_index("reviewer")
    return {who: (row.verdict, row.taxon) for who, row in current.iterrows()}


def test_a_decision_records_who_when_and_in_place_of_what(store):
    store.record([_is("s1", "Globigerina bulloides")])
    store.record([Decision("s1", Verdict.UNLISTED, "", "A")])
    store.record([_is("s1", "Globigerina falconensis", "B")])
    rows = store.history()
    assert rows["previous_verdict"].tolist() == ["", "taxon", ""]
    assert rows["previous_taxon"].tolist() == ["", "Globigerina bulloides", ""]
    assert rows["suggested"].tolist() == ["Orbulina universa", "", "Orbulina universa"]
    assert rows["probability"][0] == 0.4
    assert rows["model"][0] == "abc"
    assert rows["time"].is_monotonic_increasing
    assert rows["time"].str.endswith("+00:00").all()
    assert _answers(rows) == {"A": ("unlisted", ""), "B": ("taxon", "Globigerina falconensis")}


def test_undo_goes_back_step_by_step_and_deletes_nothing(store):
    store.record([_is("s1", "Aa bb"), _is("s2", "Cc dd")])
    store.record([_is("s1", "Ee ff")])
    store.record([_is("s9", "Gg hh", "B")])
    undone = [[(t.specimen, t.taxon) for t in store.undo("A")] for _ in range(3)]
    together = [("s1", "Aa bb"), ("s2", "Cc dd")]
    assert undone == [[("s1", "Ee ff")], together, []]
    rows = store.history()
    assert len(rows) == 7
    assert rows["undoes"].dropna().tolist() == [3, 1, 2]
    assert rows["previous_taxon"].tolist() == ["", "", "Aa bb", "", "Ee ff", "Aa bb", "Cc dd"]
    assert rows["verdict"].tolist()[4:] == ["undo"] * 3
    assert current_decisions(rows)["specimen"].tolist() == ["s9"], "not those of another reviewer"


def test_the_database_itself_refuses_to_change_a_row(store):
    store.record([_is("s1", "Aa bb")])
    raw = sqlite3.connect(store.place)
    for change in ("UPDATE decisions SET taxon = 'x'", "DELETE FROM decisions"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            raw.execute(change)


def test_decisions_are_revoked_by_their_numbers_once(store):
    numbers = store.record([_is(f"s{n}", "Aa bb") for n in range(3)])
    assert len(store.revoke(numbers[:2])) == 2
    assert [t.specimen for t in store.revoke(numbers)] == ["s2"]
    assert not len(current_decisions(store.history()))


def test_a_foreign_damaged_or_newer_database_is_refused(tmp_path):
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE fish (name TEXT)")
    (tmp_path / "text.db").write_text("not a database" * 100)
    DecisionStore(tmp_path / "new.db").close()
    with sqlite3.connect(tmp_path / "new.db") as raw:
        raw.execute("UPDATE metadata SET value = '9'")
    for name, message in (
        ("other.db", "something else"),
        ("text.db", "cannot be used for decisions"),
        ("new.db", "version 9"),
    ):
        for opened in (DecisionStore, DecisionStore.open):
            with pytest.raises(InputError, match=message):
                opened(str(tmp_path / name))
    with pytest.raises(InputError, match="neither a file nor"):
        DecisionStore("mysql://x/y")


def test_opening_a_store_creates_nothing(tmp_path):
    with pytest.raises(NotFoundError, match=r"missing\.db"):
        DecisionStore.open(tmp_path / "missing.db")
    assert not (tmp_path / "missing.db").exists()
    (tmp_path / "empty.db").touch()
    with pytest.raises(NotFoundError, match=r"empty\.db.*forametric record"):
        DecisionStore.open(tmp_path / "empty.db")
    raw = sqlite3.connect(tmp_path / "empty.db")
    assert raw.execute("SELECT * FROM sqlite_master").fetchall() == []
    DecisionStore(tmp_path / "made.db").record([_is("s1", "Aa bb")])
    assert len(DecisionStore.open(tmp_path / "made.db").history()) == 1


def test_reviewers_at_the_same_time_lose_nothing(store):
    """Eight reviewers, each with a connection of their own, change their minds on one specimen."""

    def judge(number):
        own = DecisionStore(store.place)
        for turn in range(25):
            own.record([_is("s1", f"Taxon number{turn}", f"R{number}")])

    threads = [threading.Thread(target=judge, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = store.history()
    assert len(rows) == 200
    for _, own in rows.groupby("reviewer"):
        assert own["previous_taxon"].tolist() == ["", *own["taxon"].tolist()[:-1]]


WRITER = """
import sys
from forametric.review.decisions import Decision
from forametric.review.store import DecisionStore
store, first = DecisionStore(sys.argv[1]), int(sys.argv[2])
for number in range(first, 1000):
    store.record([Decision(f"s{number}", "unlisted", "", "A")])
    print(number, flush=True)
"""


def _written_and_killed(place, total=1000):
    """Record decisions one by one, killed again and again; which of them were acknowledged."""
    acknowledged: list[int] = []
    kills = 0
    while len(acknowledged) < total:
        first = acknowledged[-1] + 1 if acknowledged else 0
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place), str(first)],
            stdout=subprocess.PIPE,
            text=True,
        )
        stop_after = random.Random(kills).randint(1, 250)
        assert process.stdout is not None
        for count, line in enumerate(process.stdout, 1):
            acknowledged.append(int(line))
            if count == stop_after and len(acknowledged) < total:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
                break
        # What it printed before it was killed counts as well.
        acknowledged += [int(line) for line in process.stdout.read().split()]
        process.wait()
    return acknowledged, kills


def test_a_thousand_decisions_with_kills_between_are_all_there(tmp_path):
    acknowledged, kills = _written_and_killed(tmp_path / "d.sqlite")
    assert kills >= 3
    rows = DecisionStore(tmp_path / "d.sqlite").history()
    assert set(rows["specimen"]) >= {f"s{n}" for n in acknowledged}
    assert rows["number"].is_unique


def test_postgresql_keeps_them_as_sqlite_does(postgresql):
    with pytest.raises(NotFoundError, match="postgresql"):
        DecisionStore.open(f"{postgresql.rsplit('/', 1)[0]}/template1")
    store = DecisionStore(postgresql)
    for decision in (_is("s1", "Aa bb"), _is("s1", "Cc dd", "B"), _is("s1", "Cc dd")):
        store.record([decision])
    assert store.undo("A")[0].taxon == "Cc dd"
    again = DecisionStore.open(postgresql)
    rows = again.history()
    assert rows["previous_taxon"].tolist() == ["", "", "Aa bb", "Cc dd"]
    assert _answers(rows) == {"A": ("taxon", "Aa bb"), "B": ("taxon", "Cc dd")}
    for change in ("UPDATE decisions SET taxon = 'x'", "DELETE FROM decisions"):
        with pytest.raises(Exception, match="append-only"), again._engine.begin() as raw:
            raw.exec_driver_sql(change)


def test_a_password_is_neither_shown_nor_lost(postgresql):
    store = DecisionStore(postgresql.replace("forametric@", "forametric:s%40cret@"))
    assert store.place == postgresql
    assert "cret" not in repr(store)
    assert DecisionStore.open(store.url)._engine.url.password == "s@cret"
    assert DecisionStore(postgresql).url == postgresql
    for wrong in ("postgresql://u:s%40cret/db", "postgresql://u@h/db?password=s%40cret"):
        with pytest.raises(InputError, match="postgresql://user") as refused:
            DecisionStore(wrong)
        assert "cret" not in str(refused.value)
    with pytest.raises(InputError, match="cannot be used") as refused:
        DecisionStore("postgresql://nobody:s%40cret@127.0.0.1:1/none")
    assert "cret" not in str(refused.value)


def test_a_postgresql_that_does_not_answer_is_reported():
    with pytest.raises(InputError, match="cannot be used"):
        DecisionStore("postgresql://nobody@127.0.0.1:1/none")
