"""Keep inputs from being replaced by the output that is made from them."""

from __future__ import annotations

import os
from pathlib import Path

from forametric._typing import PathLike
from forametric.data.collection import Collection, refuse_to_replace
from forametric.errors import InputError
from forametric.images import IMAGE_SUFFIXES
from forametric.utils.outputs import check_file, check_folder, is_within

FILE, TABLE = "collection.json", "specimens.parquet"
ELSEWHERE = "name another output."
Input = Collection | PathLike | None


def check_output_folder(output: PathLike, overwrite: bool, *inputs: Input) -> None:
    """`check_folder`, and refuse an output that is, contains or lies inside one of the inputs.

    Parameters
    ----------
    inputs : Collection, path, address of a database or None
        Of a collection, all images are inputs, wherever they are.
    """
    output = Path(output)
    for source in inputs:
        if isinstance(source, Collection):
            refuse_to_replace(source.paths(), output)
        elif source and os.path.exists(source):  # not the address of a database
            _refuse_folder(output, Path(source))
    check_folder(output, overwrite)


def check_output_file(output: PathLike, overwrite: bool, *inputs: Input) -> None:
    """`check_file`, and refuse an output that is one of the inputs or an image among them."""
    output = Path(output)
    for source in inputs:
        if isinstance(source, Collection):
            refuse_to_replace(source.paths(), output)
        elif source and os.path.exists(source):
            _refuse_file(output, Path(source))
    check_file(output, overwrite)


def refuse_overlap(one: Path, other: Path) -> None:
    """Refuse two output folders of which one is or contains the other."""
    if is_within(one, other) or is_within(other, one):
        raise InputError(f"the outputs {one} and {other} overlap; name two separate folders.")


def _refuse_folder(output: Path, source: Path) -> None:
    if is_within(source, output):
        relation = "is" if is_within(output, source) else "contains"
    elif source.is_dir() and is_within(output, source):
        relation = "lies inside"
    else:
        if output.is_dir() and _is_collection(source):
            refuse_to_replace(Collection.open(source).paths(), output)
        return
    raise InputError(f"the output {output} {relation} the input {source}; {ELSEWHERE}")


def _refuse_file(output: Path, source: Path) -> None:
    if source.is_file() and is_within(output, source):
        raise InputError(f"the output {output} is the input {source}; {ELSEWHERE}")
    if _is_collection(source):
        if any(is_within(output, source / file) for file in (TABLE, FILE)):
            raise InputError(f"the output {output} is a part of the input {source}; {ELSEWHERE}")
        if output.is_file():
            refuse_to_replace(Collection.open(source).paths(), output)
    elif output.suffix.lower() in IMAGE_SUFFIXES and is_within(output, source):
        raise InputError(
            f"the output {output} would be one of the images of the input {source}; {ELSEWHERE}"
        )


def _is_collection(path: Path) -> bool:
    return (path / FILE).is_file()
