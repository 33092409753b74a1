"""One picture of an export → a grey PNG that holds pixels and nothing else, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from model.errors import ImageError
from model.importing.duplicates import fingerprint
from model.importing.values import CellError
from model.ingest.burned_in import MAX_TEXT_SHARE, Box, GreyBytes, blank_text, blanked_share, find_text
from model.ingest.dicom import decode_dicom, is_dicom
from model.ingest.images import MAX_FILE_BYTES, MAX_SIDE, MIN_SIDE, decode_image, decode_mask
from model.schema import Value

_SAME_SPACING = 0.01  # relative difference below which two spacings are one


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture without text.

    Parameters
    ----------
    pixels : (height, width) uint8.
    spacing_mm : (row, column) mm of one of these pixels, None where the file does not say.
    scale : (row, column) pixels of the file that one of these stands for.
    box, shape : the part of the file's (height, width) that it shows.
    notices : what was done to it.
    fingerprint : see `model.importing.duplicates`.
    facts : age and sex that a DICOM file gives.
    identifiers : words that lead to a person; never to be written.
    """

    pixels: GreyBytes
    spacing_mm: tuple[float, float] | None
    scale: tuple[float, float]
    box: Box
    shape: tuple[int, int]
    notices: tuple[str, ...]
    fingerprint: bytes
    facts: Mapping[str, Value] = field(default_factory=dict)
    identifiers: tuple[str, ...] = ()


def read_picture(source: Path | bytes, frame: int | None = None) -> Picture:
    """Decode a picture and blank the text burnt into it.

    Parameters
    ----------
    source : path or bytes of a DICOM, PNG, JPEG, BMP, TIFF or WebP file.
    frame : number of a DICOM file's frame, from 1; None chooses one.

    Raises
    ------
    CellError
        If it cannot be read, or cannot be trusted to be free of text.
    """
    try:
        if is_dicom(_head(source)):
            found = decode_dicom(source, name=_NAME, frame=frame)
            image, box, shape, file_mm = found.image, found.box, found.shape, found.spacing_mm
            facts, identifiers, says_so, cropped = found.facts, found.identifiers, found.burned_in, found.cropped
        else:
            image = decode_image(_bytes(source), name=_NAME)
            height, width = image.pixels.shape
            box, shape = Box(0, height, 0, width), (height, width)
            file_mm, facts, identifiers, says_so, cropped = None, {}, (), False, False
    except ImageError as error:
        raise CellError(error.what) from None
    except OSError as error:
        raise CellError(f"cannot be read ({error.strerror})") from None
    grey = (image.pixels * 255).round().astype(np.uint8)
    grey, texts = blank_text(grey, image.colour)
    notices = [n.removeprefix(f"{_NAME}: ").rstrip(".") for n in image.notices]
    if blanked_share(texts, grey.shape) > MAX_TEXT_SHARE:
        raise CellError("text covers too much of it to be blanked; crop it to the ultrasound sector")
    if says_so and not texts and not cropped:
        raise CellError("the file says that text is burnt in, but none was found to blank; crop or clean it first")
    if texts:
        notices.append("burnt-in text was blanked")
    return Picture(
        grey, None if file_mm is None else image.spacing(file_mm), image.scale, box, shape, tuple(notices), fingerprint(grey),
        facts, identifiers,
    )  # fmt: skip


def read_mask(source: Path | bytes, picture: Picture) -> GreyBytes:
    """A mask as drawn over the whole file, cut and resized as its picture was: (height, width) uint8 of 0 and 255.

    Raises
    ------
    CellError
        If it cannot be read, marks nothing within the picture, or holds text.
    """
    import cv2

    try:
        mask = decode_mask(_bytes(source), name=_NAME, shape=picture.shape)
    except ImageError as error:
        raise CellError(error.what) from None
    except OSError as error:
        raise CellError(f"cannot be read ({error.strerror})") from None
    box = picture.box
    cut = np.ascontiguousarray(mask[box.top : box.bottom, box.left : box.right]).astype(np.uint8) * np.uint8(255)
    height, width = picture.pixels.shape
    fitted = np.asarray(cv2.resize(cut, (width, height), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    if not fitted.any():
        raise CellError("the mask marks nothing within its picture")
    if find_text(fitted):
        raise CellError("the mask looks like text")
    return fitted


def resampled(
    pixels: GreyBytes, mm: tuple[float, float], wanted: tuple[float, float], *, mask: bool = False
) -> GreyBytes | None:
    """Pixels brought to another spacing; the same where it is the same, None where that would be too small or too large.

    Parameters
    ----------
    pixels : (height, width) uint8.
    mm, wanted : (row, column) mm of a pixel, now and afterwards.
    mask : whether to keep to the values that are there.
    """
    import cv2

    if all(abs(have / want - 1) <= _SAME_SPACING for have, want in zip(mm, wanted, strict=True)):
        return pixels
    height, width = round(pixels.shape[0] * mm[0] / wanted[0]), round(pixels.shape[1] * mm[1] / wanted[1])
    if not min(height, width) >= MIN_SIDE or max(height, width) > MAX_SIDE:
        return None
    how = cv2.INTER_NEAREST if mask else cv2.INTER_AREA if height < pixels.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=how), dtype=np.uint8)


_NAME = "picture"


def _head(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:132]
    with source.open("rb") as file:
        return file.read(132)


def _bytes(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    with source.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)  # one more, for the decoder to refuse it
