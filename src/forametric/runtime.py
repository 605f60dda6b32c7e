"""How a network runs: OpenVINO on processors, PyTorch on a GPU, with the same arithmetic in both.

A runtime takes uint8 squares as `images.prepare` makes them. All that follows is inside it: the
views, the scaling of pixels, the network, the embedding and its norm.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from forametric.errors import ModelError
from forametric.progress import console

if TYPE_CHECKING:
    from forametric.learning.network import SpecimenNetwork

BATCH = 16  # squares at once on a processor
GPU_BATCH = 128
ONNX = "model.onnx"
Floats = npt.NDArray[np.float32]
Squares = npt.NDArray[np.uint8]


class Runtime(Protocol):
    """Something that embeds squares."""

    def run(self, squares: Squares, advance: Callable[[int], None]) -> tuple[Floats, Floats]:
        """Vectors (n, dimensions) and class probabilities (n, classes) of (n, size, size, 3)."""


class TorchRuntime:
    """PyTorch: what training uses, and what a GPU needs."""

    def __init__(self, network: SpecimenNetwork, views: int) -> None:
        self.network = network
        self.views = views

    def run(self, squares: Squares, advance: Callable[[int], None]) -> tuple[Floats, Floats]:
        """As the protocol says; a GPU that runs out of memory gets half as many at once."""
        import torch

        from forametric.learning.network import Deployed

        device = "cuda" if torch.cuda.is_available() else "cpu"
        deployed = Deployed(self.network, self.views).to(device).eval()
        batch = GPU_BATCH if device == "cuda" else BATCH
        vectors, classes, start = [], [], 0
        while start < len(squares):
            part = torch.from_numpy(np.ascontiguousarray(squares[start : start + batch]))
            try:
                with torch.inference_mode():
                    v, c = deployed(part.to(device))
            except torch.cuda.OutOfMemoryError:
                if batch == 1:
                    raise
                batch //= 2
                console.print(f"the GPU's memory is full; going on with {batch} images at once")
                continue
            vectors.append(v.cpu().numpy())
            classes.append(c.cpu().numpy())
            start += len(part)
            advance(len(part))
        return np.concatenate(vectors), np.concatenate(classes)


class OpenVinoRuntime:
    """OpenVINO, from `model.onnx`: several batches at once.

    Parameters
    ----------
    path : Path
        The ONNX file.
    precision : str
        "f32" gives the vectors of training. "bf16", on processors that have it, is nearly twice as
        fast, but whitening magnifies its rounding: on pollen grains the median cosine was 0.996 and
        1.3 % of the nearest references' names changed. So it is not the default.
    """

    def __init__(self, path: Path, precision: str = "f32") -> None:
        try:
            import openvino
        except ModuleNotFoundError:
            raise ModelError(
                "OpenVINO is not installed, which models run by: pip install openvino"
            ) from None
        settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
        try:
            self._compiled = openvino.Core().compile_model(path, "CPU", settings)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[-1]
            raise ModelError(f"{path} cannot be run by OpenVINO: {first}") from None
        self._queue = openvino.AsyncInferQueue(self._compiled)

    def run(self, squares: Squares, advance: Callable[[int], None]) -> tuple[Floats, Floats]:
        """As the protocol says."""
        widths = [output.partial_shape[1].get_length() for output in self._compiled.outputs]
        found = [np.zeros((len(squares), width), np.float32) for width in (*widths, 0)[:2]]

        def keep(request: Any, rows: slice) -> None:
            for place, tensor in zip(found, request.output_tensors, strict=False):
                place[rows] = tensor.data

        self._queue.set_callback(keep)
        for start in range(0, len(squares), BATCH):
            rows = slice(start, min(start + BATCH, len(squares)))
            self._queue.start_async([np.ascontiguousarray(squares[rows])], rows)
            advance(rows.stop - rows.start)
        self._queue.wait_all()
        return found[0], found[1]


def has_gpu() -> bool:
    """Whether PyTorch can use a GPU; where there is none, PyTorch is not even imported."""
    if find_spec("torch") is None or shutil.which("nvidia-smi") is None:
        return False
    import torch

    return torch.cuda.is_available()
