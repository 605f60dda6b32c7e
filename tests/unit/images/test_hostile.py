"""Files made to exhaust memory, to hang or to be passed over."""

import os
import socket
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageDraw

from forametric.data.importers import import_collection
from forametric.data.importers.slides import segment_slides
from forametric.data.sources import open_collection
from forametric.errors import ImageError, InputError
from forametric.images import crop_plate, decode, load_images
from forametric.images import decode as decode_module
from forametric.images.listing import image_files
from forametric.images.memory import LIMIT, MemoryBudget
from forametric.images.pixel_size import um_per_px_of
from forametric.images.plate import read_plate
from tests.support.tiff import write_tiff

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + checksum


def png_header(path: Path, width: int, height: int, depth: int, color: int) -> Path:
    """A PNG that claims a size and holds no pixel."""
    body = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    chunks = png_chunk(b"IHDR", body) + png_chunk(b"IDAT", zlib.compress(b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks + png_chunk(b"IEND", b""))
    return path


def webp_header(path: Path, width: int, height: int) -> Path:
    canvas = struct.pack("<I", 0) + (width - 1).to_bytes(3, "little")
    canvas += (height - 1).to_bytes(3, "little")
    body = b"WEBP" + b"VP8X" + struct.pack("<I", len(canvas)) + canvas
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def lying_jpeg(tmp_path: Path) -> bytes:
    """A small JPEG whose header claims 60,000 by 60,000 pixels."""
    Image.new("RGB", (16, 16), (9, 9, 9)).save(tmp_path / "small.jpg")
    data = bytearray((tmp_path / "small.jpg").read_bytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    return bytes(data)


HOSTILE = {
    "float64 RGB": lambda p: write_tiff(
        p / "a.tif", zlib.compress(b""), 9999, 9999, bits=64, samples=3, photometric=2,
        sample_format=3, tag_259=8),
    "many planes": lambda p: many_planes(p / "a.tif"),
    "huge tile": lambda p: write_tiff(p / "a.tif", zlib.compress(bytes(99)), 64, 64, tag_259=8,
                                      tag_322=60_000, tag_323=60_000, tag_324=8, tag_325=20),
    "huge TIFF": lambda p: write_tiff(p / "a.tif", b"", 2**31, 2**31),
    "strip that is not there": lambda p: write_tiff(p / "a.tif", b"", 64, 64, tag_279=0),
    "strip beyond the end": lambda p: write_tiff(p / "a.tif", bytes(9), 64, 64, tag_279=4096),
    "strip of 4 GB": lambda p: write_tiff(p / "a.tif", bytes(9), 64, 64, tag_259=8,
                                          tag_279=2**32 - 2),
    "strip that unpacks to more": lambda p: write_tiff(
        p / "a.tif", zlib.compress(bytes(10**7)), 20_000, 6000, tag_259=8),
    "JPEG larger than its strip": lambda p: write_tiff(
        p / "a.tif", lying_jpeg(p), 16, 16, samples=3, photometric=6, tag_259=7),
    "PNG of 16 bits": lambda p: png_header(p / "a.png", 20_000, 20_000, 16, 6),
    "PNG without pixels": lambda p: png_header(p / "a.png", 500, 500, 16, 2),
    "WebP": lambda p: webp_header(p / "a.webp", 16_000, 16_000),
    "WebP within the limit": lambda p: webp_header(p / "a.webp", 9999, 9999),
}  # fmt: skip


def many_planes(path: Path) -> Path:
    """Contiguous planes, as ImageJ writes them, of which the file holds none."""
    write_tiff(path, b"", 9000, 9000)
    data = path.read_bytes()
    description = b"ImageJ=1.53\nimages=500\nslices=500\n\0"
    entries = struct.unpack_from("<H", data, 8)[0]
    old = data[10 : 10 + 12 * entries]
    place = 8 + 2 + 12 * (entries + 1) + 4
    new = struct.pack("<HHII", 270, 2, len(description), place)
    tags = b"".join(sorted([*(old[i : i + 12] for i in range(0, len(old), 12)), new],
                           key=lambda e: struct.unpack_from("<H", e)[0]))  # fmt: skip
    body = struct.pack("<H", entries + 1) + tags + struct.pack("<I", 0)
    path.write_bytes(data[:8] + body + description)
    return path


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_before_it_takes_memory(tmp_path, kind, monkeypatch):
    path = HOSTILE[kind](tmp_path)
    peaks = []
    real = decode_module.__globals__["BUDGET"].reserve
    monkeypatch.setattr(decode_module.__globals__["BUDGET"], "reserve",
                        lambda n: (peaks.append(n), real(n))[1])  # fmt: skip
    with pytest.raises(ImageError):
        decode(path)
    assert all(peak < 2**26 or peak > LIMIT for peak in peaks), "refused, or small"


def test_the_message_tells_the_memory_that_would_be_needed(tmp_path):
    with pytest.raises(ImageError, match=r"needs 7\.5 GB of memory; at most 1\.6 GB"):
        decode(HOSTILE["float64 RGB"](tmp_path))


@pytest.mark.parametrize("shape", [(96, 20_000), (9000, 100), (96, 4001), (500, 4100)])
def test_very_long_images_are_cropped_without_failing(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert crop_plate(image).shape == image.shape


def test_the_label_of_a_very_large_plate_is_found():
    """It is looked for in a reduced image; the box and the scale are those of the whole."""
    small = Image.new("RGB", (640, 800))
    pen = ImageDraw.Draw(small)
    pen.ellipse((150, 150, 490, 490), fill=(180, 170, 160))
    pen.rectangle((0, 640, 640, 800), fill="white")
    pen.rectangle((220, 660, 419, 664), fill="black")
    pen.rectangle((295, 680, 344, 684), fill="black")
    for at in range(20):
        pen.rectangle((100 + 20 * at, 730, 108 + 20 * at, 745), fill="black")
    large = small.resize((640 * 7, 800 * 7), Image.Resampling.NEAREST)
    one, seven = read_plate(np.asarray(small)), read_plate(np.asarray(large))
    assert one.box[1] == 640
    assert abs(seven.box[1] - 7 * 640) <= 14
    assert seven.um_per_px == pytest.approx(one.um_per_px / 7, rel=0.02)


def test_threads_wait_for_the_memory_of_others():
    budget, most, now = MemoryBudget(100), [0], [0]
    lock = threading.Lock()

    def work() -> None:
        for _ in range(20):
            with budget.reserve(40):
                with lock:
                    now[0] += 40
                    most[0] = max(most[0], now[0])
                with lock:
                    now[0] -= 40

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] <= 80
    assert budget.free == 100


def test_memory_is_free_again_after_a_failure():
    budget = MemoryBudget(100)
    with pytest.raises(KeyError), budget.reserve(60):
        raise KeyError
    with pytest.raises(ImageError), budget.reserve(101):
        pass
    assert budget.free == 100


@pytest.fixture
def output(tmp_path_factory) -> Path:
    """A place outside the source."""
    return tmp_path_factory.mktemp("output") / "made"


@pytest.fixture
def pipe(tmp_path) -> Path:
    os.mkfifo(tmp_path / "x.png")
    return tmp_path / "x.png"


@needs_pipes
def test_a_pipe_is_refused_wherever_an_image_is_opened(pipe, tmp_path):
    with pytest.raises(ImageError, match="not a regular file"):
        decode(pipe)
    os.rename(pipe, tmp_path / "x.tif")
    assert um_per_px_of(tmp_path / "x.tif") is None
    failures = load_images([tmp_path / "x.tif"], 16)[2]
    assert failures == {0: "not a regular file"}


@needs_pipes
def test_import_identify_and_segment_list_a_pipe_and_go_past_it(pipe, picture, tmp_path, output):
    picture("b.png", shape=(64, 64, 3))
    assert sorted(open_collection(tmp_path).specimens["image"]) == ["b.png", "x.png"]
    report = import_collection(tmp_path, output)
    assert report.skipped.to_numpy().tolist() == [["x.png", "not a regular file"]]
    with pytest.raises(InputError, match="no specimen was found on any of 2 slides"):
        segment_slides(tmp_path, output.with_name("slides"))


def test_sockets_folders_and_broken_links_are_named(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "broken.png").symlink_to(tmp_path / "nothing")
    reasons = {"folder.png": "a folder, not an image file", "broken.png": "does not exist"}
    if hasattr(socket, "AF_UNIX"):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "s.png"))
        reasons["s.png"] = "not a regular file"
    assert [p.name for p in image_files(tmp_path)] == sorted(reasons)
    for name, reason in reasons.items():
        with pytest.raises(ImageError, match=reason):
            decode(tmp_path / name)


