"""Commands for experts: what to review, what they decided, and what follows from it."""

import json

import pandas as pd
import pytest

from forametric.data.collection import Collection
from forametric.data.verdicts import Verdict
from tests.support.cli import forametric


@pytest.fixture
def decided(shells, tmp_path):
    """An expert's table for the 48 shells: six specimens are filled in, every kind of verdict."""
    answers = ["Nova species", "None", "unlisted", "not a specimen", "duplicate", "skip"]
    table = pd.DataFrame({"id": shells.specimens["id"], "expert": ""})
    table.loc[: len(answers) - 1, "expert"] = answers
    table.to_csv(tmp_path / "decided.csv", index=False)
    table.to_excel(tmp_path / "decided.xlsx", index=False)
    return tmp_path


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_as_many_decisions_are_recorded_from_excel_as_from_csv(decided, shells_folder, suffix):
    """An expert's "None" in Excel was once an empty cell: 2 of 3 decisions were recorded."""
    store = decided / "d.sqlite"
    asked = ["record", shells_folder, decided / f"decided.{suffix}", "--store", store]
    done = forametric(*asked, "--reviewer", "K. Lee", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["recorded"], said["repeated"]) == (6, 0)
    again = forametric(*asked, "--reviewer", "K. Lee", "--json")
    said = json.loads(again.stdout)
    assert (said["recorded"], said["repeated"]) == (0, 6)
    history = forametric("decisions", "--store", store, "-o", decided / "history.csv")
    assert history.returncode == 0, history.stderr
    table = pd.read_csv(decided / "history.csv", keep_default_na=False)
    assert len(table) == 6
    assert set(table["verdict"]) == set(map(str, Verdict))
    assert "K. Lee" in set(table["reviewer"])


def test_what_cannot_be_recorded_is_refused(decided, shells_folder):
    store = decided / "d.sqlite"
    for text, words in (
        ("id,expert\nno,x\n", "no specimen 'no'"),
        ("id,name\n1,x\n", "lacks the column expert"),
        ("id,expert\n1,\n", "nothing to record"),
    ):
        (decided / "t.csv").write_text(text)
        asked = ["record", shells_folder, decided / "t.csv", "--store", store]
        done = forametric(*asked, "--reviewer", "K. Lee")
        assert done.returncode == 2
        assert words in done.stderr
    absent = forametric("decisions", "--store", decided / "absent.sqlite")
    assert absent.returncode == 2
    assert not (decided / "absent.sqlite").exists(), "a store that is asked for is not made"


def test_decisions_become_labels(decided, shells, shells_folder):
    store = decided / "d.sqlite"
    for reviewer in ("K. Lee", "R. Mayer"):
        done = forametric(
            "record", shells_folder, decided / "decided.csv", "--store", store,
            "--reviewer", reviewer,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    asked = ["apply-decisions", shells_folder, "--store", store, "-o", decided / "reviewed"]
    done = forametric(*asked)
    assert done.returncode == 0, done.stderr
    table = Collection.open(decided / "reviewed").specimens
    assert table["taxon"].iloc[0] == "Nova species"
    assert table["taxon"].iloc[2:5].isna().all(), "unlisted, not a specimen, a duplicate"
    assert table["taxon"].iloc[6:].tolist() == shells.taxa()[6:].tolist()
    assert table["label"].tolist() == shells.specimens["label"].tolist(), "verbatim"
    assert table["verdict"].iloc[0] == "taxon"
    assert table["verdict_by"].iloc[0] == "K. Lee|R. Mayer"
    assert forametric(*asked).returncode == 2
    shown = json.loads(forametric("decisions", "--store", store, "--json").stdout)
    assert shown


@pytest.fixture(scope="module")
def queued(calibrated_folder, more_shells, shells_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("queue") / "to-review"
    done = forametric(
        "queue", calibrated_folder, more_shells, "--reference-images", shells_folder, "-o", folder
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_a_queue_is_a_page_and_a_table_to_fill_in(queued, more_shells, calibrated_folder, tmp_path):
    table = pd.read_csv(queued / "queue.csv", keep_default_na=False)
    assert len(table) == 64
    assert {"rank", "best", "expert", "model"} <= set(table)
    assert (table["expert"] == "").all()
    page = (queued / "queue.html").read_text()
    assert page.count("data:image/") > 64
    table.loc[:2, "expert"] = "Nova species"
    table.to_csv(tmp_path / "filled.csv", index=False)
    store = tmp_path / "d.sqlite"
    asked = ["record", more_shells, tmp_path / "filled.csv", "--store", store]
    done = forametric(*asked, "--reviewer", "K. Lee", "--json")
    assert json.loads(done.stdout)["recorded"] == 3
    fewer = forametric(
        "queue", calibrated_folder, more_shells, "--store", store, "-o", tmp_path / "q", "--json"
    )
    assert fewer.returncode == 0, fewer.stderr
    assert json.loads(fewer.stdout)["specimens"] == 61, "what is settled is left out"
    absent = forametric(
        "queue", calibrated_folder, more_shells, "--store", tmp_path / "no", "-o", tmp_path / "r"
    )
    assert absent.returncode == 2


def test_a_queue_needs_a_calibrated_model(model_folder, more_shells, tmp_path):
    done = forametric("queue", model_folder, more_shells, "-o", tmp_path / "q")
    assert done.returncode == 2
    assert "not calibrated" in done.stderr


def test_a_review_needs_to_know_what_to_review(tmp_path):
    done = forametric("review", tmp_path / "project", "--no-browser")
    assert done.returncode == 2
    assert "--collection" in done.stderr
    assert not (tmp_path / "project").exists()
