"""Decisions are kept for good: by whom, instead of what; nothing acknowledged is ever lost."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest

from forametric.data.collection import Collection
from forametric.errors import InputError
from forametric.review import Decision, Decisions, agreement, consensus, decisions_in, labelled
from forametric.review.agreement import cohen_kappa, fleiss_kappa
from forametric.review.decisions import standing
from tests.support.cli import forametric


@pytest.fixture
def store(tmp_path):
    return Decisions(tmp_path / "decisions.sqlite")


def _is(specimen, taxon, reviewer="A"):
    return Decision(specimen, "taxon", taxon, reviewer, "Orbulina universa", 0.4, "abc")


def test_a_decision_says_who_when_and_instead_of_what(store):
    store.record([_is("s1", "Globigerina bulloides")])
    store.record([Decision("s1", "unknown", "", "A")])
    store.record([_is("s1", "Globigerina falconensis", "B")])
    rows = store.history()
    assert rows["previous"].tolist() == ["", "Globigerina bulloides", ""]
    assert rows["suggested"].tolist() == ["Orbulina universa", "", "Orbulina universa"]
    assert rows["probability"][0] == 0.4
    assert rows["time"].is_monotonic_increasing
    assert rows["time"].str.endswith("+00:00").all()
    now = standing(rows).set_index("reviewer")["name"]
    assert now.to_dict() == {"A": "<unknown>", "B": "Globigerina falconensis"}


def test_undo_goes_back_step_by_step_and_forgets_nothing(store):
    store.record([_is("s1", "Aa bb"), _is("s2", "Cc dd")])
    store.record([_is("s1", "Ee ff")])
    store.record([_is("s9", "Gg hh", "B")])
    taken = [[(t.specimen, t.taxon) for t in store.undo("A")] for _ in range(3)]
    together = [("s1", "Aa bb"), ("s2", "Cc dd")]
    assert taken == [[("s1", "Ee ff")], together, []]
    rows = store.history()
    assert len(rows) == 7
    assert rows["undoes"].dropna().tolist() == [3, 1, 2]
    assert rows["previous"].tolist() == ["", "", "Aa bb", "", "Ee ff", "Aa bb", "Cc dd"]
    assert standing(rows)["specimen"].tolist() == ["s9"], "another's decision is not touched"


def test_the_database_itself_refuses_to_change_a_row(store):
    store.record([_is("s1", "Aa bb")])
    raw = sqlite3.connect(store.place)
    for change in ("UPDATE decisions SET taxon = 'x'", "DELETE FROM decisions"):
        with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
            raw.execute(change)


def test_decisions_are_taken_back_by_their_numbers_once(store):
    numbers = store.record([_is(f"s{n}", "Aa bb") for n in range(3)])
    assert len(store.take_back(numbers[:2])) == 2
    assert [t.specimen for t in store.take_back(numbers)] == ["s2"]
    assert not len(standing(store.history()))


def test_who_skips_what_was_judged_has_not_changed_the_judgement(store):
    store.record([_is("s1", "Aa bb")])
    store.record([Decision("s1", "skip", "", "A"), Decision("s2", "skip", "", "A")])
    assert standing(store.history())["name"].tolist() == ["Aa bb"]
    assert set(standing(store.history(), skipped=True)["name"]) == {"Aa bb", "<skip>"}
    assert store.unsaid([_is("s1", "Aa bb"), Decision("s2", "skip", "", "A")]) == []


def test_conflicts_are_shown_and_a_majority_settles(store):
    for reviewer, taxon in (("A", "Aa bb"), ("B", "Aa bb"), ("C", "Cc dd")):
        store.record([_is("s1", taxon, reviewer)])
    store.record([_is("s2", "Aa bb", "A"), Decision("s2", "none", "", "B")])
    store.record([_is("s3", "Aa bb", "A"), Decision("s3", "skip", "", "B")])
    found = consensus(store.history()).set_index("specimen")
    assert found["taxon"].to_dict() == {"s1": "Aa bb", "s2": "", "s3": "Aa bb"}
    assert found["verdict"].to_dict() == {"s1": "taxon", "s2": "", "s3": "taxon"}
    assert found["conflict"].to_dict() == {"s1": True, "s2": True, "s3": False}
    assert found["reviewers"]["s3"] == "A"
    assert found["agreeing"].to_dict() == {"s1": "A|B", "s2": "", "s3": "A"}


def test_kappa_of_published_examples():
    """Cohen's from his definition by hand; Fleiss' from the table of 10 subjects, 14 raters."""
    answers = [["y", "y"]] * 20 + [["y", "n"]] * 5 + [["n", "y"]] * 10 + [["n", "n"]] * 15
    assert cohen_kappa(*np.array(answers).T) == pytest.approx(0.4)
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    subjects = np.array([np.repeat(list("abcde"), row) for row in counts])
    assert fleiss_kappa(subjects) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa(np.array([["a", "a"]])) is None
    assert fleiss_kappa(np.empty((0, 2), object)) is None


def test_agreement_is_over_what_both_judged(store):
    for n in range(4):
        store.record([_is(f"s{n}", "Aa bb" if n < 2 else "Cc dd", "A")])
        store.record([_is(f"s{n}", "Aa bb" if n < 3 else "Cc dd", "B")])
    store.record([_is("s0", "Aa bb", "C")])
    found = agreement(store.history())
    pairs = {tuple(p["reviewers"]): (p["specimens"], p["kappa"]) for p in found["cohen"]}
    assert pairs["A", "B"] == (4, 0.5)
    assert pairs["A", "C"] == (1, None)
    assert found["fleiss"]["specimens"] == 1


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (("s", "maybe", "", "A"), "a verdict is one of"),
        (("s", "taxon", " ", "A"), "disagree"),
        (("s", "unknown", "Aa bb", "A"), "disagree"),
        (("s", "unknown", "", " "), "name of its reviewer"),
    ],
)
def test_a_decision_that_says_nothing_is_refused(fields, says):
    with pytest.raises(InputError, match=says):
        Decision(*fields)


def test_a_foreign_damaged_or_newer_database_is_refused(tmp_path):
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE fish (name TEXT)")
    with pytest.raises(InputError, match="something else"):
        Decisions(tmp_path / "other.db")
    (tmp_path / "text.db").write_text("no database at all" * 100)
    with pytest.raises(InputError, match="cannot hold decisions"):
        Decisions(tmp_path / "text.db")
    Decisions(tmp_path / "new.db").close()
    with sqlite3.connect(tmp_path / "new.db") as raw:
        raw.execute("UPDATE about SET value = '9'")
    with pytest.raises(InputError, match="version 9"):
        Decisions(tmp_path / "new.db")
    with pytest.raises(InputError, match="neither a file nor"):
        Decisions("mysql://x/y")
    with pytest.raises(InputError, match="does not exist"):
        Decisions.existing(tmp_path / "none.db")


def test_reviewers_at_once_lose_nothing(store):
    """Eight reviewers, each with a connection of their own, change their minds on one specimen."""

    def judge(number):
        mine = Decisions(store.place)
        for turn in range(25):
            mine.record([_is("s1", f"Taxon number{turn}", f"R{number}")])

    threads = [threading.Thread(target=judge, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = store.history()
    assert len(rows) == 200
    for _, mine in rows.groupby("reviewer"):
        assert mine["previous"].tolist() == ["", *mine["taxon"].tolist()[:-1]]


WRITER = """
import sys
from forametric.review import Decision, Decisions
store, first = Decisions(sys.argv[1]), int(sys.argv[2])
for number in range(first, 1000):
    store.record([Decision(f"s{number}", "unknown", "", "A")])
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
        # What it still managed to say before it died counts as well.
        acknowledged += [int(line) for line in process.stdout.read().split()]
        process.wait()
    return acknowledged, kills


