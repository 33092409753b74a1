"""PNG, JPEG, BMP, TIFF and WebP files → grey pictures and masks.

Every function here is pure: bytes in, array out. Pillow's global settings are neither read for safety nor changed, so
the functions can run in as many threads as there are sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from model.errors import ImageError
from model.schema import GrayImage, Mask

FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
MAX_FILE_BYTES = 30 * 1024 * 1024
MAX_PIXELS = 40_000_000
MIN_SIDE = 64
MAX_SIDE = 1024

_EXPORT = "Export the picture from the viewer as PNG or JPEG and give that file."
_SIGNATURES = (
    (0, b"GIF8", "a GIF"),
    (0, b"%PDF", "a PDF"),
    (128, b"DICM", "a DICOM file"),
    (0, b"PK", "a ZIP or Office file"),
)
_BIT_DEPTHS = (8, 10, 12, 14, 16)
_COLOUR_LEVELS = 40  # channels further apart than this are colour, not the tint that JPEG leaves on grey
_COLOUR_SHARE = 0.01
_CONTRAST_LEVELS = 2 / 255
_CONTRAST_SHARE = 0.01
_LOSSY_NOISE = 16  # grey levels that JPEG or WebP can leave in a mask without a mark


Colour = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A picture as the model takes it, and what was done to it on the way.

    Parameters
    ----------
    pixels : (height, width) float32 in 0…1, at most `MAX_SIDE` a side.
    notices : one sentence for each change that a person should know of.
    scale : (row, column) pixels of the file that one pixel here stands for; (1, 1) unless the picture was shrunk.
    colour : (height, width) uint8, how far the channels of a pixel lie apart; None where none does by more than a tint. Grey
        does not show what was written in colour over tissue of the same luminance.
    """

    pixels: GrayImage
    notices: tuple[str, ...] = ()
    scale: tuple[float, float] = (1.0, 1.0)
    colour: Colour | None = None

    def spacing(self, file_spacing_mm: tuple[float, float]) -> tuple[float, float]:
        """(row, column) mm of a pixel here, from that of the file (as it is displayed, so after any EXIF turn)."""
        return file_spacing_mm[0] * self.scale[0], file_spacing_mm[1] * self.scale[1]


def decode_image(data: bytes, *, name: str) -> DecodedImage:
    """Decode one ultrasound picture.

    Colours become luminance (ITU-R 601), transparent parts black. Grey pictures of 16 or 32 bits or of floats follow
    one rule: values from 0 to 1 (floats) stay as they are; values from 0 to 65,535 are divided by the full range of the
    smallest of 8, 10, 12, 14 and 16 bits that holds them; any others are stretched from lowest to highest.
    Pictures longer than `MAX_SIDE` are shrunk by area average.

    Parameters
    ----------
    data : the file's bytes.
    name : what to call the file in messages.

    Raises
    ------
    ImageError
        If the file is no picture, damaged or truncated, over 30 MB or 40 megapixels (read from the header, before
        anything is decoded), under 64 pixels a side, or has no contrast.
    """
    image, notices = _open(data, name, min_side=MIN_SIDE)
    grey, more, colour = _to_grey(image, name)
    return finish_image(grey, [*notices, *more], name=name, colour=colour)


def colours_to_grey(pixels: npt.NDArray[np.uint8], *, name: str) -> tuple[GrayImage, list[str], Colour | None]:
    """(height, width, 3) RGB → (height, width) luminance in 0…1, a notice where the colours meant something, and
    `DecodedImage.colour`."""
    return _to_grey(Image.fromarray(pixels), name)


def finish_image(grey: GrayImage, notices: Sequence[str], *, name: str, colour: Colour | None = None) -> DecodedImage:
    """Check a grey picture and shrink it to `MAX_SIDE`.

    Parameters
    ----------
    grey : (height, width) float32 in 0…1.
    notices : what was done to it so far.
    name : what to call it in messages.
    colour : see `DecodedImage`; shrunk with it.

    Raises
    ------
    ImageError
        If it has no contrast, or is under 64 pixels a side.
    """
    notices = list(notices)
    if min(_fit(grey.shape[1], grey.shape[0])) < MIN_SIDE:
        raise _too_small(grey.shape[1], grey.shape[0], name)
    if not _plain_contrast(grey) and (np.abs(grey - np.median(grey)) > _CONTRAST_LEVELS).mean() < _CONTRAST_SHARE:
        raise ImageError(
            f"no contrast: nearly every pixel is at {float(np.median(grey)):.0%} of white",
            where=name,
            fix="Give the ultrasound picture itself; this one is blank.",
        )
    height, width = grey.shape
    shrunk_width, shrunk_height = _fit(width, height)
    if (shrunk_width, shrunk_height) != (width, height):
        # Pillow's box filter is the exact area average, also for factors that are no whole number.
        small = Image.fromarray(grey).resize((shrunk_width, shrunk_height), Image.Resampling.BOX)
        grey = np.asarray(small, dtype=np.float32).clip(0, 1)
        if colour is not None:
            colour = np.asarray(Image.fromarray(colour).resize((shrunk_width, shrunk_height), Image.Resampling.BOX))
        notices.append(f"shrunk from {width} × {height} to {shrunk_width} × {shrunk_height} pixels by area average")
    return DecodedImage(
        np.ascontiguousarray(grey, dtype=np.float32),
        tuple(f"{name}: {notice}." for notice in notices),
        (height / shrunk_height, width / shrunk_width),
        colour,
    )


