"""Forametric identifies, maps and discovers microfossils from images by deep metric learning.

Everything public is here; it is loaded when it is first used, so that importing stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from forametric._version import __version__

if TYPE_CHECKING:
    from forametric import simulation
    from forametric.analysis.assemblages import Assemblages, assemblages, assemblages_of
    from forametric.analysis.check import CheckReport, check
    from forametric.analysis.discovery import (
        Morphotypes,
        discover,
        discover_unknown,
        named_morphotypes,
    )
    from forametric.analysis.mapping import map_images
    from forametric.analysis.morphospace import Morphospace
    from forametric.data.collection import Collection
    from forametric.data.embeddings import Embeddings
    from forametric.data.exporters import export
    from forametric.data.importers import ImportReport, import_collection
    from forametric.data.importers.endless_forams import download_endless_forams
    from forametric.data.importers.slides import segment_slides
    from forametric.data.sources import open_collection
    from forametric.data.splits import Split, make_split
    from forametric.data.taxonomy import Taxonomy
    from forametric.data.verdicts import Verdict
    from forametric.embedding.recipe import Recipe, recipe_names, recipe_table
    from forametric.errors import ForametricError
    from forametric.evaluation.benchmark import Benchmark, benchmark
    from forametric.evaluation.evaluate import Evaluation, evaluate
    from forametric.identification.references import ReferenceSet
    from forametric.identification.search import SpecimenIndex
    from forametric.model.describe import describe
    from forametric.model.embed_collection import embed_to_file
    from forametric.model.identify import Identifications
    from forametric.model.model import Model
    from forametric.model.ray_cluster import embed_on_cluster
    from forametric.review import (
        DecisionStore,
        Review,
        apply_decisions,
        consensus,
        copy_decisions,
        rank_for_review,
        read_decisions,
        training_set,
    )
    from forametric.review.agreement import agreement
    from forametric.server import serve
    from forametric.training.train import train

_MODULES = {
    "forametric.analysis.assemblages": ("Assemblages", "assemblages", "assemblages_of"),
    "forametric.analysis.check": ("CheckReport", "check"),
    "forametric.analysis.discovery": (
        "Morphotypes", "discover", "discover_unknown", "named_morphotypes",
    ),
    "forametric.analysis.mapping": ("map_images",),
    "forametric.analysis.morphospace": ("Morphospace",),
    "forametric.data.collection": ("Collection",),
    "forametric.data.embeddings": ("Embeddings",),
    "forametric.data.exporters": ("export",),
    "forametric.data.importers": ("ImportReport", "import_collection"),
    "forametric.data.importers.endless_forams": ("download_endless_forams",),
    "forametric.data.importers.slides": ("segment_slides",),
    "forametric.data.sources": ("open_collection",),
    "forametric.data.splits": ("Split", "make_split"),
    "forametric.data.taxonomy": ("Taxonomy",),
    "forametric.data.verdicts": ("Verdict",),
    "forametric.embedding.recipe": ("Recipe", "recipe_names", "recipe_table"),
    "forametric.errors": ("ForametricError",),
    "forametric.evaluation.benchmark": ("Benchmark", "benchmark"),
    "forametric.evaluation.evaluate": ("Evaluation", "evaluate"),
    "forametric.identification.references": ("ReferenceSet",),
    "forametric.identification.search": ("SpecimenIndex",),
    "forametric.model.describe": ("describe",),
    "forametric.model.embed_collection": ("embed_to_file",),
    "forametric.model.identify": ("Identifications",),
    "forametric.model.model": ("Model",),
    "forametric.model.ray_cluster": ("embed_on_cluster",),
    "forametric.review": (
        "DecisionStore", "Review", "agreement", "apply_decisions", "consensus", "copy_decisions",
        "rank_for_review", "read_decisions", "training_set",
    ),
    "forametric.server": ("serve",),
    "forametric.training.train": ("train",),
}  # fmt: skip
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Assemblages",
    "Benchmark",
    "CheckReport",
    "Collection",
    "DecisionStore",
    "Embeddings",
    "Evaluation",
    "ForametricError",
    "Identifications",
    "ImportReport",
    "Model",
    "Morphospace",
    "Morphotypes",
    "Recipe",
    "ReferenceSet",
    "Review",
    "SpecimenIndex",
    "Split",
    "Taxonomy",
    "Verdict",
    "__version__",
    "agreement",
    "apply_decisions",
    "assemblages",
    "assemblages_of",
    "benchmark",
    "check",
    "consensus",
    "copy_decisions",
    "describe",
    "discover",
    "discover_unknown",
    "download_endless_forams",
    "embed_on_cluster",
    "embed_to_file",
    "evaluate",
    "export",
    "import_collection",
    "make_split",
    "map_images",
    "named_morphotypes",
    "open_collection",
    "rank_for_review",
    "read_decisions",
    "recipe_names",
    "recipe_table",
    "segment_slides",
    "serve",
    "simulation",
    "train",
    "training_set",
]


def __getattr__(name: str) -> Any:
    if name == "simulation":
        return import_module("forametric.simulation")
    if name not in _HOMES:
        raise AttributeError(f"module 'forametric' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