def test_a_thousand_decisions_with_kills_between_are_all_there(tmp_path):
    acknowledged, kills = _written_and_killed(tmp_path / "d.sqlite")
    assert kills >= 3
    rows = Decisions(tmp_path / "d.sqlite").history()
    assert set(rows["specimen"]) >= {f"s{n}" for n in acknowledged}
    assert rows["number"].is_unique


def test_postgresql_keeps_them_as_sqlite_does(postgresql):
    store = Decisions(postgresql)
    for one in (_is("s1", "Aa bb"), _is("s1", "Cc dd", "B"), _is("s1", "Cc dd")):
        store.record([one])
    assert store.undo("A")[0].taxon == "Cc dd"
    again = Decisions.existing(postgresql)
    rows = again.history()
    assert rows["previous"].tolist() == ["", "", "Aa bb", "Cc dd"]
    assert standing(rows)["name"].tolist() == ["Aa bb", "Cc dd"]
    for change in ("UPDATE decisions SET taxon = 'x'", "DELETE FROM decisions"):
        with pytest.raises(Exception, match="only ever added to"), again._engine.begin() as raw:
            raw.exec_driver_sql(change)


def test_a_password_is_neither_shown_nor_lost(postgresql):
    store = Decisions(postgresql.replace("forametric@", "forametric:s%40cret@"))
    assert store.place == postgresql
    assert store.environment == {"PGPASSWORD": "s@cret"}
    assert store._engine.url.password == "s@cret"
    assert Decisions(postgresql).environment == {}
    for wrong in ("postgresql://u:s%40cret/db", "postgresql://u@h/db?password=s%40cret"):
        with pytest.raises(InputError, match="postgresql://user") as refused:
            Decisions(wrong)
        assert "cret" not in str(refused.value)
    with pytest.raises(InputError, match="cannot hold decisions") as refused:
        Decisions("postgresql://nobody:s%40cret@127.0.0.1:1/none")
    assert "cret" not in str(refused.value)


