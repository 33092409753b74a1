"""DICOM ultrasound: every transfer syntax and colour space, frames, regions, spacing, and hostile files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate

from model.errors import ImageError
from model.ingest.dicom import decode_dicom

HEIGHT, WIDTH = 128, 160


def tissue(seed: int = 0) -> np.ndarray:
    """(128, 160) uint8, smooth enough for JPEG to keep."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return (120 + 60 * np.sin(rows / 17 + seed) + 50 * np.cos(columns / 23 + seed)).astype(np.uint8)


def coloured(seed: int = 0) -> np.ndarray:
    """(128, 160, 3) uint8: grey tissue with a Doppler box."""
    pixels = np.repeat(tissue(seed)[..., None], 3, axis=2)
    pixels[40:80, 60:100] = (200, 40, 30)
    return pixels


def file_of(
    pixels: np.ndarray, kind: str, syntax: str = uid.ExplicitVRLittleEndian, frames: int = 1, **tags: Any
) -> FileDataset:
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = uid.UltrasoundImageStorage, syntax
    meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = uid.UltrasoundImageStorage, meta.MediaStorageSOPInstanceUID
    colours = 3 if pixels.ndim - (frames > 1) == 3 else 1
    ds.Rows, ds.Columns, ds.SamplesPerPixel = HEIGHT, WIDTH, colours
    ds.PhotometricInterpretation = kind
    if colours == 3:
        ds.PlanarConfiguration = 0
    if frames > 1:
        ds.NumberOfFrames = frames
    bits = pixels.dtype.itemsize * 8
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation = bits - 1, 0
    ds.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(ds, name, value)
    return ds


def saved(ds: FileDataset) -> bytes:
    stream = io.BytesIO()
    ds.save_as(stream)
    return stream.getvalue()


def jpeg(pixels: np.ndarray, quality: int = 95) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def grey_of(data: bytes | Path, **options: Any) -> np.ndarray:
    return decode_dicom(data, name="x", **options).image.pixels


def with_gdcm(ds: FileDataset, folder: Path, gdcm_syntax: str) -> bytes:
    """The file compressed by GDCM."""
    import gdcm

    (folder / "raw.dcm").write_bytes(saved(ds))
    reader = gdcm.ImageReader()
    reader.SetFileName(str(folder / "raw.dcm"))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, gdcm_syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(folder / "made.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return (folder / "made.dcm").read_bytes()


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEGLSLossless, uid.JPEG2000Lossless])
@pytest.mark.parametrize("in_colour", [False, True])
def test_lossless_syntaxes_give_the_pixels_back(syntax: str, in_colour: bool) -> None:
    pixels = coloured() if in_colour else tissue()
    ds = file_of(pixels, "RGB" if in_colour else "MONOCHROME2")
    plain = grey_of(saved(ds))
    ds.compress(syntax, generate_instance_uid=False)
    assert ds.file_meta.TransferSyntaxUID == syntax
    np.testing.assert_allclose(grey_of(saved(ds)), plain, atol=1.01 / 255)
    if not in_colour:
        np.testing.assert_array_equal((plain * 255).round(), pixels)


def test_jpeg_lossless_gives_the_pixels_back(tmp_path: Path) -> None:
    data = with_gdcm(file_of(tissue(), "MONOCHROME2"), tmp_path, "JPEGLosslessProcess14_1")
    assert pydicom.dcmread(io.BytesIO(data)).file_meta.TransferSyntaxUID == uid.JPEGLosslessSV1
    np.testing.assert_array_equal((grey_of(data) * 255).round(), tissue())


def test_lossy_syntaxes_come_near() -> None:
    ds = file_of(tissue(), "MONOCHROME2", uid.JPEGBaseline8Bit)
    ds.PixelData = encapsulate([jpeg(tissue())])
    np.testing.assert_allclose(grey_of(saved(ds)) * 255, tissue(), atol=4)
    ds = file_of(coloured(), "YBR_FULL_422", uid.JPEGBaseline8Bit)
    ds.PixelData = encapsulate([jpeg(coloured())])
    plain = grey_of(saved(file_of(coloured(), "RGB")))
    assert np.abs(grey_of(saved(ds)) - plain).mean() < 3 / 255


