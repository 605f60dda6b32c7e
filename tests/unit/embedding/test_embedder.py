"""Embedding images with a network that does not work."""

import numpy as np
import pytest

from forametric.embedding.embedder import Embedder
from forametric.errors import ModelError


class Broken:
    """A runtime that gives one value that is not a number."""

    def __init__(self, part: int) -> None:
        self.part = part

    def run(self, inputs, advance):
        results = [np.ones((len(inputs), 4), np.float32), np.ones((len(inputs), 2), np.float32)]
        results[self.part][-1, 0] = np.nan
        return tuple(results)


@pytest.mark.parametrize("part", [0, 1])
def test_numbers_that_are_not_finite_are_refused(part):
    embedder = Embedder(Broken(part), image_size=32, dimensions=4, n_classes=2)
    images = [np.zeros((32, 32, 3), np.uint8)] * 3
    with pytest.raises(ModelError, match="not finite numbers: the model is damaged"):
        embedder.embed_images(images)
