import io

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from forametric.errors import ImageError
from forametric.images import background, decode, load_squares, prepare


def test_sixteen_bit_data_are_scaled_by_their_own_range(tmp_path):
    ramp = np.linspace(1000, 3000, 256).astype(np.uint16).reshape(16, 16)
    tifffile.imwrite(tmp_path / "a.tif", ramp)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        pixels = decode(tmp_path / name)
        assert pixels.shape == (16, 16, 3)
        assert (pixels.min(), pixels.max()) == (0, 255)
        assert np.abs(pixels[..., 0].ravel().astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK", "1"])
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_every_mode_becomes_rgb(tmp_path, mode, suffix):
    image = Image.new("RGB", (20, 12), (200, 200, 200)).convert(mode)
    try:
        image.save(tmp_path / f"a.{suffix}")
    except OSError:
        pytest.skip(f"{suffix} holds no {mode}")
    pixels = decode(tmp_path / f"a.{suffix}")
    assert pixels.shape == (12, 20, 3)
    assert pixels.dtype == np.uint8


def test_transparent_pixels_are_laid_on_black(tmp_path):
    Image.new("RGBA", (10, 10), (255, 255, 255, 0)).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png").max() == 0


def test_exif_orientation_is_applied(tmp_path):
    image = Image.new("RGB", (30, 10))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert decode(tmp_path / "a.jpg").shape == (30, 10, 3)


@pytest.mark.parametrize("compression", ["lzw", "deflate", "packbits"])
def test_compressed_tiff(tmp_path, compression):
    pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression, photometric="rgb")
    assert (decode(tmp_path / "a.tif") == pixels).all()


def _broken(kind: str, path) -> None:
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(buffer, "JPEG")
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    elif kind == "text":
        path.write_text("this is no image")
    elif kind == "one pixel":
        Image.new("RGB", (1, 1)).save(path)
    elif kind == "enormous":
        Image.new("1", (20_000, 6_000)).save(path, "PNG")
    elif kind == "pages":
        tifffile.imwrite(path, np.zeros((3, 20, 20), np.uint8), photometric="minisblack")


BROKEN = {
    "empty": "empty",
    "truncated": "truncated",
    "text": "not an image",
    "one pixel": "too small",
    "enormous": "too large",
    "pages": "3 pages",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_gives_one_sentence(tmp_path, kind):
    path = tmp_path / "a.jpg"
    _broken(kind, path)
    with pytest.raises(ImageError, match=BROKEN[kind]):
        decode(path)


def test_many_files_go_on_past_a_broken_one(tmp_path, picture):
    _broken("text", tmp_path / "b.jpg")
    squares, readable, failures = load_squares(
        [picture("a.png"), tmp_path / "b.jpg", picture("c.png", 1)], 16
    )
    assert readable == [0, 2]
    assert squares.shape == (2, 16, 16, 3)
    assert list(failures) == [1]


@given(
    width=st.integers(8, 90),
    height=st.integers(8, 90),
    size=st.integers(8, 64),
    grey=st.integers(0, 255),
)
def test_a_square_keeps_the_plate_and_the_middle(width, height, size, grey):
    image = np.full((height, width, 3), grey, np.uint8)
    square = prepare(image, size)
    assert square.shape == (size, size, 3)
    assert (square == grey).all()
    assert (background(image) == grey).all()


def test_a_quarter_turn_of_the_image_is_a_quarter_turn_of_the_square():
    # Mid greys: bicubic overshoot is clipped between its two passes, whose order a turn swaps.
    image = np.random.default_rng(0).integers(90, 160, (40, 40, 3), np.uint8)
    turned = prepare(np.ascontiguousarray(np.rot90(image)), 32)
    difference = np.abs(turned.astype(int) - np.rot90(prepare(image, 32)).astype(int))
    assert difference.max() <= 1
