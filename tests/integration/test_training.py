"""Training that is killed, interrupted, repeated, shared between processes, or built upon."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

from forametric.model.model import Model
from tests.support.cli import QUICK, forametric

pytestmark = [pytest.mark.slow, pytest.mark.process]
SECONDS = 120  # at most, until a checkpoint


def _interrupted(command, signal_number, tmp_path) -> int:
    """Run a training and end it by a signal after its next checkpoint; returns the exit status."""
    checkpoint = tmp_path / "cut.unfinished" / "checkpoint.safetensors"
    before = _written(checkpoint)
    running = subprocess.Popen(
        [sys.executable, "-m", "forametric", *map(str, command)],
        # A test run in the background inherits SIGINT as ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        for _ in range(50 * SECONDS):
            if _written(checkpoint) != before or running.poll() is not None:
                break
            time.sleep(0.02)
        assert _written(checkpoint) != before, "no checkpoint was written"
        assert running.poll() is None, "it ended before it could be interrupted"
        running.send_signal(signal_number)
        return running.wait(60)
    finally:
        running.kill()
        running.wait()


def _written(checkpoint) -> int:
    return checkpoint.stat().st_mtime_ns if checkpoint.is_file() else 0


@pytest.fixture(scope="module")
def longer(shells_folder, split_file):
    return [
        "train", shells_folder, "--split", split_file, "--set", "epochs=14", *QUICK[2:],
    ]  # fmt: skip


def test_an_interrupted_training_ends_with_the_same_weights(longer, tmp_path, without_onnx):
    """Killed, then stopped by Ctrl-C, then finished: as if nothing had happened."""
    whole = forametric(*longer, "-o", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    command = [*longer, "-o", tmp_path / "cut"]
    assert _interrupted(command, signal.SIGKILL, tmp_path) == -signal.SIGKILL
    assert not (tmp_path / "cut").exists()
    other = forametric(*command, "--seed", "5")
    assert other.returncode == 2
    assert "other settings" in other.stderr
    assert _interrupted(command, signal.SIGINT, tmp_path) == 130
    assert not (tmp_path / "cut").exists()
    resumed = forametric(*command)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming" in resumed.stderr
    a, b = ((tmp_path / n / "weights.safetensors").read_bytes() for n in ("whole", "cut"))
    assert a == b
    assert not (tmp_path / "cut.unfinished").exists()


def test_a_results_folder_says_how_to_reproduce_it(
    model_folder, shells_folder, split_file, tmp_path, without_onnx
):
    asked = ["--split", split_file, "-o", tmp_path / "r"]
    assert forametric("evaluate", model_folder, shells_folder, *asked).returncode == 0
    again = forametric("train", shells_folder, "--reproduce", tmp_path / "r", "-o", tmp_path / "n")
    assert again.returncode == 0, again.stderr
    a, b = (f / "weights.safetensors" for f in (model_folder, tmp_path / "n"))
    assert a.read_bytes() == b.read_bytes()
    empty = tmp_path / "empty"
    empty.mkdir()
    foreign = forametric("train", shells_folder, "--reproduce", empty, "-o", tmp_path / "x")
    assert foreign.returncode == 2
    assert "was not written by this version's evaluate" in foreign.stderr


def test_two_processes_take_the_steps_of_one(shells_folder, split_file, tmp_path, without_onnx):
    # Without batch normalisation, whose statistics two processors do not share, and dropout,
    # which each draws for its own part of the batch.
    recipe = ["freeze=1.0", "neck=hidden", "dropout=0", "image_size=32", "whitened_dim=0"]
    recipe += ["projection_dim=16"]
    settings = [f"network.{setting}" for setting in recipe]
    settings += ["ema_decay=0", "sampler.specimens=3", "optimiser.kind=sgd"]
    asked = ["train", shells_folder, "--split", split_file]
    asked += [word for setting in settings for word in ("--set", setting)]
    weights = []
    still = ["epochs=1", "optimiser.backbone_lr=1e-12", "optimiser.head_lr=1e-12"]
    for name, changes in (("start", still), ("one", ["epochs=3"])):
        more = [word for setting in changes for word in ("--set", setting)]
        done = forametric(*asked, *more, "-o", tmp_path / name)
        assert done.returncode == 0, done.stderr
        weights.append(load_file(tmp_path / name / "weights.safetensors"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, "-m", "forametric", *asked, "--set", "epochs=3"]
    done = subprocess.run(
        list(map(str, [*command, "-o", tmp_path / "two"])), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(tmp_path / "two")) == 1, "only the first process reports"
    (start, one), two = weights, load_file(tmp_path / "two" / "weights.safetensors")
    for name in ("head.weight", "project.weight", "neck.0.weight"):
        moved = float((one[name] - start[name]).norm())
        assert moved > 0
        assert float((one[name] - two[name]).norm()) < 1e-3 * moved, name
    assert not (tmp_path / "two.unfinished").exists()


def test_training_starts_from_a_model(
    model_folder, shells_folder, split_file, tmp_path, without_onnx
):
    start = ("train", shells_folder, "--split", split_file, "--init-from", model_folder)
    done = forametric(*start, "-o", tmp_path / "m", *QUICK, "--set", "optimiser.backbone_lr=1e-9")
    assert done.returncode == 0, done.stderr
    old, new = Model.load(model_folder), Model.load(tmp_path / "m")
    assert new.card.training["init_from"] == old.title
    assert new.recipe.epochs == old.recipe.epochs, "the recipe is that of the model"
    for name, before in old.network.backbone.named_parameters():
        after = new.network.backbone.get_parameter(name)
        assert (after - before).abs().max() < 1e-3, name
    other = forametric(
        *start, "-o", tmp_path / "n", *QUICK, "--set", "network.backbone=mobilenetv3_small_050"
    )
    assert other.returncode == 2
    assert "has the backbone" in other.stderr
    assert not os.path.exists(tmp_path / "n")


def test_a_training_in_a_log_shows_its_progress(
    shells_folder, split_file, tmp_path, monkeypatch, without_onnx
):
    """Into a file nothing was shown until it ended."""
    monkeypatch.setattr("forametric.utils.progress.SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr("forametric.training.train.TrainingRun.validate", lambda run: 0.5)
    settings = ["epochs=3", "network.image_size=32", "tta_views=1", "network.freeze=1.0"]
    words = [word for setting in settings for word in ("--set", setting)]
    done = forametric("train", shells_folder, "--split", split_file, "-o", tmp_path / "m", *words)
    assert done.returncode == 0, done.stderr
    lines = re.findall(r"training \(steps\): (\d+)/(\d+), [\d.]+/s, loss \d", done.stderr)
    assert len(lines) >= 2, done.stderr
    assert lines[-1][0] == lines[-1][1]
