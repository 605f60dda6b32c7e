"""Segment slides with many specimens into a collection of single specimens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from forametric._typing import PathLike, Pixels
from forametric._version import __version__
from forametric.data.collection import CORE_COLUMNS, ID_LENGTH, Collection, deduplicate_ids
from forametric.data.inputs import check_output_folder
from forametric.errors import ImageError, InputError
from forametric.images import decoding
from forametric.images.formats import OTHER_FORMATS, refusal
from forametric.images.listing import image_files
from forametric.images.pixel_size import um_per_px_of
from forametric.images.segment import Slide, crop, find_specimens, overlay
from forametric.utils.files import atomic_path, sha256
from forametric.utils.outputs import put_in_place, remove_working_folder, resumable_folder
from forametric.utils.progress import bar
from forametric.utils.ranges import LENGTH
from forametric.utils.results import Result


@dataclass(frozen=True, eq=False, repr=False)
class SegmentReport(Result):
    """The specimens found on slides.

    Attributes
    ----------
    collection : Collection
    slides : DataFrame
        One row for each readable slide: slide, specimens, cut (left out at its edge), touching,
        dark, um_per_px.
    skipped : DataFrame
        The slides that could not be read, or have no specimen: image, reason.
    """

    collection: Collection
    slides: pd.DataFrame
    skipped: pd.DataFrame

    def __len__(self) -> int:
        return len(self.collection)

    def __str__(self) -> str:
        return f"{len(self)} specimens on {len(self.slides)} slides"

    def _repr_html_(self) -> str:
        return self.collection._repr_html_()

    @property
    def summary(self) -> dict[str, Any]:
        """specimens, slides."""
        return {"specimens": len(self), "slides": self.slides.to_dict("records")}

    @property
    def preview(self) -> pd.DataFrame:
        """The slides."""
        return self.slides[["slide", "specimens", "touching", "cut"]]

    @property
    def table(self) -> pd.DataFrame:
        """The specimens."""
        return self.collection.specimens


def segment_slides(
    slides: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    um_per_px: float | None = None,
    min_diameter: float | None = None,
    overwrite: bool = False,
) -> SegmentReport:
    """Find the specimens on slides and save them as a collection, with an overlay of each slide.

    The cropped images go to `OUTPUT/images/SLIDE`, the slides with outlines and numbers to
    `OUTPUT/overlays`. `sample` is the slide's name; position and size are columns, in pixels and,
    where the scale is known, in µm. A slide that cannot be read or has no specimen is listed in
    `skipped.csv`. An interrupted call resumes after the last finished slide.

    Parameters
    ----------
    slides : sequence of Path
        Images, or folders of images.
    um_per_px : float, optional
        µm per pixel of the slides; by default from the metadata of a TIFF (OME or ImageJ).
    min_diameter : float, optional
        Least equivalent diameter, in µm if the scale is known, else in pixels.

    Raises
    ------
    InputError
        When there is no slide, two have the same name, or none has a specimen.
    """
    output = Path(output)
    slides = [slides] if isinstance(slides, str | os.PathLike) else list(slides)
    LENGTH.check(um_per_px=um_per_px, min_diameter=min_diameter)
    check_output_folder(output, overwrite, *slides)
    paths, skipped = _listed(slides)
    stamps = {p.name: [p.lstat().st_size, p.lstat().st_mtime_ns] for p in paths}
    run = {"slides": stamps, "um_per_px": um_per_px, "least": min_diameter}
    with (
        resumable_folder(output, run, overwrite) as work,
        bar("segmenting slides", len(paths)) as advance,
    ):
        for name in ("images", "overlays", "parts"):
            (work / name).mkdir(exist_ok=True)
        for path in paths:
            part = work / "parts" / f"{path.stem}.parquet"
            if not part.is_file():
                try:
                    _segment(path, work, part, um_per_px, min_diameter)
                except ImageError as error:
                    skipped.append((path.name, str(error)))
            advance(1, path.name)
        return _gather(work, output, paths, skipped)


def _listed(slides: Sequence[PathLike]) -> tuple[list[Path], list[tuple[str, str]]]:
    """The slides, and (name, reason) of images of formats that are not read."""
    paths: list[Path] = []
    for path in map(Path, slides):
        if path.is_dir():
            paths += image_files(path, below=False)
        elif path.exists():
            paths.append(path)
        else:
            raise InputError(f"{path} does not exist; give slides or folders of slides.")
    others = [
        (p.name, str(refusal(b"", p.suffix))) for p in paths if p.suffix.lower() in OTHER_FORMATS
    ]
    paths = [p for p in paths if p.suffix.lower() not in OTHER_FORMATS]
    if not paths:
        why = f"; {others[0][0]}: {others[0][1]}" if others else ""
        raise InputError(f"there is no image in {', '.join(map(str, slides))}{why}.")
    names = pd.Series([p.stem for p in paths])
    if names.duplicated().any():
        repeated = names[names.duplicated()].iloc[0]
        raise InputError(f"two slides are named {repeated}; give each its own name.")
    return paths, others


def _segment(
    path: Path, work: Path, part: Path, um_per_px: float | None, min_diameter: float | None
) -> None:
    """Crop the specimens of one slide; its table is written last and marks it as done."""
    scale = um_per_px or um_per_px_of(path)
    with decoding(path) as pixels:
        slide = find_specimens(pixels, smallest=min_diameter and min_diameter / (scale or 1.0))
        rows = _save_crops(path, pixels, slide, work)
    table = pd.DataFrame(rows, columns=["id", "image"])
    for column in ("label", "taxon", "group"):
        table[column] = pd.Series([None] * len(table), dtype=object)
    table["sample"] = path.stem
    table["um_per_px"] = np.nan if scale is None else scale
    table = table[list(CORE_COLUMNS)].assign(slide=path.name, number=range(1, len(table) + 1))
    table = pd.concat([table, _measures(slide, scale)], axis=1)
    table = table.assign(slide_cut=slide.cut, slide_dark=slide.dark)
    with atomic_path(part) as temporary:
        table.to_parquet(temporary, index=False)


def _save_crops(path: Path, pixels: Pixels, slide: Slide, work: Path) -> list[tuple[str, str]]:
    """Write an image of each specimen and the overlay; returns the ids and paths of the images."""
    if not len(slide.specimens):
        raise ImageError(
            f"no specimen was found{f' except {slide.cut} cut by the edge' if slide.cut else ''}"
        )
    folder = work / "images" / path.stem
    folder.mkdir(exist_ok=True)
    rows = []
    for index in range(len(slide.specimens)):
        file = folder / f"{path.stem}_{index + 1:04}.png"
        Image.fromarray(crop(pixels, slide, index)).save(file)
        rows.append((sha256(file)[:ID_LENGTH], file.relative_to(work / "images").as_posix()))
    Image.fromarray(overlay(pixels, slide)).save(work / "overlays" / f"{path.stem}.jpg", quality=88)
    return rows


def _measures(slide: Slide, scale: float | None) -> pd.DataFrame:
    """The specimens' measurements; sizes also in µm if the scale is known."""
    table = slide.specimens.copy()
    if scale is not None:
        table["area_um2"] = table["area_px2"] * scale**2
        for name in ("equivalent_diameter", "major_axis", "minor_axis"):
            table[f"{name}_um"] = table[f"{name}_px"] * scale
    return table


