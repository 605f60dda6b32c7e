"""Every depth, sample format and color type is read value by value, or refused by name.

The truth is a formula on known arrays, independent of the decoder.
"""

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from forametric.errors import ImageError
from forametric.images import decode
from tests.support.tiff import packed, write_tiff

SIDES = (12, 20)
# Level 0 to 255 of each pixel; every level is there, and no pixel deviates from its block.
LEVELS = np.round(np.linspace(0, 255, SIDES[0] * SIDES[1])).reshape(SIDES)
COLORS = np.stack([LEVELS, LEVELS[::-1], LEVELS[:, ::-1]], axis=-1)


def close(found: np.ndarray, levels: np.ndarray) -> bool:
    """Whether each value is within one level; grey is expected in all channels."""
    levels = levels if levels.ndim == 3 else levels[..., None]
    return found.shape[:2] == levels.shape[:2] and bool(np.abs(found - levels).max() <= 1)


RANGES = {
    "uint16": (0, 65535),
    "uint32": (1000, 400_000),
    "int8": (-128, 127),
    "int16": (-32768, 32767),
    "int32": (-5000, 90_000),
    "float16": (-1, 1),
    "float32": (-3.4e38, 3.4e38),
    "float64": (1e-3, 2e-3),
}


@pytest.mark.parametrize("dtype", RANGES)
@pytest.mark.parametrize("truth", [LEVELS, COLORS], ids=["grey", "rgb"])
def test_deep_values_are_scaled_from_their_darkest_to_their_brightest(tmp_path, dtype, truth):
    low, high = RANGES[dtype]
    values = low + truth / 255 * (float(high) - low)
    photometric = "rgb" if truth.ndim == 3 else "minisblack"
    stored = values.astype(dtype) if dtype[0] == "f" else values.round().astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric)
    assert close(decode(tmp_path / "a.tif"), truth)


@pytest.mark.parametrize("bits", [*range(1, 17), 24, 31, 32])
@pytest.mark.parametrize("truth", [LEVELS, COLORS], ids=["grey", "rgb"])
def test_packed_bits_of_any_number_are_read(tmp_path, bits, truth):
    top = (1 << bits) - 1
    values = np.round(truth / 255 * top).astype(np.int64)
    data = (
        packed(values, bits) if bits not in (16, 32) else values.astype(f"<u{bits // 8}").tobytes()
    )
    samples, photometric = (3, 2) if truth.ndim == 3 else (1, 1)
    path = write_tiff(tmp_path / "a.tif", data, SIDES[1], SIDES[0], bits=bits, samples=samples,
                      photometric=photometric)  # fmt: skip
    assert close(decode(path), values / top * 255)


@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16, 32])
def test_zero_is_white_where_the_file_says_so(tmp_path, bits):
    top = (1 << bits) - 1
    values = np.round(LEVELS / 255 * top).astype(np.int64)
    data = (
        packed(values, bits) if bits not in (16, 32) else values.astype(f"<u{bits // 8}").tobytes()
    )
    path = write_tiff(tmp_path / "a.tif", data, SIDES[1], SIDES[0], bits=bits, photometric=0)
    assert close(decode(path), 255 - values / top * 255)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_zero_is_white_for_signed_values_too(tmp_path, dtype):
    values = ((LEVELS - 128) * 100).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    assert close(decode(tmp_path / "a.tif"), 255 - LEVELS)


def _png16(path, values: np.ndarray) -> None:
    import imagecodecs

    path.write_bytes(imagecodecs.png_encode(values.astype(np.uint16)))


