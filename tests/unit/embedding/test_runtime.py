"""The same arithmetic in PyTorch, OpenVINO and ONNX Runtime; which device a model runs on."""

import platform
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from forametric.data.splits import Split
from forametric.embedding import runtime
from forametric.embedding.recipe import Recipe
from forametric.embedding.runtime import OpenVinoRuntime, TorchRuntime, has_gpu
from forametric.errors import ModelError
from forametric.images import load_images
from forametric.model.card import ModelCard
from forametric.model.model import Model, read_network
from forametric.training.train import train


def _alike(ours, theirs, names) -> None:
    assert (ours * theirs).sum(1).min() >= 0.9999
    assert (names(ours) == names(theirs)).mean() >= 0.999


def test_three_runtimes_give_one_vector(model_folder, shells):
    model = Model.load(model_folder)
    assert isinstance(model.embedder.runtime, OpenVinoRuntime) or torch.cuda.is_available()
    inputs, _, _ = load_images(shells.paths(), model.recipe.network.image_size)
    network = read_network(model_folder, ModelCard.load(model_folder))
    counted: list[int] = []
    vectors, classes = TorchRuntime(network, model.recipe.tta_views).run(inputs, counted.append)
    assert sum(counted) == len(shells)
    fast, fast_classes = OpenVinoRuntime(model_folder / "model.onnx").run(inputs, counted.append)
    session = onnxruntime.InferenceSession(model_folder / "model.onnx")
    other, other_classes = session.run(None, {"inputs": inputs})
    for found, head in ((fast, fast_classes), (other, other_classes)):
        _alike(vectors, found, model.references.predict)
        assert np.abs(head - classes).max() < 1e-4
    one = OpenVinoRuntime(model_folder / "model.onnx").run(inputs[:1], counted.append)[0]
    assert np.allclose(one, fast[:1], atol=1e-5), "the number of inputs at once changes nothing"


@pytest.mark.slow
def test_a_headless_network_gives_vectors_alone(shells, split_file, tmp_path):
    """The graph without a class head is another one, so here it is written."""
    recipe = Recipe.load("frozen", ["network.image_size=32", "tta_views=1"])
    model = train(Split.load(shells, split_file), recipe, str(tmp_path / "m"))
    assert (tmp_path / "m" / "model.onnx").is_file()
    assert model.card.training["epochs"] == [], "the frozen recipe needs no training"
    got = model.embed(shells.paths()[:5])
    assert got.class_probabilities.shape == (5, 0)
    assert model.identifier.class_scores(got).shape == (5, len(model.taxa))


def test_a_gpu_that_runs_out_of_memory_gets_half_as_many(monkeypatch, model_folder, caplog):
    network = read_network(model_folder, ModelCard.load(model_folder))
    seen: list[int] = []

    class Small(torch.nn.Module):
        def __init__(self, network, views):
            super().__init__()

        def forward(self, inputs):
            seen.append(len(inputs))
            if len(inputs) > 4:
                raise torch.cuda.OutOfMemoryError
            return inputs.float().mean((1, 2)), inputs[:, 0, 0, :0].float()

    monkeypatch.setattr("forametric.embedding.network.Deployed", Small)
    inputs = np.arange(10 * 4 * 4 * 3, dtype=np.uint8).reshape(10, 4, 4, 3)
    vectors, _ = TorchRuntime(network, 1).run(inputs, lambda n: None)
    assert seen == [10, 8, 4, 4, 2]
    assert np.allclose(vectors, inputs.mean((1, 2)))
    assert "halved to 4" in caplog.text


def test_a_file_that_is_not_a_graph_is_refused(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match="cannot be run"):
        OpenVinoRuntime(tmp_path / "model.onnx")


# Devices

DRIVERS = {
    "nothing": ((), None, "linux", "x86_64"),
    "NVIDIA's driver": (("/proc/driver/nvidia",), None, "linux", "x86_64"),
    "nvidia-smi": ((), "/usr/bin/nvidia-smi", "win32", "AMD64"),
    "AMD ROCm": (("/dev/kfd",), None, "linux", "x86_64"),
    "a Mac with Metal": ((), None, "darwin", "arm64"),
    "an Intel Mac": ((), None, "darwin", "x86_64"),
}


@pytest.mark.parametrize("machine", DRIVERS)
@pytest.mark.parametrize("device", ["cuda", "mps", "cpu"])
def test_a_gpu_of_any_maker_is_found_by_its_driver(monkeypatch, machine, device):
    """It once knew only nvidia-smi. PyTorch has the last word, and is asked only if need be."""
    paths, smi, system, processor = DRIVERS[machine]
    asked = []
    monkeypatch.setattr(runtime, "torch_device", lambda: asked.append(1) or device)
    monkeypatch.setattr(Path, "exists", lambda path: str(path) in paths)
    monkeypatch.setattr(runtime.shutil, "which", lambda _: smi)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: processor)
    has_driver = machine not in ("nothing", "an Intel Mac")
    found = has_gpu()
    monkeypatch.undo()
    assert found == (has_driver and device != "cpu")
    assert bool(asked) == has_driver


def test_without_pytorch_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(runtime, "find_spec", lambda _: None)
    assert not has_gpu()


@pytest.mark.parametrize(
    ("cuda", "mps", "device"), [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_device_is_what_pytorch_has(monkeypatch, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert runtime.torch_device() == device