def test_colour_spaces_agree() -> None:
    plain = grey_of(saved(file_of(coloured(), "RGB")))
    luminance = np.asarray(Image.fromarray(coloured()).convert("L"), np.float32) / 255
    np.testing.assert_allclose(plain, luminance, atol=1e-6)
    ybr = np.asarray(Image.fromarray(coloured()).convert("YCbCr"))
    np.testing.assert_allclose(grey_of(saved(file_of(ybr, "YBR_FULL"))), plain, atol=2.5 / 255)
    half = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], axis=-1)  # Y Y Cb Cr
    ds = file_of(ybr, "YBR_FULL_422")
    ds.PixelData = half.tobytes()
    assert np.abs(grey_of(saved(ds)) - plain).mean() < 3 / 255
    np.testing.assert_allclose(grey_of(saved(file_of(255 - tissue(), "MONOCHROME1"))) * 255, tissue(), atol=0.01)
    lut = np.arange(256, dtype=np.uint16) * 257
    palette = file_of(255 - tissue(), "PALETTE COLOR")
    for colour in ("Red", "Green", "Blue"):
        setattr(palette, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(palette, f"{colour}PaletteColorLookupTableData", lut[::-1].tobytes())
    np.testing.assert_allclose(grey_of(saved(palette)) * 255, tissue(), atol=0.01)


def test_deep_grey_follows_its_bits_and_window() -> None:
    deep = (tissue().astype(np.uint16) << 4) + 7
    np.testing.assert_allclose(
        grey_of(saved(file_of(deep, "MONOCHROME2", BitsStored=12, HighBit=11))), deep / 4095, atol=1e-6
    )
    windowed = file_of(deep, "MONOCHROME2", BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=1024)
    grey = grey_of(saved(windowed))
    expected = ((deep - (2048 - 0.5)) / (1024 - 1) + 0.5).clip(0, 1)
    np.testing.assert_allclose(grey, expected, atol=2e-3)


def test_the_sharpest_frame_or_the_one_that_is_named() -> None:
    frames = np.stack([tissue(i) for i in range(5)])
    frames[3, ::4] = 255  # fine lines
    data = saved(file_of(frames, "MONOCHROME2", frames=5))
    chosen = decode_dicom(data, name="x")
    np.testing.assert_array_equal((chosen.image.pixels * 255).round(), frames[3])
    assert any("frame 4 of 5 was taken" in n for n in chosen.image.notices)
    named = decode_dicom(data, name="x", frame=2)
    np.testing.assert_array_equal((named.image.pixels * 255).round(), frames[1])
    for wrong in (0, 6):
        with pytest.raises(ImageError, match=f"frame {wrong} of 5"):
            decode_dicom(data, name="x", frame=wrong)
    ds = file_of(frames, "MONOCHROME2", frames=5)
    ds.compress(uid.RLELossless, generate_instance_uid=False)
    np.testing.assert_array_equal((grey_of(saved(ds), frame=5) * 255).round(), frames[4])


def region(
    box: tuple[int, int, int, int], delta: tuple[float, float], *, kind: tuple[int, int] = (1, 1), unit: int = 3
) -> Dataset:
    made = Dataset()
    made.RegionSpatialFormat, made.RegionDataType = kind
    made.RegionLocationMinX0, made.RegionLocationMinY0, made.RegionLocationMaxX1, made.RegionLocationMaxY1 = box
    made.PhysicalUnitsXDirection = made.PhysicalUnitsYDirection = unit
    made.PhysicalDeltaX, made.PhysicalDeltaY = delta
    return made


def test_the_largest_tissue_region_is_cut_out_and_calibrates_each_axis() -> None:
    regions = [
        region((0, 0, 159, 127), (0.02, 0.02), kind=(3, 3)),  # a spectral Doppler display
        region((0, 0, 69, 69), (0.02, 0.02)),
        region((20, 10, 149, 119), (0.0125, -0.010)),
    ]
    found = decode_dicom(saved(file_of(tissue(), "MONOCHROME2", SequenceOfUltrasoundRegions=regions)), name="x")
    np.testing.assert_array_equal((found.image.pixels * 255).round(), tissue()[10:120, 20:150])
    assert found.spacing_mm == pytest.approx((0.10, 0.125))  # row, column; cm → mm
    assert found.cropped


@pytest.mark.parametrize(
    "wrong",
    [
        region((0, 0, 159, 127), (0.0, 0.01)),
        region((0, 0, 159, 127), (9.0, 9.0)),
        region((0, 0, 159, 127), (1, 1), unit=4),
    ],
)
def test_an_impossible_calibration_is_left_out(wrong: Dataset) -> None:
    found = decode_dicom(saved(file_of(tissue(), "MONOCHROME2", SequenceOfUltrasoundRegions=[wrong])), name="x")
    assert found.spacing_mm is None


def test_pixel_spacing_serves_where_there_is_no_region() -> None:
    found = decode_dicom(saved(file_of(tissue(), "MONOCHROME2", PixelSpacing=[0.08, 0.09])), name="x")
    assert found.spacing_mm == pytest.approx((0.08, 0.09))
    assert not found.cropped


def test_a_film_is_named_as_such() -> None:
    film = file_of(tissue(), "MONOCHROME2", uid.MPEG4HP41)
    film.PixelData = encapsulate([b"\0" * 100])
    with pytest.raises(ImageError, match=r"a film \(MPEG\)"):
        decode_dicom(saved(film), name="x")


def test_hostile_and_damaged_files_are_refused_without_repeating_them() -> None:
    good = saved(file_of(tissue(), "MONOCHROME2", PatientName="Zebrowski^Quentin", PatientID="MRN8842117"))
    compressed = file_of(tissue(), "MONOCHROME2", PatientName="Zebrowski^Quentin")
    compressed.compress(uid.JPEG2000Lossless, generate_instance_uid=False)
    squeezed = saved(compressed)
    rng = np.random.default_rng(1)
    broken = [good[:400], good[:-900], squeezed[:-700], good[:132], b"", good[:128] + b"DICM" + bytes(300)]
    for _ in range(40):
        data = bytearray(squeezed)
        for at in rng.integers(132, len(data), 12):
            data[at] = rng.integers(256)
        broken.append(bytes(data))
    refused: list[str] = []
    for data in broken:
        try:
            decode_dicom(data, name="x")
        except ImageError as error:
            refused.append(str(error))
    assert len(refused) >= 5
    assert not any("Zebrowski" in words or "8842117" in words for words in refused)
    huge = file_of(tissue(), "MONOCHROME2")
    huge.Rows = huge.Columns = 60000
    with pytest.raises(ImageError, match="60,000 × 60,000 pixels"):
        decode_dicom(saved(huge), name="x")