def _gather(
    work: Path, output: Path, paths: list[Path], skipped: list[tuple[str, str]]
) -> SegmentReport:
    """Concatenate the slides' tables and move the finished folder into place."""
    parts = [work / "parts" / f"{path.stem}.parquet" for path in paths]
    tables = [pd.read_parquet(part) for part in parts if part.is_file()]
    if not tables:
        remove_working_folder(output)  # it has nothing to resume from
        raise InputError(
            f"no specimen was found on any of {len(paths)} slides; the first: "
            f"{skipped[0][0]}: {skipped[0][1]}."
        )
    table = pd.concat(tables, ignore_index=True)
    table["id"] = deduplicate_ids(table["id"])
    slides = table.groupby("slide", sort=False).agg(
        specimens=("number", "size"),
        cut=("slide_cut", "first"),
        touching=("touching", "sum"),
        dark=("slide_dark", "first"),
        um_per_px=("um_per_px", "first"),
    )
    lost = pd.DataFrame(skipped, columns=["image", "reason"])
    info = {
        "name": output.name,
        "source": ", ".join(path.name for path in paths[:5]) + ", …" * (len(paths) > 5),
        "kind": "slides",
        "made_by": f"forametric {__version__}",
    }
    specimens = table.drop(columns=["slide_cut", "slide_dark"])
    Collection(specimens, work.absolute() / "images", info).write_into(work, work)
    slides.reset_index().to_csv(work / "slides.csv", index=False)
    if len(lost):
        lost.to_csv(work / "skipped.csv", index=False)
    shutil.rmtree(work / "parts")
    put_in_place(work, output)
    return SegmentReport(Collection.open(output), slides.reset_index(), lost)
