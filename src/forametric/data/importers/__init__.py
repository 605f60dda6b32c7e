"""Import a collection: from a folder, a table, an archive, or another program's project."""

from forametric.data.importers.importing import IMPORTERS, ImportReport, import_collection

__all__ = ["IMPORTERS", "ImportReport", "import_collection"]
