"""Training images that are no specimen of any taxon, made from those of a batch.

A network that has seen such images is less sure of them (outlier exposure, Hendrycks et al. 2019;
mixtures for fine-grained classes, Zhang et al. 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

KINDS = 3  # mixtures, joined halves, parts
EDGE = 0.05  # half the width of the seam between two halves, as a share of half the image's side


Draw = Callable[[float, float], Tensor]


def composites(pixels: Tensor, labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Mixtures and joined halves of two taxa's images, and enlarged parts of single images.

    Parameters
    ----------
    pixels : Tensor of float32, shape (n, 3, side, side), values 0 to 255
    labels : Tensor of int64, shape (n,)
        At least two different ones.
    count : int
        How many to make, a third of each kind on average.
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Tensor of float32, shape (count, 3, side, side)
    """
    device = pixels.device

    def uniform(low: float, high: float) -> Tensor:
        numbers = torch.rand(count, 1, 1, 1, generator=generator) * (high - low) + low
        return numbers.to(device)

    first = torch.randint(len(pixels), (count,), generator=generator)
    other = torch.rand(count, len(pixels), generator=generator)
    second = other.masked_fill(labels.cpu()[first][:, None] == labels.cpu()[None], -1).argmax(1)
    one, two = pixels[first.to(device)], pixels[second.to(device)]
    kind = torch.randint(KINDS, (count, 1, 1, 1), generator=generator).to(device)

    side = pixels.shape[-1]
    at = (torch.arange(side, device=device) + 0.5) * 2 / side - 1
    x, y = at.view(1, 1, 1, side), at.view(1, 1, side, 1)
    angle = uniform(0, 2 * math.pi)
    across = x * angle.cos() + y * angle.sin() - uniform(-0.2, 0.2)
    halves = (across / (2 * EDGE) + 0.5).clamp(0, 1)
    weight = torch.where(kind == 0, uniform(0.35, 0.65), halves)
    together = one * weight + two * (1 - weight)
    return torch.where(kind == 2, _part(one, uniform), together)


def _part(pixels: Tensor, uniform: Draw) -> Tensor:
    """A square of 0.25 to 0.45 of the side, near the center, enlarged to the whole image."""
    size = uniform(0.25, 0.45).flatten()
    zero = torch.zeros_like(size)
    dx, dy = uniform(-0.35, 0.35).flatten(), uniform(-0.35, 0.35).flatten()
    transform = torch.stack([size, zero, dx, zero, size, dy], 1).view(-1, 2, 3)
    grid = F.affine_grid(transform, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
