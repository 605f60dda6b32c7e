"""What an expert sees first, and the way from there to decisions and labels."""

import numpy as np
import pandas as pd

from forametric.identification.open_set import probability_known
from forametric.model.model import Model
from forametric.review import Decisions
from forametric.review.priority import priorities, taking_turns
from tests.support.cli import forametric
from tests.test_identify import A


def _names(rows):
    return pd.DataFrame(rows, columns=["decision", "probability", "novelty"]).assign(taxon=A)


def test_the_chance_of_being_known_falls_with_novelty():
    calibration = calibration_of()
    novelty = np.float32([0.3, 0.5, 0.7, 0.9, 1.1, 1.3])
    chance = probability_known(novelty, calibration)
    assert ((chance > 0) & (chance < 1)).all()
    assert chance[0] > 0.8 > 0.3 > chance[-1]
    # Among prior_of_unknown the same shell is more likely to be one.
    among = probability_known(np.concatenate([novelty, np.full(200, 1.3, np.float32)]), calibration)
    assert (among[:6] <= chance + 1e-9).all()


def test_likely_errors_come_first_and_small_samples_before_large():
    rows = [("accepted", 0.99, 0.4), ("accepted", 0.55, 0.4), ("unknown", 0.9, 0.6),
            ("unknown", 0.9, 1.4)] * 5  # fmt: skip
    worth = priorities(_names(rows), np.full(20, "", object), calibration_of())
    min_probability, doubtful, known_after_all, strange = worth["priority"][:4]
    assert doubtful > min_probability
    assert known_after_all > strange
    samples = np.array(["large"] * 16 + ["small"] * 4, object)
    worth = priorities(_names(rows), samples, calibration_of())
    assert worth["influence"].tolist() == [0.5] * 16 + [1.0] * 4
    assert worth["priority"][17] == 2 * worth["priority"][1]


def test_specimens_that_look_alike_take_turns():
    rng = np.random.default_rng(0)
    centroids = np.eye(4, 8, dtype=np.float32) * 9
    vectors = centroids[np.arange(16) % 4] + rng.normal(0, 0.1, (16, 8)).astype(np.float32)
    priority = np.where(np.arange(16) % 4 == 0, 0.60, 0.55)
    order = taking_turns(priority, vectors)
    assert sorted(order) == list(range(16))
    assert {int(i) % 4 for i in order[:4]} == {0, 1, 2, 3}, "one of each before a second"
    assert (order == taking_turns(priority, vectors)).all()


def test_queue_decide_label_and_queue_again(
    calibrated_folder, more_shells, shells_folder, tmp_path
):
    asked = ["--references", shells_folder, "-o", tmp_path / "q"]
    done = forametric("queue", calibrated_folder, more_shells, *asked)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "q" / "queue.html").read_text()
    assert page.count("<section>") == 64
    assert "http" not in page.replace("http-equiv", ""), "the page asks nothing of the network"
    table = pd.read_csv(tmp_path / "q" / "queue.csv")
    assert table["rank"].tolist() == list(range(1, 65))
    assert table["sample"].str.startswith("core").all()
    table["expert"] = table["expert"].astype(object)
    table.loc[:9, "expert"] = "Nova species"
    table.to_csv(tmp_path / "filled.csv", index=False)
    store = tmp_path / "d.sqlite"
    done = forametric(
        "decide", more_shells, tmp_path / "filled.csv", "--store", store, "--reviewer", "K. Lee"
    )
    assert done.returncode == 0, done.stderr
    kept = Decisions(store).history()
    assert kept["suggested"].tolist() == table["best"][:10].tolist()
    assert set(kept["model"]) == {Model.load(calibrated_folder).weights_sha256}
    done = forametric(
        "queue", calibrated_folder, more_shells, "--store", store, "-o", tmp_path / "rest"
    )
    assert done.returncode == 0, done.stderr
    left = pd.read_csv(tmp_path / "rest" / "queue.csv")
    assert len(left) == 54
    assert not set(left["id"]) & set(table["id"][:10])
    done = forametric("label", more_shells, "--store", store, "-o", tmp_path / "reviewed")
    assert done.returncode == 0, done.stderr
    done = forametric("assemblage", calibrated_folder, tmp_path / "reviewed", "-o", tmp_path / "a")
    assert done.returncode == 0, done.stderr
    shares = pd.read_csv(tmp_path / "a" / "shares.csv")
    assert shares.loc[shares["taxon"] == "Nova species", "count"].sum() == 10


def test_a_queue_needs_something_to_ask(calibrated_folder, model_folder, more_shells, tmp_path):
    done = forametric("queue", model_folder, more_shells, "-o", tmp_path / "q")
    assert done.returncode == 2
    assert "no calibration" in done.stderr
    done = forametric(
        "queue", calibrated_folder, more_shells, "--store", tmp_path / "no.sqlite",
        "-o", tmp_path / "q",
    )  # fmt: skip
    assert done.returncode == 2
    assert "does not exist" in done.stderr
    assert not (tmp_path / "q").exists()