@pytest.mark.parametrize("top", [4095, 65535], ids=["12-bit data", "16-bit data"])
@pytest.mark.parametrize("kind", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_every_level(tmp_path, top, kind, suffix):
    truth = COLORS if kind.startswith("RGB") else LEVELS[..., None]
    values = np.round(truth / 255 * top)
    if kind.endswith("A"):
        values = np.concatenate([values, np.full((*SIDES, 1), 65535)], axis=2)
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        _png16(path, np.squeeze(values))
    else:
        tifffile.imwrite(
            path,
            np.squeeze(values).astype(np.uint16),
            photometric="rgb" if kind.startswith("RGB") else "minisblack",
            extrasamples=["unassalpha"] if kind.endswith("A") else None,
            planarconfig="contig" if kind != "L" else None,
        )
    assert close(decode(path), truth)
    assert len(np.unique(decode(path))) == len(np.unique(truth))


def test_transparent_pixels_of_sixteen_bits_are_laid_on_black(tmp_path):
    values = np.full((*SIDES, 4), 40_000)
    values[:, :10, 3], values[:, 10:, 3] = 0, 65535
    _png16(tmp_path / "a.png", values)
    tifffile.imwrite(tmp_path / "a.tif", values.astype(np.uint16), photometric="rgb",
                     extrasamples=["unassalpha"])  # fmt: skip
    for name in ("a.png", "a.tif"):
        pixels = decode(tmp_path / name)
        assert (pixels[:, :10] == 0).all()
        assert (pixels[:, 10:] == 255).all()


@pytest.mark.parametrize(("alpha", "expected"), [("unassalpha", 100), ("assocalpha", 200)])
def test_multiplied_transparency_is_not_multiplied_again(tmp_path, alpha, expected):
    values = np.full((*SIDES, 4), 200, np.uint8)
    values[..., 3] = 128
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", extrasamples=[alpha])
    assert (decode(tmp_path / "a.tif") == expected).all()


def test_cmyk_becomes_the_color_that_it_prints(tmp_path):
    inks = np.random.default_rng(0).integers(0, 256, (*SIDES, 4)).astype(np.uint8)
    expected = (1 - inks[..., :3] / 255) * (1 - inks[..., 3:] / 255) * 255
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
    assert close(decode(tmp_path / "a.tif"), expected)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("depth", [8, 16], ids=["old palette", "palette"])
def test_a_palette_gives_its_colors(tmp_path, bits, depth):
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (3, 1 << bits))
    colors[0, 0] = 255
    indices = rng.integers(0, 1 << bits, SIDES)
    table = tuple(int(v) for v in (colors * (257 if depth == 16 else 1)).ravel())
    path = write_tiff(tmp_path / "a.tif", packed(indices, bits), SIDES[1], SIDES[0], bits=bits,
                      photometric=3, tag_320=table)  # fmt: skip
    assert (decode(path) == np.moveaxis(colors[:, indices], 0, -1)).all()


