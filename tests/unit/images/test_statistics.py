"""Image statistics of known value."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from forametric.images.statistics import STATISTICS, image_statistics


def of(image) -> dict[str, float]:
    return dict(zip(STATISTICS, image_statistics(np.asarray(image)[None])[0].tolist(), strict=True))


def disc(radius=0.5, size=128, gray=200, background=20):
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    image = np.where(np.hypot(x, y) <= radius, gray, background).astype(np.uint8)
    return np.repeat(image[..., None], 3, 2)


@pytest.mark.parametrize("sd", [2, 5, 12])
def test_noise_is_measured(sd):
    rng = np.random.default_rng(0)
    gray = rng.normal(128, sd, (128, 128, 1)).clip(0, 255)
    measured = of(np.repeat(gray, 3, 2).astype(np.uint8))["noise"]
    assert 2**measured - 0.25 == pytest.approx(sd, rel=0.15)
    assert of(disc())["noise"] == -2, "no noise: log2 of 0.25"


def test_blur_and_lost_pixels_make_an_image_less_sharp():
    rng = np.random.default_rng(1)
    sharp = gaussian_filter(rng.uniform(0, 255, (64, 64, 3)), (0.7, 0.7, 0))
    blurred = gaussian_filter(sharp, (1.5, 1.5, 0))
    fewer = np.repeat(np.repeat(sharp[::2, ::2], 2, 0), 2, 1)
    plain = of(sharp.astype(np.uint8))
    for changed in (blurred, fewer):
        found = of(changed.astype(np.uint8))
        assert found["sharpness"] < plain["sharpness"] - 0.1
    assert of(blurred.astype(np.uint8))["detail"] < plain["detail"]


def test_light_color_and_size_by_hand():
    found = of(disc(radius=0.5))
    share = np.pi * 0.25 / 4  # of the image
    assert found["background"] == 20
    assert found["brightness"] == pytest.approx(20 + 180 * share, rel=0.02)
    assert 2 ** found["contrast"] - 1 == pytest.approx(180 * (share * (1 - share)) ** 0.5, rel=0.02)
    assert found["extent"] == pytest.approx(0.5 / 2**0.5, rel=0.02), "a disc's radius of gyration"
    assert (found["red"], found["blue"]) == (0, 0)
    warm = disc().astype(float) * [1.0, 0.9, 0.8]
    assert of(warm.astype(np.uint8))["red"] > 0 > of(warm.astype(np.uint8))["blue"]


@pytest.mark.parametrize("size", [32, 33, 65, 224])
def test_every_size_and_a_turned_image_give_the_same(size):
    rng = np.random.default_rng(2)
    images = rng.integers(0, 255, (70, size, size, 3), dtype=np.uint8)
    found = image_statistics(images)
    assert found.shape == (70, len(STATISTICS))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found[69] == pytest.approx(image_statistics(images[69:])[0], abs=1e-4)
    if size % 4 == 0:
        turned = image_statistics(np.rot90(images, 2, (1, 2)))
        assert turned == pytest.approx(found, abs=1e-3)


def test_no_images_and_black_ones():
    assert image_statistics(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, len(STATISTICS))
    assert np.isfinite(image_statistics(np.zeros((2, 64, 64, 3), np.uint8))).all()
