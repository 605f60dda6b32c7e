"""Forametric identifies, maps and discovers microfossils from images by deep metric learning."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from forametric.collection import Collection
    from forametric.embedder import Embedder
    from forametric.evaluation.protocol import evaluate
    from forametric.gallery import Gallery
    from forametric.learning.recipe import Recipe
    from forametric.learning.train import train
    from forametric.morphospace import Morphospace
    from forametric.sources import import_collection

# Loaded when first used, so that `import forametric` and `forametric --help` stay quick.
_HOMES = {
    "Collection": "forametric.collection",
    "Embedder": "forametric.embedder",
    "Gallery": "forametric.gallery",
    "Morphospace": "forametric.morphospace",
    "Recipe": "forametric.learning.recipe",
    "evaluate": "forametric.evaluation.protocol",
    "import_collection": "forametric.sources",
    "train": "forametric.learning.train",
}

__all__ = [
    "Collection",
    "Embedder",
    "Gallery",
    "Morphospace",
    "Recipe",
    "__version__",
    "evaluate",
    "import_collection",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'forametric' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