LAYOUTS = {
    "strips": {"rowsperstrip": 5},
    "tiles": {"tile": (16, 16)},
    "separate": {"planarconfig": "separate"},
    "separate tiles": {"planarconfig": "separate", "tile": (16, 16)},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_every_layout_and_compression_gives_the_same_pixels(tmp_path, layout, compression, dtype):
    values = COLORS * (1 if dtype == "uint8" else 257)
    if "separate" in layout:
        values = np.moveaxis(values, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", values.astype(dtype), photometric="rgb",
                     compression=compression, **LAYOUTS[layout])  # fmt: skip
    assert (decode(tmp_path / "a.tif") == COLORS).all()


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt", "packbits"])
def test_a_bilevel_image_is_black_and_white_as_stored(tmp_path, compression):
    bits = np.random.default_rng(0).random(SIDES) > 0.5
    Image.fromarray(bits).save(tmp_path / "a.tif", compression=compression)
    assert (decode(tmp_path / "a.tif") == np.where(bits, 255, 0)[..., None]).all()


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """An upright image as it is stored with an orientation, by the table of the TIFF standard."""
    return {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: np.swapaxes(image, 0, 1),
        6: np.rot90(image),
        7: np.swapaxes(image[::-1, ::-1], 0, 1),
        8: np.rot90(image, -1),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.tif", "deep.tif", "a.png", "deep.png", "a.webp", "a.jpg"])
def test_all_orientations_come_out_upright(tmp_path, orientation, name):
    blocks = np.zeros((16, 32, 3), np.uint8)
    blocks[:8, :8], blocks[8:, 16:] = 255, 90
    stored = np.ascontiguousarray(turned(blocks, orientation))
    path = tmp_path / name
    exif = Image.Exif()
    exif[0x0112] = orientation
    if name.endswith(".tif"):
        deep = stored.astype(np.uint16) * 257 if name == "deep.tif" else stored
        tifffile.imwrite(path, deep, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    elif name == "deep.png":
        Image.fromarray(stored[..., 0].astype(np.uint16) * 257).save(path, exif=exif)
    else:
        Image.fromarray(stored).save(path, exif=exif, lossless=True, quality=100)
    assert np.abs(decode(path).astype(int) - blocks).max() <= 8


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(["uint8", "uint16", "uint32", "int16", "int32", "float32", "float64"]),
    channels=st.sampled_from([1, 3]),
    orientation=st.integers(1, 8),
    tile=st.sampled_from([None, (16, 16)]),
    separate=st.booleans(),
    compression=st.sampled_from([None, "lzw", "deflate"]),
    big_endian=st.booleans(),
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    seed=st.integers(0, 9),
)
def test_what_is_written_is_read(
    tmp_path, dtype, channels, orientation, tile, separate, compression, big_endian, height, width,
    seed,
):  # fmt: skip
    steps = np.random.default_rng(seed).integers(0, 256, (height, width, channels))
    steps[:5, :5], steps[:5, -5:] = 0, 255  # whole blocks of black and white
    upright = np.squeeze(steps, 2) if channels == 1 else steps
    stored = np.ascontiguousarray(turned(upright, orientation)).astype(dtype)
    planar = "separate" if separate and channels == 3 else None
    if planar:
        stored = np.moveaxis(stored, -1, 0)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, np.ascontiguousarray(stored), byteorder=">" if big_endian else "<", tile=tile,
        photometric="rgb" if channels == 3 else "minisblack", planarconfig=planar,
        compression=compression, extratags=[(274, 3, 1, orientation, True)],
    )  # fmt: skip
    assert (decode(path) == steps).all()


def test_a_hot_and_a_dead_pixel_do_not_flatten_a_deep_image(tmp_path):
    values = (LEVELS * 4 + 1000).astype(np.uint16)
    values[3, 3], values[7, 12] = 65535, 0
    tifffile.imwrite(tmp_path / "a.tif", values)
    assert len(np.unique(decode(tmp_path / "a.tif"))) > 120


def test_a_small_bright_specimen_on_black_is_not_clipped(tmp_path):
    values = np.zeros((400, 400), np.uint16)
    values[200:212, 100:112] = np.linspace(20_000, 60_000, 144).reshape(12, 12)
    tifffile.imwrite(tmp_path / "a.tif", values)
    expected = values / 60_000 * 255
    assert close(decode(tmp_path / "a.tif"), expected)


def test_few_bright_pixels_on_one_black_ground_are_kept(tmp_path):
    values = np.zeros((64, 64), np.uint16)
    values[30:32, 30:32] = 500
    tifffile.imwrite(tmp_path / "a.tif", values)
    assert decode(tmp_path / "a.tif")[30, 30, 0] == 255


def test_images_of_eight_bits_are_not_scaled(tmp_path):
    values = (LEVELS // 4 + 60).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values)
    Image.fromarray(values).save(tmp_path / "a.png")
    for name in ("a.tif", "a.png"):
        assert (decode(tmp_path / name) == values[..., None]).all()


REFUSED = {
    "uint64": "64-bit unsigned integers are not supported",
    "int64": "64-bit signed integers are not supported",
    "complex64": "complex numbers are not supported",
}


@pytest.mark.parametrize("dtype", REFUSED)
def test_an_unsupported_kind_of_number_is_named(tmp_path, dtype):
    tifffile.imwrite(tmp_path / "a.tif", np.ones(SIDES, dtype))
    with pytest.raises(ImageError, match=REFUSED[dtype]):
        decode(tmp_path / "a.tif")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    values = LEVELS.astype(np.float32)
    values[5, 5] = value
    tifffile.imwrite(tmp_path / "a.tif", values)
    with pytest.raises(ImageError, match="not finite"):
        decode(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"photometric": 8, "samples": 3}, "color type CIELAB"),
        ({"photometric": 32803}, "color type CFA"),
        ({"photometric": 6, "samples": 3}, "YCbCr without JPEG"),
        ({"tag_50706": 1}, "camera raw"),
        ({"tag_258": (5, 6, 5), "samples": 3, "photometric": 2}, "different depths"),
        ({"tag_259": 50002}, "compression JPEGXL"),
        ({"bits": 16, "photometric": 5, "samples": 4}, "CMYK of 16 bits"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(tmp_path, tags, message):
    path = write_tiff(tmp_path / "a.tif", bytes(40_000), 20, 12, **tags)
    with pytest.raises(ImageError, match=message):
        decode(path)
