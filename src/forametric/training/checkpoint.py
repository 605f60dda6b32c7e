"""What a training run needs to go on after a kill: safetensors, written whole, never unpickled."""

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
    """How far a run has come."""

    step: int = 0
    best: float = -1.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def exists(work: Path) -> bool:
    """Whether a run in `work` came far enough to go on."""
    return (work / "checkpoint.safetensors").is_file()


def save(work: Path, modules: dict[str, torch.nn.Module], optimiser: Any, state: State) -> None:
    """Write modules, by name, optimiser and progress into one file, atomically."""
    tensors = {
        f"{name}.{k}": v for name, module in modules.items() for k, v in module.state_dict().items()
    }
    for index, values in optimiser.state_dict()["state"].items():
        tensors |= {
            f"optimiser.{index}.{k}": v for k, v in values.items() if isinstance(v, torch.Tensor)
        }
    _write(work / "checkpoint.safetensors", tensors, {"state": json.dumps(asdict(state))})


def load(work: Path, modules: dict[str, torch.nn.Module], optimiser: Any) -> State:
    """Restore what `save` wrote; a fresh `State` when nothing was."""
    path = work / "checkpoint.safetensors"
    if not exists(work):
        return State()
    try:
        tensors = load_file(path)
        with safe_open(path, "pt") as file:
            state = State(**json.loads(file.metadata()["state"]))
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); remove {work} to begin anew.") from None

    def part(prefix: str) -> dict[str, torch.Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    for name, module in modules.items():
        module.load_state_dict(part(f"{name}."))
    remembered: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in part("optimiser.").items():
        index, name = key.split(".", 1)
        remembered.setdefault(int(index), {})[name] = tensor
    whole = optimiser.state_dict()
    optimiser.load_state_dict({"state": remembered, "param_groups": whole["param_groups"]})
    return state


def save_best(work: Path, network: torch.nn.Module) -> None:
    """Keep these weights as the best on validation so far."""
    _write(work / "best.safetensors", dict(network.state_dict()), {})


def load_best(work: Path, network: torch.nn.Module) -> None:
    """Put the best weights into the network."""
    network.load_state_dict(load_file(work / "best.safetensors"))


def _write(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    with atomic_path(path) as temporary:
        write_tensors(temporary, tensors, metadata)
