"""Write TIFF files byte by byte, also of kinds that no library writes, and damaged ones."""

import struct
from pathlib import Path

import numpy as np

SHORT, LONG = 3, 4
SIZES = {SHORT: "H", LONG: "I"}


def packed(values: np.ndarray, bits: int) -> bytes:
    """Unsigned values of `bits` bits, the highest first; each row starts at a byte."""
    rows = values.reshape(values.shape[0], -1).astype(np.uint64)
    shifts = np.arange(bits - 1, -1, -1, dtype=np.uint64)
    each = ((rows[:, :, None] >> shifts) & np.uint64(1)).astype(np.uint8)
    return np.packbits(each.reshape(len(rows), -1), axis=1).tobytes()


def write_tiff(
    path: Path,
    data: bytes,
    width: int,
    height: int,
    *,
    bits: int = 8,
    samples: int = 1,
    photometric: int = 1,
    sample_format: int = 1,
    **tags: int | tuple[int, ...],
) -> Path:
    """Write a little-endian TIFF of one strip.

    Further tags are given as `tag_NUMBER=value`; they replace those that are written otherwise.
    """
    entries: dict[int, tuple[int, ...]] = {
        256: (width,),
        257: (height,),
        258: (bits,) * samples,
        259: (1,),
        262: (photometric,),
        273: (8,),
        277: (samples,),
        278: (height,),
        279: (len(data),),
        339: (sample_format,) * samples,
    }
    for name, value in tags.items():
        entries[int(name.removeprefix("tag_"))] = value if isinstance(value, tuple) else (value,)
    start = 8 + len(data) + len(data) % 2
    after = start + 2 + 12 * len(entries) + 4
    body, more = struct.pack("<H", len(entries)), b""
    for tag, values in sorted(entries.items()):
        kind = LONG if max(values) > 65535 or tag in (273, 279) else SHORT
        content = struct.pack(f"<{len(values)}{SIZES[kind]}", *values)
        if len(content) > 4:
            place, more = (
                struct.pack("<I", after + len(more)),
                more + content + b"\0" * (len(content) % 2),
            )
        else:
            place = content.ljust(4, b"\0")
        body += struct.pack("<HHI", tag, kind, len(values)) + place
    path.write_bytes(
        struct.pack("<2sHI", b"II", 42, start)
        + data.ljust(start - 8, b"\0")
        + body
        + struct.pack("<I", 0)
        + more
    )
    return path
