"""Corrupt images as other microscopes, cameras and files do, each at three strengths.

After Hendrycks & Dietterich (2019), with what changes between the microscopes of two laboratories.
The images are those that the network sees. Lengths are in pixels of an image 128 pixels wide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom
from scipy.signal import fftconvolve

from forametric._typing import FloatArray, Pixels

Strengths = tuple[float, float, float]
Change = Callable[[FloatArray, float, np.random.Generator], FloatArray]
WIDTH = 128  # pixels, to which lengths refer


@dataclass(frozen=True)
class Corruption:
    """One way in which images change.

    Attributes
    ----------
    name : str
    unit : str
        What the strengths are.
    strengths : tuple of three float
        From the weakest to the strongest.
    change : callable
        Takes one image as floats from 0 to 255, (size, size, 3), a strength, and a generator.
    """

    name: str
    unit: str
    strengths: Strengths
    change: Change

    def __call__(self, images: Pixels, strength: float, seed: int = 0) -> Pixels:
        """Corrupt images of shape (n, size, size, 3); the same seed gives the same result."""
        changed = np.empty_like(images)
        for number, image in enumerate(images):
            rng = np.random.default_rng([seed, number])
            new = self.change(image.astype(np.float32), strength, rng)
            changed[number] = np.clip(np.round(new), 0, 255)
        return changed


def _noise(image: FloatArray, sd: float, rng: np.random.Generator) -> FloatArray:
    return image + rng.normal(0, sd, image.shape).astype(np.float32)


def _shot_noise(image: FloatArray, photons: float, rng: np.random.Generator) -> FloatArray:
    return (rng.poisson(image / 255 * photons) * (255 / photons)).astype(np.float32)


def _blur(image: FloatArray, sigma: float, _: np.random.Generator) -> FloatArray:
    sigma *= len(image) / WIDTH
    return np.asarray(gaussian_filter(image, (sigma, sigma, 0), mode="nearest"))


def _defocus(image: FloatArray, radius: float, _: np.random.Generator) -> FloatArray:
    radius *= len(image) / WIDTH
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    return np.asarray(
        fftconvolve(padded, (disk / disk.sum())[..., None], mode="valid", axes=(0, 1))
    )


def _resolution(image: FloatArray, share: float, _: np.random.Generator) -> FloatArray:
    size = len(image)
    fewer = Image.fromarray(image.astype(np.uint8)).resize(
        (max(4, round(size * share)),) * 2, Image.Resampling.BILINEAR
    )
    return np.asarray(fewer.resize((size, size), Image.Resampling.BILINEAR), np.float32)


def _jpeg(image: FloatArray, quality: float, _: np.random.Generator) -> FloatArray:
    file = BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(file, "jpeg", quality=int(quality))
    return np.asarray(Image.open(file).convert("RGB"), np.float32)


def _cast(image: FloatArray, gain: float, _: np.random.Generator) -> FloatArray:
    return image * np.array([1 + gain, 1, 1 - gain], np.float32)


def _gray(image: FloatArray, share: float, _: np.random.Generator) -> FloatArray:
    luminance = image @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.asarray((1 - share) * image + share * luminance[..., None], np.float32)


def _gamma(image: FloatArray, exponent: float, rng: np.random.Generator) -> FloatArray:
    exponent = exponent if rng.random() < 0.5 else 1 / exponent
    return np.asarray(255 * (image / 255) ** exponent, np.float32)


def _contrast(image: FloatArray, factor: float, _: np.random.Generator) -> FloatArray:
    return np.asarray((image - image.mean()) * factor + image.mean(), np.float32)


def _shading(image: FloatArray, slope: float, rng: np.random.Generator) -> FloatArray:
    y, x = np.mgrid[-1 : 1 : len(image) * 1j, -1 : 1 : len(image) * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + slope * (x * np.cos(angle) + y * np.sin(angle))
    return np.asarray(image * light[..., None])


def _background(image: FloatArray, level: float, rng: np.random.Generator) -> FloatArray:
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    likeness = np.exp(-((np.abs(image - np.median(edge, 0)).mean(2) / 20) ** 2))
    sign = 1 if edge.mean() + level < 255 else -1
    texture = zoom(rng.normal(0, level / 3, (5, 5)), len(image) / 5, order=1)
    return np.asarray(image + (likeness * (sign * level + texture))[..., None])


def _debris(image: FloatArray, count: float, rng: np.random.Generator) -> FloatArray:
    y, x = np.mgrid[-1 : 1 : len(image) * 1j, -1 : 1 : len(image) * 1j]
    image = image.copy()
    for _ in range(int(count)):
        at, radius = rng.uniform(-0.8, 0.8, 2), rng.uniform(0.03, 0.1)
        image[np.hypot(x - at[0], y - at[1]) < radius] = rng.uniform(0, 255)
    return image


CORRUPTIONS = (
    Corruption("noise", "sd in gray levels", (2, 4, 10), _noise),
    Corruption("shot noise", "photons of a white pixel", (2000, 500, 100), _shot_noise),
    Corruption("blur", "sigma in px", (0.8, 1.5, 2.5), _blur),
    Corruption("defocus", "radius in px", (1, 2, 3), _defocus),
    Corruption("resolution", "share of the pixels in a side", (0.7, 0.5, 0.33), _resolution),
    Corruption("jpeg", "quality", (50, 30, 15), _jpeg),
    Corruption("color cast", "gain of red", (0.05, 0.1, 0.2), _cast),
    Corruption("gray", "share of color lost", (0.5, 0.8, 1), _gray),
    Corruption("gamma", "exponent", (1.2, 1.5, 2), _gamma),
    Corruption("contrast", "factor", (0.8, 0.6, 0.4), _contrast),
    Corruption("shading", "change from side to center", (0.1, 0.25, 0.5), _shading),
    Corruption("background", "gray levels", (10, 25, 50), _background),
    Corruption("debris", "spots", (1, 3, 6), _debris),
)
