"""Everything that Forametric raises on purpose.

ForametricError
├── InputError          what was given cannot be used: the sentence says what, where, what to do
│   ├── NotFoundError     what was asked for by its name or number is not there
│   ├── ImageError      one picture cannot be read; a run of many lists it and goes on
│   └── RecipeError     a recipe file or one of its settings is wrong
├── ModelError          a model folder is damaged, or of a format this version does not know
└── MissingExtraError   a part needs an optional install, whose command the message prints
"""

from __future__ import annotations


class ForametricError(Exception):
    """Base of all errors that Forametric raises on purpose."""


class InputError(ForametricError):
    """What the user gave cannot be used."""


class NotFoundError(InputError):
    """What was asked for by its name or number is not there."""


class ImageError(InputError):
    """One image cannot be read."""


class RecipeError(InputError):
    """A recipe, or one of its settings, is wrong."""


class ModelError(ForametricError):
    """A saved model is damaged or of an unknown format."""


class MissingExtraError(ForametricError):
    """An optional part is not installed."""

    def __init__(self, part: str, extra: str) -> None:
        super().__init__(
            f"{part} needs packages that are not installed: pip install 'forametric[{extra}]'"
        )
