"""Export a collection, with or without identifications, in the formats of the field."""

from forametric.data.exporters.exporting import EXPORTERS, ExportReport, export

__all__ = ["EXPORTERS", "ExportReport", "export"]
