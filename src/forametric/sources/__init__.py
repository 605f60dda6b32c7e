"""Bring images into a collection: from a folder, or from a table."""

from forametric.sources.importing import ImportResult, import_collection

__all__ = ["ImportResult", "import_collection"]
