"""Changes of training images as by another microscope: right in size, and the same every time."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from forametric.embedding.recipe import Augment, Microscope
from forametric.training.augment import augment
from forametric.training.microscope import (
    CHANGES,
    Draw,
    gaussian_blur,
    jpeg,
    through_microscope,
)

OFF = Microscope(
    share=1, debris=0, background=0, shading=0, blur=0, resolution=1, cast=0, gray=0, gamma=1,
    noise=0, jpeg=100,
)  # fmt: skip


def pictures(n: int = 4, size: int = 48) -> torch.Tensor:
    """Smooth blobs on a plain background."""
    rng = np.random.default_rng(0)
    noise = gaussian_filter(rng.normal(0, 1, (n, 3, size, size)), (0, 0, 4, 4))
    return torch.from_numpy((120 + 400 * noise).clip(0, 255).astype(np.float32))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_jpeg_loses_what_a_jpeg_file_loses(quality):
    pixels = pictures(1, 51)
    file = BytesIO()
    image = Image.fromarray(pixels[0].permute(1, 2, 0).byte().numpy())
    image.save(file, "jpeg", quality=quality, subsampling=0)
    true = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1).float()
    found = jpeg(pixels.byte().float(), torch.tensor([float(quality)]))[0]
    assert found.shape == true.shape
    assert float((found - true).abs().mean()) < 1, "a file is rounded in one more place"


def test_blur_is_that_of_scipy_with_a_width_for_each_image():
    pixels = pictures(2)
    found = gaussian_blur(pixels, torch.tensor([0.7, 2.0]), 8)
    for image, sigma, true in zip(found, (0.7, 2.0), pixels.numpy(), strict=True):
        expected = gaussian_filter(true, (0, sigma, sigma), mode="nearest", truncate=8 / sigma)
        np.testing.assert_allclose(image.numpy(), expected, atol=0.05)


@pytest.mark.parametrize("size", [32, 50])
def test_changes_keep_shape_and_range_and_come_back_with_the_generator(size):
    pixels = pictures(6, size)
    before = pixels.clone()
    one, two = (through_microscope(pixels, Microscope(share=1), generator()) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(pixels, before), "the images themselves stay as they are"
    assert one.shape == pixels.shape
    assert float(one.min()) >= 0
    assert float(one.max()) <= 255
    assert all(not torch.equal(a, b) for a, b in zip(one, pixels, strict=True))
    other = through_microscope(pixels, Microscope(share=1), generator(1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__.strip("_"))
def test_each_change_can_be_switched_off(change):
    pixels = pictures()
    same = change(pixels, OFF, Draw(len(pixels), generator(), pixels.device))
    torch.testing.assert_close(same, pixels, atol=1e-2, rtol=0)
    new = change(pixels, Microscope(), Draw(len(pixels), generator(), pixels.device))
    assert float((new - pixels).abs().max()) > 1


def test_a_share_of_the_images_is_changed():
    pixels = pictures(1).repeat(400, 1, 1, 1)[:, :, :16, :16]
    settings = OFF.model_copy(update={"share": 0.25, "noise": 10.0})
    difference = (through_microscope(pixels, settings, generator()) - pixels).abs()
    changed = difference.flatten(1).amax(1) > 0.1
    assert 0.18 < float(changed.float().mean()) < 0.32


def test_noise_has_the_strength_that_is_asked_for():
    pixels = torch.full((200, 3, 16, 16), 128.0)
    settings = OFF.model_copy(update={"noise": 12.0})
    deviation = (through_microscope(pixels, settings, generator()) - 128).flatten(1).std(1)
    assert float(deviation.max()) < 12 * 1.6
    assert 4 < float(deviation.mean()) < 9


def test_recipes_without_a_microscope_augment_as_before():
    images = pictures().byte()
    plain = augment(images, Augment(), generator())
    none = augment(images, Augment(microscope=Microscope(share=0, noise=99)), generator())
    assert torch.equal(plain, none)
