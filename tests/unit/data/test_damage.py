"""Damaged files end in one sentence: seeded mutations of every kind of file that users give."""

import shutil
import zipfile

import pandas as pd
import pytest

from forametric.data.collection import Collection
from forametric.data.embeddings import Embeddings
from forametric.data.importers.archive import unpack
from forametric.data.importers.ecotaxa import read_ecotaxa
from forametric.data.importers.particle_trieur import read_particle_trieur
from forametric.data.importers.table import read_image_table
from forametric.data.splits import Split
from forametric.data.tables import read_table
from forametric.data.taxonomy import Taxonomy
from forametric.embedding.recipe import Recipe
from forametric.model.card import ModelCard
from forametric.review import read_decisions
from tests.support.damage import unexpected_errors

TABLE = pd.DataFrame(
    {"image": ["a.png", "b.png"], "label": ["Aa bb", "Cé dd"], "um_per_px": ["2,5", "3"]}
)


@pytest.mark.parametrize("suffix", ["csv", "xlsx", "parquet"])
def test_a_damaged_table(tmp_path, suffix):
    path = tmp_path / f"t.{suffix}"
    {"csv": TABLE.to_csv, "xlsx": TABLE.to_excel, "parquet": TABLE.to_parquet}[suffix](
        path, index=False
    )
    assert unexpected_errors(path, read_image_table) == []
    assert len(read_table(path).rows) == 2


def test_a_damaged_project(tmp_path):
    path = tmp_path / "p.xml"
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><project><taxons><taxon><code>a</code>'
        "<name>Aa</name></taxon></taxons><images><image><classifications><classification>"
        "<code>a</code><value>0.4</value></classification></classifications><source>"
        "<filename>a.png</filename><resolution>500</resolution></source></image></images></project>"
    )
    assert unexpected_errors(path, read_particle_trieur) == []


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA,
                                    zipfile.ZIP_BZIP2])  # fmt: skip
def test_a_damaged_archive(tmp_path, method):
    path = tmp_path / "z.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name in ("a.png", "sub/b.png"):
            archive.writestr(name, name * 200)

    def read(archive):
        shutil.rmtree(tmp_path / "into", ignore_errors=True)
        unpack(archive, tmp_path / "into")

    assert unexpected_errors(path, read, 60) == []
    assert {p.name for p in tmp_path.iterdir()} <= {"z.zip", "into"}


def test_a_damaged_ecotaxa_table(tmp_path):
    path = tmp_path / "ecotaxa_1.tsv"
    path.write_text(
        "object_id\timg_file_name\tobject_annotation_category\tprocess_particle_pixel_size_mm\n"
        "[t]\t[t]\t[t]\t[f]\no1\ta.png\tAa<Bb\t0.01\no1\tb.png\tCc\t0.01\n"
    )
    assert unexpected_errors(path, lambda path: read_ecotaxa(path.parent, path)) == []


@pytest.fixture
def copied(shells_folder, shells, tmp_path):
    """A collection of the 48 shells that may be damaged."""
    shells.save(tmp_path / "c")
    return tmp_path / "c"


@pytest.mark.parametrize("name", ["collection.json", "specimens.parquet"])
def test_a_damaged_collection(copied, tmp_path, name):
    def use(path):
        collection = Collection.open(path.parent)
        collection.paths()
        collection.taxa()
        shutil.rmtree(tmp_path / "again", ignore_errors=True)
        collection.save(tmp_path / "again")

    assert unexpected_errors(copied / name, use) == []


def test_damaged_splits_decisions_taxonomies_and_recipes(shells, split_file, tmp_path):
    split = shutil.copy(split_file, tmp_path / "split.csv")
    assert unexpected_errors(split, lambda path: Split.load(shells, path)) == []

    names = tmp_path / "names.csv"
    decided = pd.DataFrame({"id": shells.specimens["id"], "best_probability": 0.5, "expert": "Aa"})
    decided[:5].to_csv(names, index=False)
    assert unexpected_errors(names, lambda path: read_decisions(path, shells, "A")) == []

    taxonomy = Taxonomy.load().to_csv(tmp_path / "taxonomy.csv")
    assert unexpected_errors(taxonomy, Taxonomy.load, 50) == []

    recipe = tmp_path / "r.toml"
    recipe.write_text('extends = "default"\nepochs = 3\n[network]\nimage_size = 96\n')
    assert unexpected_errors(recipe, Recipe.load) == []


def test_damaged_vectors(tmp_path, shells):
    table = shells.specimens[["id", "image", "taxon"]]
    vectors = Embeddings.of_vectors([[float(n), 1.0] for n in range(len(table))])
    path = tmp_path / "v.parquet"
    Embeddings(table, vectors.vectors, vectors.class_probabilities).save(path)
    assert unexpected_errors(path, Embeddings.load) == []


def test_a_damaged_model_card(model_folder, tmp_path):
    path = shutil.copy(model_folder / "model.json", tmp_path / "model.json")
    assert unexpected_errors(path, lambda path: ModelCard.load(path.parent)) == []


def test_json_that_is_nested_deep_or_of_other_kinds(copied):
    for text in ("[" * 100_000, '{"format": 1, "name": 5}'):
        (copied / "collection.json").write_text(text)
        with pytest.raises(Exception, match=r"collection\.json") as caught:
            Collection.open(copied)
        assert type(caught.value).__name__ == "InputError"
