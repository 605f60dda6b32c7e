"""The public names, their arguments, and the example of the design with paths as text."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import forametric as fm


def test_every_public_name_resolves_and_is_listed():
    """dir() once lacked the names that are loaded when they are first used."""
    assert len(fm.__all__) == len(set(fm.__all__)) == len(sorted(fm.__all__))
    assert set(fm.__all__) <= set(dir(fm))
    for name in fm.__all__:
        assert getattr(fm, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Embeder'"):
        _ = fm.Embeder


def test_the_lazy_names_are_those_that_types_are_checked_against():
    homes = {name for names in fm._MODULES.values() for name in names}
    assert set(fm.__all__) == homes | {"__version__", "simulation"}


@pytest.mark.parametrize("name", sorted(set(fm.__all__) - {"__version__", "simulation"}))
def test_every_public_name_says_what_it_is(name):
    assert (getattr(fm, name).__doc__ or "").strip()


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="module")
def model(calibrated_folder) -> fm.Model:
    return fm.Model.load(str(calibrated_folder))


def _exists(*parts: str) -> bool:
    return Path(*parts).exists()


def test_data_from_python_with_paths_as_text(place, shells):
    """Most functions refused text; the example of the README ended in a crash."""
    report = fm.import_collection(str(shells.images), f"{place}/collection")
    assert isinstance(report, fm.ImportReport)
    collection = fm.Collection.open(f"{place}/collection")
    assert len(fm.open_collection(f"{place}/collection")) == len(collection) == 48
    split = fm.make_split(collection, held_out_taxa=1, seed=1)
    assert split.to_csv(f"{place}/split.csv") == Path(place, "split.csv")
    assert fm.Split.load(collection, f"{place}/split.csv").hash == split.hash
    assert collection.save(f"{place}/again") == Path(place, "again")
    check = fm.check(f"{place}/collection")
    assert check.save(f"{place}/check") == Path(place, "check")
    assert check.to_html(f"{place}/check.html") == Path(place, "check.html")
    check.fix().save(f"{place}/clean")
    exported = fm.export(f"{place}/collection", f"{place}/core.zip", format="darwin-core")
    assert exported.path == Path(place, "core.zip")
    assert fm.Taxonomy.load().to_csv(f"{place}/names.csv") == Path(place, "names.csv")
    assert len(fm.Taxonomy.load(f"{place}/names.csv")) == len(fm.Taxonomy.load())
    assert fm.describe(f"{place}/collection")["specimens"] == 48
    assert fm.Verdict("taxon") is fm.Verdict.TAXON


def test_slides_from_python_with_paths_as_text(place):
    from PIL import Image

    pixels = np.full((200, 300, 3), 20, np.uint8)
    pixels[50:90, 60:100] = pixels[120:170, 200:250] = 200
    Image.fromarray(pixels).save(f"{place}/tray.png")
    assert len(fm.segment_slides(f"{place}/tray.png", f"{place}/tray")) == 2
    assert _exists(place, "tray", "overlays", "tray.jpg")


def test_models_from_python_with_paths_as_text(place, model, more_shells, model_folder):
    more = str(more_shells)
    embeddings = model.embed(more)
    names = model.identify(more, min_probability=0.5)
    assert names.to_csv(f"{place}/identified.csv") == Path(place, "identified.csv")
    exported = fm.export(more, f"{place}/out.csv", identifications=f"{place}/identified.csv")
    assert len(exported) == 64
    named = fm.Collection.open(more)
    grown = model.add_references(named)
    assert (len(model.references), len(grown.references)) == (18, 18 + 64), "immutable"
    assert grown.save(f"{place}/grown") == Path(place, "grown")
    assert fm.describe(f"{place}/grown")["title"] == grown.title
    calibrated = fm.Model.load(str(model_folder)).calibrate(named)
    assert calibrated.fingerprint == model.fingerprint, "the same specimens, the same calibration"
    skipped = fm.embed_to_file(model, more, f"{place}/v.parquet")
    assert len(skipped) == 0
    index = fm.SpecimenIndex.open(f"{place}/v.parquet", model.weights_sha256)
    assert len(index.kneighbors(embeddings.vectors[:2], 3)) == 6
    again = fm.Embeddings.load(f"{place}/v.parquet")
    assert np.allclose(again.vectors, embeddings.vectors, atol=1e-4)
    assert embeddings.save(f"{place}/w.parquet") == Path(place, "w.parquet")


def test_analyses_from_python_with_paths_as_text(place, model, more_shells):
    embeddings = model.embed(str(more_shells))
    names = model.identify(embeddings)
    groups = fm.discover(embeddings[: len(embeddings) // 2], model)
    assert groups.save(f"{place}/groups") == Path(place, "groups")
    assert fm.named_morphotypes(str(more_shells)).specimens["id"].is_unique
    space = fm.Morphospace(seed=0).fit(embeddings)
    assert space.transform(embeddings[:3]).shape == (3, 2)
    assert space.save(f"{place}/map.parquet") == Path(place, "map.parquet")
    assert len(fm.Morphospace.load(f"{place}/map.parquet")) == 64
    space.plot(f"{place}/x.png", color="taxon", images=False)
    assert space.to_html(f"{place}/x.html") == Path(place, "x.html")
    assert _exists(place, "x.png")
    one_form = next(path for path in (more_shells.parent / "images").iterdir() if path.is_dir())
    drawn = fm.map_images(model, str(one_form), f"{place}/drawn.png")
    assert _exists(str(drawn.layout))
    counts = fm.assemblages(names, by="sample", depth="depth")
    assert counts.save(f"{place}/counts") == Path(place, "counts")
    counts.to_excel(f"{place}/counts.xlsx")
    assert fm.assemblages_of(model, str(more_shells), by="sample").table.shape[1] == 7
    unknown = fm.discover_unknown(model, str(more_shells), include_known=True)
    assert unknown.n_considered == 64


def test_evaluations_from_python_with_paths_as_text(place, evaluation, shells):
    page = evaluation.to_html(f"{place}/results")  # save, and the path of the page
    assert page == Path(place, "results", "report.html")
    recipe, _, _ = fm.Evaluation.load_run_settings(f"{place}/results", shells)
    assert recipe.name == "default"


def test_simulation_from_python_with_paths_as_text(place, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # one process starts at once
    table = fm.simulation.write_dataset(f"{place}/simulated", total=35, size=16)
    assert len(table) == 35
    assert _exists(place, "simulated", "specimens.csv")


def test_reviews_from_python_with_paths_as_text(place, shells, shells_folder, model):
    table = pd.DataFrame({"id": shells.specimens["id"][:3], "expert": ["a", "b", "a"]})
    table.to_csv(f"{place}/decided.csv", index=False)
    store = fm.DecisionStore(f"{place}/decisions.sqlite")
    store.record(fm.read_decisions(f"{place}/decided.csv", shells, "K. Lee"))
    assert len(store.history()) == 3
    again = fm.DecisionStore.open(f"{place}/decisions.sqlite")
    assert len(fm.apply_decisions(shells, again)) == 48
    ranked = fm.rank_for_review(model, str(shells_folder))
    assert ranked.save(f"{place}/queue") == Path(place, "queue")
    assert json.dumps(fm.agreement(store.history()), default=str)