def _plain_contrast(grey: GrayImage) -> bool:
    """Whether there is contrast about the mean grey already, which is told four times as quickly as about the median.

    Where enough pixels lie on either side of a band twice as wide as the levels that count, enough lie away from any grey.
    """
    mean, enough = float(grey.mean()), _CONTRAST_SHARE * grey.size
    darker, lighter = grey < mean - _CONTRAST_LEVELS, grey > mean + _CONTRAST_LEVELS
    return bool(min(np.count_nonzero(darker), np.count_nonzero(lighter)) >= enough)


def decode_mask(data: bytes, *, name: str, shape: tuple[int, int]) -> Mask:
    """Decode a mask and bring it to its picture's shape.

    A pixel is marked where it exceeds half of the mask's own range, so that masks of 0 and 1, of 0 and 255, in colour
    or blurred by JPEG all read alike. The mask is then resized by nearest neighbour.

    Parameters
    ----------
    data : the file's bytes.
    name : what to call the file in messages.
    shape : (height, width) of the decoded picture.

    Returns
    -------
    (height, width) bool with at least one pixel marked.

    Raises
    ------
    ImageError
        If the file cannot be decoded (see `decode_image`) or marks nothing.
    """
    image, _ = _open(data, name, min_side=1)
    lossy = image.format in ("JPEG", "MPO", "WEBP")
    grey, _, _ = _to_grey(image, name)
    low, high = float(grey.min()), float(grey.max())
    if high - low <= (_LOSSY_NOISE / 255 if lossy else 0.0):
        raise ImageError(
            "the mask has one value throughout, so it marks nothing",
            where=name,
            fix="Draw the outline again, or leave the mask out and let the network find it.",
        )
    marked = Image.fromarray((grey > (low + high) / 2).astype(np.uint8))
    mask = np.asarray(marked.resize((shape[1], shape[0]), Image.Resampling.NEAREST)) > 0
    if not mask.any():
        raise ImageError(
            f"the mask marks nothing once resized to {shape[1]} × {shape[0]} pixels",
            where=name,
            fix="Draw the mask at the size of its picture.",
        )
    return mask


def encode_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """(height, width) as a PNG file without any metadata; equal pixels give equal bytes.

    Rows are written as differences from the row above: files of speckle are a tenth larger than the smallest and are read in
    three fifths of the time. More compression takes longer and gains little.
    """
    import cv2

    how = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    done, data = cv2.imencode(".png", pixels, how)
    assert done  # a grey array in memory always can be
    return data.tobytes()