def test_images_of_other_formats_are_skipped_with_their_name(picture, tmp_path, output):
    Image.new("L", (20, 20)).save(tmp_path / "a.gif")
    (tmp_path / "a.svg").write_text("<svg/>")
    for name in ("a.jp2", "a.heic", "a.CR2", "a.czi"):
        (tmp_path / name).write_bytes(b"\0" * 40)
    picture("a.png")
    (tmp_path / "notes.txt").write_text("not an image")
    report = import_collection(tmp_path, output)
    assert len(report) == 1
    reasons = dict(report.skipped.to_numpy())
    assert {name: reason.split(" images")[0] for name, reason in reasons.items()} == {
        "a.gif": "GIF", "a.svg": "SVG", "a.jp2": "JPEG 2000", "a.heic": "HEIF or AVIF",
        "a.CR2": "camera raw", "a.czi": "Zeiss",
    }  # fmt: skip
    failures = load_images(open_collection(tmp_path).paths(), 16)[2]
    assert len(failures) == 6


def test_a_subfolder_that_cannot_be_read_is_listed(picture, tmp_path, monkeypatch, output):
    picture("taxon/a.png")
    picture("closed/b.png")
    real = os.scandir

    def scandir(path="."):
        if Path(os.fspath(path)).name == "closed":
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = import_collection(tmp_path, output, format="folder")
    reason = "a folder that cannot be read: Permission denied"
    assert report.skipped.to_numpy().tolist() == [["closed", reason]]
    assert "closed" in open_collection(tmp_path).specimens["image"].tolist()


