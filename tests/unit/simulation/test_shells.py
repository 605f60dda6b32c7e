from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import label

from forametric.data.importers.endless_forams import facts
from forametric.errors import InputError
from forametric.simulation import (
    FORMS,
    TWINS,
    draw_form,
    long_tail,
    render_shell,
    simulate_shell,
    write_shells,
)
from forametric.simulation.growth import draw_specimen, grow, orient


def lit(picture: np.ndarray) -> np.ndarray:
    """The shell: what is much brighter than the slide, single noisy pixels left out."""
    regions, count = label(picture.max(axis=-1) > 90)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    return (sizes[regions] > 8) & (regions > 0)


def test_the_same_form_seed_and_size_give_the_same_picture() -> None:
    assert np.array_equal(render_shell("high spired", 7, 64), render_shell("high spired", 7, 64))


def test_another_seed_gives_another_shell() -> None:
    first, second = (lit(render_shell("globular trochospiral", seed, 64)) for seed in (0, 1))
    assert (first != second).mean() > 0.02


def test_another_form_gives_another_picture_for_the_same_seed() -> None:
    pictures = {render_shell(form, 0, 48).tobytes() for form in FORMS}
    assert len(pictures) == len(FORMS) == 35


def test_each_species_of_the_library_has_a_form_that_follows_it() -> None:
    assert [form.after for form in FORMS.values()] == facts()["species"].tolist()


@pytest.mark.parametrize("size", [16, 65, 160])
def test_a_picture_has_the_size_asked_for(size: int) -> None:
    picture = render_shell("conical keeled", 0, size)
    assert picture.shape == (size, size, 3)
    assert picture.dtype == np.uint8


@pytest.mark.parametrize("form", list(FORMS))
def test_a_shell_lies_whole_and_bright_on_a_dark_slide(form: str) -> None:
    for seed in range(12):
        picture = render_shell(form, seed, 96)
        shell = lit(picture)
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert 0.03 < shell.mean() < 0.8, seed
        assert border.max() < 70, f"seed {seed} touches the border or the slide is bright"
        assert np.median(border) < 40, seed


def test_an_unknown_form_is_refused_with_the_names_that_work() -> None:
    with pytest.raises(InputError, match=r"'teapot'.*single sphere"):
        render_shell("teapot", 0)


def test_a_picture_too_small_is_refused() -> None:
    with pytest.raises(InputError, match="between 16 and"):
        render_shell("single sphere", 0, 8)


def test_the_table_lists_the_files_written_and_their_counts(tmp_path: Path) -> None:
    forms = ["single sphere", "compressed keeled", "high spired"]
    steps: list[int] = []
    table = write_shells(tmp_path, [4, 1, 0], size=32, forms=forms, progress=steps.append)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")}
    assert set(table["image"]) == written
    assert table["image"].is_unique
    assert table["label"].value_counts().to_dict() == {forms[0]: 4, forms[1]: 1}
    assert sum(steps) == 5
    assert table.columns.tolist()[:5] == ["image", "label", "sample", "um_per_px", "simulated"]
    assert table["simulated"].all()
    with Image.open(tmp_path / "single_sphere" / "single_sphere_0000.png") as picture:
        assert picture.size == (32, 32)


def test_one_number_is_taken_for_every_form(tmp_path: Path) -> None:
    table = write_shells(tmp_path, 1, size=16)
    assert table["label"].tolist() == list(FORMS)


