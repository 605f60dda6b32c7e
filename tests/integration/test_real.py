"""On real images, where they are at hand."""

import pytest

from forametric.analysis.check import check
from forametric.data.importers import import_collection
from forametric.data.splits import Split

pytestmark = pytest.mark.slow


def test_plankton_holds_57_images_filed_under_two_names(real_data, tmp_path):
    got = import_collection(real_data / "plankton" / "specimens.csv", tmp_path / "c")
    assert (len(got.collection), len(got.skipped)) == (10879, 0)
    assert check(got.collection).counts["conflict"] == 57


def test_pollen_comes_in_whole_with_its_splits(real_data, tmp_path):
    got = import_collection(real_data / "pollen" / "specimens.csv", tmp_path / "c")
    assert len(set(got.collection.taxa())) == 73
    assert Split.load(got.collection, "open_1").counts == {
        "train": 1255,
        "unseen": 693,
        "test": 366,
        "val": 209,
    }


def test_a_folder_with_a_table_next_to_it_still_gives_the_taxa(real_data, tmp_path):
    got = import_collection(real_data / "pollen", tmp_path / "c")
    assert len(set(got.collection.taxa())) == 73
