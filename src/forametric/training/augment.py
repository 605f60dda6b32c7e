"""Augment a batch of images on its own device."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from forametric.embedding.recipe import Augment
from forametric.training.microscope import (
    edge_median,
    gaussian_blur,
    through_microscope,
)

BLUR_RADIUS = 1  # pixels: the kernel of 3 × 3 of the published procedure


def augment(
    images: Tensor, settings: Augment, generator: torch.Generator, handed: Tensor | None = None
) -> Tensor:
    """Rotate, mirror, crop, scale, blur, and change contrast and brightness, at random.

    Then change it as another microscope would, where the settings say so.

    Areas that a rotation uncovers get the background color, the median of the image's edge.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, size, size)
    generator : torch.Generator
        On the CPU; the same state gives the same result.
    handed : Tensor of bool, shape (n,), optional
        The images that are not reflected where `settings.mirror` is "auto".

    Returns
    -------
    Tensor of float32, shape (n, 3, size, size), values 0 to 255
    """
    n = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return (torch.rand(n, generator=generator) * (high - low) + low).to(images.device)

    angle = uniform(-1, 1) * math.radians(settings.rotation)
    zoom = 1 / uniform(*settings.scale)
    mirror = torch.ones_like(zoom)
    if settings.mirror:
        mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
        if settings.mirror == "auto" and handed is not None:
            mirror = torch.where(handed.to(images.device), 1.0, mirror)
    x = y = torch.zeros_like(angle)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    if settings.crop[0] < 1:
        side = uniform(*settings.crop).sqrt()
        x, y = uniform(-1, 1) * (1 - side), uniform(-1, 1) * (1 - side)
        x, y = cos * mirror * x - sin * y, sin * mirror * x + cos * y
        cos, sin = cos * side, sin * side
    transform = torch.stack([cos * mirror, -sin, x, sin * mirror, cos, y], 1).view(n, 2, 3)

    pixels = images.float()
    color = edge_median(pixels)
    grid = F.affine_grid(transform, list(pixels.shape), align_corners=False)
    pixels = F.grid_sample(pixels - color, grid, align_corners=False) + color
    if settings.blur[1] > 0:
        pixels = gaussian_blur(pixels, uniform(*settings.blur), BLUR_RADIUS)
    contrast = uniform(*settings.contrast).view(n, 1, 1, 1)
    brightness = uniform(-settings.brightness, settings.brightness).view(n, 1, 1, 1) * 255
    pixels = (pixels * contrast + brightness).clamp(0, 255)
    if settings.microscope.share:
        pixels = through_microscope(pixels, settings.microscope, generator)
    return pixels
