"""DICOM ultrasound → one grey picture, its pixel spacing, and nothing else of the file but what can be asked for.

Only pixels leave. Every attribute that the basic profile of PS3.15 Annex E removes, empties or replaces, and every other
one too, private tags and overlays included, stays behind: what is returned besides pixels is the spacing, the two facts
that the schema has a field for (age, sex), and a list of identifying words, which serves to find them elsewhere (in a
report, in a file name) and must not be written.

Decoders: pydicom's own (uncompressed, RLE), Pillow (JPEG baseline), pyjpegls (JPEG-LS), pylibjpeg-openjpeg (JPEG 2000) and
GDCM (JPEG lossless, and whatever the others decline); all under permissive licences.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.errors import ImageError
from model.ingest.burned_in import Box
from model.ingest.images import MAX_PIXELS, Colour, DecodedImage, colours_to_grey, finish_image
from model.schema import GrayImage, Value

MAX_DICOM_BYTES = 2 * 1024**3
_FRAMES_LOOKED_AT = 16
_TISSUE_2D = (1, 1)  # RegionSpatialFormat, RegionDataType
_CENTIMETRES = 3  # PhysicalUnitsXDirection
_LOW_MM, _HIGH_MM = 0.01, 2.0
_EXPORT = "Export it again from the archive, or give it as PNG."

# Attributes, besides all names of persons, whose values the basic profile removes or replaces because they lead to a person,
# and which people repeat in reports and file names.
_IDENTIFYING = (
    "PatientID", "OtherPatientIDs", "IssuerOfPatientID", "AccessionNumber", "StudyID", "PatientAddress",
    "PatientTelephoneNumbers", "PatientBirthName", "PatientMotherBirthName", "MedicalRecordLocator", "InstitutionName",
    "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "AdmissionID", "ServiceEpisodeID", "DeviceSerialNumber",
    "RequestingService", "InsurancePlanIdentification", "CountryOfResidence", "RegionOfResidence", "Occupation", "PatientComments",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class DicomPicture:
    """One frame.

    Parameters
    ----------
    image : the B-mode region as a decoded picture.
    spacing_mm : (row, column) mm of a pixel of the file, None where it is not calibrated.
    box : the part of the file's frame that `image` shows, before any shrinking.
    shape : (height, width) of the file's frame.
    cropped : whether the file says where the B-mode region lies, so that everything beside it is gone.
    burned_in : whether the file itself says that identifying text is burnt in.
    facts : `age_years` and `sex` where the file has them.
    patient_id : the file's patient number; identifying, never to be written.
    identifiers : words that lead to a person; identifying, never to be written.
    """

    image: DecodedImage
    spacing_mm: tuple[float, float] | None
    box: Box
    shape: tuple[int, int]
    cropped: bool
    burned_in: bool
    facts: Mapping[str, Value] = field(default_factory=dict)
    patient_id: str = ""
    identifiers: tuple[str, ...] = ()


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins like this is DICOM (Part 10)."""
    return head[128:132] == b"DICM"


def decode_dicom(source: Path | bytes, *, name: str, frame: int | None = None) -> DicomPicture:
    """Decode one frame of an ultrasound file.

    MONOCHROME1 is inverted, YBR and palette colours become RGB and then luminance, grey follows the file's own rescale and
    window. Where the file has ultrasound regions (PS3.3 C.8.5.5), the largest two-dimensional tissue region is cut out and
    its PhysicalDelta gives the spacing of each axis; otherwise PixelSpacing does.

    Parameters
    ----------
    source : the file's path (read frame by frame) or bytes.
    name : what to call it in messages.
    frame : number of the frame, from 1; None takes the sharpest of 16 evenly spaced ones.

    Raises
    ------
    ImageError
        If it is no readable picture, too large, has no such frame, or as `images.finish_image` does.
    """
    import pydicom

    stream: Any = BytesIO(source) if isinstance(source, bytes) else source
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom repeats the values of odd tags in its warnings
        # Whatever the readers raise on hostile bytes, the file is at fault; their words may repeat what is in it.
        try:
            if isinstance(source, Path) and source.stat().st_size > MAX_DICOM_BYTES:
                raise ImageError(f"over {MAX_DICOM_BYTES // 1024**3} GB", where=name, fix="Give a shorter clip.")
            header = pydicom.dcmread(stream, stop_before_pixels=True)
            grey, notices, colour, shape = _frame(stream, header, name, frame)
            identifiers = tuple(dict.fromkeys(_identifiers(header)))
        except ImageError:
            raise
        except MemoryError:
            raise ImageError("too large for this computer's memory", where=name, fix="Give a shorter clip.") from None
        except Exception as error:
            what = f"unreadable as DICOM ({type(error).__name__})"
            raise ImageError(what, where=name, fix=_EXPORT) from None
    region = _region(header, shape)
    box = Box(0, shape[0], 0, shape[1]) if region is None else region[0]
    if region is not None:
        grey = grey[box.top : box.bottom, box.left : box.right]
        colour = None if colour is None else np.ascontiguousarray(colour[box.top : box.bottom, box.left : box.right])
        notices.append("cut to its B-mode region")
    spacing, more = _spacing(header, None if region is None else region[1])
    return DicomPicture(
        finish_image(np.ascontiguousarray(grey), [*notices, *more], name=name, colour=colour),
        spacing, box, shape, region is not None, str(header.get("BurnedInAnnotation", "")).upper() == "YES",
        _facts(header), str(header.get("PatientID", "") or "").strip(), identifiers,
    )  # fmt: skip


