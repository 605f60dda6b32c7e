"""The exceptions that Forametric raises.

ForametricError
├── InputError          an input cannot be used; the message says which, where and what to do
│   ├── NotFoundError   something with this name or number does not exist
│   ├── ImageError      one image cannot be read; work on many images lists it and continues
│   └── RecipeError     a recipe file or one of its settings is invalid
├── ModelError          a model folder is damaged, or of an unknown format
├── StoreBusyError      a store of decisions cannot answer now; the same request may succeed later
└── MissingExtraError   an optional dependency is missing; the message has the install command
"""

from __future__ import annotations


class ForametricError(Exception):
    """Base class of the exceptions that Forametric raises."""


class InputError(ForametricError):
    """An input cannot be used."""


class NotFoundError(InputError):
    """Something with this name or number does not exist."""


class ImageError(InputError):
    """One image cannot be read."""


class RecipeError(InputError):
    """A recipe or one of its settings is invalid."""


class ModelError(ForametricError):
    """A saved model is damaged or of an unknown format."""


class StoreBusyError(ForametricError):
    """A store of decisions is locked, full or cut off; the same request may succeed later."""


class MissingExtraError(ForametricError):
    """An optional dependency is not installed."""

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(
            f"{part} needs packages that are not installed: pip install 'forametric[{extra}]'"
        )
