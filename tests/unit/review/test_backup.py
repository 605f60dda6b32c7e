"""A store is copied while it is in use, and what comes back is what was recorded."""

import contextlib
import shutil
import sqlite3
import subprocess
import sys
import time

import pytest

from forametric.errors import InputError
from forametric.review import Decision, DecisionStore, copy_decisions
from tests.support.cli import forametric

WRITER = """
import sys
from forametric.review import Decision, DecisionStore
store = DecisionStore(sys.argv[1])
for number in range(200):
    store.record([Decision(f"s{number}", "unlisted", "", "A")])
    print(number, flush=True)
sys.stdin.read()
"""


def _is(specimen, taxon="Aa bb", reviewer="A"):
    return Decision(specimen, "taxon", taxon, reviewer, "Cc dd", 0.25, "abc")


@pytest.fixture
def store(tmp_path):
    """A store with five rows of decisions and a step with groups."""
    store = DecisionStore(tmp_path / "decisions.sqlite")
    store.record([_is("s1"), _is("s2")])
    store.record([_is("s1", "Cc dd", "B")])
    store.undo("A")
    store.add_step("A", {"kind": "move", "moves": {"s1": [0, 1]}})
    return store


@pytest.fixture
def writer(tmp_path):
    """A process that records 200 decisions and then keeps the store open."""
    place = tmp_path / "decisions.sqlite"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(place)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.readline()  # the first one is on the disk
    yield process, place
    process.kill()
    process.communicate()


def _recorded(place):
    """How many of the writer's decisions a store has, which have to be the first ones."""
    store = DecisionStore.open(place)
    specimens = store.history()["specimen"].tolist()
    store.close()
    assert specimens == [f"s{number}" for number in range(len(specimens))]
    return len(specimens)


@pytest.mark.process
def test_a_file_copied_while_a_process_writes_is_whole_or_refused(writer, tmp_path):
    process, place = writer
    written = []
    while len(written) < 199:
        shutil.copyfile(place, tmp_path / "copy.sqlite")
        with contextlib.suppress(InputError):  # recognised as damaged, or as not made yet
            _recorded(tmp_path / "copy.sqlite")
        written += [process.stdout.readline() for _ in range(min(20, 199 - len(written)))]
    recorded = 0
    while recorded < 200:  # the process is alive and idle: soon the file alone has everything
        time.sleep(0.05)
        shutil.copyfile(place, tmp_path / "copy.sqlite")
        recorded = _recorded(tmp_path / "copy.sqlite")


@pytest.mark.process
def test_a_backup_made_while_a_process_writes_is_restored(writer, tmp_path):
    process, place = writer
    acknowledged = 1
    for _ in range(3):
        acknowledged += len([process.stdout.readline() for _ in range(50)])
        report = copy_decisions(place, tmp_path / "backup.sqlite")
        assert report.decisions >= acknowledged
    process.kill()
    process.wait()
    for file in place.parent.glob("decisions.sqlite*"):
        file.unlink()
    assert forametric("restore", tmp_path / "backup.sqlite", "-o", place).returncode == 0
    assert _recorded(place) == report.decisions


def test_a_backup_is_one_file_with_the_same_rows(store, tmp_path):
    done = forametric("backup", store.place, "-o", tmp_path / "backup.sqlite", "--json")
    assert done.returncode == 0, done.stderr
    assert '"new": 6' in done.stdout
    assert {p.name for p in tmp_path.glob("*backup*")} == {"backup.sqlite"}
    copy = DecisionStore.open(tmp_path / "backup.sqlite")
    assert copy.history().equals(store.history())
    assert copy.steps() == store.steps()
    assert copy.record([_is("s9")]) == [store.history()["number"].iloc[-1] + 1]


def test_an_earlier_backup_is_brought_up_to_date(store, tmp_path):
    copy_decisions(store.place, tmp_path / "backup.sqlite")
    assert copy_decisions(store.place, tmp_path / "backup.sqlite").new == 0
    store.record([_is("s3")])
    report = copy_decisions(store.place, tmp_path / "backup.sqlite")
    assert (report.decisions, report.steps, report.new) == (6, 1, 1)
    assert DecisionStore.open(tmp_path / "backup.sqlite").history().equals(store.history())


def test_a_store_with_decisions_that_the_backup_lacks_is_not_changed(store, tmp_path):
    copy_decisions(store.place, tmp_path / "backup.sqlite")
    store.record([_is("s3")])
    before = store.history()
    done = forametric("restore", tmp_path / "backup.sqlite", "-o", store.place)
    assert (done.returncode, "lacks, so it was not changed" in done.stderr) == (2, True)
    assert store.history().equals(before)
    other = DecisionStore(tmp_path / "other.sqlite")  # as many rows, with other answers
    other.record([_is(f"t{number}") for number in range(5)])
    with pytest.raises(InputError, match="not changed"):
        copy_decisions(tmp_path / "backup.sqlite", tmp_path / "other.sqlite")
    assert len(other.history()) == 5


def test_a_backup_replaces_nothing_that_is_not_a_copy_of_the_store(store, tmp_path):
    (tmp_path / "notes.txt").write_text("mine" * 100)
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE fish (name TEXT)")
    for place, message in (
        (tmp_path / "notes.txt", "not an SQLite file"),
        (tmp_path / "other.db", "something else"),
        (tmp_path, "is a folder"),
        (store.place, "the store itself"),
    ):
        with pytest.raises(InputError, match=message):
            copy_decisions(store.place, place)
    assert (tmp_path / "notes.txt").read_text() == "mine" * 100


def test_a_failed_backup_leaves_nothing(store, tmp_path, monkeypatch):
    monkeypatch.setattr("forametric.review.backup._digest", lambda *a: a[2] and object())
    with pytest.raises(InputError, match="does not have what was written"):
        copy_decisions(store.place, tmp_path / "new" / "backup.sqlite")
    assert not list((tmp_path / "new").iterdir())


def test_decisions_move_between_a_file_and_postgresql(store, postgresql, tmp_path):
    address = postgresql.replace("forametric@", "forametric:secret@")
    done = forametric("restore", store.place, "-o", address)
    assert done.returncode == 0, done.stderr
    assert "secret" not in done.stdout + done.stderr
    remote = DecisionStore.open(postgresql)
    assert remote.history().equals(store.history())
    assert remote.record([_is("s9")]) == [6], "numbers continue"
    assert forametric("backup", postgresql, "-o", tmp_path / "b.sqlite").returncode == 0
    copy = DecisionStore.open(tmp_path / "b.sqlite")
    assert copy.history().equals(remote.history())
    assert copy.steps() == store.steps()
    with pytest.raises(InputError, match="not changed"):
        copy_decisions(store.place, postgresql)


def test_a_log_without_its_store_is_not_applied_to_what_is_restored(store, tmp_path):
    """A killed server leaves a log; applied to another file, it would destroy it."""
    store.close()
    log = tmp_path / "restored.sqlite-wal"
    log.write_bytes(b"x" * 4096)
    with pytest.raises(InputError, match="holds decisions"):
        copy_decisions(tmp_path / "decisions.sqlite", tmp_path / "restored.sqlite")
    assert log.read_bytes() == b"x" * 4096
    assert not (tmp_path / "restored.sqlite").exists()
