"""Speed and accuracy at lower numerical precision.

python experiments/precision.py MODEL COLLECTION     # INT8 needs: pip install nncf

Compared with PyTorch in f32, as in training: cosine similarity of the vectors, and the share of
specimens whose nearest reference has the same taxon. INT8 is post-training quantization by NNCF,
calibrated on 300 of the model's reference images if they are in the collection, else on its first
300 images.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from forametric._typing import Pixels
from forametric.data.collection import Collection
from forametric.embedding.runtime import OpenVinoRuntime, Runtime, TorchRuntime
from forametric.images import load_images
from forametric.model.model import Model, read_network


def quantize(model: Path, images: Pixels, folder: Path) -> Path:
    """Quantize the model's graph to 8 bits; returns its file in OpenVINO's format."""
    import nncf
    import openvino

    graph = openvino.Core().read_model(model / "model.onnx")
    dataset = nncf.Dataset([images[i : i + 1] for i in range(len(images))])
    quantized = nncf.quantize(graph, dataset, preset=nncf.QuantizationPreset.MIXED, subset_size=300)
    openvino.save_model(quantized, folder / "int8.xml", compress_to_fp16=False)
    return folder / "int8.xml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("collection", type=Path)
    parser.add_argument(
        "--most", type=int, default=1000, help="number of specimens that are not references"
    )
    arguments = parser.parse_args()
    model, collection = Model.load(arguments.model), Collection.open(arguments.collection)
    references, size = model.references, model.recipe.network.image_size
    is_reference = collection.specimens["id"].isin(set(references.ids)).to_numpy()
    paths, step = collection.paths(), max(1, int(is_reference.sum()) // 300)
    own = [paths[i] for i in np.flatnonzero(is_reference)[::step]][:300]
    new = [paths[i] for i in np.flatnonzero(~is_reference)[: arguments.most]]
    images, _, _ = load_images(new, size)
    for_quantization, _, _ = load_images(own or paths[:300], size)
    network = read_network(arguments.model, model.card)
    with tempfile.TemporaryDirectory() as folder:
        onnx = arguments.model / "model.onnx"
        runtimes: dict[str, Runtime] = {
            "PyTorch f32": TorchRuntime(network, model.recipe.tta_views),
            "OpenVINO f32": OpenVinoRuntime(onnx),
            "OpenVINO bf16": OpenVinoRuntime(onnx, "bf16"),
            "OpenVINO INT8": OpenVinoRuntime(
                quantize(arguments.model, for_quantization, Path(folder))
            ),
        }
        exact, taxa = np.zeros(0), np.zeros(0)
        for name, runtime in runtimes.items():
            runtime.run(images[:64], lambda n: None)
            started = time.perf_counter()
            vectors, _ = runtime.run(images, lambda n: None)
            rate = len(images) / (time.perf_counter() - started)
            nearest = references.taxa[references.kneighbors(vectors, 1)[1][:, 0]]
            if not len(exact):
                exact, taxa = vectors, nearest
            lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(exact, axis=1)
            cosine = (vectors * exact).sum(1) / lengths
            print(
                f"{name}: {rate:.0f} images/s, cosine at least {cosine.min():.4f}, "
                f"median {np.median(cosine):.4f}, same taxon {np.mean(nearest == taxa):.2%}",
                flush=True,
            )


if __name__ == "__main__":
    main()
