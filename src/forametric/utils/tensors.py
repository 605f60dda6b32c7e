"""Write tensors as safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save as serialise


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write tensors as safetensors through an ordinary file.

    The library's own writer reports a full disk as an error of its own; Python's says `OSError`.
    """
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    path.write_bytes(serialise(plain, metadata))
