"""Run a network: with OpenVINO on a CPU, with PyTorch on a GPU.

A runtime takes the uint8 images that `images.preprocess` makes, and does the same in both:
test-time augmentation, scaling of pixels, the network, the L2 norm of its embeddings.
"""

from __future__ import annotations

import logging
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from forametric._typing import FloatArray, Pixels
from forametric.errors import ModelError
from forametric.utils.offline import import_openvino

if TYPE_CHECKING:
    from forametric.embedding.network import SpecimenNetwork

logger = logging.getLogger(__name__)
BATCH = 16  # images in a batch on a CPU
GPU_BATCH = 128
ONNX = "model.onnx"


class Runtime(Protocol):
    """Embeds preprocessed images."""

    def run(self, inputs: Pixels, advance: Callable[[int], None]) -> tuple[FloatArray, FloatArray]:
        """Embeddings (n, dimensions) and class probabilities (n, classes) of (n, size, size, 3)."""


class TorchRuntime:
    """PyTorch, for training and for GPUs."""

    def __init__(self, network: SpecimenNetwork, views: int) -> None:
        self.network = network
        self.views = views

    def run(self, inputs: Pixels, advance: Callable[[int], None]) -> tuple[FloatArray, FloatArray]:
        """As in the protocol; the batch size is halved when a GPU runs out of memory."""
        import torch

        from forametric.embedding.network import Deployed

        device = torch_device()
        deployed = Deployed(self.network, self.views).to(device).eval()
        batch = BATCH if device == "cpu" else GPU_BATCH
        vectors, classes, start = [], [], 0
        while start < len(inputs):
            part = torch.from_numpy(np.ascontiguousarray(inputs[start : start + batch]))
            try:
                with torch.inference_mode():
                    v, c = deployed(part.to(device))
            except torch.cuda.OutOfMemoryError:
                if batch == 1:
                    raise
                batch //= 2
                logger.warning("the GPU memory is full: the batch size is halved to %d", batch)
                continue
            vectors.append(v.cpu().numpy())
            classes.append(c.cpu().numpy())
            start += len(part)
            advance(len(part))
        return np.concatenate(vectors), np.concatenate(classes)


class OpenVinoRuntime:
    """OpenVINO, which runs `model.onnx` on several batches in parallel.

    Parameters
    ----------
    path : Path
        The ONNX file.
    precision : str
        "f32" gives the vectors of training. "bf16" is nearly twice as fast on CPUs that support it,
        but whitening amplifies its rounding errors: on images of pollen grains the median cosine
        similarity was 0.996, and the nearest reference of 1.3 % had another name.
    """

    def __init__(self, path: Path, precision: str = "f32") -> None:
        try:
            openvino = import_openvino()
        except ModuleNotFoundError:
            raise ModelError(
                "models need OpenVINO, which is not installed: pip install openvino"
            ) from None
        settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
        try:
            self._compiled = openvino.Core().compile_model(path, "CPU", settings)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[-1]
            raise ModelError(f"{path} cannot be run by OpenVINO: {first}") from None
        self._queue = openvino.AsyncInferQueue(self._compiled)

    @property
    def image_size(self) -> int:
        """Side of the square images that the graph takes."""
        return int(self._compiled.input(0).partial_shape[1].get_length())

    @property
    def widths(self) -> tuple[int, ...]:
        """Dimensions of the vectors and, for a graph with a class head, number of classes."""
        outputs = self._compiled.outputs
        return tuple(int(output.partial_shape[1].get_length()) for output in outputs)

    def run(self, inputs: Pixels, advance: Callable[[int], None]) -> tuple[FloatArray, FloatArray]:
        """As in the protocol."""
        results = [np.zeros((len(inputs), width), np.float32) for width in (*self.widths, 0)[:2]]

        def keep(request: Any, rows: slice) -> None:
            for result, tensor in zip(results, request.output_tensors, strict=False):
                result[rows] = tensor.data

        self._queue.set_callback(keep)
        for start in range(0, len(inputs), BATCH):
            rows = slice(start, min(start + BATCH, len(inputs)))
            self._queue.start_async([np.ascontiguousarray(inputs[rows])], rows)
            advance(rows.stop - rows.start)
        self._queue.wait_all()
        return results[0], results[1]


def has_gpu() -> bool:
    """Whether PyTorch can use a GPU: CUDA, ROCm, or Metal on a Mac.

    PyTorch takes seconds to import, so it is imported only if there is a GPU driver.
    """
    if find_spec("torch") is None or not any(_gpu_drivers()):
        return False
    return torch_device() != "cpu"


def torch_device() -> str:
    """The device on which PyTorch runs: cuda (also for ROCm), mps or cpu."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _gpu_drivers() -> Iterator[bool]:
    yield Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi") is not None
    yield Path("/dev/kfd").exists()  # AMD ROCm
    yield sys.platform == "darwin" and platform.machine() == "arm64"