def test_links_to_folders_are_listed_and_not_followed(picture, tmp_path, output):
    picture("in/a.png")
    picture("out/b.png")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out", target_is_directory=True)
    report = import_collection(tmp_path / "in", output)
    assert report.skipped["image"].tolist() == ["link"]
    assert "not followed" in report.skipped["reason"][0]


def test_libraries_are_quiet_and_other_warnings_pass(tmp_path, capfd, caplog):
    rng = np.random.default_rng(0)
    tifffile.imwrite(tmp_path / "a.tif", rng.integers(0, 255, (40, 40), np.uint8), rowsperstrip=8)
    whole = (tmp_path / "a.tif").read_bytes()
    paths = []
    for number in range(60):
        broken = bytearray(whole)
        for at in rng.integers(4, 400, 6):
            broken[at] = rng.integers(256)
        paths.append(tmp_path / f"{number}.tif")
        paths[-1].write_bytes(broken)
    before = warnings.showwarning
    failures = load_images(paths, 16)[2]
    assert failures
    assert capfd.readouterr().err == ""
    assert [r for r in caplog.records if r.name == "tifffile"] == []
    assert warnings.showwarning is before
    with pytest.warns(UserWarning, match="ours"):
        warnings.warn("ours", stacklevel=1)


def test_a_file_that_names_others_opens_only_itself(tmp_path):
    """OME-XML may name further files; they could be pipes, or lie in other folders."""
    planes = np.random.default_rng(0).integers(0, 255, (2, 20, 20), np.uint8)
    tifffile.imwrite(tmp_path / "a.ome.tif", planes, metadata={"axes": "ZYX"},
                     photometric="minisblack")  # fmt: skip
    assert decode(tmp_path / "a.ome.tif").shape == (20, 20, 3)
