"""Change training images as another microscope, camera or file would.

Each change is made to a random share of the images. They come in the order in which an image comes
about: debris and background in the field of view, light, optics, sensor, file. All of it runs on
the device of the images.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from forametric.embedding.recipe import Microscope

Change = Callable[[Tensor, Microscope, "Draw"], Tensor]
BLOCK = 8  # pixels in the side of a block of JPEG
# Annex K of the JPEG standard (ITU-T T.81): the steps of luminance and of chrominance.
LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56), (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
CHROMINANCE = (
    (17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99),
)  # fmt: skip
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


class Draw:
    """Random numbers for one change of some images, drawn on the CPU: the same on every device."""

    def __init__(self, count: int, generator: torch.Generator, device: torch.device) -> None:
        self.count, self.generator, self.device = count, generator, device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Numbers between two limits, shape (count, 1, 1, 1), or (count, *shape)."""
        numbers = torch.rand(self.count, *(shape or (1, 1, 1)), generator=self.generator)
        return (numbers * (high - low) + low).to(self.device)

    def normal(self, like: Tensor) -> Tensor:
        """Standard normal numbers, of the shape of another tensor."""
        return torch.randn(like.shape, generator=self.generator).to(self.device)


def through_microscope(pixels: Tensor, settings: Microscope, generator: torch.Generator) -> Tensor:
    """Make each of the changes to a random share of the images.

    Parameters
    ----------
    pixels : Tensor of float32, shape (n, 3, height, width), values 0 to 255
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Tensor of float32, of the same shape, values 0 to 255
    """
    pixels = pixels.clone()
    for change in CHANGES:
        chosen = torch.rand(len(pixels), generator=generator) < settings.share
        rows = chosen.nonzero()[:, 0]
        if len(rows):
            draw = Draw(len(rows), generator, pixels.device)
            rows = rows.to(pixels.device)
            pixels[rows] = change(pixels[rows], settings, draw).clamp(0, 255)
    return pixels


def _debris(pixels: Tensor, settings: Microscope, draw: Draw) -> Tensor:
    """Cover a small ellipse with one color, or with a dark or bright one."""
    if not settings.debris:
        return pixels
    x, y = _positions(pixels)
    angle, at = draw.uniform(0, math.pi), draw.uniform(-0.9, 0.9, 2, 1, 1)
    dx, dy = x - at[:, 0:1], y - at[:, 1:2]
    across = dx * angle.cos() + dy * angle.sin()
    along = dy * angle.cos() - dx * angle.sin()
    radius = draw.uniform(0.02, settings.debris)
    inside = (across / radius) ** 2 + (along / (radius * draw.uniform(0.2, 1))) ** 2 < 1
    gray = draw.uniform(0, 255)
    return torch.where(inside, gray * draw.uniform(0.8, 1.2, 3, 1, 1), pixels)


def _background(pixels: Tensor, settings: Microscope, draw: Draw) -> Tensor:
    """Make the background brighter or darker, and uneven; the specimen stays as it is."""
    level = settings.background * 255
    likeness = torch.exp(-(((pixels - edge_median(pixels)).abs().mean(1, keepdim=True) / 20) ** 2))
    coarse = draw.uniform(-level / 2, level / 2, 1, 6, 6)
    texture = F.interpolate(coarse, pixels.shape[2:], mode="bilinear", align_corners=False)
    return pixels + likeness * (draw.uniform(-level, level) + texture)


def _shading(pixels: Tensor, settings: Microscope, draw: Draw) -> Tensor:
    """Light from one side, and darker corners."""
    x, y = _positions(pixels)
    angle = draw.uniform(0, 2 * math.pi)
    slope, corners = draw.uniform(0, settings.shading), draw.uniform(0, settings.shading)
    return pixels * (1 + slope * (x * angle.cos() + y * angle.sin()) - corners * (x**2 + y**2) / 2)


def _blur(pixels: Tensor, settings: Microscope, draw: Draw) -> Tensor:
    """Gaussian blur, with another width for each image."""
    greatest = settings.blur * pixels.shape[-1] / 128
    if not greatest:
        return pixels
    sigma = draw.uniform(0.1, max(greatest, 0.1))
    return gaussian_blur(pixels, sigma.flatten(), math.ceil(2.5 * greatest))


def _resolution(pixels: Tensor, settings: Microscope, draw: Draw) -> Tensor:
    """Fewer pixels, scaled up again: a smaller image of the same specimen."""
    size = pixels.shape[2:]
    changed = []
    factors = draw.uniform(settings.resolution, 1).flatten().tolist()
    for image, factor in zip(pixels, factors, strict=True):
        small = [max(8, round(side * factor)) for side in size]
        fewer = F.interpolate(image[None], small, mode="bilinear", antialias=True)
        changed.append(F.interpolate(fewer, size, mode="bilinear", align_corners=False))
    return torch.cat(changed)


def _color(pixels: Tensor, settings: Microscope, draw: Draw) -> Tensor:
    """Another white balance, and less color, down to none."""
    cast = settings.cast
    gains = draw.uniform(-cast, cast, 3, 1, 1).exp()
    gray = pixels.mean(1, keepdim=True)
    saturation = draw.uniform(0, 1) if settings.gray else torch.ones_like(gray[:, :, :1, :1])
    none = draw.uniform(0, 1) < settings.gray
    saturation = torch.where(none, 0.0, saturation)
    return (gray + (pixels - gray) * saturation) * gains


