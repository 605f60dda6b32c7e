"""What training refuses, and that it leaves the process as it found it."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch

import forametric as fm
from forametric.data.splits import Split, make_split
from forametric.embedding.network import SpecimenNetwork
from forametric.embedding.recipe import Recipe
from forametric.errors import InputError
from forametric.training.train import train
from forametric.utils import malloc
from forametric.utils.malloc import tuned_malloc


def _split(shells, subsets) -> Split:
    return Split(shells, pd.Series(subsets, index=shells.specimens["id"], name="subset"))


@pytest.mark.parametrize(
    ("subset", "message"),
    [("test", "no labelled specimens"), ("train", "no specimens in val")],
)
def test_a_split_one_cannot_train_on_is_refused(shells, tmp_path, subset, message):
    with pytest.raises(InputError, match=message):
        train(_split(shells, subset), "frozen", tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_one_taxon_only_is_refused(shells, tmp_path):
    sphere = shells.taxa() == "single sphere"
    subsets = np.where(sphere, np.where(np.arange(len(shells)) % 2, "train", "val"), "unused")
    with pytest.raises(InputError, match="at least two taxa"):
        train(_split(shells, subsets), "frozen", str(tmp_path / "m"))


def test_another_backbone_is_no_start(shells, model_folder, tmp_path):
    recipe = Recipe.load("default", ["network.backbone=mobilenetv3_small_050"])
    start = fm.Model.load(model_folder)
    with pytest.raises(InputError, match="has the backbone tf_efficientnet_lite0"):
        train(make_split(shells), recipe, tmp_path / "m", init_from=start)


@pytest.mark.slow
def test_an_embedding_that_collapses_twice_ends_the_training(
    shells, split_file, tmp_path, monkeypatch
):
    def collapse(self, inputs):
        features = self.features(inputs)
        return torch.ones(len(features), 128) + 1e-4 * self.project(features), self.head(features)

    monkeypatch.setattr(SpecimenNetwork, "forward", collapse)
    recipe = Recipe.load("default", ["epochs=6", "network.image_size=32", "loss.metric=none"])
    with pytest.raises(InputError, match=r"after epoch 2 .* collapsed"):
        train(Split.load(shells, split_file), recipe, tmp_path / "m")


# What training leaves behind


class Libc:
    """A stand-in for the C library that keeps what was asked of its allocator."""

    def __init__(self):
        self.options: dict[int, int] = {}
        self.trimmed = 0

    def mallopt(self, option, value):
        self.options[option] = value

    def malloc_trim(self, _):
        self.trimmed += 1


DEFAULTS = {-4: 65536, -1: 128 * 1024}  # glibc's M_MMAP_MAX and M_TRIM_THRESHOLD


@pytest.fixture
def libc(monkeypatch) -> Libc:
    found = Libc()
    monkeypatch.setattr(malloc.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setattr(malloc.ctypes, "CDLL", lambda _: found)
    return found


def test_the_allocator_is_tuned_for_a_block_and_always_restored(libc):
    with tuned_malloc():
        assert libc.options[-4] == 0
        assert libc.options[-1] > 2**30
    assert libc.options == DEFAULTS
    with pytest.raises(KeyError), tuned_malloc():
        raise KeyError
    assert (libc.options, libc.trimmed) == (DEFAULTS, 2)


def test_another_allocator_is_left_alone(libc, monkeypatch):
    monkeypatch.setattr(malloc.platform, "libc_ver", lambda: ("musl", "1.2"))
    with tuned_malloc():
        assert not libc.options


def test_training_leaves_the_process_as_it_was(shells, tmp_path, libc):
    """It once tuned the allocator for good, and muted a console that all modules shared."""

    def state():
        names = (None, "forametric", "lightning_fabric", "lightning.fabric")
        return [(list(log.handlers), log.level) for log in map(logging.getLogger, names)]

    before = state()
    with pytest.raises(InputError, match="no labelled specimens"):
        train(_split(shells, "unused"), "frozen", tmp_path / "m")
    assert state() == before
    assert libc.options == DEFAULTS
