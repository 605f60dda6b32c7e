"""What is wrong with a collection is found, and a new one is made without it."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from forametric.analysis.check import KINDS, check, near_copies
from forametric.data.collection import Collection
from forametric.data.importers import import_collection
from forametric.model.model import Model
from forametric.simulation import render_shell


@pytest.fixture
def flawed(tmp_path) -> Collection:
    """Ten shells, then: a copy, a copy under another name, a near copy, a blank, a tiny one."""
    rows = []

    def add(name: str, picture: np.ndarray, label: str, subset: str, group: str = "") -> None:
        Image.fromarray(picture).save(tmp_path / name)
        rows.append((name, label, subset, group))

    shells = [render_shell("clavate radial", seed, 64) for seed in range(10)]
    for i, shell in enumerate(shells):
        add(f"{i}.png", shell, "clavate", "train", "slide" if i == 9 else "")
    add("copy.png", shells[0], "clavate", "train")
    add("conflict.png", shells[1], "keeled", "test")
    noisy = shells[2].astype(int) + np.random.default_rng(0).integers(-2, 3, shells[2].shape)
    add("near.png", np.clip(noisy, 0, 255).astype(np.uint8), "clavate", "val")
    add("blank.png", np.full((64, 64, 3), 40, np.uint8), "clavate", "unused")
    add("tiny.png", render_shell("clavate radial", 50, 16)[:10, :10], "clavate", "train")
    add("mate.png", render_shell("clavate radial", 60, 64), "clavate", "test", "slide")
    table = pd.DataFrame(rows, columns=["image", "label", "split_1", "group"])
    table.to_csv(tmp_path / "t.csv", index=False)
    return import_collection(tmp_path / "t.csv", tmp_path / "c").collection


def found(report, kind):
    return sorted(report.of(kind)["image"])


def test_each_flaw_is_found_once_and_nothing_else(flawed):
    (flawed.images / "5.png").write_bytes(b"broken since")
    report = check(flawed)
    assert found(report, "unreadable") == ["5.png"]
    assert found(report, "duplicate") == ["copy.png"]
    assert found(report, "conflict") == ["conflict.png"]
    assert found(report, "near copy") == ["near.png"]
    assert found(report, "blank") == ["blank.png"]
    assert found(report, "off scale") == ["tiny.png"]
    assert found(report, "leak") == ["conflict.png", "mate.png"]
    assert found(report, "label") == []
    assert report.of("leak")["message"].str.contains("split_1").all()


def test_fixing_makes_a_new_collection_and_leaves_the_old(flawed):
    (flawed.images / "5.png").write_bytes(b"broken since")
    before = flawed.specimens.copy()
    clean = check(flawed).fix()
    assert set(before["image"]) - set(clean.specimens["image"]) == {
        "5.png",
        "copy.png",
        "conflict.png",
    }
    assert clean.specimens.set_index("image")["taxon"].isna()["1.png"], "two names, so none"
    assert clean.specimens.set_index("image")["label"]["1.png"] == "clavate", "verbatim stays"
    pd.testing.assert_frame_equal(flawed.specimens, before)


def test_the_page_and_the_table_are_written(flawed, tmp_path):
    report = check(flawed)
    report.save(str(tmp_path / "out"))
    page = (tmp_path / "out" / "check.html").read_text()
    assert page.count("data:image/jpeg") >= 6
    assert "http" not in page
    table = pd.read_csv(tmp_path / "out" / "findings.csv")
    assert len(table) == sum(report.counts[kind] for kind in KINDS)


def test_a_planted_wrong_name_is_ranked_first(model_folder, shells):
    table = shells.specimens.copy()
    wrong = np.flatnonzero(table["taxon"] == "single sphere")[3]
    table.loc[wrong, ["label", "taxon"]] = "clavate radial"
    planted = Collection(table, shells.images, shells.info)
    report = check(planted, Model.load(model_folder))
    first = report.of("label").iloc[0]
    assert first["id"] == table["id"].iloc[wrong]
    assert "single sphere" in first["message"]
    marked = report.fix().specimens.set_index("id")
    assert "single sphere" in marked.loc[first["id"], "suspect"]
    assert marked.loc[first["id"], "taxon"] == "clavate radial"


def test_near_copies_are_each_reported_once_across_blocks():
    pictures = np.random.default_rng(0).normal(100, 20, (2500, 1024))
    pictures[2400] = pictures[3] * 1.1 + 5
    pictures = (pictures.clip(0, 255) * 256).astype(np.uint16)
    found = near_copies(pictures, np.arange(2500))
    assert [(earlier, later) for earlier, later, _ in found] == [(3, 2400)]


def frames(count: int, noise: float) -> np.ndarray:
    """Thumbnails of one still image with noise, as a camera records them."""
    rng = np.random.default_rng(0)
    still = rng.normal(100, 20, 1024)
    return ((still + rng.normal(0, noise, (count, 1024))).clip(0, 255) * 256).astype(np.uint16)


def test_many_nearly_equal_frames_give_one_row_each_and_name_one_image():
    found = near_copies(frames(2500, 0.5), np.arange(2500))
    assert [later for _, later, _ in found] == list(range(1, 2500))
    assert {earlier for earlier, _, _ in found} == {0}


def test_a_near_copy_of_a_near_copy_is_found_too():
    pictures = np.random.default_rng(0).normal(100, 20, (3, 1024))
    step = np.random.default_rng(1).normal(0, 2.6, 1024)
    pictures[1], pictures[2] = pictures[0] + step, pictures[0] + 2 * step
    pictures = (pictures.clip(0, 255) * 256).astype(np.uint16)
    pairs = [(a, b) for a, b, _ in near_copies(pictures, np.arange(3))]
    assert pairs == [(0, 1), (1, 2)]


def test_a_leak_is_found_through_a_copy_that_is_in_no_subset(tmp_path):
    rows = []
    for number, subset in enumerate(["unused", "train", "test", "test"]):
        name = f"{number}.png"
        Image.fromarray(render_shell("clavate radial", 1, 64)).save(tmp_path / name)
        rows.append((name, "clavate", subset))
    table = pd.DataFrame(rows, columns=["image", "label", "split_1"])
    table.to_csv(tmp_path / "t.csv", index=False)
    report = check(import_collection(tmp_path / "t.csv", tmp_path / "c").collection)
    assert found(report, "leak") == ["2.png", "3.png"]
    assert set(report.of("leak")["other_image"]) == {"1.png"}


def test_held_out_taxa_share_groups_and_do_not_leak(tmp_path):
    rows = []
    for number, subset in enumerate(["train", "test", "unseen", "distractor", "unused"]):
        name = f"{number}.png"
        Image.fromarray(render_shell("clavate radial", number, 64)).save(tmp_path / name)
        rows.append((name, f"taxon {number}", subset, "slide 1"))
    table = pd.DataFrame(rows, columns=["image", "label", "split_1", "group"])
    table.to_csv(tmp_path / "t.csv", index=False)
    report = check(import_collection(tmp_path / "t.csv", tmp_path / "c").collection)
    assert found(report, "leak") == ["1.png"]
    assert found(report, "shared group") == ["2.png", "3.png"]


def test_findings_are_listed_as_skipped_and_in_the_summary(flawed):
    (flawed.images / "5.png").write_bytes(b"broken since")
    report = check(flawed)
    assert report.skipped["image"].tolist() == ["5.png"]
    assert len(report.skipped["reason"][0]) > 5
    assert len(report.summary["findings"]) == len(report)


def test_a_folder_of_images_can_be_checked(flawed):
    report = check(str(flawed.images))
    assert found(report, "duplicate") == ["conflict.png", "copy.png"]
    assert report.counts["unlabelled"] == 16
