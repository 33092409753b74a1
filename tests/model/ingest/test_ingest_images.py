import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from model.errors import ImageError
from model.ingest.images import MAX_SIDE, decode_image, decode_mask

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "real_ultrasound"
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")


def ramp(height: int = 80, width: int = 96) -> np.ndarray:
    return np.tile(np.linspace(0, 255, width).round().astype(np.uint8), (height, 1))


def encode(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 4) + b"IDAT" + bytes(8)


def refusal(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        decode_image(data, name="upload.png")
    assert caught.value.where == "upload.png"
    assert caught.value.fix
    return caught.value.what


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_grey_picture(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode_image(encode(ramp(), kind, **options), name="x")
    assert decoded.pixels.dtype == np.float32
    assert decoded.notices == ()
    assert decoded.scale == (1, 1)
    np.testing.assert_allclose(decoded.pixels, ramp() / 255, atol=0.02 if kind == "JPEG" else 1e-6)


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "P", "LA", "RGBA"])
def test_modes_that_hold_a_grey_picture_give_it_back_without_notice(mode: str) -> None:
    image = Image.fromarray(ramp()).convert("RGB" if mode == "CMYK" else mode).convert(mode)
    decoded = decode_image(encode(image, "TIFF" if mode == "CMYK" else "PNG"), name="x")
    assert decoded.notices == ()
    np.testing.assert_allclose(decoded.pixels, ramp() / 255, atol=0.01)


def test_one_bit_picture_is_read_with_a_notice() -> None:
    decoded = decode_image(encode(Image.fromarray(ramp() > 100)), name="x")
    np.testing.assert_array_equal(decoded.pixels, ramp() > 100)
    assert "black and white" in decoded.notices[0]


@pytest.mark.parametrize(("orientation", "kind"), [(3, "JPEG"), (6, "JPEG"), (6, "PNG"), (8, "TIFF"), (5, "WEBP")])
def test_exif_orientation_is_applied_once(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode_image(encode(ramp(), kind, exif=exif, **options), name="x")
    undo = {3: lambda a: np.rot90(a, 2), 5: lambda a: a.T, 6: lambda a: np.rot90(a, -1), 8: lambda a: np.rot90(a, 1)}
    np.testing.assert_allclose(decoded.pixels, undo[orientation](ramp()) / 255, atol=0.02)
    assert "EXIF" in decoded.notices[0]


def test_transparent_parts_become_black() -> None:
    alpha = np.full((80, 96), 255, np.uint8)
    alpha[:40] = 0
    white = np.full((80, 96), 255, np.uint8)
    decoded = decode_image(encode(np.dstack([white, white, white, alpha])), name="x")
    np.testing.assert_array_equal(decoded.pixels, alpha / 255)
    assert "transparent" in decoded.notices[0]


def test_colour_becomes_luminance_with_a_notice() -> None:
    picture = np.repeat(ramp()[..., None], 3, axis=2)
    picture[10:30, 10:30] = (255, 0, 0)
    decoded = decode_image(encode(picture), name="doppler.png")
    assert decoded.notices[0].startswith("doppler.png")
    assert "Doppler" in decoded.notices[0]
    assert decoded.pixels[20, 20] == pytest.approx(0.299, abs=0.01)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.uint16([0, 1000, 4095]), [0, 1000 / 4095, 1]),  # 12 bits in 16
        (np.uint16([0, 257 * 100, 65535]), [0, 100 / 255, 1]),
        (np.int32([0, 100, 255]), [0, 100 / 255, 1]),
        (np.int32([-1000, 0, 3000]), [0, 0.25, 1]),
        (np.float32([0, 0.25, 0.5]), [0, 0.25, 0.5]),
        (np.float32([-1, 0, 1]), [0, 0.5, 1]),
    ],
)
def test_deep_grey_follows_the_stated_rule(values: np.ndarray, expected: list[float]) -> None:
    picture = np.repeat(np.repeat(values[:, None], 30, axis=0), 80, axis=1)
    decoded = decode_image(encode(picture, "TIFF"), name="x")
    np.testing.assert_allclose(decoded.pixels[::30, 0], expected, atol=1e-6)
    assert len(decoded.notices) == (0 if expected[-1] == 0.5 else 1)


def test_deep_grey_with_not_a_number_is_refused() -> None:
    assert "finite" in refusal(encode(np.where(ramp() > 100, np.nan, ramp()).astype(np.float32), "TIFF"))


def test_large_picture_is_shrunk_by_area_average_and_tells_its_scale() -> None:
    # 2 × 2 checks average to grey; the left half stays black
    checks = np.indices((600, 2048)).sum(axis=0) % 2 * np.uint8(255) * (np.arange(2048) >= 1024).astype(np.uint8)
    decoded = decode_image(encode(checks.astype(np.uint8)), name="x")
    assert decoded.pixels.shape == (300, MAX_SIDE)
    assert decoded.scale == (2, 2)
    assert decoded.spacing((0.05, 0.06)) == (0.1, 0.12)
    np.testing.assert_allclose(decoded.pixels[:, 512:], 0.5, atol=1e-6)
    assert decoded.pixels[:, :512].max() == 0
    assert "shrunk" in decoded.notices[0]


