import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter

from forametric.errors import ImageError
from forametric.images import background, decode, load_images, preprocess


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


def test_a_large_jpeg_is_read_at_reduced_scale_and_prepared_alike(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (22, 26, 3), np.uint8)
    smooth = Image.fromarray(noise).resize((1300, 1100), Image.Resampling.BICUBIC)
    pixels = np.asarray(smooth.filter(ImageFilter.GaussianBlur(8)))
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.jpg", 512).shape == (550, 650, 3)
    assert decode(tmp_path / "a.jpg", 600).shape == (1100, 1300, 3)
    assert decode(tmp_path / "a.png", 512).shape == (1100, 1300, 3)
    squares, _, _ = load_images([tmp_path / "a.jpg", tmp_path / "a.png"], 128)
    difference = np.abs(squares[0].astype(int) - squares[1])
    assert difference.mean() < 1
    assert difference.max() < 12


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
    elif kind == "spectrum":
        tifffile.imwrite(path, np.zeros((3, 20), np.uint8), photometric="minisblack")


BROKEN = {
    "empty": "empty",
    "truncated": "truncated",
    "text": "not an image",
    "one pixel": "too small",
    "enormous": "too large",
    "spectrum": "too small",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_gives_one_sentence(tmp_path, kind):
    path = tmp_path / "a.jpg"
    _broken(kind, path)
    with pytest.raises(ImageError, match=BROKEN[kind]):
        decode(path)


def _png_header(path, width: int, height: int) -> None:
    """A PNG that claims a size, and holds no pixel."""
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = b""
    for kind, data in ((b"IHDR", body), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        chunks += struct.pack(">I", len(data)) + kind + data + checksum
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize("side", [10_001, 20_000, 100_000])
def test_a_bomb_is_refused_by_its_header(tmp_path, side):
    """Below and above Pillow's own limit, and with that limit as Pillow sets it."""
    before = Image.MAX_IMAGE_PIXELS
    _png_header(tmp_path / "bomb.png", side, side)
    with pytest.raises(ImageError, match=r"too large.* at most 100 million pixels"):
        decode(tmp_path / "bomb.png")
    assert before == Image.MAX_IMAGE_PIXELS


def test_many_files_go_on_past_a_broken_one(tmp_path, picture):
    _broken("text", tmp_path / "b.jpg")
    squares, readable, failures = load_images(
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
    square = preprocess(image, size)
    assert square.shape == (size, size, 3)
    assert (square == grey).all()
    assert (background(image) == grey).all()


def test_a_quarter_turn_of_the_image_is_a_quarter_turn_of_the_square():
    # Mid greys: bicubic overshoot is clipped between its two passes, whose order a turn swaps.
    image = np.random.default_rng(0).integers(90, 160, (40, 40, 3), np.uint8)
    turned = preprocess(np.ascontiguousarray(np.rot90(image)), 32)
    difference = np.abs(turned.astype(int) - np.rot90(preprocess(image, 32)).astype(int))
    assert difference.max() <= 1


def _in_focus(where: slice) -> np.ndarray:
    """A noisy picture that is sharp in these columns only."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 60)).astype(float)
    blurred = gaussian_filter(noise, 3)
    blurred[:, where] = noise[:, where]
    return blurred.astype(np.uint8)


def test_of_a_stack_each_pixel_comes_from_where_it_is_sharp(tmp_path):
    left, right = slice(0, 30), slice(30, 60)
    stack = np.stack([_in_focus(left), _in_focus(right)])
    truth = np.random.default_rng(0).integers(0, 255, (40, 60)).astype(np.uint8)
    for name, settings in {
        "pages.tif": {"photometric": "minisblack"},
        "z.ome.tif": {"photometric": "minisblack", "metadata": {"axes": "ZYX"}},
        "z.tif": {"imagej": True, "metadata": {"axes": "ZYX"}},
        "big.tif": {"photometric": "minisblack", "bigtiff": True, "compression": "lzw"},
    }.items():
        tifffile.imwrite(tmp_path / name, stack, **settings)
        found = decode(tmp_path / name)[..., 0]
        inner = [*range(8, 24), *range(36, 52)]
        assert (found[:, inner] == truth[:, inner]).mean() > 0.98, name


def test_channels_are_colours_and_the_first_of_time_is_taken(tmp_path):
    film = np.zeros((3, 2, 20, 30), np.uint8)  # time, channels
    film[0, 0], film[0, 1], film[1:] = 200, 100, 50
    film[0, :, 0, 0] = 0
    path = tmp_path / "film.ome.tif"
    tifffile.imwrite(path, film, photometric="minisblack", metadata={"axes": "TCYX"})
    assert decode(path)[5, 5].tolist() == [200, 100, 0]


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "jpeg", "packbits", "zstd"])
def test_every_compression_is_read(tmp_path, compression):
    picture = np.full((32, 48, 3), 90, np.uint8)
    picture[8:24, 8:40] = 200
    tifffile.imwrite(tmp_path / "a.tif", picture, photometric="rgb", compression=compression)
    assert np.abs(decode(tmp_path / "a.tif").astype(int) - picture).max() <= 30
    assert np.abs(decode(tmp_path / "a.tif").astype(int) - picture).mean() <= 1


def test_of_a_pyramid_the_full_picture_is_taken(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    with tifffile.TiffWriter(tmp_path / "p.tif") as writer:
        writer.write(picture, subifds=1, photometric="rgb", tile=(16, 16))
        writer.write(picture[::2, ::2], subfiletype=1, photometric="rgb", tile=(16, 16))
    assert (decode(tmp_path / "p.tif") == picture).all()
