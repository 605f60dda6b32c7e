"""Bring images into a collection: from a folder, or from a table."""

from forametric.data.importers.importing import ImportResult, import_collection

__all__ = ["ImportResult", "import_collection"]