def test_only_the_first_frame_of_an_animation_is_used() -> None:
    frames = [Image.fromarray(ramp()), Image.fromarray(255 - ramp())]
    for kind in ("PNG", "TIFF"):
        decoded = decode_image(encode(frames[0], kind, save_all=True, append_images=frames[1:]), name="x")
        np.testing.assert_allclose(decoded.pixels, ramp() / 255, atol=1e-6)
        assert "first" in decoded.notices[0]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"hello, I am no picture", "not a picture"),
        (b"%PDF-1.7", "PDF"),
        (b"GIF89a", "GIF"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, told: str) -> None:
    assert told in refusal(data)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_files_are_refused(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 96)).astype(np.uint8)
    data = encode(noise, kind)
    refusal(data[: int(len(data) * share)])


def test_gigantic_header_is_refused_before_decoding() -> None:
    assert "40 megapixels" in refusal(png_header(100_000, 100_000))
    assert "8,000 × 8,000" in refusal(png_header(8000, 8000))


def test_too_small_too_narrow_too_heavy_pictures_are_refused() -> None:
    assert "63" in refusal(encode(ramp(63, 96)))
    assert "narrow" in refusal(encode(ramp(80, 2000)))
    assert "30 MB" in refusal(encode(ramp()) + bytes(31 * 1024 * 1024))


@pytest.mark.parametrize("level", [0, 128, 255])
def test_blank_pictures_are_refused_even_with_a_stray_pixel(level: int) -> None:
    picture = np.full((80, 96), level, np.uint8)
    picture[0, 0] = 200
    assert "contrast" in refusal(encode(picture))


def test_pillows_global_settings_are_left_alone() -> None:
    pixels, truncated = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    decode_image(encode(ramp()), name="x")
    refusal(png_header(100_000, 100_000))
    assert pixels == Image.MAX_IMAGE_PIXELS
    assert truncated == ImageFile.LOAD_TRUNCATED_IMAGES


def test_threads_do_not_disturb_each_other() -> None:
    files = [encode(np.roll(ramp(), shift, axis=1), FORMATS[shift % 3]) for shift in range(30)]
    alone = [decode_image(file, name="x").pixels for file in files]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda file: decode_image(file, name="x").pixels, files))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def attempt(data: bytes) -> None:
    for decode in (lambda: decode_image(data, name="x").pixels, lambda: decode_mask(data, name="x", shape=(70, 90))):
        try:
            found = decode()
        except ImageError:
            continue
        assert found.ndim == 2
        assert np.isfinite(found).all()
        assert found.min() >= 0
        assert found.max() <= 1


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.binary(max_size=400), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\0", b"RIFF"]))
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_raise_nothing_but_image_errors(data: bytes, start: bytes) -> None:
    attempt(start + data)


SOUND = {kind: encode(ramp(), kind) for kind in FORMATS}


@pytest.mark.filterwarnings("ignore::UserWarning")
@given(st.sampled_from(FORMATS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=150, deadline=None)
def test_damaged_files_raise_nothing_but_image_errors(kind: str, damage: list[tuple[float, int]]) -> None:
    data = bytearray(SOUND[kind])
    for place, value in damage:
        data[int(place**3 * (len(data) - 1))] = value  # mostly near the header
    attempt(bytes(data))


# ---- masks ----


def disc(side: int = 64) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return (x - side / 2) ** 2 + (y - side / 2) ** 2 < (side / 4) ** 2


@pytest.mark.parametrize("high", [1, 128, 255])
def test_mask_of_any_range_and_size_is_resized_to_its_picture(high: int) -> None:
    mask = decode_mask(encode(disc().astype(np.uint8) * np.uint8(high)), name="m", shape=(128, 192))
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, np.repeat(np.repeat(disc(), 2, axis=0), 3, axis=1))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_mask_is_thresholded_at_half_range(kind: str) -> None:
    data = encode(disc().astype(np.uint8) * np.uint8(255), kind, quality=40)
    mask = decode_mask(data, name="m", shape=(64, 64))
    assert (mask != disc()).mean() < 0.02


def test_empty_full_and_vanishing_masks_are_refused() -> None:
    speck = np.zeros((512, 512), np.uint8)
    speck[1, 1] = 255
    rng = np.random.default_rng(0)
    for data in (
        encode(np.zeros((64, 64), np.uint8)),
        encode(np.full((64, 64), 255, np.uint8)),
        encode(rng.integers(0, 4, (64, 64)).astype(np.uint8), "JPEG"),
        encode(speck),
    ):
        with pytest.raises(ImageError, match="marks nothing") as caught:
            decode_mask(data, name="mask.png", shape=(64, 64))
        assert caught.value.where == "mask.png"


@pytest.mark.skipif(not REAL.is_dir(), reason="the real pictures are not on this machine")
def test_real_pictures_decode_and_their_masks_resize() -> None:
    pictures = [file for file in sorted(REAL.glob("*.jpg")) if "mask" not in file.name]
    assert len(pictures) == 6
    for file in pictures:
        decoded = decode_image(file.read_bytes(), name=file.name)
        assert decoded.notices == ()
        with Image.open(file) as image:
            assert decoded.pixels.shape == image.size[::-1]
        mask_file = file.with_name(f"{file.stem}_nodule_mask.jpg")
        mask = decode_mask(mask_file.read_bytes(), name=mask_file.name, shape=decoded.pixels.shape)
        assert mask.shape == decoded.pixels.shape
        with Image.open(mask_file) as image:
            assert mask.mean() == pytest.approx((np.asarray(image) > 127).mean(), abs=0.003)
