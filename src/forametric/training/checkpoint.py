"""Save and load checkpoints of training, atomically and as safetensors (nothing is unpickled)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from forametric.errors import InputError
from forametric.utils.files import atomic_path
from forametric.utils.tensors import write_tensors


@dataclass
class State:
    """The progress of a run: steps done, best validation score, time in seconds, epochs."""

    step: int = 0
    best: float = -1.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def exists(work: Path) -> bool:
    """Whether `work` has a checkpoint."""
    return (work / "checkpoint.safetensors").is_file()


def save(work: Path, modules: dict[str, torch.nn.Module], optimiser: Any, state: State) -> None:
    """Write modules (by name), optimiser and progress into one file, atomically."""
    tensors = {
        f"{name}.{k}": v for name, module in modules.items() for k, v in module.state_dict().items()
    }
    for index, values in optimiser.state_dict()["state"].items():
        tensors |= {
            f"optimiser.{index}.{k}": v for k, v in values.items() if isinstance(v, torch.Tensor)
        }
    _write(work / "checkpoint.safetensors", tensors, {"state": json.dumps(asdict(state))})


def load(work: Path, modules: dict[str, torch.nn.Module], optimiser: Any) -> State:
    """Restore what `save` wrote; without a checkpoint, a new `State`."""
    path = work / "checkpoint.safetensors"
    if not exists(work):
        return State()
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            state = State(**json.loads(file.metadata()["state"]))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); remove {work} to start again.") from None

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    for name, module in modules.items():
        module.load_state_dict(part(f"{name}."))
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in part("optimiser.").items():
        index, name = key.split(".", 1)
        moments.setdefault(int(index), {})[name] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": moments, "param_groups": groups})
    return state


def save_best(work: Path, network: torch.nn.Module) -> None:
    """Save these weights as the best on validation so far."""
    _write(work / "best.safetensors", dict(network.state_dict()), {})


def load_best(work: Path, network: torch.nn.Module) -> None:
    """Load the best weights into the network."""
    network.load_state_dict(load_file(work / "best.safetensors"))


def _write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    with atomic_path(path) as temporary:
        write_tensors(temporary, tensors, metadata)
