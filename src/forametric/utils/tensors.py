"""Write tensors as safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save as serialize


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write tensors as safetensors.

    Through Python's own file, so that a full disk raises `OSError`; the library's writer would
    raise an error of its own.
    """
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    path.write_bytes(serialize(plain, metadata))
