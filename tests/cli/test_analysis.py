"""Commands that use a model: names, embeddings, morphotypes, abundances, maps."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from openpyxl import load_workbook
from PIL import Image

from forametric.data.collection import Collection
from forametric.data.embeddings import write_vectors
from forametric.identification.drift import DriftReference
from forametric.identification.identifier import UNKNOWN
from forametric.model.model import Model
from tests.support.cli import forametric

# identify


def test_identify_names_every_image_and_lists_the_broken(model_folder, picture, tmp_path):
    picture("new/1.png", 1)
    (tmp_path / "new" / "2.jpg").write_text("no image")
    done = forametric("identify", model_folder, tmp_path / "new", "-o", tmp_path / "names.csv")
    assert done.returncode == 1
    table = pd.read_csv(tmp_path / "names.csv")
    assert list(table["image"]) == ["1.png"]
    assert {"taxon", "score", "neighbor_1", "neighbor_5_taxon"} <= set(table.columns)
    assert "probability" not in table.columns, "the model has no calibration"
    assert list(pd.read_csv(tmp_path / "names.skipped.csv")["image"]) == ["2.jpg"]
    again = forametric("identify", model_folder, tmp_path / "new", "-o", tmp_path / "names.csv")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


def test_identify_decides_and_gives_conformal_sets(calibrated_folder, more_shells, tmp_path):
    asked = ["identify", calibrated_folder, more_shells, "-o", tmp_path / "n.csv"]
    done = forametric(*asked, "--conformal-alpha", 0.1, "--json")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "n.csv", keep_default_na=False)
    said = json.loads(done.stdout)
    assert said["identified"] == len(table) == 64
    assert said["decisions"] == table["decision"].value_counts().to_dict()
    assert (table["conformal_set"] != "").all()
    for option, value, words in (
        ("--min-probability", 7, "between 0 and 1"),
        ("--conformal-alpha", 0.001, "the least is"),
    ):
        done = forametric(*asked, "--overwrite", option, value)
        assert done.returncode == 2
        assert words in done.stderr


def test_images_of_another_microscope_are_told_from_those_of_validation(
    calibrated_folder, more_shells, tmp_path
):
    model, specimens = Model.load(calibrated_folder), Collection.open(more_shells)
    # What 200 validation specimens of ten taxa would tell; the model has two taxa.
    reference = DriftReference(
        specimens=200, taxa=10, effective_taxa=10, mean=[0] * 9, limit=6,
        sd=[0.5, 0.2, 0.2, 15, 0.5, 15, 5, 5, 0.2], taxon_sd=[0.1] * 9,
        unknown_sd=[1, 0.4, 0.4, 30, 1, 30, 10, 10, 0.4], unknown_taxon_sd=[0.2] * 9,
    )  # fmt: skip
    calibration = model.calibrated.model_copy(update={"drift": reference})
    model.with_identifier(replace(model.identifier, calibration=calibration)).save(tmp_path / "m")
    same, noisy = tmp_path / "same", tmp_path / "noisy"
    rng = np.random.default_rng(0)
    for folder, sd in ((same, 0), (noisy, 14)):
        folder.mkdir()
        for number, path in enumerate(specimens.paths()):
            pixels = np.asarray(Image.open(path).convert("RGB"), float)
            pixels = np.clip(pixels + rng.normal(0, sd, pixels.shape), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03}.png")
    said = {}
    for folder in (same, noisy):
        out = tmp_path / f"{folder.name}.csv"
        done = forametric("identify", tmp_path / "m", folder, "-o", out, "--json")
        assert done.returncode == 0, done.stderr
        unlike = pd.read_csv(out, keep_default_na=False)["unlike"]
        said[folder.name] = done.stderr, json.loads(done.stdout)["unlike_validation"], unlike
    assert "than those that the model was validated on" not in said["same"][0]
    assert said["same"][1] == {}
    assert (said["same"][2] != "").mean() < 0.1
    assert "noisier" in said["noisy"][1][""]
    assert "than those that the model was validated on" in said["noisy"][0]
    assert "more of their names may be wrong" in said["noisy"][0]


def test_conformal_sets_need_a_calibration(model_folder, more_shells, tmp_path):
    asked = ["identify", model_folder, more_shells, "-o", tmp_path / "n.csv"]
    done = forametric(*asked, "--conformal-alpha", 0.1)
    assert done.returncode == 2
    assert "not calibrated" in done.stderr


@pytest.fixture(scope="module")
def vectors_file(model_folder, shells_folder, tmp_path_factory):
    """What embed writes for the 48 shells."""
    path = tmp_path_factory.mktemp("embedded") / "v.parquet"
    done = forametric("embed", model_folder, shells_folder, "-o", path)
    assert done.returncode == 0, done.stderr
    return path


def test_identify_finds_the_most_similar_of_embedded_specimens(
    model_folder, shells, vectors_file, tmp_path
):
    one = shells.path(5)
    asked = [model_folder, one, "-o", tmp_path / "n.csv", "--neighbors", vectors_file]
    assert forametric("identify", *asked).returncode == 0
    found = pd.read_csv(tmp_path / "n.neighbors.csv")
    assert list(found["rank"]) == list(range(1, 11))
    assert found["id"][0] == shells.specimens["id"][5]
    assert found["distance"][0] < 0.001
    assert found["distance"].is_monotonic_increasing
    assert forametric("identify", *asked).returncode == 2, "nothing is overwritten silently"
    other = "single sphere" if shells.taxa()[5] != "single sphere" else "clavate radial"
    asked += ["--overwrite", "--where"]
    assert forametric("identify", *asked, f"taxon={other}").returncode == 0
    assert set(pd.read_csv(tmp_path / "n.neighbors.csv")["taxon"]) == {other}
    for wrong, said in (
        ("depth=3", "no column depth"), ("taxon=x", "no embedded specimen"), ("x", "COLUMN=VALUE"),
    ):  # fmt: skip
        done = forametric("identify", *asked, wrong)
        assert done.returncode == 2
        assert said in done.stderr
    alone = forametric("identify", *asked[:4], "--overwrite", "--where", "taxon=x")
    assert alone.returncode == 2
    assert "only goes with --neighbors" in alone.stderr


def test_embeddings_of_another_model_or_collection_are_refused(
    model_folder, more_shells, shells, vectors_file, tmp_path
):
    other = tmp_path / "other.parquet"
    write_vectors(other, shells.specimens["id"], np.eye(48, 512, dtype=np.float32))
    asked = [model_folder, shells.path(0), "-o", tmp_path / "n.csv", "--neighbors", other]
    done = forametric("identify", *asked)
    assert done.returncode == 2
    assert "a different model" in done.stderr
    asked = ["--embeddings", vectors_file, "-o", tmp_path / "map.png"]
    done = forametric("map", model_folder, more_shells, *asked)
    assert done.returncode == 2
    assert "another collection" in done.stderr


# One rule for what a verb takes


@pytest.mark.parametrize("verb", ["identify", "embed", "check", "discover", "map", "queue"])
def test_a_folder_of_images_is_taken_by_every_verb(calibrated_folder, shells, tmp_path, verb):
    """identify once took it; embed, map, discover and assemblage did not."""
    folder = shells.path(0).parent
    output = tmp_path / {"map": "map.png", "identify": "n.csv"}.get(verb, "out")
    before = [] if verb == "check" else [calibrated_folder]
    more = ["--all"] if verb == "discover" else []
    done = forametric(verb, *before, folder, "-o", output, *more)
    assert done.returncode == 0, done.stderr
    assert output.exists()


@pytest.mark.parametrize("verb", ["identify", "embed", "check"])
def test_an_image_is_taken_too(model_folder, shells, tmp_path, verb):
    output = tmp_path / {"identify": "n.csv"}.get(verb, "out")
    done = forametric(
        verb, *([] if verb == "check" else [model_folder]), shells.path(0), "-o", output
    )
    assert done.returncode == 0, done.stderr


def test_where_a_folder_cannot_do_the_sentence_says_what_is_missing(
    calibrated_folder, shells, tmp_path
):
    folder = shells.path(0).parent
    done = forametric("assemblage", calibrated_folder, folder, "-o", tmp_path / "a")
    assert done.returncode == 2
    assert "no values in the column 'sample'" in done.stderr
    one = forametric("map", calibrated_folder, shells.path(0), "-o", tmp_path / "m.png")
    assert one.returncode == 2
    assert "a map needs at least 3 specimens" in one.stderr
    few = forametric("discover", calibrated_folder, shells.path(0), "-o", tmp_path / "d", "--all")
    assert few.returncode == 2
    assert "1 specimens are too few to group" in few.stderr
    nothing = forametric("identify", calibrated_folder, tmp_path / "no", "-o", tmp_path / "n.csv")
    assert nothing.returncode == 2
    assert "a collection, a folder of images or an image" in nothing.stderr
    assert not list(tmp_path.iterdir())


def test_images_none_of_which_can_be_read_end_every_verb_with_a_sentence(
    calibrated_folder, more_shells, tmp_path
):
    shells = Collection.open(more_shells)
    table = shells.specimens.head(3).assign(image=["a.png", "b.png", "c.png"])
    (tmp_path / "images").mkdir()
    Collection(table, tmp_path / "images", {}).save(tmp_path / "c")
    for verb in (("discover",), ("add",), ("assemblage",), ("calibrate", "--split", "check"),
                 ("identify",)):  # fmt: skip
        done = forametric(
            verb[0], calibrated_folder, tmp_path / "c", *verb[1:], "-o", tmp_path / "o"
        )
        assert done.returncode == 2, done.stderr
        assert "none of the 3 images can be read; the first: a.png" in done.stderr
        assert not (tmp_path / "o").exists()


# map


def test_a_map_of_embeddings_made_before_is_the_same_map(
    model_folder, shells_folder, vectors_file, tmp_path
):
    maps = []
    for name, more in (("a.png", []), ("b.png", ["--embeddings", vectors_file])):
        done = forametric("map", model_folder, shells_folder, "-o", tmp_path / name, *more)
        assert done.returncode == 0, done.stderr
        assert "ten nearest neighbors kept" in " ".join(done.stdout.split())
        maps.append(pd.read_parquet((tmp_path / name).with_suffix(".parquet")))
    assert np.allclose(maps[0][["x", "y"]], maps[1][["x", "y"]], atol=1e-3)


def test_map_draws_and_places_without_moving(model_folder, shells_folder, vectors_file, tmp_path):
    known = ["--embeddings", vectors_file]
    for name in ("map.png", "page.html"):
        done = forametric("map", model_folder, shells_folder, "-o", tmp_path / name, *known)
        assert done.returncode == 0, done.stderr
    before = (tmp_path / "map.parquet").read_bytes()
    onto = [*known, "--onto", tmp_path / "map.parquet"]
    done = forametric("map", model_folder, shells_folder, "-o", tmp_path / "placed.png", *onto)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "map.parquet").read_bytes() == before
    assert (tmp_path / "placed.png").stat().st_size > 10_000
    for name, words in (("m.gif", ".pdf"), ("m.html", "placed onto a map")):
        done = forametric("map", model_folder, shells_folder, "-o", tmp_path / name, *onto)
        assert done.returncode == 2
        assert words in done.stderr


# discover, assemblage


def test_discover_name_and_add(calibrated_folder, more_shells, tmp_path):
    bare = forametric("discover", calibrated_folder, more_shells, "--all", "-o", tmp_path / "d")
    assert bare.returncode == 0, bare.stderr
    for name in ("discover.html", "morphotypes.csv", "specimens.csv", "collection.json"):
        assert (tmp_path / "d" / name).is_file()
    early = forametric("add", calibrated_folder, tmp_path / "d", "-o", tmp_path / "m")
    assert early.returncode == 2
    assert "no morphotype is named yet" in early.stderr
    table = pd.read_csv(tmp_path / "d" / "morphotypes.csv")
    table["name"] = table["name"].astype(object)
    table.loc[0, "name"] = "Newgenus novus"
    table.to_csv(tmp_path / "d" / "morphotypes.csv", index=False)
    done = forametric("add", calibrated_folder, tmp_path / "d", "-o", tmp_path / "m", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["added"] == table["specimens"][0]
    assert "Newgenus novus" in Model.load(tmp_path / "m").taxa


def test_discover_takes_a_number_of_groups(calibrated_folder, more_shells, tmp_path):
    asked = ["discover", calibrated_folder, more_shells, "--all", "-o", tmp_path / "d"]
    done = forametric(*asked, "--n-groups", 2, "--json")
    assert done.returncode == 0, done.stderr
    assert 1 <= len(json.loads(done.stdout)["morphotypes"]) <= 2
    many = forametric(*asked, "--overwrite", "--n-groups", 100)
    assert many.returncode == 2
    assert "cannot form 100 groups" in many.stderr


def test_discover_says_why_it_cannot(model_folder, more_shells, tmp_path):
    done = forametric("discover", model_folder, more_shells, "-o", tmp_path / "d")
    assert done.returncode == 2
    assert "no calibration" in done.stderr
    assert not (tmp_path / "d").exists()


def test_assemblage_writes_every_table_and_the_figure(calibrated_folder, more_shells, tmp_path):
    asked = ["assemblage", calibrated_folder, more_shells]
    done = forametric(*asked, "--depth", "depth", "-o", tmp_path / "a")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "a" / "abundances.csv")
    counts = pd.read_csv(tmp_path / "a" / "counts.csv").set_index("sample")
    fractions = pd.read_csv(tmp_path / "a" / "fractions.csv").set_index("sample")
    samples = pd.read_csv(tmp_path / "a" / "samples.csv")
    assert samples["sample"].tolist() == ["core 8", "core 9", "core 10", "core 11"]
    assert samples["depth"].tolist() == [0, 1, 2, 3]
    assert counts.to_numpy().sum() == 64
    assert fractions.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-3)
    assert UNKNOWN not in fractions
    assert (table["low"] <= table["abundance"]).all()
    assert (table["abundance"] <= table["high"]).all()
    assert {"raw", "count"} <= set(table)
    assert (tmp_path / "a" / "downcore.png").stat().st_size > 10_000
    book = load_workbook(tmp_path / "a" / "assemblage.xlsx")
    assert book.sheetnames == ["abundances", "counts", "fractions", "samples"]
    made_by = json.loads((tmp_path / "a" / "assemblage.json").read_text())
    assert made_by["model"] == Model.load(calibrated_folder).title
    for column, words in (("nowhere", "no values in the column"), ("image", "must be numeric")):
        bad = forametric(*asked, "--depth", column, "-o", tmp_path / "b")
        assert bad.returncode == 2
        assert words in bad.stderr
        assert not (tmp_path / "b").exists()


def test_images_elsewhere_need_a_cluster(model_folder, shells_folder, tmp_path):
    asked = [model_folder, shells_folder, "--images", "s3://bucket", "-o", tmp_path / "v"]
    done = forametric("embed", *asked)
    assert done.returncode == 2
    assert "--images only goes with --cluster" in done.stderr
