"""Inputs that once crashed, hung, took all memory or were read wrongly: each must be read right, or
refused in one sentence.

Each case is a function that writes its input and runs commands on it; `CASES` names them. They
share the rules of `Box.run`: exit status 0, 1 or 2, no traceback, one sentence with status 2.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tests.support.cli import Done, forametric
from tests.support.inputs import ECOTAXA, PICTURES, TRIEUR, XML, Case, write_case
from tests.support.tiny import Tiny

GIB = 2**30
IDLE = 400 << 20  # bytes of a process that has loaded the command line and its libraries


@dataclass(frozen=True)
class Box:
    """A folder for one case, and the tiny set."""

    folder: Path
    tiny: Tiny

    def run(self, *arguments: object, env: dict[str, str] | None = None) -> Done:
        """Run a command that may succeed or refuse, but not crash."""
        done = forametric(*arguments, env=env)
        assert done.returncode in (0, 1, 2), f"{done.returncode}: {done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr, done.stderr[-2000:]
        assert "\x1b" not in done.stderr + done.stdout, "an escape reaches the terminal"
        if done.returncode == 2:
            sentences = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
            usage = "Usage:" in done.stderr
            assert usage or (len(sentences) == 1 and len(sentences[0]) < 600), done.stderr[-2000:]
        return done

    def reads(self, *arguments: object, **settings: Any) -> bool:
        """Whether the command did its work; False when it refused."""
        return self.run(*arguments, **settings).returncode in (0, 1)

    def within_memory(self, *arguments: object) -> None:
        """Run a command in a process of its own, which may take 2 GiB beyond an idle one."""
        errors = self.folder / "stderr.txt"
        code = (
            "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
            "from forametric.cli import main; main()"
        )
        with errors.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, arguments)],
                stdout=subprocess.DEVNULL, stderr=file,
            )  # fmt: skip
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        said = errors.read_text()
        assert process.returncode in (0, 1, 2), f"{process.returncode}: {said[-2000:]}"
        assert "Traceback" not in said
        assert used.ru_maxrss * 1024 < IDLE + 2 * GIB, f"{used.ru_maxrss / 2**20:.1f} GiB"

    def write(self, files: dict[str, bytes | str]) -> Path:
        """Write files below the folder; returns the folder."""
        for name, data in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.encode("utf-8") if isinstance(data, str) else data)
        return self.folder

    def imported(self, source: str, name: str = "c") -> pd.DataFrame | None:
        """The specimens of a source, or None where it is refused."""
        if not self.reads("import", self.folder / source, "-o", self.folder / name):
            return None
        return pd.read_parquet(self.folder / name / "specimens.parquet")


CASES: dict[str, Callable[[Box], None]] = {}
SLOW: set[str] = set()


def case(function: Callable[[Box], None]) -> Callable[[Box], None]:
    """Register a case by the name of its function."""
    CASES[function.__name__] = function
    return function


def slow(function: Callable[[Box], None]) -> Callable[[Box], None]:
    """Mark a case as one that takes seconds."""
    SLOW.add(function.__name__)
    return function


# Deep images: every bit depth is right, or refused


def _ramp(low: float, high: float, dtype: Any, shape: tuple[int, ...] = (64, 64)) -> np.ndarray:
    values = np.linspace(low, high, int(np.prod(shape))).reshape(shape)
    return values.astype(dtype)


def _shown_or_refused(path: Path, truth: np.ndarray, levels: int = 200) -> None:
    """The image correlates with the truth and has its levels, or `decode` names why not."""
    from forametric.errors import ImageError
    from forametric.images import decode

    try:
        shown = decode(path)
    except ImageError:
        return
    grey = shown.astype(float).mean(-1)
    wanted = truth.astype(float)
    wanted = wanted.mean(-1) if wanted.ndim == 3 else wanted
    assert shown.shape[:2] == truth.shape[:2]
    assert np.corrcoef(grey.ravel(), wanted.ravel())[0, 1] > 0.99
    assert len(np.unique(shown)) >= levels


def _deep_tiff(
    box: Box, pixels: np.ndarray, truth: np.ndarray | None = None, **options: Any
) -> None:
    import tifffile

    path = box.folder / "x.tif"
    tifffile.imwrite(path, pixels, **options)
    _shown_or_refused(path, pixels if truth is None else truth)


@case
def tiff_uint32_beyond_16_bits(box: Box) -> None:
    _deep_tiff(box, _ramp(1000, 400_000, np.uint32))


@case
def tiff_uint32_of_12_bits(box: Box) -> None:
    _deep_tiff(box, _ramp(0, 4095, np.uint32))


@case
def tiff_int32_of_12_bits(box: Box) -> None:
    _deep_tiff(box, _ramp(0, 4095, np.int32))


@case
def tiff_int32_with_negative_values(box: Box) -> None:
    _deep_tiff(box, _ramp(-5000, 90_000, np.int32))


@case
def tiff_of_packed_12_bits(box: Box) -> None:
    pixels = _ramp(0, 4095, np.uint16)
    packed = np.unpackbits(pixels.astype(">u2")[..., None].view(np.uint8), axis=-1)[..., 4:]
    data = np.packbits(packed.reshape(64, -1), axis=1).tobytes()
    box.write({"x.tif": _tiff_file(64, 64, (12,), [data])})
    _shown_or_refused(box.folder / "x.tif", pixels)


@case
def tiff_rgba_of_16_bits(box: Box) -> None:
    alpha = np.full((64, 64, 1), 65535, np.uint16)
    pixels = np.concatenate([_ramp(0, 4095, np.uint16, (64, 64, 3)), alpha], axis=2)
    _deep_tiff(box, pixels, pixels[..., :3], photometric="rgb", extrasamples=["unassalpha"])


@case
def tiff_float32_of_extreme_range(box: Box) -> None:
    _deep_tiff(box, _ramp(-3.4e38, 3.4e38, np.float32))


@case
def png_rgb_of_16_bits(box: Box) -> None:
    pixels = _ramp(0, 4095, np.uint16, (64, 64, 3))
    box.write({"x.png": _png16(pixels, 2)})
    _shown_or_refused(box.folder / "x.png", pixels)


@case
def png_rgba_of_16_bits(box: Box) -> None:
    pixels = np.full((64, 64, 4), 65535, np.uint16)
    pixels[..., :3] = _ramp(0, 4095, np.uint16, (64, 64, 3))
    box.write({"x.png": _png16(pixels, 6)})
    _shown_or_refused(box.folder / "x.png", pixels[..., :3])


@case
def png_grey_with_alpha_of_16_bits(box: Box) -> None:
    pixels = np.full((64, 64, 2), 65535, np.uint16)
    pixels[..., 0] = _ramp(0, 4095, np.uint16)
    box.write({"x.png": _png16(pixels, 4)})
    _shown_or_refused(box.folder / "x.png", pixels[..., 0])


@case
def one_hot_pixel(box: Box) -> None:
    pixels = _ramp(0, 1000, np.uint16)
    hot = pixels.copy()
    hot[10, 10] = 65535
    _deep_tiff(box, hot, pixels)


def _oriented(box: Box, number: int, turned: Callable[[np.ndarray], np.ndarray]) -> None:
    import tifffile

    pixels = _ramp(0, 255, np.uint8, (32, 64))
    path = box.folder / "x.tif"
    tifffile.imwrite(path, pixels, extratags=[(274, 3, 1, number, True)])
    _shown_or_refused(path, turned(pixels), 100)


@case
def tiff_turned_by_half(box: Box) -> None:
    _oriented(box, 3, lambda pixels: np.rot90(pixels, 2))


@case
def tiff_turned_clockwise(box: Box) -> None:
    _oriented(box, 6, lambda pixels: np.rot90(pixels, -1))


@case
def tiff_turned_counterclockwise(box: Box) -> None:
    _oriented(box, 8, lambda pixels: np.rot90(pixels, 1))


def _png16(pixels: np.ndarray, color: int) -> bytes:
    """A PNG of 16 bits a sample; color 2, 4, 6: RGB, grey with alpha, RGBA."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return _png(struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, 0), zlib.compress(rows))


