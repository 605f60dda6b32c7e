"""A collection, with or without names from a model, in the formats of the field."""

from forametric.data.exporters.exporting import FORMATS, export_collection

__all__ = ["FORMATS", "export_collection"]
