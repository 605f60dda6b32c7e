"""A review project on disk: what is cached, what is made again, what is refused."""

import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from forametric.data.collection import Collection
from forametric.embedding.embedder import Embedder
from forametric.errors import InputError, ModelError, NotFoundError
from forametric.model.model import Model
from forametric.review.project import EXTERNAL, Project, embed_project, open_or_create


def test_a_project_opens_with_its_cache_and_embeds_a_changed_collection_again(
    folder, more_shells, calibrated_folder, monkeypatch, tmp_path, caplog
):
    project = Project.open(str(folder))
    assert project.depth == "depth"
    assert project.model.samefile(calibrated_folder)
    calls = []
    embed = Embedder.embed_in_batches
    monkeypatch.setattr(
        Embedder, "embed_in_batches", lambda *a, **k: calls.append(1) or embed(*a, **k)
    )
    with caplog.at_level(logging.INFO, "forametric.review"):
        before = embed_project(project)
    assert not calls, "embeddings are read from the cache"
    assert "reading the embeddings of 64 specimens" in caplog.text
    fewer = Collection.open(more_shells).select(np.arange(20)).save(tmp_path / "fewer")
    with caplog.at_level(logging.INFO, "forametric.review"):
        changed = embed_project(Project(folder, fewer, project.models))
    assert len(changed.collection) == len(changed.embeddings) == 20
    assert calls, "another collection is embedded again"
    for message in ("embedding 20 specimens", "laying out the map of 20 specimens"):
        assert message in caplog.text
    assert len(before.collection) == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ('{"format": 9}', "project format 9"),
        ('{"format": 1, "models": []}', "damaged"),
        ('{"format": 1, "models": ["a"], "current": 3, "collection": "c", "reference_images": [], '
         '"depth": "", "database": ""}', "damaged"),
    ],
)  # fmt: skip
def test_a_damaged_project_is_refused_with_a_sentence(tmp_path, text, message):
    (tmp_path / "project.json").write_text(text)
    with pytest.raises(InputError, match=message):
        Project.open(tmp_path)


def test_a_model_without_calibration_is_refused_before_the_long_work(
    model_folder, more_shells, tmp_path
):
    with pytest.raises(ModelError, match="forametric calibrate"):
        Project.create(tmp_path / "p", more_shells, model_folder)
    assert not (tmp_path / "p").exists()
    with pytest.raises(ModelError, match="forametric calibrate"):
        embed_project(Project(tmp_path / "p", more_shells, (model_folder,)))
    assert not (tmp_path / "p").exists()


def test_an_unsaved_collection_and_model_are_saved_inside_the_project(
    shells, calibrated_folder, tmp_path
):
    collection = shells.select(range(12))
    model = replace(Model.load(calibrated_folder), folder=calibrated_folder)
    project = Project.create(tmp_path / "p", collection, model)
    assert project.model == calibrated_folder, "a model that is a folder already stays there"
    opened = Project.open(tmp_path / "p")
    assert len(Collection.open(opened.collection)) == 12
    assert Collection.open(opened.collection).path(0).is_file()


def test_the_order_of_sheets_keeps_neighbors_together(folder):
    embedded = embed_project(Project.open(folder))
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8)), axis=-1).reshape(-1, 2)
    shuffled = np.random.default_rng(0).permutation(grid).astype(np.float32)
    on_grid = replace(embedded, morphospace=SimpleNamespace(coordinates_=shuffled))
    assert sorted(on_grid.order) == list(range(64))
    walk = shuffled[on_grid.order]
    assert walk[:4].tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    for start in range(0, 64, 16):  # a quarter of the curve is a quarter of the map
        assert np.ptp(walk[start : start + 16], axis=0).tolist() == [3, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folder": "nothing"}, "is not a review project yet"),
        ({"folder": "PROJECT", "collection": "x"}, "is a project already"),
        ({"folder": "PROJECT", "depth": "x"}, "is a project already"),
        ({"folder": "PROJECT", "database": "postgresql://x/y"}, "kept in its folder"),
        ({"folder": "new", "collection": "nowhere", "model": "nowhere"}, "nowhere"),
        ({"folder": "full", "collection": "CORE", "model": "MODEL"}, "is not empty"),
        ({"folder": "new", "collection": "CORE", "model": "MODEL", "depth": "x"}, "no column 'x'"),
    ],
)
def test_opening_or_creating_says_what_is_wrong(
    prepared_project, more_shells, calibrated_folder, tmp_path, arguments, message
):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    known = {"PROJECT": prepared_project, "CORE": more_shells, "MODEL": calibrated_folder}
    arguments = {
        name: known.get(value, tmp_path / value if name == "folder" else value)
        for name, value in arguments.items()
    }
    with pytest.raises(InputError, match=message):
        open_or_create(**arguments)
    assert not (tmp_path / "new").exists()


def test_a_project_is_created_once_and_then_opened(more_shells, calibrated_folder, tmp_path):
    created, store = open_or_create(str(tmp_path / "p"), str(more_shells), calibrated_folder)
    store.close()
    opened, store = open_or_create(tmp_path / "p")
    assert opened.collection.samefile(created.collection)
    assert Path(store.place) == tmp_path / "p" / "decisions.sqlite"
    store.close()
    external = replace(opened, database=EXTERNAL)
    external.save()
    with pytest.raises(InputError, match="give --database"):
        open_or_create(tmp_path / "p")
    with pytest.raises(InputError, match="another database"):
        Project.open(tmp_path / "p").open_store()
    with pytest.raises(NotFoundError, match=r"no project\.json"):
        Project.open(tmp_path)
