"""Describe a model or a collection folder, or the installation."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from forametric._typing import PathLike
from forametric._version import __version__
from forametric.data.collection import Collection
from forametric.model.card import FILE, ModelCard

PACKAGES = ("torch", "timm", "numpy", "pandas", "scikit-learn", "openvino", "openTSNE", "pillow")


def describe(folder: PathLike | None = None) -> dict[str, Any]:
    """What a model's card or a collection holds; without a folder, the installed versions.

    Raises
    ------
    InputError, ModelError
        When the folder is neither a model nor a collection, or is damaged.
    """
    if folder is None:
        return {"forametric": __version__, "python": sys.version.split()[0], **_installed()}
    folder = Path(folder)
    if (folder / FILE).is_file():
        card = ModelCard.load(folder)
        return {
            "model": str(folder),
            "title": card.title,
            **card.model_dump(mode="json", exclude={"files"}),
        }
    collection = Collection.open(folder)
    counts = collection.specimens["taxon"].value_counts()
    return {
        "collection": str(folder),
        **collection.info,
        "specimens": len(collection),
        "images": str(collection.images),
        "columns": [str(column) for column in collection.specimens.columns],
        "taxa": {str(taxon): int(n) for taxon, n in counts.items()},
    }


def _installed() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
