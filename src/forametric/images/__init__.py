"""Read image files: decode, crop plates, find specimens on slides, preprocess for a network."""

from forametric.images.decode import decode, decoding
from forametric.images.formats import IMAGE_SUFFIXES
from forametric.images.plate import crop_plate
from forametric.images.preprocess import background, load_image, load_images, preprocess

__all__ = [
    "IMAGE_SUFFIXES",
    "background",
    "crop_plate",
    "decode",
    "decoding",
    "load_image",
    "load_images",
    "preprocess",
]
