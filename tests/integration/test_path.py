"""The whole path on simulated shells, through the command line, with what can go wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from forametric.cli import app
from forametric.data.collection import Collection
from forametric.data.embeddings import read_vectors, write_vectors
from forametric.data.splits import draw_split, load_split, save_split, split_hash
from forametric.embedding.network import SpecimenNetwork
from forametric.embedding.recipe import Recipe
from forametric.errors import InputError, ModelError
from forametric.model.embed_collection import embed_to_file, embeddings_of
from forametric.model.model import Model
from forametric.training.train import train
from tests.support.cli import QUICK, forametric


def test_evaluate_writes_every_figure_and_one_page(
    model_folder, shells_folder, split_file, tmp_path
):
    done = forametric(
        "evaluate", model_folder, shells_folder, "--split", split_file, "-o", tmp_path / "r"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "r" / "metrics.json").read_text())
    for part, names in {
        "known": ("accuracy", "macro_f1", "top3", "knn_accuracy", "head_accuracy"),
        "unseen": ("matched_accuracy", "matched_macro_f1", "ami", "ari", "recall_at_1"),
        "open_set": ("auroc",),
    }.items():
        for name in names:
            assert -1 <= found[part][name] <= 1
    assert found["n"]["unseen"] == 24
    assert found["seconds"] > 0
    page = (tmp_path / "r" / "report.html").read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/") > 10


def test_measuring_on_what_was_trained_on_is_refused(model_folder, shells_folder, shells, tmp_path):
    save_split(draw_split(shells, seed=9, unseen=2), tmp_path / "other.csv")
    done = forametric(
        "evaluate",
        model_folder,
        shells_folder,
        "--split",
        tmp_path / "other.csv",
        "-o",
        tmp_path / "r",
    )
    assert done.returncode == 2
    assert (
        "in the model's references" in done.stderr or "no specimens of subset test" in done.stderr
    )
    assert not (tmp_path / "r").exists()


def test_identify_names_every_image_and_lists_the_broken(model_folder, picture, tmp_path):
    picture("new/1.png", 1)
    (tmp_path / "new" / "2.jpg").write_text("no image")
    done = forametric("identify", model_folder, tmp_path / "new", "-o", tmp_path / "names.csv")
    assert done.returncode == 1
    table = pd.read_csv(tmp_path / "names.csv")
    assert list(table["image"]) == ["1.png"]
    assert {"taxon", "score", "neighbour_1", "neighbour_5_taxon"} <= set(table.columns)
    assert list(pd.read_csv(tmp_path / "names.skipped.csv")["image"]) == ["2.jpg"]
    again = forametric("identify", model_folder, tmp_path / "new", "-o", tmp_path / "names.csv")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr


def test_identify_finds_the_most_similar_of_embedded_specimens(
    model_folder, shells_folder, shells, tmp_path
):
    done = forametric("embed", model_folder, shells_folder, "-o", tmp_path / "v.parquet")
    assert done.returncode == 0, done.stderr
    one = shells.path(5)
    asked = [model_folder, one, "-o", tmp_path / "n.csv", "--neighbors", tmp_path / "v.parquet"]
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
    for wrong, said in (("depth=3", "no column depth"), ("taxon=x", "no specimens"), ("x", "COL")):
        done = forametric("identify", *asked, wrong)
        assert done.returncode == 2
        assert said in done.stderr


def test_vectors_of_another_model_are_refused(
    model_folder, shells_folder, more_shells, shells, tmp_path
):
    other = tmp_path / "other.parquet"
    write_vectors(other, shells.specimens["id"], np.eye(48, 512, dtype=np.float32))
    asked = [model_folder, shells.path(0), "-o", tmp_path / "n.csv", "--neighbors", other]
    done = forametric("identify", *asked)
    assert done.returncode == 2
    assert "of another model" in done.stderr
    done = forametric("embed", model_folder, shells_folder, "-o", tmp_path / "v.parquet")
    asked = ["--vectors", tmp_path / "v.parquet", "-o", tmp_path / "map.png"]
    done = forametric("map", model_folder, more_shells, *asked)
    assert done.returncode == 2
    assert "another collection" in done.stderr


def test_a_file_of_vectors_names_specimens_without_their_images(model_folder, shells, tmp_path):
    model = Model.load(model_folder)
    embed_to_file(model, shells, tmp_path / "v.parquet")
    plain, read = (
        model.embed(shells),
        embeddings_of(model, shells, tmp_path / "v.parquet"),
    )
    assert read.rows == plain.rows
    assert np.allclose(read.head, plain.head, atol=1e-6)
    assert np.allclose(model.scores(read), model.scores(plain), atol=1e-5)
    backwards = shells.select(list(range(len(shells)))[::-1])
    turned = embeddings_of(model, backwards, tmp_path / "v.parquet")
    assert np.array_equal(turned.head, read.head[::-1])


def test_a_map_of_vectors_made_before_is_the_same_map(model_folder, shells_folder, tmp_path):
    assert forametric("embed", model_folder, shells_folder, "-o", tmp_path / "v").returncode == 0
    maps = []
    for name, more in (("a.png", []), ("b.png", ["--vectors", tmp_path / "v"])):
        done = forametric("map", model_folder, shells_folder, "-o", tmp_path / name, *more)
        assert done.returncode == 0, done.stderr
        assert "the map keeps" in " ".join(done.stdout.split())
        maps.append(pd.read_parquet((tmp_path / name).with_suffix(".parquet")))
    assert np.allclose(maps[0][["x", "y"]], maps[1][["x", "y"]], atol=1e-3)


def test_map_draws_and_places_without_moving(model_folder, shells_folder, tmp_path):
    for name in ("map.png", "page.html"):
        done = forametric("map", model_folder, shells_folder, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
    before = (tmp_path / "map.parquet").read_bytes()
    done = forametric(
        "map", model_folder, shells_folder, "-o", tmp_path / "placed.png", "--onto",
        tmp_path / "map.parquet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "map.parquet").read_bytes() == before
    assert (tmp_path / "placed.png").stat().st_size > 10_000


def test_embed_goes_on_after_a_kill(model_folder, shells_folder, shells, tmp_path, monkeypatch):
    from forametric.model import embed_collection as embedding
    from forametric.model import model as embedder

    monkeypatch.setattr(embedder, "CHUNK", 20)
    model = Model.load(model_folder)
    whole = tmp_path / "whole.parquet"
    embedding.embed_to_file(model, shells, whole)

    def killed(paths, **settings):
        for number, part in enumerate(Model.embed_in_batches(model, paths, **settings)):
            if number == 1:
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr(model, "embed_in_batches", killed)
    with pytest.raises(KeyboardInterrupt):
        embedding.embed_to_file(model, shells, tmp_path / "v.parquet")
    assert not (tmp_path / "v.parquet").exists()
    looked_at = []

    def only_the_rest(paths, **settings):
        looked_at.extend(paths)
        return Model.embed_in_batches(model, paths, **settings)

    monkeypatch.undo()
    monkeypatch.setattr(embedder, "CHUNK", 20)
    monkeypatch.setattr(model, "embed_in_batches", only_the_rest)
    embedding.embed_to_file(model, shells, tmp_path / "v.parquet")
    assert looked_at == shells.paths()[20:]
    (a, x), (b, y) = read_vectors(whole), read_vectors(tmp_path / "v.parquet")
    assert list(a["id"]) == list(b["id"]) == list(shells.specimens["id"])
    assert np.allclose(x, y, atol=1e-6)


def test_a_picture_that_changed_meanwhile_is_embedded_again(model_folder, picture, tmp_path):
    from forametric.data.importers import import_collection
    from forametric.model import embed_collection as embedding

    for number in range(3):
        picture(f"in/{number}.png", seed=number)
    shells = import_collection(tmp_path / "in", tmp_path / "c").collection
    model = Model.load(model_folder)
    work = tmp_path / "v.parquet.unfinished"
    embedding.embed_to_file(model, shells, tmp_path / "v.parquet")
    before = read_vectors(tmp_path / "v.parquet")[1]
    (tmp_path / "v.parquet").unlink()

    def killed(parts, output):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedding, "join_vectors", killed)
        with pytest.raises(KeyboardInterrupt):
            embedding.embed_to_file(model, shells, tmp_path / "v.parquet")
    assert (work / "part-000000000.json").is_file()
    picture("in/1.png", seed=9)
    embedding.embed_to_file(model, shells, tmp_path / "v.parquet")
    table, after = read_vectors(tmp_path / "v.parquet")
    image = dict(zip(shells.specimens["id"], shells.specimens["image"], strict=True))
    changed = [
        image[i] for i, a, b in zip(table["id"], before, after, strict=True) if (a != b).any()
    ]
    assert changed == ["1.png"]


@pytest.mark.slow
def test_twenty_kills_lose_and_double_nothing(model_folder, many, tmp_path):
    """SIGKILL at random moments of an embedding, which then comes to the same rows."""
    from forametric.model.embed_collection import embed_to_file

    wanted = tmp_path / "whole.parquet"
    failed = embed_to_file(Model.load(model_folder), Collection.open(many), wanted)
    command = [sys.executable, "-m", "forametric", "embed", str(model_folder), str(many), "-o"]
    rng = np.random.default_rng(0)
    output, finished, killed = tmp_path / "v.parquet", 0, 0
    for attempt in range(20):
        if attempt % 5 == 0:  # begin anew, so that every stage is hit
            shutil.rmtree(tmp_path / "v.parquet.unfinished", ignore_errors=True)
        process = subprocess.Popen([*command, str(output)], stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(1, 7))
            finished += 1
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        if output.exists():
            _same_rows(output, wanted)
            output.unlink()
    assert killed >= 5, (killed, finished)
    done = forametric(*command[3:], output)
    assert done.returncode == 1, "one picture is broken"
    assert [*failed] == list(pd.read_csv(tmp_path / "v.skipped.csv")["image"])
    _same_rows(output, wanted)


def _same_rows(path, wanted):
    (a, x), (b, y) = read_vectors(path), read_vectors(wanted)
    assert list(a["id"]) == list(b["id"])
    assert np.allclose(x, y, atol=1e-5)


def test_a_loaded_model_embeds_as_the_saved_one(model_folder, shells):
    model = Model.load(model_folder)
    place = {i: row for row, i in enumerate(shells.specimens["id"])}
    rows = [place[i] for i in model.references.ids]
    assert np.allclose(model.embed(shells.select(rows)), model.references.vectors, atol=1e-5)


def test_a_damaged_or_unknown_model_is_refused(model_folder, tmp_path):
    import shutil

    with pytest.raises(ModelError, match="not a model"):
        Model.load(tmp_path)
    shutil.copytree(model_folder, tmp_path / "m")
    weights = tmp_path / "m" / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    with pytest.raises(ModelError, match="damaged"):
        Model.load(tmp_path / "m")
    weights.unlink()
    with pytest.raises(ModelError, match="lacks its file"):
        Model.load(tmp_path / "m")
    card = json.loads((tmp_path / "m" / "model.json").read_text()) | {"format": 99}
    (tmp_path / "m" / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="model format 99"):
        Model.load(tmp_path / "m")


@pytest.mark.slow
def test_training_killed_in_the_middle_ends_with_the_same_weights(
    shells_folder, split_file, tmp_path
):
    longer = ["--split", split_file, "--set", "epochs=14", *QUICK[2:]]
    whole = forametric("train", shells_folder, "-o", tmp_path / "whole", *longer)
    assert whole.returncode == 0, whole.stderr
    command = ["train", str(shells_folder), "-o", str(tmp_path / "cut"), *map(str, longer)]
    running = subprocess.Popen([sys.executable, "-m", "forametric", *command])
    checkpoint = tmp_path / "cut.unfinished" / "checkpoint.safetensors"
    while not checkpoint.is_file() and running.poll() is None:
        time.sleep(0.02)
    assert running.poll() is None, "it ended before it could be killed"
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "cut").exists()
    other = forametric(*command, "--seed", "5")
    assert other.returncode == 2
    assert "other settings" in other.stderr
    resumed = forametric(*command)
    assert resumed.returncode == 0, resumed.stderr
    assert "continuing" in resumed.stderr
    a, b = ((tmp_path / n / "weights.safetensors").read_bytes() for n in ("whole", "cut"))
    assert a == b


@pytest.mark.slow
def test_a_results_folder_says_how_to_do_it_again(shells_folder, split_file, tmp_path):
    first = forametric("train", shells_folder, "--split", split_file, "-o", tmp_path / "m", *QUICK)
    assert first.returncode == 0, first.stderr
    asked = ["--split", split_file, "-o", tmp_path / "r"]
    assert forametric("evaluate", tmp_path / "m", shells_folder, *asked).returncode == 0
    again = forametric("train", shells_folder, "--again", tmp_path / "r", "-o", tmp_path / "n")
    assert again.returncode == 0, again.stderr
    a, b = ((tmp_path / n / "weights.safetensors").read_bytes() for n in ("m", "n"))
    assert a == b
    neither = forametric("train", shells_folder, "-o", tmp_path / "x")
    assert neither.returncode == 2
    assert "--again" in neither.stderr
    foreign = forametric("train", shells_folder, "--again", tmp_path, "-o", tmp_path / "x")
    assert foreign.returncode == 2
    assert "metrics.json does not exist" in foreign.stderr


def test_an_embedding_that_collapses_twice_ends_the_training(
    shells, split_file, tmp_path, monkeypatch
):
    def collapse(self, squares):
        features = self.features(squares)
        return torch.ones(len(features), 128) + 1e-4 * self.project(features), self.head(features)

    monkeypatch.setattr(SpecimenNetwork, "forward", collapse)
    recipe = Recipe.load("default", ["epochs=6", "network.image_size=32", "loss.metric=none"])
    with pytest.raises(InputError, match=r"after epoch 2 .* collapsed"):
        train(shells, load_split(shells, str(split_file)), recipe, tmp_path / "m")


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(shells_folder, split_file, tmp_path):
    # Without batch normalisation, whose statistics two processors do not share.
    recipe = ["freeze=1.0", "neck=hidden", "size=32", "whitened_dim=0", "embedding=16"]
    settings = [f"network.{setting}" for setting in recipe]
    settings += ["average=0", "sampler.specimens=3", "optimiser.kind=sgd"]
    asked = ["train", shells_folder, "--split", split_file]
    asked += [word for setting in settings for word in ("--set", setting)]
    weights = []
    for name, epochs in (("start", 0), ("one", 3)):
        done = forametric(*asked, "--set", f"epochs={epochs}", "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        weights.append(load_file(tmp_path / name / "weights.safetensors"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, "-m", "forametric", *asked, "--set", "epochs=3"]
    done = subprocess.run(
        list(map(str, [*command, "-o", tmp_path / "two"])), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained") == 1, "only the first process speaks"
    (start, one), two = weights, load_file(tmp_path / "two" / "weights.safetensors")
    for name in ("head.weight", "project.weight", "neck.0.weight"):
        moved = float((one[name] - start[name]).norm())
        assert moved > 0
        assert float((one[name] - two[name]).norm()) < 1e-3 * moved, name
    assert not (tmp_path / "two.unfinished").exists()


def test_the_frozen_recipe_needs_no_training(shells_folder, split_file, tmp_path):
    done = forametric(
        "train", shells_folder, "--split", split_file, "--recipe", "frozen", "-o", tmp_path / "m",
        "--set", "network.image_size=64", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == []


@pytest.mark.parametrize(
    ("subset", "message"),
    [("test", "no labelled specimens"), ("train", "no specimens of subset val")],
)
def test_a_split_one_cannot_train_on_is_refused(shells, shells_folder, tmp_path, subset, message):
    save_split(pd.Series(subset, index=shells.specimens["id"]), tmp_path / "s.csv")
    done = forametric("train", shells_folder, "--split", tmp_path / "s.csv", "-o", tmp_path / "m")
    assert done.returncode == 2
    assert message in done.stderr


def test_one_taxon_only_is_refused(shells, shells_folder, tmp_path):
    sphere = shells.taxa() == "single sphere"
    subsets = np.where(sphere, np.where(np.arange(len(shells)) % 2, "train", "val"), "unused")
    save_split(pd.Series(subsets, index=shells.specimens["id"]), tmp_path / "s.csv")
    done = forametric("train", shells_folder, "--split", tmp_path / "s.csv", "-o", tmp_path / "m")
    assert done.returncode == 2
    assert "at least two taxa" in done.stderr
    with pytest.raises(InputError, match="fewer than two"):
        draw_split(shells.select(np.flatnonzero(sphere)))


def test_splits_round_trip_and_never_cut_a_group(shells, tmp_path):
    table = shells.specimens.assign(group=[f"g{i // 2}" for i in range(len(shells))])
    grouped = Collection(table, shells.images)
    subsets = draw_split(grouped, seed=4, unseen=1)
    save_split(subsets, tmp_path / "s.csv")
    again = load_split(grouped, str(tmp_path / "s.csv"))
    assert split_hash(again) == split_hash(subsets)
    assert (subsets.groupby(table["group"].to_numpy()).nunique() == 1).all()
    assert (subsets == "unseen").sum() == 12
    assert set(subsets) == {"train", "val", "test", "unseen"}
    assert split_hash(draw_split(grouped, seed=5, unseen=1)) != split_hash(subsets)


def test_a_taxon_of_one_specimen_goes_to_train(shells):
    one = shells.select([0, *range(12, len(shells))])
    subsets = draw_split(one)
    assert subsets.iloc[0] == "train"


def test_an_unknown_split_or_role_is_named(shells, tmp_path):
    with pytest.raises(InputError, match="neither a column"):
        load_split(shells, "open_7")
    ids = shells.specimens["id"]
    save_split(pd.Series("trian", index=ids), tmp_path / "s.csv")
    with pytest.raises(InputError, match="'trian'"):
        load_split(shells, str(tmp_path / "s.csv"))


@pytest.mark.parametrize("verb", sorted(c.name or "" for c in app.registered_commands))
def test_every_verb_has_help_with_an_example(verb):
    verb = verb or "check"
    shown = CliRunner().invoke(app, [verb, "--help"])
    assert shown.exit_code == 0
    assert "Example: forametric" in shown.stdout


@pytest.mark.parametrize("verb", ["recipes", "info"])
def test_json_for_programs(verb):
    shown = CliRunner().invoke(app, [verb, "--json"])
    assert json.loads(shown.stdout)


def test_help_needs_no_heavy_imports():
    heavy = ("torch", "pandas", "matplotlib", "sklearn", "faiss", "ray")
    code = f"import sys, forametric.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_an_import_killed_in_the_middle_leaves_no_collection(shells, tmp_path):
    script = (
        "import os, signal, forametric.data.collection as c\n"
        "from pathlib import Path\n"
        "c.write_json = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from forametric.data.importers import import_collection\n"
        f"import_collection({str(shells.images)!r}, Path({str(tmp_path / 'out')!r}))\n"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    assert forametric("import", shells.images, "-o", tmp_path / "out").returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["out"]


def test_ctrl_c_ends_with_130_and_the_same_command_goes_on(shells_folder, split_file, tmp_path):
    command = ["train", str(shells_folder), "--split", str(split_file), "-o", str(tmp_path / "m")]
    command += ["--set", "epochs=30", *QUICK[2:]]
    running = subprocess.Popen(
        [sys.executable, "-m", "forametric", *command],
        # A test run in the background inherits SIGINT as ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    checkpoint = tmp_path / "m.unfinished" / "checkpoint.safetensors"
    while not checkpoint.is_file() and running.poll() is None:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    assert running.wait() == 130
    assert not (tmp_path / "m").exists()
    assert forametric(*command).returncode == 0


def test_the_public_names_are_those_meant():
    import forametric as fm

    for name in fm.__all__:
        assert getattr(fm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Embeder'"):
        _ = fm.Embeder


def test_names_weigh_the_head_by_what_it_knows(model_folder):
    from forametric.data.embeddings import Embeddings
    from forametric.identification.references import ReferenceSet

    model = Model.load(model_folder)
    a, b = model.card.classes
    x, y, z = np.eye(3, model.card.dimensions, dtype=np.float32)
    model.references = ReferenceSet(
        ["1", "2", "3"], np.array([a, b, "new"], object), np.stack([x, y, z])
    )
    got = Embeddings([0, 1], np.stack([x, z]), np.array([[0.0, 1.0], [0.0, 1.0]], np.float32), {})
    votes = model.references.votes(got.vectors)
    scores = model.scores(got)
    assert scores.sum(1) == pytest.approx(1)
    column = {t: model.references.classes_.index(t) for t in (a, b, "new")}
    known = votes[0, [column[a], column[b]]].sum()
    assert scores[0, column[b]] == pytest.approx(votes[0, column[b]] * (1 - known / 2) + known / 2)
    assert scores[1].argmax() == column["new"], "a taxon that the head never met can still win"


def test_training_goes_on_from_a_model(model_folder, shells_folder, split_file, tmp_path):
    start = ("train", shells_folder, "--split", split_file, "--from", model_folder)
    done = forametric(*start, "-o", tmp_path / "m", *QUICK, "--set", "optimiser.backbone_lr=1e-9")
    assert done.returncode == 0, done.stderr
    old, new = Model.load(model_folder), Model.load(tmp_path / "m")
    assert new.card.training["started_from"] == old.card.title
    for name, before in old.network.backbone.named_parameters():
        after = new.network.backbone.get_parameter(name)
        assert (after - before).abs().max() < 1e-3, name
    other = forametric(
        *start, "-o", tmp_path / "n", *QUICK, "--set", "network.backbone=mobilenetv3_small_050"
    )
    assert other.returncode == 2
    assert "has the backbone" in other.stderr
