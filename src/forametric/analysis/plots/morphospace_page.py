"""The interactive morphospace: one HTML page that needs no network."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forametric.analysis.plots.colors import (
    make_legend,
)
from forametric.analysis.plots.morphospace_figure import (
    Images,
    thumbnail,
)
from forametric.utils.files import write_text
from forametric.utils.html import data_url, render

SPRITE = 48  # pixels


MAX_SPRITES = 4000


def write_map_page(
    path: Path,
    coordinates: NDArray[np.float32],
    ids: Sequence[str],
    taxa: Sequence[str] | None,
    images: Images | None,
    *,
    title: str,
    seed: int,
) -> None:
    """Write the page of `Morphospace.to_html`.

    Its images are JPEGs of 48 pixels in one sheet: of every specimen up to 4,000, else of 4,000
    drawn at random with `seed`, which the page says.
    """
    from markupsafe import Markup

    legend = make_legend(coordinates, taxa)
    low = coordinates.min(0).astype(float)
    span = max(float(np.ptp(coordinates, axis=0).max()), 1e-9)
    flat = np.round((coordinates - low) / span, 5)
    sheet, with_images, columns = _sprite_sheet(len(ids), images, seed)
    data = {
        "x": flat[:, 0].tolist(),
        "y": flat[:, 1].tolist(),
        "ids": list(ids),
        "of": legend.of.tolist(),
        "names": legend.names,
        "colors": legend.colors,
        "counts": legend.counts,
        "centroids": legend.centroids.tolist(),
        "pictured": with_images,
        "columns": columns,
        "sprite": SPRITE,
        "sheet": sheet,
        "seed": seed,
    }
    write_text(path, render("map.html", title=title, data=Markup(script_json(data))))


def script_json(data: Any) -> str:
    """JSON that cannot leave a script element: <, > and & are escaped.

    >>> script_json("</script>")
    '"\\\\u003c/script\\\\u003e"'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _sprite_sheet(count: int, images: Images | None, seed: int) -> tuple[str, list[int], int]:
    """A data URL of the sheet, the specimens on it row by row, and how many make a row."""
    from PIL import Image

    if images is None:
        return "", [], 1
    wanted = np.random.default_rng(seed).permutation(count)[:MAX_SPRITES]
    tiles = [(int(i), thumbnail(images, int(i), SPRITE)) for i in wanted]
    readable = [(i, tile) for i, tile in tiles if tile is not None]
    if not readable:
        return "", [], 1
    columns = ceil(len(readable) ** 0.5)
    sheet = np.zeros((ceil(len(readable) / columns) * SPRITE, columns * SPRITE, 3), np.uint8)
    for k, (_, tile) in enumerate(readable):
        row, column = divmod(k, columns)
        sheet[row * SPRITE :, column * SPRITE :][:SPRITE, :SPRITE] = tile
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "JPEG", quality=82, subsampling=0)
    return data_url(buffer.getvalue(), "jpeg"), [i for i, _ in readable], columns