def test_a_postgresql_that_does_not_answer_is_said():
    with pytest.raises(InputError, match="cannot hold decisions"):
        Decisions("postgresql://nobody@127.0.0.1:1/none")


def test_names_filled_in_become_labels(shells, shells_folder, tmp_path):
    table = pd.DataFrame(
        {
            "image": shells.specimens["image"],
            "best": "clavate radial",
            "best_probability": 0.5,
            "expert": "",
        }
    )
    table.loc[:3, "expert"] = ["Nova  species", "unknown", "None", "clavate radial"]
    table.to_csv(tmp_path / "names.csv", index=False)
    store = tmp_path / "d.sqlite"
    for reviewer in ("K. Lee", "B. Roe"):
        done = forametric(
            "decide", shells_folder, tmp_path / "names.csv", "--store", store,
            "--reviewer", reviewer,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        done = forametric(
            "decide", shells_folder, tmp_path / "names.csv", "--store", store,
            "--reviewer", reviewer,
        )  # fmt: skip
        assert "0 decisions" in done.stdout, "a table read twice is recorded once"
        table.loc[3, "expert"] = "single sphere"  # on which the second differs
        table.to_csv(tmp_path / "names.csv", index=False)
    done = forametric("decisions", "--store", store, "-o", tmp_path / "history.csv")
    assert done.returncode == 0, done.stderr
    assert "1 with conflicts" in " ".join(done.stdout.split())
    assert "kappa 0.69" in " ".join(done.stdout.split())
    assert len(pd.read_csv(tmp_path / "history.csv")) == 8
    done = forametric("label", shells_folder, "--store", store, "-o", tmp_path / "reviewed")
    assert done.returncode == 0, done.stderr
    before, after = shells.specimens, Collection.open(tmp_path / "reviewed").specimens
    assert after["taxon"].iloc[0] == "Nova species"
    assert after["taxon"].iloc[1:3].isna().all()
    assert after["taxon"].iloc[3] == before["taxon"].iloc[3], "a conflict leaves the old name"
    assert after["decided"].iloc[:4].fillna("").tolist() == ["taxon", "unknown", "none", ""]
    assert (after["label"] == before["label"]).all()
    assert after["taxon"].iloc[4:].equals(before["taxon"].iloc[4:])


def test_a_table_that_cannot_be_recorded_is_refused(shells, store):
    ids = shells.specimens["id"]
    for table, says in (
        (pd.DataFrame({"id": ids}), "column `expert`"),
        (pd.DataFrame({"expert": ["x"]}), "column `expert`"),
        (pd.DataFrame({"id": ids, "expert": ""}), "empty"),
        (pd.DataFrame({"id": ["s"], "expert": ["Aa bb"]}), "no specimen"),
    ):
        with pytest.raises(InputError, match=says):
            decisions_in(table, shells, "A")
    with pytest.raises(InputError, match="settles no specimen"):
        labelled(shells, store)