def patient_id(source: Path | bytes) -> str:
    """The file's patient number, "" where it has none or cannot be read; identifying, never to be written."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            stream: Any = BytesIO(source) if isinstance(source, bytes) else source
            header = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=["PatientID"])
            return str(header.get("PatientID", "") or "").strip()
        except Exception:  # told where its picture is read
            return ""


def _frame(
    stream: Any, header: Any, name: str, frame: int | None
) -> tuple[GrayImage, list[str], Colour | None, tuple[int, int]]:
    """A frame as grey, with notices, `DecodedImage.colour`, and its (height, width)."""
    if str(getattr(header.file_meta.get("TransferSyntaxUID"), "name", "")).startswith(("MPEG", "HEVC")):
        raise ImageError("a film (MPEG), of which no frame can be decoded", where=name, fix=_EXPORT)
    if "Rows" not in header or "Columns" not in header:
        raise ImageError("DICOM without a picture", where=name, fix="Give the picture itself.")
    height, width = int(header.Rows), int(header.Columns)
    if height * width > MAX_PIXELS:
        raise ImageError(f"{width:,} × {height:,} pixels", where=name, fix="Give an ordinary ultrasound picture.")
    count = int(header.get("NumberOfFrames", 1) or 1)
    notices: list[str] = []
    if frame is not None:
        if not 1 <= frame <= count:
            raise ImageError(f"frame {frame} of {count}", where=name, fix=f"Name a frame from 1 to {count}.")
        index = frame - 1
    elif count == 1:
        index = 0
    else:
        index = _sharpest(stream, header, name, count)
    grey, more, colour = _grey(_pixels(stream, index), header, name)
    if count > 1:
        why = "as the table says" if frame is not None else "the sharpest of those looked at"
        notices.append(f"frame {index + 1} of {count} was taken, {why}")
    return grey, [*notices, *more], colour, (height, width)


def _pixels(stream: Any, index: int) -> npt.NDArray[Any]:
    """(height, width) or (height, width, 3) of one frame, YBR already RGB; only this frame is decoded."""
    from pydicom.pixels.utils import pixel_array

    return pixel_array(stream, index=index)


def _sharpest(stream: Any, header: Any, name: str, count: int) -> int:
    """Index of the frame with the largest variance of the Laplacian among evenly spaced ones."""
    import cv2

    def sharpness(index: int) -> float:
        grey, _, _ = _grey(_pixels(stream, index), header, name)
        return float(cv2.Laplacian(grey, cv2.CV_32F).var())

    looked: list[int] = sorted(
        set(np.linspace(0, count - 1, min(count, _FRAMES_LOOKED_AT)).round().astype(int).tolist())
    )
    return max(looked, key=sharpness)


def _grey(pixels: npt.NDArray[Any], header: Any, name: str) -> tuple[GrayImage, list[str], Colour | None]:
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

    kind = str(header.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, header)
        if pixels.dtype != np.uint8:
            pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 3:
        depth = int(header.BitsStored) if kind != "PALETTE COLOR" else 8
        eight = pixels if depth == 8 else (pixels.astype(np.float64) / (2**depth - 1) * 255).round()
        return colours_to_grey(np.ascontiguousarray(eight[..., :3], dtype=np.uint8), name=name)
    if not kind.startswith("MONOCHROME"):
        raise ImageError("a colour space that is not known", where=name, fix=_EXPORT)
    values = apply_voi_lut(apply_modality_lut(pixels, header), header).astype(np.float64)
    windowed = "WindowCenter" in header or "VOILUTSequence" in header
    bits = int(header.BitsStored)
    if (
        int(header.get("PixelRepresentation", 0))
        or "RescaleSlope" in header
        or "ModalityLUTSequence" in header
        or windowed
    ):
        low, high = float(values.min()), float(values.max())
        # A window maps onto the full range of the stored bits: black and white are its ends, not those of this frame.
        if windowed and low >= 0 and high <= 2**bits - 1:
            low, high = 0.0, float(2**bits - 1)
    else:
        low, high = 0.0, float(2**bits - 1)
    grey = ((values - low) / ((high - low) or 1.0)).clip(0, 1)
    if kind == "MONOCHROME1":
        grey = 1 - grey
    return grey.astype(np.float32), [], None


def _region(header: Any, shape: tuple[int, int]) -> tuple[Box, Any] | None:
    """The largest two-dimensional tissue region and its item, None where the file names none."""
    best: tuple[Box, Any] | None = None
    for item in header.get("SequenceOfUltrasoundRegions") or ():
        try:
            kind = int(item.RegionSpatialFormat), int(item.RegionDataType)
            left, top = max(0, int(item.RegionLocationMinX0)), max(0, int(item.RegionLocationMinY0))
            right = min(shape[1], int(item.RegionLocationMaxX1) + 1)
            bottom = min(shape[0], int(item.RegionLocationMaxY1) + 1)
        except (AttributeError, TypeError, ValueError):
            continue
        if kind == _TISSUE_2D and bottom > top and right > left:
            box = Box(top, bottom, left, right)
            if best is None or box.area > best[0].area:
                best = box, item
    return best


def _spacing(header: Any, region: Any) -> tuple[tuple[float, float] | None, list[str]]:
    """(row, column) mm of a pixel, and a notice where what the file says cannot be."""
    pair: tuple[float, float] | None = None
    try:
        if (
            region is not None
            and int(region.PhysicalUnitsXDirection) == int(region.PhysicalUnitsYDirection) == _CENTIMETRES
        ):
            pair = abs(float(region.PhysicalDeltaY)) * 10, abs(float(region.PhysicalDeltaX)) * 10
        elif header.get("PixelSpacing"):
            pair = float(header.PixelSpacing[0]), float(header.PixelSpacing[1])
    except (AttributeError, TypeError, ValueError, IndexError):
        return None, ["its calibration is unreadable and was left out"]
    if pair is not None and not all(_LOW_MM <= side <= _HIGH_MM for side in pair):
        return None, ["its calibration is no possible pixel spacing and was left out"]
    return pair, []


def _facts(header: Any) -> dict[str, Value]:
    """Age at the examination and sex, as the schema has them."""
    facts: dict[str, Value] = {}
    sex = {"F": "female", "M": "male"}.get(str(header.get("PatientSex", "")).strip().upper())
    if sex:
        facts["sex"] = sex
    born, seen = _day(header.get("PatientBirthDate")), _day(header.get("StudyDate"))
    if years := re.fullmatch(r"(\d{3})Y", str(header.get("PatientAge", "")).strip()):
        facts["age_years"] = float(years[1])
    elif born and seen and seen >= born:
        facts["age_years"] = float(seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day)))
    return facts


def _day(raw: object) -> date | None:
    try:
        return date(int(str(raw)[:4]), int(str(raw)[4:6]), int(str(raw)[6:8]))
    except ValueError:
        return None


def _identifiers(data: Any) -> Iterator[str]:
    """Names of persons anywhere in the file, private tags and sequences included, and the values of `_IDENTIFYING`."""
    for element in data:
        if element.VR == "SQ":
            for item in element.value or ():
                yield from _identifiers(item)
        elif element.VR == "PN" or element.keyword in _IDENTIFYING:
            values = element.value if isinstance(element.value, list | tuple) or element.VM > 1 else [element.value]
            yield from (str(value) for value in values if value)
