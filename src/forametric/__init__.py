"""Forametric identifies, maps and discovers microfossils from images by deep metric learning."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from forametric._version import __version__

if TYPE_CHECKING:
    from forametric.analysis.morphospace import Morphospace
    from forametric.data.collection import Collection
    from forametric.data.importers import import_collection
    from forametric.embedding.recipe import Recipe
    from forametric.evaluation.evaluate import evaluate
    from forametric.identification.references import ReferenceSet
    from forametric.model.model import Model
    from forametric.training.train import train

# Loaded when first used, so that `import forametric` and `forametric --help` stay quick.
_HOMES = {
    "Collection": "forametric.data.collection",
    "Model": "forametric.model.model",
    "ReferenceSet": "forametric.identification.references",
    "Morphospace": "forametric.analysis.morphospace",
    "Recipe": "forametric.embedding.recipe",
    "evaluate": "forametric.evaluation.evaluate",
    "import_collection": "forametric.data.importers",
    "train": "forametric.training.train",
}

__all__ = [
    "Collection",
    "Model",
    "ReferenceSet",
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
