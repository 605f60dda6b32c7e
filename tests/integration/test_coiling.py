"""A model tells forms apart that differ only by the direction of coiling."""

import logging

import pytest

from forametric.data.importers.importing import import_collection
from forametric.data.splits import make_split
from forametric.embedding.recipe import Recipe
from forametric.evaluation.evaluate import evaluate
from forametric.model.model import Model
from forametric.simulation import TWINS, write_shells
from forametric.training.train import train

pytestmark = pytest.mark.slow
QUICK = ["epochs=24", "network.image_size=96", "augment.scale=[1.0, 1.0]"]


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Shells of one form, seen from the spiral or the umbilical side, sinistral or dextral."""
    folder = tmp_path_factory.mktemp("twins")
    table = write_shells(folder, 240, size=128, forms=list(TWINS), seed=3, workers=2)
    assert set(zip(table["label"].str.split().str[-1], table["coiling"], strict=True)) == {
        ("sinistral", "sinistral"),
        ("dextral", "dextral"),
    }
    table[table["view"] != "side"].to_csv(folder / "specimens.csv", index=False)
    return make_split(import_collection(folder / "specimens.csv", folder / "collection").collection)


def test_a_model_tells_twins_apart_and_one_that_reflects_cannot(twins, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        model = train(twins, Recipe.load("default", [*QUICK, "tta_views=8"]), tmp_path / "model")
    assert "reflections would hide the coiling" in caplog.text
    assert model.recipe.tta_views == 4
    assert model.card.training["handed"] == sorted(TWINS)
    assert "Differ from other taxa by coiling" in (tmp_path / "model" / "README.md").read_text()
    found = evaluate(model, twins).metrics["known"]["accuracy"]
    reflecting = Recipe.load("default", [*QUICK, "augment.mirror=true"])
    blind = evaluate(train(twins, reflecting, tmp_path / "blind"), twins)
    assert blind.metrics["known"]["accuracy"] < 0.7
    assert found >= 0.95
    assert Model.load(tmp_path / "model").recipe.augment.mirror == "auto"
