"""A PostgreSQL that is killed, cut off, full or slow: no decision is lost, and none is doubled."""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque

import psycopg
import pytest

from forametric.errors import StoreBusyError
from forametric.review import Decision, DecisionStore

TOTAL = 30


def _is(specimen, reviewer="A", taxon="Aa bb"):
    return Decision(specimen, "taxon", taxon, reviewer)


def _keep_recording(store, reviewer, total, problems):
    """Record as the page does: what was not acknowledged is sent again."""
    for number in range(total):
        while True:
            try:
                store.record([_is(f"s{number}", reviewer)])
                break
            except StoreBusyError as error:
                problems.append(str(error))
                time.sleep(0.01)


def _record_during(store, fault):
    """Two reviewers record while faults happen, until both have finished; the problems they met."""
    problems = []
    threads = [
        threading.Thread(target=_keep_recording, args=(store, reviewer, TOTAL, problems))
        for reviewer in "AB"
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        fault()
        time.sleep(0.03)
    return problems


def _assert_recorded_once(store):
    history = store.history()
    for reviewer in "AB":
        own = history[history["reviewer"] == reviewer]["specimen"].tolist()
        assert own == [f"s{number}" for number in range(TOTAL)], "all, once, in their order"


def test_connections_that_are_cut_lose_and_double_nothing(postgresql, postgresql_server):
    store = DecisionStore(postgresql)
    problems = _record_during(store, lambda: postgresql_server.cut_connections(postgresql))
    assert all("does not answer" in problem and "\n" not in problem for problem in problems)
    _assert_recorded_once(store)


def test_a_server_that_is_killed_and_restarted_loses_and_doubles_nothing(
    postgresql, postgresql_server
):
    store = DecisionStore(postgresql)
    kills = iter(range(2))

    def kill():
        if next(kills, None) is not None:
            postgresql_server.crash()
            time.sleep(0.05)
            postgresql_server.start()

    problems = _record_during(store, kill)
    assert problems
    assert all("does not answer" in problem and "\n" not in problem for problem in problems)
    _assert_recorded_once(store)


def test_a_restarted_server_is_found_without_an_error(postgresql, postgresql_server):
    store = DecisionStore(postgresql)
    store.record([_is("s1")])
    postgresql_server.crash()
    with pytest.raises(StoreBusyError, match="does not answer"):
        store.history()
    postgresql_server.start()
    assert len(store.record([_is("s2")])) == 1
    postgresql_server.cut_connections(postgresql)
    assert len(store.history()) == 2


def test_a_decision_whose_acknowledgement_was_lost_is_not_doubled_when_sent_again(
    postgresql, monkeypatch
):
    store = DecisionStore(postgresql)
    dialect = store.database._engine.dialect

    def commit_and_lose(connection):
        connection.commit()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patched:
        patched.setattr(dialect, "do_commit", commit_and_lose)
        with pytest.raises(StoreBusyError, match="not recorded twice"):
            store.record([_is("s1")])
    assert store.record([_is("s1")]) == []
    assert len(store.history()) == 1


def test_a_slow_or_locked_server_is_reported_and_used_again(postgresql):
    with psycopg.connect(postgresql, autocommit=True) as connection:
        name = postgresql.rsplit("/", 1)[1]
        connection.execute(f"ALTER DATABASE {name} SET statement_timeout = '300ms'")
        store = DecisionStore(postgresql)
        connection.execute("SELECT pg_advisory_lock(%s)", [0x666F72616D])
        with pytest.raises(StoreBusyError, match="statement timeout"):
            store.record([_is("s1")])
        connection.execute("SELECT pg_advisory_unlock_all()")
    assert len(store.record([_is("s1")])) == 1
    assert len(store.history()) == 1


@pytest.fixture
def full_database(postgresql, postgresql_server):
    """A database whose tables are on a disk of 1 MB; and a function that makes it larger."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a disk can be mounted by root on Linux only")
    disk = postgresql_server.folder / "small"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk]
    if subprocess.run(mount).returncode:
        pytest.skip("a disk cannot be mounted here")
    shutil.chown(disk, "postgres", "postgres")
    name = postgresql.rsplit("/", 1)[1]
    with psycopg.connect(postgresql, autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        connection.execute(f"ALTER DATABASE {name} SET default_tablespace = small")
        yield (
            postgresql,
            lambda: subprocess.run(["mount", "-o", "remount,size=16m", disk], check=True),
        )
        with contextlib.suppress(psycopg.Error):
            connection.execute("DROP TABLE decisions, steps, metadata")
            connection.execute(f"ALTER DATABASE {name} RESET default_tablespace")
            connection.execute("DROP TABLESPACE small")
    subprocess.run(["umount", "-l", disk], check=True)
    disk.rmdir()


def test_a_full_server_keeps_what_it_had_and_takes_the_rest_later(full_database):
    address, enlarge = full_database
    store = DecisionStore(address)
    batches = ([_is(f"s{500 * batch + n}") for n in range(500)] for batch in itertools.count())
    with pytest.raises(StoreBusyError, match="No space left") as refused:
        deque(map(store.record, batches), maxlen=0)
    assert "\n" not in str(refused.value)
    recorded = len(store.history())
    assert recorded % 500 == 0, "of the batch that did not fit, nothing"
    enlarge()
    store.record([_is(f"s{recorded + n}") for n in range(500)])
    assert store.history()["specimen"].tolist() == [f"s{n}" for n in range(recorded + 500)]
