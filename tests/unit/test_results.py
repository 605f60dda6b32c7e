"""Every result object: one line of text, a notebook's HTML that is escaped, figures for JSON."""

import importlib
import json
import pkgutil
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import forametric as fm
from forametric.data.collection import Collection
from forametric.data.embeddings import skipped_table
from forametric.data.importers.endless_forams import DownloadReport
from forametric.evaluation.benchmark import Benchmark
from forametric.utils.results import Result

HOSTILE = "<script>alert('a & b')</script>"
ELSEWHERE = "forametric.review"  # its results have tests of their own


@pytest.fixture(scope="module")
def shown(more_shells) -> Collection:
    """Shells, one taxon of which has a name that could break a page."""
    found = Collection.open(more_shells)
    table = found.specimens
    first = table["taxon"].iloc[0]
    table = table.assign(taxon=table["taxon"].replace(first, HOSTILE))
    return Collection(table, found.images, {**found.info, "name": HOSTILE})


@pytest.fixture(scope="module")
def model(calibrated_folder, shown) -> fm.Model:
    return fm.Model.load(calibrated_folder).add_references(shown.select(np.arange(4)))


@pytest.fixture(scope="module")
def results(model, shown, evaluation, tmp_path_factory) -> dict[str, Result]:
    """One result of every class."""
    folder = tmp_path_factory.mktemp("results")
    embeddings = model.embed(shown)
    names = model.identify(embeddings)
    runs = pd.DataFrame(
        {
            "recipe": [HOSTILE, "b"], "backbone": "none", "draw": "draw_1", "seed": 0,
            "folder": "f", "failed": ["", ""], "test_share": 0.2, "known.accuracy": [0.5, 0.6],
        }
    )  # fmt: skip
    from PIL import Image

    pixels = np.full((200, 300, 3), 20, np.uint8)
    pixels[50:90, 60:100] = pixels[120:170, 200:250] = 200
    Image.fromarray(pixels).save(folder / "tray.png")
    downloaded = pd.DataFrame({"species": [HOSTILE], "file": ["a.zip"]})
    made = [
        shown,
        fm.import_collection(shown.images, folder / "c"),
        fm.segment_slides(folder / "tray.png", folder / "s"),
        fm.make_split(shown),
        fm.Taxonomy.load(),
        fm.check(shown, model),
        fm.export(shown, folder / "out.csv", identifications=names),
        DownloadReport(folder, downloaded, skipped_table()),
        model,
        names,
        fm.discover(embeddings, model),
        fm.assemblages(names),
        fm.map_images(model, shown, folder / "m.png"),
        evaluation,
        Benchmark(runs, "b", folder),
    ]
    return {type(result).__name__: result for result in made}


def _classes(base: type) -> set[type]:
    return {base} | {deeper for one in base.__subclasses__() for deeper in _classes(one)}


NAMES = [
    "Collection", "ImportReport", "SegmentReport", "Split", "Taxonomy", "CheckReport",
    "ExportReport", "DownloadReport", "Model", "Identifications", "Morphotypes", "Assemblages",
    "MapReport", "Evaluation", "Benchmark",
]  # fmt: skip


def test_no_class_of_results_is_left_out(results):
    for module in pkgutil.walk_packages(fm.__path__, "forametric."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    known = {one for one in _classes(Result) - {Result} if not one.__module__.startswith(ELSEWHERE)}
    assert {one.__name__ for one in known if one.__module__.startswith("forametric")} == set(NAMES)
    assert set(results) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_result_says_in_one_line_what_it_is(results, name):
    result = results[name]
    text = str(result)
    assert text
    assert "\n" not in text
    assert len(text) < 300
    assert repr(result) == f"{name}({text})"
    assert "object at 0x" not in repr(result)


@pytest.mark.parametrize("name", NAMES)
def test_a_result_has_a_length_and_figures_for_json(results, name):
    result = results[name]
    assert len(result) > 0
    figures = json.loads(json.dumps(result.summary, allow_nan=True))
    assert figures
    assert isinstance(result.table, pd.DataFrame)


@pytest.mark.parametrize("name", NAMES)
def test_a_result_shows_itself_in_a_notebook_and_escapes_names(results, name):
    html = results[name]._repr_html_()
    assert html.startswith("<")
    assert "<script" not in html
    assert not re.search(r"https?://|src=['\"](?!data:)", html)


@pytest.mark.parametrize("name", ["Collection", "Identifications", "Morphotypes", "ImportReport"])
def test_specimens_are_shown_as_thumbnails(results, name):
    assert results[name]._repr_html_().count("data:image/") >= 2


@pytest.mark.parametrize("name", ["Collection", "Identifications", "Morphotypes"])
def test_a_hostile_name_is_shown_as_text(results, name):
    result = results[name]
    if name == "Identifications":
        result = replace(result, table=result.table.assign(taxon=HOSTILE))
    if name == "Morphotypes":
        result = replace(result, table=result.table.assign(best=HOSTILE))
    assert "&lt;script&gt;alert(&#x27;a &amp; b&#x27;)" in result._repr_html_()


SKIPPING = ["ImportReport", "SegmentReport", "CheckReport", "DownloadReport", "Model",
            "Identifications", "Morphotypes", "Assemblages", "MapReport", "Evaluation"]  # fmt: skip


@pytest.mark.parametrize("name", SKIPPING)
def test_what_was_skipped_has_one_shape(results, name):
    skipped = results[name].skipped
    assert isinstance(skipped, pd.DataFrame)
    assert list(skipped.columns) == ["image", "reason"]


def test_other_objects_have_a_short_text_too(model, shown):
    embeddings = model.embed(shown.select(np.arange(5)))
    space = fm.Morphospace(seed=1)
    assert repr(space) == "Morphospace(seed=1, perplexity=30.0)"
    assert repr(space.fit(embeddings)) == "Morphospace(seed=1, perplexity=30.0, 5 specimens)"
    assert repr(embeddings) == f"Embeddings(5 specimens × {model.card.dimensions})"
    assert repr(model.references).startswith("ReferenceSet(22 specimens of ")


def test_a_base_result_must_say_its_figures():
    class Bare(Result):
        pass

    with pytest.raises(NotImplementedError):
        _ = Bare().summary
    assert Bare().preview is None
