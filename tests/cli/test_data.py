"""Commands that make, check, split and export collections."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from forametric.data.collection import Collection
from forametric.data.splits import Split
from forametric.images import decode
from tests.support.cli import forametric


def test_import_reports_lists_and_refuses(tmp_path, picture):
    picture("in/Orbulina/1.png", 1)
    (tmp_path / "in" / "Orbulina" / "2.png").write_text("no image")
    done = forametric("import", tmp_path / "in", "-o", tmp_path / "c", "--json")
    assert done.returncode == 1, "done, but an image was skipped"
    said = json.loads(done.stdout)
    assert (said["specimens"], said["taxa"], said["source"]) == (1, 1, "folder")
    assert [row["image"] for row in said["skipped"]] == ["Orbulina/2.png"]
    assert str(tmp_path / "c" / "skipped.csv") in done.stderr.replace("\n", "")
    assert len(Collection.open(tmp_path / "c")) == 1
    again = forametric("import", tmp_path / "in", "-o", tmp_path / "c")
    assert again.returncode == 2
    assert "exists already" in again.stderr
    wrong = forametric("import", tmp_path / "in", "-o", tmp_path / "d", "--source", "cards")
    assert wrong.returncode == 2
    assert "cards" in wrong.stderr


def _slide(path) -> None:
    y, x = np.mgrid[:300, :400]
    grey = np.full((300, 400), 20.0)
    for cx, cy in ((100, 100), (300, 150)):
        grey[(x - cx) ** 2 + (y - cy) ** 2 <= 40**2] = 180
    grey += np.random.default_rng(0).normal(0, 1.5, grey.shape)
    Image.fromarray(np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, -1)).save(path)


def test_segment_reports_and_ends_with_the_right_status(tmp_path):
    _slide(tmp_path / "tray.png")
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(tmp_path / "bare.png")
    done = forametric(
        "segment", tmp_path / "tray.png", tmp_path / "bare.png",
        "--um-per-px", 3, "--min-diameter", 150, "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "no specimen was found" in done.stderr
    assert len(Collection.open(tmp_path / "out")) == 2
    again = forametric("segment", tmp_path / "tray.png", "-o", tmp_path / "out")
    assert again.returncode == 2
    assert "exists already" in again.stderr
    none = forametric("segment", tmp_path / "bare.png", "-o", tmp_path / "none")
    assert none.returncode == 2
    assert "no specimen was found on any of 1 slides" in none.stderr
    assert not list(tmp_path.glob("none*"))


@pytest.fixture
def flawed(shells, tmp_path):
    """A folder with a collection of three shells: one twice under two names, one broken since."""
    from forametric.data.importers import import_collection

    (tmp_path / "images").mkdir()
    for name, source in (("1.png", 0), ("again.png", 0), ("5.png", 5)):
        (tmp_path / "images" / name).write_bytes(shells.path(source).read_bytes())
    table = tmp_path / "images" / "t.csv"
    table.write_text("image,label\n1.png,clavate\nagain.png,keeled\n5.png,clavate\n")
    import_collection(table, tmp_path / "c")
    (tmp_path / "images" / "5.png").write_bytes(b"broken since")
    return tmp_path


def test_check_finds_and_fixes(flawed):
    done = forametric("check", flawed / "c", "-o", flawed / "o", "--fix", flawed / "n")
    assert done.returncode == 1
    for word in ("conflict", "again.png", "1.png", "keeled", "clavate"):
        assert word in done.stdout
    assert (flawed / "o" / "check.html").is_file()
    clean = Collection.open(flawed / "n")
    assert all(decode(path).size for path in clean.paths())
    again = forametric("check", flawed / "c", "-o", flawed / "o")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


def test_check_as_json_lists_what_was_skipped(flawed):
    """It once said "see the lines above" where there were none."""
    done = forametric("check", flawed / "c", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert [row["image"] for row in said["skipped"]] == ["5.png"]
    assert {row["kind"] for row in said["findings"]} >= {"conflict", "unreadable"}
    assert "skipped 5.png" in done.stderr
    listed = forametric("check", flawed / "c", "-o", flawed / "o")
    assert str(flawed / "o" / "findings.csv") in listed.stderr.replace("\n", "")


def test_split_draws_what_it_says(shells, shells_folder, tmp_path):
    out = tmp_path / "s.csv"
    done = forametric(
        "split", shells_folder, "--held-out-taxa", 1, "--seed", 3, "-o", out, "--json"
    )
    assert done.returncode == 0, done.stderr
    found = Split.load(shells, out)
    said = json.loads(done.stdout)
    assert (said["hash"], said["subsets"]) == (found.hash, found.counts)
    assert found.counts["unseen"] == 12
    assert forametric("split", shells_folder, "-o", out).returncode == 2
    few = forametric("split", shells_folder, "--held-out-taxa", 3, "-o", tmp_path / "t.csv")
    assert few.returncode == 2
    assert "fewer than two" in few.stderr


def test_split_names_taxa_with_few_specimens(shells, tmp_path):
    few = shells.select(np.r_[0, 12:48])
    few.save(tmp_path / "c")
    done = forametric("split", tmp_path / "c", "-o", tmp_path / "s.csv")
    assert done.returncode == 0
    assert f"few specimens: {shells.taxa()[0]} has 1" in done.stderr


def test_export_names_the_model(model_folder, shells_folder, tmp_path):
    named = forametric("identify", model_folder, shells_folder, "-o", tmp_path / "n.csv")
    assert named.returncode == 0, named.stderr
    done = forametric(
        "export", shells_folder, "--identifications", tmp_path / "n.csv", "--model", model_folder,
        "--format", "csv", "-o", tmp_path / "out.csv",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    by = pd.read_csv(tmp_path / "out.csv")["identified_by"]
    assert by.str.contains("model default of collection").all()


def test_the_taxonomy_can_be_written_and_edited(tmp_path):
    done = forametric("taxonomy", "-o", tmp_path / "names.csv", "--json")
    assert json.loads(done.stdout)["names"] == len(pd.read_csv(tmp_path / "names.csv"))
    assert forametric("taxonomy", "-o", tmp_path / "names.csv").returncode == 2


def test_download_reports_an_unreachable_site(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "forametric.data.importers.endless_forams._download",
        lambda url, target: (_ for _ in ()).throw(OSError("no route")),
    )
    done = forametric("download", "-o", tmp_path / "ef")
    assert done.returncode == 2
    assert "cannot be reached (no route)" in done.stderr


def test_info_describes_a_model_a_collection_and_the_installation(
    model_folder, shells_folder, tmp_path
):
    model = json.loads(forametric("info", model_folder, "--json").stdout)
    assert model["fingerprint"][:12] in model["title"]
    assert model["classes"]
    collection = json.loads(forametric("info", shells_folder, "--json").stdout)
    assert collection["specimens"] == 48
    assert sum(collection["taxa"].values()) == 48
    installed = json.loads(forametric("info", "--json").stdout)
    assert {"forametric", "python", "torch", "openvino"} <= set(installed)
    neither = forametric("info", tmp_path)
    assert neither.returncode == 2
    assert "is not a collection" in neither.stderr