def _png(header: bytes, data: bytes) -> bytes:
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _tiff_file(
    width: int, height: int, bits: tuple[int, ...], strips: list[bytes], *, rows: int = 0,
    compression: int = 1, sample_format: int = 1,
) -> bytes:  # fmt: skip
    """A little-endian TIFF. One strip is used for the whole height, as often as it is needed."""
    count = -(-height // (rows or height))
    samples, data = len(bits), strips[0]
    place = 8
    offsets, sizes = place + len(data), place + len(data) + 4 * count
    depths = sizes + 4 * count
    formats = depths + 2 * samples
    directory = formats + 2 * samples
    short = struct.Struct("<H")

    def entry(tag: int, kind: int, number: int, value: int) -> bytes:
        return struct.pack("<HHII", tag, kind, number, value)

    def shorts(tag: int, value: int, where: int) -> bytes:
        return entry(
            tag, 3, samples, where if samples > 2 else value * (65537 if samples > 1 else 1)
        )

    entries = [
        entry(256, 4, 1, width), entry(257, 4, 1, height), shorts(258, bits[0], depths),
        entry(259, 3, 1, compression), entry(262, 3, 1, 2 if samples == 3 else 1),
        entry(273, 4, count, offsets if count > 1 else place), entry(277, 3, 1, samples),
        entry(278, 4, 1, rows or height), entry(279, 4, count, sizes if count > 1 else len(data)),
        shorts(339, sample_format, formats),
    ]  # fmt: skip
    return b"".join(
        (
            b"II*\0", struct.pack("<I", directory), data, struct.pack("<I", place) * count,
            struct.pack("<I", len(data)) * count, short.pack(bits[0]) * samples,
            short.pack(sample_format) * samples, short.pack(len(entries)), *entries, bytes(4),
        )
    )  # fmt: skip


# Memory


@contextmanager
def memory_within(limit: int) -> Any:
    """Assert that the memory of this process grows by less than `limit` bytes at any moment."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    clear.write_text("5")  # the peak starts again from what is in use now
    start = int(re.search(r"VmRSS:\s+(\d+)", status.read_text())[1])  # type: ignore[index]
    yield
    peak = int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1])  # type: ignore[index]
    assert (peak - start) * 1024 < limit, f"{(peak - start) / 2**20:.1f} GiB"


def _big_image(box: Box, name: str, data: bytes) -> None:
    from forametric.errors import ImageError
    from forametric.images import decode

    box.write({name: data})
    with memory_within(2 * GIB), suppress(ImageError):
        decode(box.folder / name)


def _zeros_tiff(side: int, bits: int, rows: int) -> bytes:
    strip = zlib.compress(bytes(side * 3 * bits // 8 * rows))
    return _tiff_file(side, side // rows * rows, (bits,) * 3, [strip], rows=rows, compression=8,
                      sample_format=3)  # fmt: skip


@case
@slow
def tiff_float64_rgb_of_9999_pixels(box: Box) -> None:
    _big_image(box, "x.tif", _zeros_tiff(9999, 64, 99))


@case
@slow
def tiff_float32_rgb_of_9999_pixels(box: Box) -> None:
    _big_image(box, "x.tif", _zeros_tiff(9999, 32, 99))


@case
@slow
def png_rgba_of_9999_pixels(box: Box) -> None:
    packer = zlib.compressobj(1)
    row = bytes(1 + 4 * 9999)
    data = b"".join([*(packer.compress(row) for _ in range(9999)), packer.flush()])
    _big_image(box, "x.png", _png(struct.pack(">IIBBBBB", 9999, 9999, 8, 6, 0, 0, 0), data))


def _sheet(cells: str) -> bytes:
    """A workbook with one sheet of these cells."""
    name = "http://schemas.openxmlformats.org"
    out = io.BytesIO()
    pd.DataFrame({"image": ["a"]}).to_excel(out, index=False)
    changed = io.BytesIO()
    with zipfile.ZipFile(out) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            data = old.read(entry)
            if entry.endswith("sheet1.xml"):
                data = (
                    f'<worksheet xmlns="{name}/spreadsheetml/2006/main"><sheetData>{cells}'
                    f"</sheetData></worksheet>"
                ).encode()
            new.writestr(entry, data)
    return changed.getvalue()


def _cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


@case
def excel_with_a_cell_at_the_far_corner(box: Box) -> None:
    first = f'<row r="1">{_cell("A1", "image")}{_cell("B1", "label")}</row>'
    second = f'<row r="2">{_cell("A2", "0.png")}{_cell("B2", "x")}</row>'
    last = f'<row r="1048576">{_cell("XFD1048576", "far")}</row>'
    box.write({**PICTURES, "t.xlsx": _sheet(first + second + last)})
    table = box.folder / "t.xlsx"
    box.within_memory("import", table, "-o", box.folder / "c")
    box.within_memory("record", box.tiny.collection, table, "--store", box.folder / "d.sqlite",
                      "--reviewer", "K")  # fmt: skip


@case
@slow
def excel_that_unpacks_to_600_megabytes(box: Box) -> None:
    row = "".join(_cell(f"{c}1", "a" * 100) for c in "ABCDEFGHIJ")
    rows = "".join(re.sub(r"1\"", f'{n}"', f'<row r="1">{row}</row>') for n in (1, 2, 3))
    small = box.write({**PICTURES, "small.xlsx": _sheet("")}) / "small.xlsx"
    # In parts: a child process inherits the peak of this one's memory.
    with (
        zipfile.ZipFile(small) as source,
        zipfile.ZipFile(box.folder / "t.xlsx", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            start, data, end = source.read(name).partition(b"<sheetData>")
            with target.open(name, "w", force_zip64=True) as file:
                file.write(start + data)
                for _ in range(600_000_000 // len(rows) if data else 0):
                    file.write(rows.encode())
                file.write(end)
    box.within_memory("import", box.folder / "t.xlsx", "-o", box.folder / "c")


@case
@slow
def two_thousand_frames_that_differ_by_noise(box: Box) -> None:
    """The findings of near copies do not grow with the square of their number."""
    rng = np.random.default_rng(0)
    frame = rng.integers(60, 190, (32, 32, 3))
    for number in range(2000):
        noisy = np.clip(frame + rng.normal(0, 2, frame.shape), 0, 255).astype(np.uint8)
        box.write({})
        (box.folder / "frames").mkdir(exist_ok=True)
        Image.fromarray(noisy).save(box.folder / "frames" / f"{number:04}.png")
    with memory_within(GIB):
        box.run("check", box.folder / "frames", "-o", box.folder / "check")
    assert (box.folder / "check" / "findings.csv").stat().st_size < 5_000_000


# Labels and images that were passed over


@case
def taxa_when_the_output_is_below_the_source(box: Box) -> None:
    picture = PICTURES["0.png"]
    files = {f"plates/unpacked/{taxon}/x.png": picture for taxon in ("Aa_bb", "Cc_dd")}
    box.write({**files, "plates/unpacked/Cc_dd/y.png": PICTURES["1.png"]})
    first = box.imported("plates", "c")
    assert first is not None
    second = box.imported("plates", "plates/c2")
    assert second is None or set(second["taxon"]) == set(first["taxon"]) == {"Aa bb", "Cc dd"}


@case
def one_taxon_with_a_hidden_folder(box: Box) -> None:
    taxon = "p/Globigerina_bulloides"
    box.write({f"{taxon}/a.png": PICTURES["0.png"], f"{taxon}/.thumbnails/t.txt": "x"})
    found = box.imported("p")
    assert found is None or list(found["taxon"]) == ["Globigerina bulloides"]


@case
def one_taxon_with_a_subfolder(box: Box) -> None:
    taxon = "q/Globigerina_bulloides"
    box.write({f"{taxon}/a.png": PICTURES["0.png"], f"{taxon}/batch2/b.png": PICTURES["1.png"]})
    found = box.imported("q")
    assert found is None or set(found["taxon"]) == {"Globigerina bulloides"}


@case
def images_of_other_formats_are_mentioned(box: Box) -> None:
    gif = io.BytesIO()
    Image.new("L", (16, 16)).save(gif, "GIF")
    box.write(
        {"p/a.png": PICTURES["0.png"], "p/b.gif": gif.getvalue(), "p/c.jp2": b"\0\0\0\x0cjP  "}
    )
    done = box.run("import", box.folder / "p", "-o", box.folder / "c")
    said = done.stderr + done.stdout
    assert ("gif" in said and "jp2" in said) or "2 " in done.stderr, said


@case
def a_fifo_among_the_images(box: Box) -> None:
    box.write({"p/a.png": PICTURES["0.png"]})
    os.mkfifo(box.folder / "p" / "x.png")
    for verb in ("import", "check", "segment"):
        command = [sys.executable, "-m", "forametric", verb, box.folder / "p"]
        done = subprocess.run(
            [*command, "-o", box.folder / verb], capture_output=True, text=True, timeout=60
        )
        assert done.returncode in (0, 1, 2), done.stderr[-2000:]


# Names, tables and projects


@case
def a_file_name_that_is_not_utf8(box: Box) -> None:
    box.write({"p/a/x.png": PICTURES["0.png"]})
    (box.folder / "p" / "a" / os.fsdecode(b"fa\xe7ade.png")).write_bytes(PICTURES["1.png"])
    found = box.imported("p")
    assert found is not None
    assert len(found) >= 1
    box.run("identify", box.tiny.model, box.folder / "p", "-o", box.folder / "n.csv")
    box.run("check", box.folder / "p", "-o", box.folder / "check")


@case
def ecotaxa_table_without_rows(box: Box) -> None:
    header = "\t".join(ECOTAXA[0])
    box.write({"e/ecotaxa_x.tsv": f"{header}\n", "e/0.png": PICTURES["0.png"]})
    box.run("import", box.folder / "e", "-o", box.folder / "c")
    types = "\t".join(ECOTAXA[1])
    box.write({"f/ecotaxa_x.tsv": f"{header}\n{types}\n", "f/0.png": PICTURES["0.png"]})
    box.run("import", box.folder / "f", "-o", box.folder / "d")


@case
def one_empty_ecotaxa_table_among_others(box: Box) -> None:
    rows = "".join("\t".join(row) + "\n" for row in ECOTAXA)
    pictures = {f"e/a/{name}": data for name, data in PICTURES.items()}
    box.write({**pictures, "e/a/ecotaxa_1.tsv": rows, "e/b/ecotaxa_2.tsv": ""})
    found = box.imported("e")
    assert found is not None
    assert len(found) == 3


@case
def ecotaxa_types_written_as_n(box: Box) -> None:
    rows = [ECOTAXA[0], ("[t]", "[t]", "[t]", "[t]", "[n]"), *ECOTAXA[2:]]
    text = "".join("\t".join(row) + "\n" for row in rows)
    box.write({**{f"e/{n}": d for n, d in PICTURES.items()}, "e/ecotaxa_x.tsv": text})
    done = box.run("import", box.folder / "e", "-o", box.folder / "c")
    assert done.returncode == 0, done.stderr
    assert len(pd.read_parquet(box.folder / "c" / "specimens.parquet")) == 3


@case
def a_folder_of_ecotaxa_archives(box: Box) -> None:
    rows = "".join("\t".join(row) + "\n" for row in ECOTAXA)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in {**PICTURES, "ecotaxa_x.tsv": rows}.items():
            archive.writestr(name, data)
    box.write({"e/one.zip": packed.getvalue()})
    done = box.run("import", box.folder / "e", "-o", box.folder / "c")
    assert done.returncode < 2 or "zip" in done.stderr.lower(), done.stderr


@case
def a_colon_in_the_name_of_a_packed_file(box: Box) -> None:
    rows = "".join("\t".join(row) + "\n" for row in ECOTAXA).replace("0.png", "10:30.png")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in {**PICTURES, "ecotaxa_x.tsv": rows}.items():
            archive.writestr(name.replace("0.png", "10:30.png"), data)
    box.write({"e.zip": packed.getvalue()})
    done = box.run("import", box.folder / "e.zip", "-o", box.folder / "c")
    assert "outside its folder" not in done.stderr, done.stderr


@case
def trieur_project_without_any_classification(box: Box) -> None:
    text = re.sub(r"<classifications>.*?</classifications>", "", XML, flags=re.DOTALL)
    box.write({**PICTURES, "p.xml": text})
    found = box.imported("p.xml")
    assert found is None or found["taxon"].isna().all()


@case
def trieur_scores_with_a_decimal_comma_or_text(box: Box) -> None:
    for number, value in enumerate(("0,9", "high", "")):
        box.write({**PICTURES, f"{number}.xml": XML.replace("0.9", value)})
        box.imported(f"{number}.xml", f"c{number}")


@case
def xml_in_an_unknown_encoding(box: Box) -> None:
    box.write({**PICTURES, "p.xml": XML.replace("UTF-8", "x-klingon")})
    box.imported("p.xml")


@case
def a_scale_of_zero(box: Box) -> None:
    box.write({**PICTURES, "t.csv": "image,label,um_per_px\n0.png,x,0\n1.png,y,2\n"})
    if box.imported("t.csv") is not None:
        box.run("check", box.folder / "c", "-o", box.folder / "check")


@case
def a_control_character_in_text(box: Box) -> None:
    box.write({**PICTURES, "t.csv": "image,label,sample\n0.png,x\x07y,a\x0bb\n1.png,y,c\n"})
    if box.imported("t.csv") is not None:
        for format, name in (("excel", "x.xlsx"), ("darwin-core", "x.zip"), ("csv", "x.csv")):
            box.run("export", box.folder / "c", "--format", format, "-o", box.folder / name)


@case
def split_tables_that_are_damaged(box: Box) -> None:
    good = box.tiny.split.read_bytes()
    for number, data in enumerate((
        b"", b"\xff\xfe\x00", b"id,subset\n\xe9,train\n", good + b"a,b,c,d\n", good + b'"',
        b"id\n1\n", b"id,subset\n", b"\x00" * 40, b'"id","subset\n' * 30,
    )):  # fmt: skip
        box.write({f"{number}.csv": data})
        box.run("calibrate", box.tiny.model, box.tiny.more, "--split", box.folder / f"{number}.csv",
                "-o", box.folder / f"m{number}")  # fmt: skip


@case
def damaged_excel_files(box: Box) -> None:
    good = io.BytesIO()
    pd.DataFrame({"image": ["0.png"], "label": ["x"]}).to_excel(good, index=False)
    data = good.getvalue()
    for step in range(8):
        place = len(data) * (step + 1) // 10
        damaged = (
            data[:place] + bytes(b ^ 0x55 for b in data[place : place + 24]) + data[place + 24 :]
        )
        box.write({**PICTURES, f"{step}.xlsx": damaged})
        box.imported(f"{step}.xlsx", f"c{step}")


@case
def damaged_archives(box: Box) -> None:
    rows = "".join("\t".join(row) + "\n" for row in ECOTAXA)
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", method) as archive:
            archive.writestr("ecotaxa_x.tsv", rows * 20)
            for name, picture in PICTURES.items():
                archive.writestr(name, picture)
        data = packed.getvalue()
        damaged = data[:60] + bytes(b ^ 0x55 for b in data[60:90]) + data[90:]
        box.write({f"{method}.zip": damaged})
        done = box.run("import", box.folder / f"{method}.zip", "-o", box.folder / f"c{method}")
        assert "Invalid argument" not in done.stderr, done.stderr


@case
def square_brackets_in_names(box: Box) -> None:
    rows = "image,label,sample\n0.png,[/x],core [old]\nmissing[/b].png,[red]y,s\n"
    box.write({**PICTURES, "[t].csv": rows})
    done = box.run("import", box.folder / "[t].csv", "-o", box.folder / "out [old]")
    assert "[/b]" in done.stderr, done.stderr
    assert "out [old]" in done.stdout, done.stdout
    box.run("info", box.folder / "out [old]")
    record = ["record", box.tiny.collection, box.tiny.names, "--store", box.folder / "d.sqlite"]
    box.run(*record, "--reviewer", "[/K]")
    box.run("decisions", "--store", box.folder / "d.sqlite")


@case
def an_escape_in_a_name(box: Box) -> None:
    rows = "image,label\n0.png,a\x1b[31mb\nmis\x1b]0;t\x07sing.png,x\n"
    box.write({**PICTURES, "t.csv": rows})
    box.imported("t.csv")


def _names(box: Box, **changes: object) -> Path:
    table = pd.read_csv(box.tiny.names, dtype=str).head(4).assign(**changes)
    table.to_csv(box.folder / "names.csv", index=False)
    return box.folder / "names.csv"


@case
def percent_signs_and_numbers_in_a_table_of_names(box: Box) -> None:
    for changes in ({"probability": "90 %"}, {"reason": 5}, {"decision": 1.5}, {"taxon": 7}):
        names = _names(box, **changes)
        for format, suffix in (("excel", "xlsx"), ("csv", "csv"), ("darwin-core", "zip")):
            box.run("export", box.tiny.collection, "--identifications", names, "--format", format,
                    "-o", box.folder / f"x.{suffix}", "--overwrite")  # fmt: skip


@case
def dollar_signs_in_samples_and_taxa(box: Box) -> None:
    folder = box.folder / "c"
    write_case(Case("collections", "c"), box.folder, box.tiny)
    table = pd.read_parquet(folder / "specimens.parquet")
    samples = [f"core $x^{{ {n % 2}$" for n in range(len(table))]
    table.assign(sample=samples, taxon="a $b$ $").to_parquet(folder / "specimens.parquet")
    box.run("assemblage", box.tiny.model, folder, "-o", box.folder / "a", "--depth", "depth")
    box.run("map", box.tiny.model, folder, "-o", box.folder / "m.png")


@case
def numbers_where_text_is_expected(box: Box) -> None:
    write_case(Case("collections", "c"), box.folder, box.tiny)
    path = box.folder / "c" / "specimens.parquet"
    table = pd.read_parquet(path)
    for column in ("sample", "taxon", "id", "group", "image"):
        table.assign(**{column: range(len(table))}).to_parquet(path)
        for verb in ("split", "check", "info"):
            output = [] if verb == "info" else ["-o", box.folder / f"{verb}.csv", "--overwrite"]
            box.run(verb, box.folder / "c", *output)
        box.run("embed", box.tiny.model, box.folder / "c", "-o", box.folder / "e.parquet",
                "--overwrite")  # fmt: skip


@case
def negative_seeds_and_counts(box: Box) -> None:
    c, m, out = box.tiny.collection, box.tiny.model, box.folder
    box.run("split", c, "--seed", "-1", "-o", out / "a.csv")
    box.run("split", c, "--held-out-taxa", "-3", "-o", out / "b.csv")
    box.run("map", m, c, "--seed", "-1", "-o", out / "m.html")
    box.run("discover", m, c, "--all", "--n-groups", "-1", "-o", out / "g")
    box.run("simulate", "--total", "4", "--size", "32", "--seed", "-1", "-o", out / "s")


@case
def recipes_and_taxonomies_that_are_damaged(box: Box) -> None:
    texts = {"a.toml": b'name = "\xe9"', "b.toml": b"extends = 5", "c.toml": b"", "d.toml": b"[[x"}
    box.write(texts)
    for name in texts:
        box.run("train", box.tiny.collection, "--recipe", box.folder / name, "--split", "none.csv",
                "-o", box.folder / "m")  # fmt: skip
    tables = {"a.csv": b"", "b.csv": b"\xff\xfe", "c.csv": b"name\nx\n", "d.csv": b"\x00"}
    box.write(tables)
    for name in tables:
        box.run("export", box.tiny.collection, "--taxonomy", box.folder / name, "--format",
                "darwin-core", "-o", box.folder / "x.zip")  # fmt: skip


@case
def json_nested_100000_deep(box: Box) -> None:
    write_case(Case("collections", "c"), box.folder, box.tiny)
    deep = "[" * 100_000 + "]" * 100_000
    box.write({"c/collection.json": f'{{"format": 1, "images": {deep}}}'})
    assert box.run("info", box.folder / "c").returncode == 2


@case
def a_field_beyond_the_limit_of_the_csv_reader(box: Box) -> None:
    box.write({**PICTURES, "t.csv": f"image,label,{'x' * 140_000}\n0.png,x,y\n"})
    box.imported("t.csv")


@case
def an_output_named_dot(box: Box) -> None:
    box.write({"plates/0.png": PICTURES["0.png"], "here/.keep": ""})
    (box.folder / "here" / ".keep").unlink()
    before = Path.cwd()
    os.chdir(box.folder / "here")
    try:
        box.run("import", box.folder / "plates", "-o", ".")
    finally:
        os.chdir(before)


@case
def standard_output_in_cp1252(box: Box) -> None:
    """On Windows, redirected: the work is done, so the status says so."""
    from tests.support.cli import forametric_process

    write_case(Case("collections", "c"), box.folder, box.tiny)
    table = pd.read_parquet(box.folder / "c" / "specimens.parquet").assign(sample="コア H′")
    table.to_parquet(box.folder / "c" / "specimens.parquet")
    done = forametric_process(
        "assemblage", box.tiny.model, box.folder / "c", "-o", box.folder / "a",
        env=os.environ | {"PYTHONIOENCODING": "cp1252"}, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


@case
def file_names_in_the_locale_c(box: Box) -> None:
    from tests.support.cli import forametric_process

    box.write({"p/é/x.png": PICTURES["0.png"], "p/日本/y.png": PICTURES["1.png"]})
    for verb in (["import"], ["identify", box.tiny.model]):
        done = forametric_process(
            *verb, box.folder / "p", "-o", box.folder / f"{verb[0]}.csv",
            env=os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        )  # fmt: skip
        assert done.returncode in (0, 1, 2), done.stderr[-2000:]
        assert "Traceback" not in done.stderr, done.stderr[-2000:]


# Models


def _model(box: Box, file: str, change: Callable[[Any], Any]) -> Path:
    """A copy of the model with a JSON file or the references changed; its hashes fit."""
    path = box.tiny.model / file
    if file.endswith(".parquet"):
        out = io.BytesIO()
        change(pd.read_parquet(path)).to_parquet(out)
        data = out.getvalue()
    else:
        data = json.dumps(change(json.loads(path.read_text()))).encode()
    write_case(Case("models", "model", {f"model/{file}": data}), box.folder, box.tiny)
    return box.folder / "model"


def _identify(box: Box, model: Path) -> Done:
    return box.run("identify", model, box.tiny.images / "single_sphere", "-o", box.folder / "n.csv")


@case
def a_model_whose_size_does_not_fit_its_graph(box: Box) -> None:
    def larger(card: dict[str, Any]) -> dict[str, Any]:
        card["recipe"]["network"]["image_size"] = 64
        return card

    assert _identify(box, _model(box, "model.json", larger)).returncode == 2


@case
def a_model_with_other_dimensions(box: Box) -> None:
    model = _model(box, "model.json", lambda card: card | {"dimensions": 99})
    assert _identify(box, model).returncode == 2


@case
def a_model_with_classes_cut(box: Box) -> None:
    model = _model(box, "model.json", lambda card: card | {"classes": card["classes"][:-1]})
    assert _identify(box, model).returncode == 2


@case
def a_model_with_classes_in_another_order(box: Box) -> None:
    model = _model(box, "model.json", lambda card: card | {"classes": card["classes"][::-1]})
    assert _identify(box, model).returncode == 2


@case
def a_model_without_hashes(box: Box) -> None:
    model = _model(box, "model.json", lambda card: card | {"files": {}})
    assert _identify(box, model).returncode == 2


@case
def a_calibration_of_temperature_zero(box: Box) -> None:
    model = _model(box, "calibration.json", lambda known: known | {"temperature": 0.0})
    assert _identify(box, model).returncode == 2


@case
def a_calibration_that_is_not_a_number(box: Box) -> None:
    model = _model(box, "calibration.json", lambda known: known | {"temperature": float("nan")})
    assert _identify(box, model).returncode == 2


@case
def references_with_values_that_are_not_numbers(box: Box) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(box.tiny.model / "references.parquet")
    place = table.column_names.index("vector")
    field = table.schema.field(place)
    flat = pa.array(np.full(len(table) * field.type.list_size, np.nan, np.float32))
    lists = pa.FixedSizeListArray.from_arrays(flat, field.type.list_size)
    out = io.BytesIO()
    pq.write_table(table.set_column(place, "vector", lists), out)
    changed = {"model/references.parquet": out.getvalue()}
    write_case(Case("models", "model", changed), box.folder, box.tiny)
    assert _identify(box, box.folder / "model").returncode == 2


@case
def references_without_ids(box: Box) -> None:
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(pq.read_table(box.tiny.model / "references.parquet").drop_columns("id"), out)
    changed = {"model/references.parquet": out.getvalue()}
    write_case(Case("models", "model", changed), box.folder, box.tiny)
    assert _identify(box, box.folder / "model").returncode == 2


# Paths


@case
def backslashes_in_a_table(box: Box) -> None:
    box.write({"sub/a.png": PICTURES["0.png"], "t.csv": "image,label\nsub\\a.png,x\n"})
    found = box.imported("t.csv")
    assert found is not None
    assert list(found["image"]) == ["sub/a.png"]


@case
def absolute_paths_in_a_table(box: Box) -> None:
    box.write({"a.png": PICTURES["0.png"]})
    box.write({"t.csv": f"image,label\n{box.folder / 'a.png'},x\n"})
    first = box.run("import", box.folder / "t.csv", "-o", box.folder / "c")
    before = Path.cwd()
    os.chdir(box.folder)
    try:
        second = box.run("import", "t.csv", "-o", "d")
    finally:
        os.chdir(before)
    assert first.returncode == second.returncode
    assert first.returncode == 0 or "--images-root" in first.stderr, first.stderr


@case
def blanks_around_a_path(box: Box) -> None:
    box.write({"a.png": PICTURES["0.png"], "t.csv": "image,label\n a.png ,x\n"})
    assert box.imported("t.csv") is not None


@case
def a_collection_whose_images_are_the_whole_disk(box: Box) -> None:
    write_case(Case("collections", "c"), box.folder, box.tiny)
    card = json.loads((box.folder / "c" / "collection.json").read_text())
    table = pd.read_parquet(box.folder / "c" / "specimens.parquet").head(1)
    box.write({"c/collection.json": json.dumps(card | {"images": "/"})})
    table.assign(image="etc/passwd").to_parquet(box.folder / "c" / "specimens.parquet")
    output = box.folder / "x.zip"
    if box.reads("export", box.folder / "c", "--format", "ecotaxa", "-o", output):
        with zipfile.ZipFile(output) as archive:
            assert not any(b"root:" in archive.read(name) for name in archive.namelist())


@case
def a_question_mark_in_the_path_of_a_store(box: Box) -> None:
    store = box.folder / "q?proj" / "decisions.sqlite"
    store.parent.mkdir()
    record = ["record", box.tiny.collection, _names(box, expert="x"), "--store", store]
    box.run(*record, "--reviewer", "K")
    assert sorted(p.name for p in box.folder.iterdir()) == ["names.csv", "q?proj"]
    assert box.run("decisions", "--store", store).returncode == 0


# Experts' tables and exports


def _recorded(box: Box, table: pd.DataFrame) -> tuple[Done, pd.DataFrame]:
    """Record a table; returns the history too, empty where nothing was recorded."""
    table.to_csv(box.folder / "names.csv", index=False)
    store = box.folder / "d.sqlite"
    done = box.run("record", box.tiny.collection, box.folder / "names.csv", "--store", store,
                   "--reviewer", "K")  # fmt: skip
    if done.returncode == 2 or not store.is_file():
        return done, pd.DataFrame()
    box.run("decisions", "--store", store, "-o", box.folder / "h.csv")
    return done, pd.read_csv(box.folder / "h.csv", dtype=str, keep_default_na=False)


@case
def words_that_are_not_taxa(box: Box) -> None:
    table = pd.read_csv(box.tiny.names, dtype=str)[["id", "image"]].head(4)
    words = ["skip", "undo", "NA", "<unknown>"]
    done, history = _recorded(box, table.assign(expert=words))
    if done.returncode == 2:
        return
    assert not set(history["taxon"]) & set(words), history["taxon"].tolist()


@case
def a_specimen_twice_in_a_table(box: Box) -> None:
    table = pd.read_csv(box.tiny.names, dtype=str)[["id", "image"]].head(1)
    twice = pd.concat([table.assign(expert="Orbulina"), table.assign(expert="Globigerina")])
    done, history = _recorded(box, twice)
    assert done.returncode == 2 or len(history) == 2 or "twice" in done.stderr, done.stdout


@case
def ids_that_excel_has_turned_into_numbers(box: Box) -> None:
    """The column image tells which specimen is meant."""
    write_case(Case("collections", "c"), box.folder, box.tiny)
    path = box.folder / "c" / "specimens.parquet"
    table = pd.read_parquet(path)
    table.loc[0, "id"] = "7777110000123456"
    table.to_parquet(path)
    rows = pd.DataFrame({"id": ["7.77711E+15"], "image": table["image"].head(1), "expert": ["x"]})
    rows.to_csv(box.folder / "names.csv", index=False)
    done = box.run("record", box.folder / "c", box.folder / "names.csv", "--store",
                   box.folder / "d.sqlite", "--reviewer", "K")  # fmt: skip
    assert done.returncode == 0, done.stderr


FORMULA = '=HYPERLINK("http://evil/","x")'


@case
def formulas_in_names_reach_no_spreadsheet(box: Box) -> None:
    import openpyxl

    write_case(Case("collections", "c"), box.folder, box.tiny)
    folder = box.folder / "c"
    table = pd.read_parquet(folder / "specimens.parquet")
    table = table.assign(sample=FORMULA, taxon=FORMULA).rename(columns={"check": FORMULA})
    table.assign(**{FORMULA: "x"}).to_parquet(folder / "specimens.parquet")
    box.run("export", folder, "--format", "excel", "-o", box.folder / "x.xlsx")
    box.run("assemblage", box.tiny.model, folder, "-o", box.folder / "a", "--depth", "depth")
    for path in box.folder.rglob("*.xlsx"):
        for sheet in openpyxl.load_workbook(path).worksheets:
            types = {cell.data_type for row in sheet.iter_rows() for cell in row}
            assert "f" not in types, f"{path.name} has a formula"


@case
def quotes_and_backslashes_in_darwin_core(box: Box) -> None:
    rows = 'image,label\n0.png,"""Globigerina"" x"\n1.png,a\\b\n'
    box.write({**PICTURES, "t.csv": rows})
    assert box.imported("t.csv") is not None
    box.run("export", box.folder / "c", "--format", "darwin-core", "-o", box.folder / "d.zip")
    with zipfile.ZipFile(box.folder / "d.zip") as archive:
        meta = archive.read("meta.xml").decode()
        text = archive.read("occurrence.txt").decode()
    assert "fieldsEnclosedBy='&quot;'" in meta.replace('"', "'")
    rows = csv.DictReader(io.StringIO(text), delimiter="\t")
    assert {row["scientificName"] for row in rows} == {'"Globigerina" x', "a\\b"}


@case
def json_output_without_nan(box: Box) -> None:
    from forametric.simulation.slides import simulate_slide

    def strict(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    Image.fromarray(simulate_slide(0, 6, side=700).picture).save(box.folder / "slide.png")
    done = box.run("segment", box.folder / "slide.png", "-o", box.folder / "s", "--json")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout, parse_constant=strict)
    done = box.run("assemblage", box.tiny.model, box.tiny.more, "-o", box.folder / "a", "--json")
    json.loads(done.stdout, parse_constant=strict)


@case
def a_bomb_is_named_with_its_size(box: Box) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ecotaxa_x.tsv", bytes(300 * 2**20))
    box.write({"e.zip": out.getvalue()})
    done = box.run("import", box.folder / "e.zip", "-o", box.folder / "c")
    assert done.returncode == 2
    assert " 0 GB" not in done.stderr, done.stderr


@case
def libraries_say_nothing_about_broken_images(box: Box) -> None:
    """Of a hundred broken images at most the ten lines that we print are seen."""
    from tests.support.cli import forametric_process
    from tests.support.inputs import image_files

    seeds = {n: d for n, d in image_files().items() if n.endswith(".tif")}
    for number, (name, data) in enumerate(sorted(seeds.items())):
        box.write({f"p/{number}-{name}": data[: len(data) * 2 // 3] + b"\xff" * 40})
    box.write({"p/good.png": PICTURES["0.png"]})
    done = forametric_process("import", box.folder / "p", "-o", box.folder / "c")
    lines = [li for li in done.stderr.splitlines() if not li.startswith(("  skipped", "warning:"))]
    assert len(lines) <= 3, "\n".join(lines[:20])


@case
def standard_output_that_is_full(box: Box) -> None:
    """The output is whole all the same, and nothing else is said."""
    if not Path("/dev/full").exists():
        return
    command = [sys.executable, "-m", "forametric", "split", str(box.tiny.collection)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "-o", str(box.folder / "s.csv")],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert "Traceback" not in done.stderr, done.stderr
    assert (box.folder / "s.csv").is_file() != ("nothing half-written" in done.stderr), done.stderr


@case
def a_trieur_table_without_resolution(box: Box) -> None:
    text = "".join(",".join(row) + "\n" for row in TRIEUR).replace("400", "x")
    box.write({**PICTURES, "t.csv": text})
    box.imported("t.csv")
