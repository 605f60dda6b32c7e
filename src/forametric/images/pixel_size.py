"""Read the pixel size from an image file's metadata, where it is reliable.

It is in OME-XML (`PhysicalSizeX` with its unit) and in ImageJ's TIFF (`unit=micron` with the
resolution). The dots per inch of ordinary JPEG, PNG and TIFF files are mostly a default value and
are ignored.
"""

from __future__ import annotations

import re
from pathlib import Path

from forametric.images.formats import open_image
from forametric.images.messages import collected

PER_UM = {"nm": 1e-3, "µm": 1.0, "μm": 1.0, "um": 1.0, "micron": 1.0, "mm": 1e3, "cm": 1e4}


def um_per_px_of(path: Path) -> float | None:
    """µm per pixel from a file's own metadata, or None."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    import tifffile

    try:
        with collected(), open_image(path) as file:
            tiff = tifffile.TiffFile(file, _multifile=False)
            if tiff.ome_metadata:
                return _from_ome(tiff.ome_metadata)
            metadata = tiff.imagej_metadata or {}
            # ImageJ writes µ as an escape.
            unit = str(metadata.get("unit", "")).replace("\\u00B5", "µ")
            resolution = tiff.pages.first.tags.get("XResolution")
            if unit in PER_UM and resolution and resolution.value[0]:
                pixels, per = resolution.value
                return float(PER_UM[unit] * per / pixels)
    except Exception:  # `decode` reports files that cannot be read
        return None
    return None


def _from_ome(text: str) -> float | None:
    size = re.search(r'PhysicalSizeX="([0-9.eE+-]+)"', text)
    unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', text)
    factor = PER_UM.get(unit[1] if unit else "µm")  # µm is the default of OME
    return float(size[1]) * factor if size and factor and float(size[1]) > 0 else None
