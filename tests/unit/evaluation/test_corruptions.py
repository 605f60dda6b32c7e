"""Corrupted images: of the strength that is stated, and the same every time."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from forametric.data.collection import Collection
from forametric.data.splits import Split
from forametric.evaluation.corruptions import CORRUPTIONS
from forametric.evaluation.evaluate import evaluate
from forametric.evaluation.predictions import predict
from forametric.evaluation.robustness import corrupted_scores, summarise_corruptions
from forametric.model.model import Model

BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Four colored blobs on a dark background, (4, 128, 128, 3)."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    inside = (np.hypot(x, y) < 0.7)[None, ..., None]
    texture = gaussian_filter(rng.normal(0, 1, (4, 128, 128, 3)), (0, 1.5, 1.5, 0)) * 90
    color = np.array([170, 140, 110])
    return np.where(inside, color + texture, 30).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_stronger_corruption_changes_more_and_the_same_seed_changes_the_same(name, images):
    corruption, before = BY_NAME[name], images.copy()
    changed = [corruption(images, value) for value in corruption.strengths]
    assert (images == before).all()
    assert all(c.shape == images.shape and c.dtype == np.uint8 for c in changed)
    distances = [np.abs(c.astype(int) - images).mean() for c in changed]
    assert 0 < distances[0] < distances[1] < distances[2]
    again = corruption(images, corruption.strengths[1])
    assert (again == changed[1]).all()
    # An image is corrupted as it would be alone: results do not depend on how many there are.
    assert (corruption(images[:1], corruption.strengths[1]) == changed[1][:1]).all()


def test_noise_has_its_standard_deviation():
    gray = np.full((1, 200, 200, 3), 128, np.uint8)
    for sd in (2, 4, 10):
        assert BY_NAME["noise"](gray, sd).std() == pytest.approx(sd, rel=0.05)
    # 500 photons of white: 251 at gray 128, with a standard deviation of their root.
    shot = BY_NAME["shot noise"](gray, 500).std()
    assert shot == pytest.approx(255 / 500 * np.sqrt(128 / 255 * 500), rel=0.05)


def test_lengths_are_in_pixels_of_an_image_of_128(images):
    large = np.kron(images, np.ones((1, 2, 2, 1), np.uint8))  # 256 pixels wide
    expected = gaussian_filter(large[0].astype(float), (3, 3, 0), mode="nearest")
    assert np.abs(BY_NAME["blur"](large, 1.5)[0] - expected).max() <= 1


def test_jpeg_and_resolution_are_those_of_files(images):
    file = BytesIO()
    Image.fromarray(images[0]).save(file, "jpeg", quality=30)
    assert (BY_NAME["jpeg"](images, 30)[0] == np.asarray(Image.open(file))).all()
    half = Image.fromarray(images[0]).resize((64, 64), Image.Resampling.BILINEAR)
    half = half.resize((128, 128), Image.Resampling.BILINEAR)
    assert (BY_NAME["resolution"](images, 0.5)[0] == np.asarray(half)).all()


def test_gray_images_have_no_color_left(images):
    gray = BY_NAME["gray"](images, 1)
    assert np.ptp(gray.astype(int), axis=3).max() <= 1


@pytest.fixture(scope="module")
def evaluated(model_folder, shells_folder, split_file):
    model = Model.load(model_folder)
    split = Split.load(Collection.open(shells_folder), split_file)
    return model, split, predict(model, split)


def test_scores_of_images_as_they_are_are_those_of_the_evaluation(evaluated):
    model, split, predictions = evaluated
    table = corrupted_scores(model, predictions, split.collection, CORRUPTIONS[:2])
    assert table[["corruption", "strength"]].values.tolist() == [
        ["none", 0], *[[name, n] for name in ("noise", "shot noise") for n in (1, 2, 3)],
    ]  # fmt: skip
    known = evaluate(model, split).metrics
    assert table["accuracy"].iloc[0] == pytest.approx(known["known"]["accuracy"])
    if "auroc" in known["open_set"]:
        assert table["unseen_auroc"].iloc[0] == pytest.approx(known["open_set"]["auroc"])
    found = summarise_corruptions(table)
    relative = table["accuracy"][1:] / table["accuracy"][0]
    assert found["relative_accuracy"] == pytest.approx(relative.mean())
    assert list(found["by_corruption"]) == ["noise", "shot noise"]


def test_a_report_shows_the_corruptions(evaluated, tmp_path, monkeypatch):
    model, split, _ = evaluated
    monkeypatch.setattr("forametric.evaluation.robustness.MOST", {"test": 4, "unseen": 2})
    result = evaluate(model, split, corruptions=True)
    page = result.to_html(tmp_path / "r").read_text()
    assert "Another microscope" in page
    assert "shot noise" in page
    assert len((tmp_path / "r" / "corruptions.csv").read_text().splitlines()) == 2 + 3 * 13
    assert "corruptions.relative_accuracy" in set(result.figures["metric"])
