from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from forametric.data.collection import Collection
from forametric.data.importers.slides import segment_slides
from forametric.errors import InputError
from forametric.images.segment import crop, find_specimens, overlay
from forametric.simulation.slides import simulate_slide
from tests.support.measure import matched_specimens, measure_slides


def discs(*places: tuple[float, float, float], shape=(300, 400), slide=20, shell=180) -> np.ndarray:
    """A slide of round shells: x, y and radius of each."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = np.zeros(shape, bool)
    for cx, cy, r in places:
        inside |= (x - cx) ** 2 + (y - cy) ** 2 <= r * r
    grey = np.where(inside, shell, slide) + np.random.default_rng(0).normal(0, 1.5, shape)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, -1)


@pytest.mark.parametrize("dark", [False, True])
def test_measures_of_round_shells_are_those_of_circles(dark: bool) -> None:
    places = ((80, 70, 30), (250, 80, 40), (150, 200, 50))
    tones = {"slide": 210, "shell": 60} if dark else {}
    slide = find_specimens(discs(*places, **tones))
    assert slide.dark == dark
    assert len(slide.specimens) == 3
    for found, (x, y, r) in zip(slide.specimens.itertuples(), places, strict=True):
        assert (found.x_px, found.y_px) == pytest.approx((x + 0.5, y + 0.5), abs=0.6)
        assert found.equivalent_diameter_px == pytest.approx(2 * r, rel=0.03)
        assert found.major_axis_px == pytest.approx(2 * r, rel=0.04)
        assert found.area_px2 == pytest.approx(np.pi * r * r, rel=0.06)
        assert found.circularity > 0.95
        assert not found.touching


def test_touching_shells_are_parted_and_lobed_ones_are_not() -> None:
    pair = find_specimens(discs((100, 100, 40), (178, 100, 40)))
    assert len(pair.specimens) == 2
    assert pair.specimens["touching"].all()
    lobed = find_specimens(discs((100, 100, 40), (145, 100, 36), (120, 135, 36)))
    assert len(lobed.specimens) == 1


def test_dust_and_shells_cut_by_the_edge_are_left_out() -> None:
    slide = find_specimens(discs((100, 100, 40), (300, 150, 40), (395, 250, 30), (30, 250, 2)))
    assert len(slide.specimens) == 2
    assert slide.cut == 1
    small = find_specimens(discs((100, 100, 40), (300, 150, 12)), smallest=30)
    assert len(small.specimens) == 1


def test_a_cut_picture_holds_its_shell_and_nothing_of_its_neighbour() -> None:
    picture = discs((100, 100, 40), (178, 100, 40))
    slide = find_specimens(picture)
    left = crop(picture, slide, 0)
    assert left.shape[0] == pytest.approx(80 * 1.24, abs=5)
    bright = np.argwhere(left[..., 0] > 100)
    assert len(bright) == pytest.approx(np.pi * 40**2, rel=0.06)
    assert bright.max(0)[1] - bright.min(0)[1] <= 82
    assert (picture == discs((100, 100, 40), (178, 100, 40))).all(), "the slide was changed"


def test_a_bare_slide_has_no_shells() -> None:
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(30, 4, (200, 300, 3))
        assert not len(find_specimens(np.clip(noise, 0, 255).astype(np.uint8)).specimens)
    assert not len(find_specimens(np.full((200, 300, 3), 7, np.uint8)).specimens)


def test_a_large_slide_is_measured_in_its_own_pixels() -> None:
    small = discs((100, 100, 40), (300, 150, 30), shape=(210, 420))
    large = np.asarray(Image.fromarray(small).resize((4200, 2100)))
    slide = find_specimens(large)
    assert slide.factor == 2
    assert slide.specimens["equivalent_diameter_px"].tolist() == pytest.approx([800, 600], rel=0.03)
    assert crop(large, slide, 0).shape[1] == pytest.approx(992, rel=0.03)


def test_the_overlay_shows_the_whole_slide() -> None:
    picture = discs((100, 100, 40), (178, 100, 40))
    drawn = overlay(picture, find_specimens(picture), longest=200)
    assert drawn.shape == (150, 200, 3)
    assert (drawn == (255, 140, 0)).all(-1).any(), "parted shells have their colour"


def test_most_shells_of_simulated_slides_are_found() -> None:
    for light, found in measure_slides(2, 1200, first=1752).items():
        assert found["precision"] > 0.93, light
        assert found["recall"] > 0.93, light


def test_a_match_needs_half_of_the_union() -> None:
    truth = simulate_slide(3, 4, side=500, touching=0)
    found = find_specimens(truth.picture)
    right, number = matched_specimens(found, truth)
    assert right == {1, 2, 3, 4}
    assert number == 4


@pytest.fixture
def output(tmp_path_factory) -> Path:
    """A place outside the source."""
    return tmp_path_factory.mktemp("output") / "out"


def test_slides_become_a_collection_with_measures_in_um(tmp_path: Path, output: Path) -> None:
    picture = discs((100, 100, 40), (300, 150, 40))
    Image.fromarray(picture).save(tmp_path / "tray 1.png")
    tifffile.imwrite(
        tmp_path / "tray2.tif", picture, imagej=True, resolution=(0.5, 0.5), metadata={"unit": "um"}
    )
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    got = segment_slides(str(tmp_path), str(output))
    table = got.collection.specimens.set_index("sample")
    assert got.skipped["image"].tolist() == ["broken.jpg"]
    assert got.slides["specimens"].tolist() == [2, 2]
    assert np.isnan(table.loc["tray 1", "um_per_px"]).all()
    assert np.isnan(table.loc["tray 1", "equivalent_diameter_um"]).all()
    assert (table.loc["tray2", "um_per_px"] == 2).all()
    assert table.loc["tray2", "equivalent_diameter_um"].tolist() == pytest.approx(
        [160] * 2, rel=0.03
    )
    assert all(path.is_file() for path in got.collection.paths())
    assert (output / "overlays" / "tray 1.jpg").is_file()
    assert pd.read_csv(output / "skipped.csv")["image"].tolist() == ["broken.jpg"]
    assert not output.with_name("out.unfinished").exists()
    assert len(Collection.open(output)) == 4


def test_wrong_input_is_refused(tmp_path: Path, output: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        segment_slides([tmp_path / "absent.png"], tmp_path / "out")
    with pytest.raises(InputError, match="no image"):
        segment_slides([tmp_path], output)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(discs((100, 100, 40))).save(tmp_path / folder / "tray.png")
    with pytest.raises(InputError, match="two slides are named tray"):
        segment_slides([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    with pytest.raises(InputError, match="above 0"):
        segment_slides([tmp_path / "a"], tmp_path / "out", um_per_px=0)


@pytest.mark.process
def test_a_killed_run_resumes_after_the_last_finished_slide(tmp_path: Path, output: Path) -> None:
    for n in range(3):
        picture = discs((100, 100, 40 + n), (300, 150, 40))
        Image.fromarray(picture).save(tmp_path / f"tray{n}.png")
    script = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from forametric.data.importers import slides\n"
        "real, seen = slides.decoding, []\n"
        "def decode(path):\n"
        "    seen.append(path.name); print(path.name, flush=True)\n"
        "    if sys.argv[2] == 'die' and len(seen) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(path)\n"
        "slides.decoding = decode\n"
        "folder = Path(sys.argv[1])\n"
        "slides.segment_slides([folder], Path(sys.argv[3]))\n"
    )
    asked = [sys.executable, "-c", script, str(tmp_path)]
    killed = subprocess.run([*asked, "die", str(output)], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not output.exists()
    done = subprocess.run([*asked, "go on", str(output)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["tray2.png"]
    assert len(Collection.open(output)) == 6
    assert os.listdir(output / "images") != []
