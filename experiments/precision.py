"""What lower precision gains and costs: images a second, and whether names stay the same.

python experiments/precision.py MODEL COLLECTION     # INT8 needs: pip install nncf

Against PyTorch in f32, the arithmetic of training: cosine of the vectors, and how many specimens'
nearest reference is of the same taxon. INT8 is post-training quantisation by NNCF, calibrated on
300 of the model's reference pictures, where they are in the collection, else on its first 300.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from forametric.data.collection import Collection
from forametric.embedding.runtime import OpenVinoRuntime, Runtime, TorchRuntime
from forametric.images import load_images
from forametric.model.model import Model, read_network


def quantised(model: Path, squares: np.ndarray[Any, Any], folder: Path) -> Path:
    """The model's graph in eight bits, as OpenVINO's own files."""
    import nncf
    import openvino

    graph = openvino.Core().read_model(model / "model.onnx")
    shown = nncf.Dataset([squares[i : i + 1] for i in range(len(squares))])
    small = nncf.quantize(graph, shown, preset=nncf.QuantizationPreset.MIXED, subset_size=300)
    openvino.save_model(small, folder / "int8.xml", compress_to_fp16=False)
    return folder / "int8.xml"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("collection", type=Path)
    parser.add_argument(
        "--most", type=int, default=1000, help="specimens, those not in the references"
    )
    asked = parser.parse_args()
    embedder, shells = Model.load(asked.model), Collection.open(asked.collection)
    references, size = embedder.references, embedder.card.recipe.network.image_size
    inside = shells.specimens["id"].isin(set(references.ids)).to_numpy()
    paths = shells.paths()
    own = [paths[i] for i in np.flatnonzero(inside)[:: max(1, int(inside.sum()) // 300)]][:300]
    new = [paths[i] for i in np.flatnonzero(~inside)[: asked.most]]
    squares, _, _ = load_images(new, size)
    shown, _, _ = load_images(own or paths[:300], size)
    network = read_network(asked.model, embedder.card)
    with tempfile.TemporaryDirectory() as folder:
        onnx = asked.model / "model.onnx"
        runtimes: dict[str, Runtime] = {
            "PyTorch f32": TorchRuntime(network, embedder.card.recipe.tta_views),
            "OpenVINO f32": OpenVinoRuntime(onnx),
            "OpenVINO bf16": OpenVinoRuntime(onnx, "bf16"),
            "OpenVINO INT8": OpenVinoRuntime(quantised(asked.model, shown, Path(folder))),
        }
        true, named = np.zeros(0), np.zeros(0)
        for name, runtime in runtimes.items():
            runtime.run(squares[:64], lambda n: None)
            started = time.perf_counter()
            vectors, _ = runtime.run(squares, lambda n: None)
            rate = len(squares) / (time.perf_counter() - started)
            nearest = references.taxa[references.nearest(vectors, 1)[1][:, 0]]
            if not len(true):
                true, named = vectors, nearest
            lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(true, axis=1)
            cosine = (vectors * true).sum(1) / lengths
            print(
                f"{name}: {rate:.0f} images/s, cosine {cosine.min():.4f} at least, "
                f"{np.median(cosine):.4f} in the median, {np.mean(nearest == named):.2%} the same",
                flush=True,
            )


if __name__ == "__main__":
    main()
