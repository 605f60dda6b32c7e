"""From an image file to the square of pixels that every network of the house sees."""

from forametric.images.decode import IMAGE_SUFFIXES, decode
from forametric.images.plate import photograph
from forametric.images.prepare import background, load_square, load_squares, prepare

__all__ = [
    "IMAGE_SUFFIXES",
    "background",
    "decode",
    "load_square",
    "load_squares",
    "photograph",
    "prepare",
]