def _open(data: bytes, name: str, *, min_side: int) -> tuple[Image.Image, list[str]]:
    """The first frame, decoded in full and upright, after every check that the header allows."""
    if not data:
        raise ImageError("the file is empty", where=name, fix=_EXPORT)
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(
            f"the file is over {MAX_FILE_BYTES // 1024**2} MB",
            where=name,
            fix="Give one still picture of the nodule, cropped to the ultrasound sector.",
        )
    # Pillow's readers raise nearly anything on hostile bytes (SyntaxError, struct.error, KeyError, zlib.error …):
    # whatever they raise, the file is at fault.
    try:
        image = Image.open(BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_many_pixels("its header claims", name) from error
    except Exception as error:
        kind = next(
            (k for at, mark, k in _SIGNATURES if data.startswith(mark, at)),
            "not a picture, or one damaged at its start",
        )
        raise ImageError(f"this is {kind}; {', '.join(FORMATS)} can be read", where=name, fix=_EXPORT) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(f"{width:,} × {height:,} pixels are", name)
    if min(_fit(width, height)) < min_side:
        raise _too_small(width, height, name)
    notices = []
    try:
        file_format = image.format
        turned = file_format == "TIFF" and _orientation(image) != 1  # asked first, since load() itself turns a TIFF
        image.load()
        turned = turned or _orientation(image) != 1
        if getattr(image, "is_animated", False):
            notices.append("holds several frames or pages; only the first is used")
        if turned:
            notices.append("turned upright as its EXIF orientation says")
            upright = ImageOps.exif_transpose(image)
            upright.format = file_format
            return upright, notices
    except Exception as error:
        raise ImageError(
            "the picture is truncated or damaged and cannot be decoded in full",
            where=name,
            fix=f"Copy it again. {_EXPORT}",
        ) from error
    return image, notices


def _too_many_pixels(claim: str, name: str) -> ImageError:
    return ImageError(
        f"{claim} more than {MAX_PIXELS // 1_000_000} megapixels",
        where=name,
        fix="Crop the picture to the ultrasound sector.",
    )


def _too_small(width: int, height: int, name: str) -> ImageError:
    return ImageError(
        f"{width} × {height} pixels, which is too small or too narrow",
        where=name,
        fix=f"Give a picture of at least {MIN_SIDE} pixels a side, no more than {MAX_SIDE // MIN_SIDE} times "
        "longer than wide.",
    )


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) where there is none or its block is damaged."""
    with suppress(Exception):  # a damaged EXIF block is no reason to refuse a sound picture
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return orientation if orientation in range(1, 9) else 1
    return 1


def _fit(width: int, height: int) -> tuple[int, int]:
    """(width, height) brought down to `MAX_SIDE`, proportions kept."""
    factor = min(1.0, MAX_SIDE / max(width, height))
    return round(width * factor), round(height * factor)


def _to_grey(image: Image.Image, name: str) -> tuple[GrayImage, list[str], Colour | None]:
    """Any Pillow mode → (height, width) float32 in 0…1, with a notice for each thing lost, and `DecodedImage.colour`."""
    if image.mode.startswith(("I", "F")):
        return *_scale_deep_grey(np.asarray(image), name), None
    notices = []
    colour: Colour | None = None
    try:
        if image.has_transparency_data:
            layer = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)).convert("RGBA")
            black = Image.new("RGBA", layer.size, (0, 0, 0, 255))
            if layer.getchannel("A").getextrema() != (255, 255):
                notices.append("its transparent parts were laid on black")
            image = Image.alpha_composite(black, layer)
        if image.mode == "1":
            notices.append("holds only black and white, no grey levels")
        elif image.mode not in ("L", "LA"):
            image = image.convert("RGB")
            spread = _spread(image)
            coloured = spread > _COLOUR_LEVELS
            if coloured.any():
                colour = spread
            if coloured.mean() > _COLOUR_SHARE:
                notices.append(
                    "its colours (Doppler, elastography or drawn marks?) were turned into grey; "
                    "the model expects plain B-mode pictures"
                )
        grey = np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)
    except (ValueError, OSError, MemoryError) as error:
        raise ImageError(f"its colour mode {image.mode} cannot be read", where=name, fix=_EXPORT) from error
    return grey, notices, colour


def _spread(image: Image.Image) -> Colour:
    """(height, width) how far the channels of each pixel of an RGB picture lie apart."""
    red, green, blue = (np.asarray(channel) for channel in image.split())
    lowest, highest = np.minimum(np.minimum(red, green), blue), np.maximum(np.maximum(red, green), blue)
    return np.asarray(highest - lowest)


def _scale_deep_grey(values: npt.NDArray[np.generic], name: str) -> tuple[GrayImage, list[str]]:
    """Grey of 16 or 32 bits or of floats → 0…1, by the rule that `decode_image` states."""
    is_float = values.dtype.kind == "f"
    numbers = values.astype(np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    if not np.isfinite([low, high]).all():
        raise ImageError("some pixels are not finite numbers", where=name, fix=_EXPORT)
    if is_float and low >= 0 and high <= 1:
        notices = []
    elif low >= 0 and high <= 2 ** _BIT_DEPTHS[-1] - 1:
        bits = next(b for b in _BIT_DEPTHS if high <= 2**b - 1)
        numbers /= 2**bits - 1
        notices = [f"deep grey levels from {low:g} to {high:g} were read as {bits}-bit values"]
    else:
        numbers = (numbers - low) / ((high - low) or 1.0)
        notices = [f"deep grey levels were stretched from {low:g}–{high:g} to black–white"]
    return numbers.astype(np.float32), notices
