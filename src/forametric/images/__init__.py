"""From an image file to the square of pixels that every network of the house sees."""

from forametric.images.decode import IMAGE_SUFFIXES, decode
from forametric.images.plate import crop_plate
from forametric.images.preprocess import background, load_image, load_images, preprocess

__all__ = [
    "IMAGE_SUFFIXES",
    "background",
    "decode",
    "load_image",
    "load_images",
    "crop_plate",
    "preprocess",
]
