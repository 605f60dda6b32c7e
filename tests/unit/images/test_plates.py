"""Labels, borders and scale bars go; shells, and pictures that are no plates, stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from forametric.images import decode, load_image
from forametric.images.plate import crop_plate, read_plate
from forametric.simulation.plates import BAR_UM, STYLES, simulate_plate
from tests.support.measure import measure_plates


def test_the_label_goes_and_the_shell_stays():
    for key, found in measure_plates(48, first=50_000).items():
        assert found["shell kept"] >= 0.999, key
        assert found["strip gone"] >= 0.999, key


@pytest.mark.slow
def test_the_label_goes_and_the_shell_stays_on_two_thousand_plates():
    found = measure_plates(2000).values()
    assert np.mean([f["shell kept"] for f in found]) >= 0.999
    assert np.mean([f["strip gone"] for f in found]) >= 0.999


@pytest.mark.parametrize("style", STYLES)
def test_the_photograph_is_found_to_the_pixel_where_it_has_an_edge(style):
    plate = simulate_plate("compressed keeled", 7, style)
    assert np.abs(np.array(read_plate(plate.picture).box) - plate.box).max() <= 2


@pytest.mark.parametrize("near", [False, True])
def test_what_has_no_label_passes_through_unchanged(near):
    for seed in range(20):
        picture = simulate_plate("lobate planispiral", seed, "none", near=near).picture
        assert crop_plate(picture) is picture


@given(st.integers(0, 2**31), st.integers(60, 300), st.integers(60, 300), st.floats(0, 60))
@settings(max_examples=30, deadline=None)
def test_noise_is_no_plate(seed, height, width, spread):
    noise = np.random.default_rng(seed).normal(60, spread, (height, width, 3))
    picture = np.clip(noise, 0, 255).astype(np.uint8)
    assert crop_plate(picture) is picture


def test_a_plate_and_its_photograph_make_the_same_square(tmp_path):
    plate = simulate_plate("high spired", 5, "automorph")
    top, bottom, left, right = plate.box
    Image.fromarray(plate.picture).save(tmp_path / "plate.png")
    Image.fromarray(plate.picture[top:bottom, left:right]).save(tmp_path / "photo.png")
    whole, photo = (load_image(tmp_path / name, 64) for name in ("plate.png", "photo.png"))
    assert np.abs(whole.astype(int) - photo.astype(int)).mean() < 2


def test_both_bars_of_automorph_give_the_scale():
    shares = [
        read_plate(plate.picture).um_per_px / plate.um_per_px
        for plate in (simulate_plate("single sphere", seed, "automorph") for seed in range(12))
    ]
    assert np.abs(np.array(shares) - 1).max() < 0.05


@pytest.mark.parametrize("style", STYLES[1:])
def test_a_single_bar_gives_the_scale_when_its_length_is_said(style):
    plates = [simulate_plate("single sphere", seed, style) for seed in range(12)]
    assert all(read_plate(plate.picture).um_per_px is None for plate in plates)
    found = [read_plate(plate.picture, bar_um=BAR_UM).um_per_px for plate in plates]
    shares = np.array(found, float) / [plate.um_per_px for plate in plates]
    assert np.abs(shares - 1).max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pollen", "plankton"])
def test_no_real_picture_without_a_label_is_taken_for_a_plate(real_data, name):
    paths = sorted(p for p in (real_data / name).rglob("*") if p.suffix in (".png", ".jpg"))
    for path in paths[:: 1 if name == "pollen" else 4]:
        image = decode(path)
        assert crop_plate(image) is image, path.name
