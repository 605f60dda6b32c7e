"""The same arithmetic in PyTorch, OpenVINO and ONNX Runtime; models run without PyTorch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from forametric.data.collection import Collection
from forametric.embedding.runtime import OpenVinoRuntime, TorchRuntime
from forametric.errors import ModelError
from forametric.images import load_images
from forametric.model.card import read_card
from forametric.model.model import Model, read_network
from tests.support.cli import QUICK, forametric


def _alike(ours, theirs, names) -> None:
    assert (ours * theirs).sum(1).min() >= 0.9999
    assert (names(ours) == names(theirs)).mean() >= 0.999


def test_three_runtimes_give_one_vector(model_folder, shells):
    model = Model.load(model_folder)
    assert isinstance(model.runtime, OpenVinoRuntime) or torch.cuda.is_available()
    squares, _, _ = load_images(shells.paths(), model.card.recipe.network.image_size)
    network = read_network(model_folder, read_card(model_folder))
    counted: list[int] = []
    vectors, classes = TorchRuntime(network, model.card.recipe.tta_views).run(
        squares, counted.append
    )
    assert sum(counted) == len(shells)
    fast, fast_classes = OpenVinoRuntime(model_folder / "model.onnx").run(squares, counted.append)
    session = onnxruntime.InferenceSession(model_folder / "model.onnx")
    other, other_classes = session.run(None, {"squares": squares})
    for found, head in ((fast, fast_classes), (other, other_classes)):
        _alike(vectors, found, model.references.predict)
        assert np.abs(head - classes).max() < 1e-4
    one = OpenVinoRuntime(model_folder / "model.onnx").run(squares[:1], counted.append)[0]
    assert np.allclose(one, fast[:1], atol=1e-5), "the number of squares at once changes nothing"


def test_a_headless_network_gives_vectors_alone(shells_folder, split_file, shells, tmp_path):
    asked = ["--split", split_file, "--recipe", "frozen", "-o", tmp_path / "m", *QUICK[2:]]
    assert forametric("train", shells_folder, *asked).returncode == 0
    model = Model.load(tmp_path / "m")
    got = model.embed(shells.paths()[:5])
    assert got.class_probabilities.shape == (5, 0)
    assert model.identifier.class_scores(got).shape == (5, len(model.taxa))


def test_a_gpu_that_runs_out_of_memory_gets_half_as_many(monkeypatch, model_folder, capsys):
    network = read_network(model_folder, read_card(model_folder))
    seen: list[int] = []

    class Small(torch.nn.Module):
        def __init__(self, network, views):
            super().__init__()

        def forward(self, squares):
            seen.append(len(squares))
            if len(squares) > 4:
                raise torch.cuda.OutOfMemoryError
            return squares.float().mean((1, 2)), squares[:, 0, 0, :0].float()

    monkeypatch.setattr("forametric.embedding.network.Deployed", Small)
    squares = np.arange(10 * 4 * 4 * 3, dtype=np.uint8).reshape(10, 4, 4, 3)
    vectors, _ = TorchRuntime(network, 1).run(squares, lambda n: None)
    assert seen == [10, 8, 4, 4, 2]
    assert np.allclose(vectors, squares.mean((1, 2)))
    assert "going on with 4 images" in capsys.readouterr().err


def test_a_graph_that_is_none_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match="cannot be run"):
        OpenVinoRuntime(tmp_path / "model.onnx")


LIGHT = """
import sys
from importlib.machinery import PathFinder

class Without:
    def find_spec(name, path=None, target=None):
        hidden = ("torch", "timm", "lightning_fabric", "safetensors", "onnx")
        return None if name.split(".")[0] in hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
from forametric.cli import main
sys.argv = ["forametric", *sys.argv[1:]]
main()
"""


def test_a_model_identifies_maps_and_exports_without_pytorch(model_folder, shells_folder, tmp_path):
    def light(*arguments):
        command = [sys.executable, "-c", LIGHT, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True)

    names = tmp_path / "names.csv"
    verbs = (
        ("identify", model_folder, shells_folder, "-o", names),
        ("map", model_folder, shells_folder, "-o", tmp_path / "map.png"),
        ("discover", model_folder, shells_folder, "--all", "-o", tmp_path / "groups"),
        ("embed", model_folder, shells_folder, "-o", tmp_path / "v.parquet"),
        ("export", shells_folder, "--names", names, "--model", model_folder,
         "--format", "csv", "-o", tmp_path / "out.csv"),
    )  # fmt: skip
    for verb in verbs:
        done = light(*verb)
        assert done.returncode == 0, (verb, done.stderr)
    assert len(pd.read_csv(names)) == len(Collection.open(Path(shells_folder)))
    refused = light("train", shells_folder, "--split", "x", "-o", tmp_path / "m")
    assert refused.returncode == 2
    assert "forametric[train]" in refused.stderr


@pytest.mark.slow
def test_an_installation_without_extras_names_shells(model_folder, shells_folder, tmp_path):
    """The package alone, in an environment of its own: no PyTorch far and wide."""
    root = Path(__file__).resolve().parents[1]
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "bare"], check=True)
    python = tmp_path / "bare" / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "-q", root], capture_output=True, text=True
    )
    if "No matching distribution" in installed.stderr:
        pytest.skip("no package index can be reached from here")
    assert installed.returncode == 0, installed.stderr
    verbs = (
        ("identify", model_folder, shells_folder, "-o", tmp_path / "names.csv"),
        ("map", model_folder, shells_folder, "-o", tmp_path / "map.html"),
    )
    for verb in verbs:
        command = [python, "-m", "forametric", *map(str, verb)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, (verb, done.stderr)
    heavy = [python, "-c", "import torch"]
    assert subprocess.run(heavy, capture_output=True).returncode == 1