def test_another_seed_writes_other_shells(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_shells(tmp_path / str(seed), 1, seed=seed, size=32, forms=["bulla-covered"])
    first, second = (path.read_bytes() for path in sorted(tmp_path.rglob("*.png")))
    assert first != second


def test_a_wrong_count_or_name_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 counts were given for 1 forms"):
        write_shells(tmp_path, [1, 2], forms=["single sphere"])
    with pytest.raises(InputError, match="teapot"):
        write_shells(tmp_path, 1, forms=["single sphere", "teapot"])
    assert not list(tmp_path.iterdir())


def test_the_truth_is_true_of_the_picture() -> None:
    for seed in range(20):
        shell = simulate_shell("single sphere", seed, 128)
        rows, columns = np.nonzero(shell.mask)
        diameter = (np.ptp(rows) + np.ptp(columns)) / 2 + 1
        assert diameter == pytest.approx(128 * shell.individual.fill, rel=0.03)
        assert diameter * shell.um_per_px == pytest.approx(shell.individual.diameter_um, rel=0.06)
        lit_share = lit(shell.picture)[shell.mask].mean()
        assert lit_share > 0.5
        assert shell.truth["form"] == "single sphere"


def test_what_is_flattened_is_flatter_from_the_side() -> None:
    form = FORMS["globular trochospiral"]
    one = replace(
        simulate_shell("globular trochospiral", 1).individual, tilt_deg=90.0, roll_deg=0.0
    )

    def height(flattening: float) -> float:
        shell = draw_form(form, replace(one, flattening=flattening), size=96)
        rows, columns = np.nonzero(shell.mask)
        return float(np.ptp(rows) / np.ptp(columns))

    assert height(0.4) < height(0.8) < height(1.2)


def test_more_chambers_are_lost_before_they_are_grown() -> None:
    young, old = [], []
    for seed in range(60):
        one = simulate_shell("compressed keeled", seed, 32).individual
        (old if one.stage > 0.9 else young).append((one.chambers, one.diameter_um))
    assert np.mean(young, axis=0)[0] < np.mean(old, axis=0)[0]
    assert np.mean(young, axis=0)[1] < np.mean(old, axis=0)[1]


@pytest.mark.slow
@pytest.mark.process
def test_the_pictures_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    forms = ["cleft glossy", "high spired"]
    one = write_shells(tmp_path / "one", [70, 3], size=24, forms=forms, masks=True)
    two = write_shells(tmp_path / "two", [70, 3], size=24, forms=forms, masks=True, workers=2)
    assert one.equals(two)
    for image in one["image"]:
        for place in ("", "masks/"):
            first, second = (tmp_path / run / f"{place}{image}" for run in ("one", "two"))
            assert first.read_bytes() == second.read_bytes()


def test_a_long_tail_keeps_the_library_s_order_of_counts() -> None:
    counts = np.array(long_tail(1000))
    images = facts()["portal_images"].to_numpy()
    assert counts.sum() == 1000
    assert counts.min() >= 1
    assert (np.diff(counts[np.argsort(images, kind="stable")]) >= 0).all()
    with pytest.raises(InputError, match="at least 35"):
        long_tail(34)


def test_dextral_chambers_follow_clockwise_seen_from_the_spiral_side() -> None:
    form = FORMS["globular trochospiral"]
    drawn = simulate_shell("globular trochospiral", 0).individual
    for coiling, tilt, clockwise in (
        ("dextral", 0.0, True),
        ("sinistral", 0.0, False),
        ("dextral", 180.0, False),  # from the umbilical side
    ):
        one = replace(drawn, coiling=coiling, tilt_deg=tilt, broken="whole", dissolution=0.0)
        bodies, openings, _ = grow(form, one, np.random.default_rng(0))
        placed, _, _ = orient(one, bodies, openings, 100, np.random.default_rng(0))
        first, *_, before, last = (body.center[:2] for body in placed)
        # Rows of an image count downwards: a positive turn is clockwise on the screen.
        (x, y), (to_x, to_y) = before - first, last - first
        assert (x * to_y - y * to_x > 0) == clockwise, (coiling, tilt)


def test_species_have_their_own_ratio_of_coiling_and_twins_differ_only_by_it() -> None:
    def dextral(form: str) -> float:
        shells = [draw_specimen(TWINS.get(form) or FORMS[form], rng) for _ in range(400)]
        return float(np.mean([one.coiling == "dextral" for one in shells]))

    rng = np.random.default_rng(0)
    assert dextral("compact encrusted") < 0.08
    assert dextral("quadrate four-chambered") > 0.92
    assert 0.4 < dextral("high spired") < 0.6
    left, right = TWINS
    assert (dextral(left), dextral(right)) == (0, 1)
    assert replace(TWINS[left], dextral=1.0) == TWINS[right]
    one = simulate_shell(left, 0, 64)
    assert one.picture.shape == (64, 64, 3)
