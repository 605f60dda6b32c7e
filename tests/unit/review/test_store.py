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
from forametric.errors import InputError, NotFoundError, StoreBusyError
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


@pytest.mark.parametrize("name", ["q?a", "a#b", "100%25", "with space", "ü 海", "a&mode=ro", "'"])
def test_a_store_is_at_the_path_that_was_given(tmp_path, name):
    place = tmp_path / name / f"{name}.sqlite"
    DecisionStore(place).record([_is("s1", "Aa bb")])
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert place.stat().st_size > 0
    assert len(DecisionStore.open(str(place)).history()) == 1


def test_projects_whose_names_have_question_marks_share_nothing(tmp_path):
    for name in ("q?a", "q?b"):
        DecisionStore(tmp_path / name / "d.sqlite").record([_is(name, "Aa bb")])
    for name in ("q?a", "q?b"):
        history = DecisionStore.open(tmp_path / name / "d.sqlite").history()
        assert history["specimen"].tolist() == [name]


def _closed(place):
    """A store with 500 decisions, as one file."""
    store = DecisionStore(place)
    store.record([_is(f"s{n}", "Aa bb") for n in range(500)])
    store.close()
    return place


def _damage(place):
    data = bytearray(_closed(place).read_bytes())
    data[9000:20000] = bytes(11000)
    place.write_bytes(data)


def _half(place):
    data = _closed(place).read_bytes()
    place.write_bytes(data[: len(data) // 2])


def _orphan_log(place):
    place.with_name(f"{place.name}-wal").write_bytes(b"log" * 100)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda place: place.mkdir(), "is a folder"),
        (lambda place: place.write_bytes(bytes(range(256)) * 40), "not an SQLite file"),
        (_damage, "is damaged"),
        (_half, "is damaged"),
        (_orphan_log, "-wal holds decisions, but"),
    ],
)
def test_what_is_not_a_whole_store_is_refused_in_a_sentence(tmp_path, make, message):
    make(tmp_path / "d.sqlite")
    for opened in (DecisionStore, DecisionStore.open):
        with pytest.raises(InputError, match=message):
            opened(tmp_path / "d.sqlite")


def test_a_name_with_a_null_character_is_refused():
    with pytest.raises(InputError, match="not the name of a file"):
        DecisionStore("a\0b")


def test_nothing_is_recorded_in_a_file_that_is_gone_or_another(store, tmp_path):
    store.record([_is("s1", "Aa bb")])
    place = tmp_path / "decisions.sqlite"
    place.rename(tmp_path / "moved.sqlite")
    with pytest.raises(InputError, match="moved, replaced or deleted"):
        store.record([_is("s2", "Aa bb")])
    place.write_bytes((tmp_path / "moved.sqlite").read_bytes())
    with pytest.raises(InputError, match="moved, replaced or deleted"):
        store.record([_is("s2", "Aa bb")])


def test_a_locked_store_is_busy_and_works_again(store, monkeypatch):
    store.record([_is("s1", "Aa bb")])
    monkeypatch.setattr("forametric.review.database.WAIT_SECONDS", 0)
    other = DecisionStore(store.place)
    raw = sqlite3.connect(store.place, isolation_level=None)
    raw.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError, match="busy"):
        other.record([_is("s2", "Aa bb")])
    assert len(other.history()) == 1, "it can be read"
    raw.execute("ROLLBACK")
    assert other.record([_is("s2", "Aa bb")]) == [2]


def test_threads_wait_for_their_turn_and_then_say_so(store, monkeypatch):
    monkeypatch.setattr("forametric.review.database.WAIT_SECONDS", 0)
    refused = []

    def record():
        try:
            store.record([_is("s1", "Aa bb")])
        except StoreBusyError as error:
            refused.append(str(error))

    with store.database.writing():
        thread = threading.Thread(target=record)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_the_same_decision_sent_by_several_threads_is_recorded_once(store):
    threads = [threading.Thread(target=store.record, args=([_is("s1", "Aa bb")],)) for _ in "12345"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.history()) == 1


def test_a_closed_store_is_one_file_that_can_be_read_where_nothing_can_be_written(tmp_path):
    _closed(tmp_path / "d.sqlite")
    assert [path.name for path in tmp_path.iterdir()] == ["d.sqlite"]
    assert (tmp_path / "d.sqlite").read_bytes()[18:20] == b"\1\1", "no log is expected"


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
        with pytest.raises(Exception, match="append-only"), again.database.writing() as raw:
            raw.exec_driver_sql(change)


def test_a_password_is_neither_shown_nor_lost(postgresql):
    store = DecisionStore(postgresql.replace("forametric@", "forametric:s%40cret@"))
    assert store.place == postgresql
    assert "cret" not in repr(store)
    assert DecisionStore.open(store.url).database._engine.url.password == "s@cret"
    assert DecisionStore(postgresql).url == postgresql
    for wrong in ("postgresql://u:s%40cret/db", "postgresql://u@h/db?password=s%40cret"):
        with pytest.raises(InputError, match="postgresql://user") as refused:
            DecisionStore(wrong)
        assert "cret" not in str(refused.value)
    with pytest.raises(StoreBusyError, match="does not answer") as refused:
        DecisionStore("postgresql://nobody:s%40cret@127.0.0.1:1/none")
    assert "cret" not in str(refused.value)


def test_a_postgresql_that_does_not_answer_is_reported():
    with pytest.raises(StoreBusyError, match="does not answer"):
        DecisionStore("postgresql://nobody@127.0.0.1:1/none")
