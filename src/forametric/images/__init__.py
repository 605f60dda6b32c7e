"""Read image files: decode, crop plates, find specimens on slides, preprocess for a network."""

from forametric.images.decode import IMAGE_SUFFIXES, decode
from forametric.images.plate import crop_plate
from forametric.images.preprocess import background, load_image, load_images, preprocess

__all__ = [
    "IMAGE_SUFFIXES",
    "background",
    "crop_plate",
    "decode",
    "load_image",
    "load_images",
    "preprocess",
]
