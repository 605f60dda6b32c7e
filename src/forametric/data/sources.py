"""Accept a collection, a folder of images, image files or pixels as input."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from forametric._typing import PathLike, Pixels
from forametric.data.collection import (
    CORE_COLUMNS,
    ID_LENGTH,
    Collection,
    deduplicate_ids,
)
from forametric.errors import InputError
from forametric.images.formats import is_read
from forametric.images.listing import image_files
from forametric.utils.files import sha256
from forametric.utils.text import is_valid_text, printable

ImageSource = Collection | PathLike | Sequence[PathLike | Image.Image | Pixels]
TABLE_COLUMNS = ("id", "image", "taxon", "sample")


def open_collection(source: Collection | PathLike) -> Collection:
    """The collection itself, or an unsaved one of a folder of images or of one image.

    The names of subfolders are not used as labels; `forametric import` does that.

    Raises
    ------
    InputError
        When the path does not exist, or is a folder without images.
    """
    if isinstance(source, Collection):
        return source
    path = Path(source)
    if (path / "collection.json").is_file():
        return Collection.open(path)
    if path.is_dir():
        files = image_files(path)
        if not files:
            raise InputError(f"{path} holds no images, and is not a collection.")
        return _collection_of(files, path)
    if path.is_file():
        return _collection_of([path], path.parent)
    raise InputError(f"{path} does not exist; give a collection, a folder of images or an image.")


def list_images(source: ImageSource) -> tuple[pd.DataFrame, list[Path | Pixels]]:
    """A table of the images (image, and id, taxon, sample if known), and their files or pixels.

    Raises
    ------
    InputError
        When there are no images.
    """
    if isinstance(source, Collection | str | os.PathLike):
        collection = open_collection(source)
        if not len(collection):
            raise InputError("the collection has no specimens.")
        table = collection.specimens[list(TABLE_COLUMNS)].reset_index(drop=True)
        return table, list(collection.paths())
    images = list(source)
    if not images:
        raise InputError("there are no images.")
    names = [
        _name(str(image)) if isinstance(image, str | os.PathLike) else f"image {number}"
        for number, image in enumerate(images, 1)
    ]
    return pd.DataFrame({"image": names}, dtype=object), [_image(image) for image in images]


def _image(image: PathLike | Image.Image | Pixels) -> Path | Pixels:
    if isinstance(image, str | os.PathLike):
        return Path(image)
    pixels = np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(
            f"an array of pixels must be uint8 of shape (height, width, 3) or (height, width), "
            f"not {pixels.dtype} of shape {pixels.shape}."
        )
    return pixels


def _collection_of(files: Sequence[Path], folder: Path) -> Collection:
    content = pd.Series([_content(file) for file in files], dtype=object)
    table = pd.DataFrame(dict.fromkeys(CORE_COLUMNS), index=range(len(files)), dtype=object)
    table["id"] = deduplicate_ids(content)
    table["image"] = [_name(file.relative_to(folder).as_posix()) for file in files]
    table["um_per_px"] = table["um_per_px"].astype(float)
    return Collection(table, folder.absolute(), {"name": printable(folder.name)})


def _name(path: str) -> str:
    """A path as tables can hold it. A file whose path is not UTF-8 is not found, and so skipped."""
    return path if is_valid_text(path) else printable(path)


def _content(file: Path) -> str:
    try:
        if is_read(file):
            return sha256(file)[:ID_LENGTH]
    except OSError:
        pass
    # Reading the image will fail and list it as skipped.
    return hashlib.sha256(os.fsencode(file)).hexdigest()[:ID_LENGTH]