def _tone(pixels: Tensor, settings: Microscope, draw: Draw) -> Tensor:
    """Another gamma."""
    greatest = math.log(settings.gamma)
    gamma = draw.uniform(-greatest, greatest).exp()
    return 255 * (pixels.clamp_min(0) / 255) ** gamma


def _noise(pixels: Tensor, settings: Microscope, draw: Draw) -> Tensor:
    """Noise of the sensor; a part of it grows with the light (Poisson)."""
    sd = draw.uniform(0, settings.noise)
    photons = draw.uniform(0, 1)
    light = 2 * (pixels.mean(1, keepdim=True) / 255).sqrt()
    noise = draw.normal(pixels)
    one = draw.uniform(0, 1) < 0.5  # a gray sensor, or one with three colors
    noise = torch.where(one, noise[:, :1], noise)
    return pixels + noise * sd * (1 - photons + photons * light)


def _jpeg(pixels: Tensor, settings: Microscope, draw: Draw) -> Tensor:
    """The losses of a JPEG file, without those of coarser color."""
    if settings.jpeg >= 100:
        return pixels
    return jpeg(pixels, draw.uniform(settings.jpeg, 95).flatten())


def edge_median(pixels: Tensor) -> Tensor:
    """The median of the outermost pixels of each image, shape (n, 3, 1, 1)."""
    edge = torch.cat([pixels[..., 0, :], pixels[..., -1, :], pixels[..., 0], pixels[..., -1]], -1)
    return edge.median(-1).values[..., None, None]


CHANGES: tuple[Change, ...] = (
    _debris, _background, _shading, _blur, _resolution, _color, _tone, _noise, _jpeg,
)  # fmt: skip


def gaussian_blur(pixels: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Gaussian blur with a kernel of 2 · radius + 1 pixels, and a sigma for each image (n,)."""
    n, channels, height, width = pixels.shape
    at = torch.arange(-radius, radius + 1, device=pixels.device, dtype=pixels.dtype)
    line = torch.exp(-0.5 * (at / sigma.clamp_min(1e-3)[:, None]) ** 2)
    line = (line / line.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
    flat = F.pad(pixels, [radius] * 4, mode="replicate").flatten(0, 1)[None]
    flat = F.conv2d(flat, line[:, :, None], groups=n * channels)
    flat = F.conv2d(flat, line[:, :, :, None], groups=n * channels)
    return flat.view(n, channels, height, width)


def jpeg(pixels: Tensor, quality: Tensor) -> Tensor:
    """What JPEG compression of a quality, shape (n,), loses; the color is not made coarser.

    Blocks of 8 × 8 pixels are transformed (DCT), rounded to the steps of ITU-T T.81, Annex K, for
    the quality as libjpeg scales them, and transformed back.
    """
    n, _, height, width = pixels.shape
    to_ycc = torch.tensor(TO_YCC, device=pixels.device)
    padded = F.pad(pixels, (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate")
    ycc = torch.einsum("dc,nchw->ndhw", to_ycc, padded - 128)
    waves, steps = _waves(pixels.device), _steps(quality).view(n * 3, BLOCK**2, 1)
    blocks = F.unfold(ycc.flatten(0, 1)[:, None], BLOCK, stride=BLOCK)
    rounded = ((waves @ blocks) / steps).round() * steps
    back = F.fold(waves.T @ rounded, padded.shape[2:], BLOCK, stride=BLOCK).view(padded.shape)
    rgb = torch.einsum("cd,ndhw->nchw", torch.linalg.inv(to_ycc), back) + 128
    return rgb[..., :height, :width].clamp(0, 255)


def _waves(device: torch.device) -> Tensor:
    """The cosine transform of a block, orthonormal, shape (coefficients, pixels): (64, 64)."""
    k = torch.arange(BLOCK, dtype=torch.float32)[:, None]
    at = torch.arange(BLOCK, dtype=torch.float32)[None]
    waves = torch.cos(math.pi / BLOCK * (at + 0.5) * k) * (2 / BLOCK) ** 0.5
    waves[0] /= 2**0.5
    both = torch.einsum("ux,vy->uvxy", waves, waves)
    return both.reshape(BLOCK**2, BLOCK**2).to(device)


def _steps(quality: Tensor) -> Tensor:
    """The steps of each coefficient for a quality from 1 to 100, shape (n, 3, 8, 8)."""
    table = torch.full((3, BLOCK, BLOCK), 99.0)
    table[0] = torch.tensor(LUMINANCE)
    table[1:, :4, :4] = torch.tensor(CHROMINANCE, dtype=torch.float32)
    quality = quality.view(-1, 1, 1, 1)
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    steps: Tensor = ((table.to(quality.device) * scale + 50) / 100).floor().clamp(1, 255)
    return steps


def _positions(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """x and y of each pixel from −1 to 1, to be combined with one number for each image."""
    height, width = pixels.shape[2:]
    x = torch.linspace(-1, 1, width, device=pixels.device)[None, None, None]
    y = torch.linspace(-1, 1, height, device=pixels.device)[None, None, :, None]
    return x, y
