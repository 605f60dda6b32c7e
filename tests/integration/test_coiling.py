"""A model tells forms apart that differ only by the direction of coiling."""

import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from forametric.data.importers.importing import import_collection
from forametric.data.splits import make_split
from forametric.embedding.recipe import Recipe
from forametric.evaluation.evaluate import evaluate
from forametric.model.model import Model
from forametric.simulation import TWINS, draw_form
from forametric.simulation.growth import draw_specimen
from forametric.training.train import train

pytestmark = pytest.mark.slow
EACH = 460
# Two taxa that differ by so little need many steps; the metric loss would slow them down.
SETTINGS = [
    "epochs=36", "network.image_size=64", "sampler.specimens=16", "loss.metric_weight=0",
    "optimiser.backbone_lr=3e-3",
]  # fmt: skip


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Shells of one form, seen from the spiral side, sinistral or dextral."""
    folder, rng, rows = tmp_path_factory.mktemp("twins"), np.random.default_rng(0), []
    for name, form in TWINS.items():
        for number in range(EACH):
            tilt = float(rng.normal(0, 14))
            one = replace(draw_specimen(form, rng), view="spiral", tilt_deg=tilt)
            image = f"{one.coiling}_{number}.png"
            shell = draw_form(form, one, seed=number, size=64)
            Image.fromarray(shell.picture).save(folder / image)
            rows.append({"image": image, "label": name, "coiling": one.coiling})
    table = pd.DataFrame(rows)
    assert (table["label"].str.split().str[-1] == table["coiling"]).all()
    table.to_csv(folder / "specimens.csv", index=False)
    return make_split(import_collection(folder / "specimens.csv", folder / "collection").collection)


def test_a_model_tells_twins_apart_and_one_that_reflects_cannot(
    twins, tmp_path, caplog, without_onnx
):
    with caplog.at_level(logging.WARNING):
        model = train(twins, Recipe.load("default", [*SETTINGS, "tta_views=8"]), tmp_path / "model")
    assert "reflections would hide the coiling" in caplog.text
    assert model.recipe.tta_views == 4
    assert model.card.training["handed"] == sorted(TWINS)
    assert "Differ from other taxa by coiling" in (tmp_path / "model" / "README.md").read_text()
    found = evaluate(model, twins).metrics["known"]["accuracy"]
    assert found >= 0.95
    assert Model.load(tmp_path / "model").recipe.augment.mirror == "auto"
    reflecting = Recipe.load("default", [*SETTINGS, "augment.mirror=true"])
    blind = evaluate(train(twins, reflecting, tmp_path / "blind"), twins)
    assert blind.metrics["known"]["accuracy"] < 0.7
