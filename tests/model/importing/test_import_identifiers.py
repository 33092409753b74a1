"""Identifiers planted everywhere, and every byte of everything written searched for them."""

from __future__ import annotations

import io
import json
import logging
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid
from typer.testing import CliRunner

from model.cli import app
from model.errors import CaseError
from model.importing.run import Imported
from tests.model.importing.conftest import PATIENTS, ink, speckle, with_text, write_table

SECRETS = [
    *(
        part
        for family, given, number, born in PATIENTS
        for part in (family, given, number, number[3:], born, born.replace("-", ""))
    ),
    "Pemberton",
    "03/05/2021",
    "0441 235 6688",
    "Hedwig",
    "Ruritania",
    "Lane 77",
    "ACC5512907",
    "Sonja Operator",
]


def found_in(text: str) -> list[str]:
    """Secrets that a text holds, in any letter case and with or without accents."""

    def fold(word: str) -> str:
        return "".join(c for c in unicodedata.normalize("NFD", word.lower()) if not unicodedata.combining(c))

    return [secret for secret in SECRETS if secret.lower() in text.lower() or fold(secret) in fold(text)]


def everything(folder: Path, without: Path) -> Iterator[tuple[str, str]]:
    """Name and content of every file under a folder, but the export itself; pictures also as their metadata."""
    for path in sorted(folder.rglob("*")):
        if without in path.parents or path == without or not path.is_file():
            continue
        data = path.read_bytes()
        yield str(path.relative_to(folder)), ""
        for encoding in ("latin-1", "utf-8", "utf-16-le"):
            yield str(path), data.decode(encoding, "ignore")
        if path.suffix == ".png":
            yield str(path), str(Image.open(io.BytesIO(data)).info)


def assert_nothing(tmp_path: Path, export: Path, *said: str) -> None:
    for name, content in everything(tmp_path, export):
        assert not found_in(name), name
        assert not found_in(content), name
    for text in said:
        assert not found_in(text), text


def test_names_in_columns_files_chunks_reports_and_pixels(
    tmp_path: Path, png_export: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    before = {p: p.read_bytes() for p in png_export.parent.iterdir()}
    out = tmp_path / "cohort"
    arguments = ["import", str(png_export), "--out", str(out), "--mapping", str(tmp_path / "mapping.json")]
    dry = CliRunner().invoke(app, [*arguments, "--dry-run"])
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert dry.exit_code == done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["taken"] == 3
    assert {(row["row"], row["column"]) for row in said["rows"]} >= {(r, c) for r in (2, 3, 4) for c in ("Report", "Image", "")}
    captured = capfd.readouterr()
    assert_nothing(tmp_path, png_export.parent, dry.output, done.output, captured.out, captured.err, caplog.text)
    assert {p: p.read_bytes() for p in png_export.parent.iterdir()} == before  # the original is untouched
    table = (out / "cases.csv").read_text("utf-8")
    assert "12 x 8 x 9 mm in the left lobe" in table  # what is no identifier stays
    pictures = sorted((out / "images").iterdir())
    assert len(pictures) == 3
    # No row is named in the cohort, so each text is looked for in each picture.
    texts = [f"{family.upper()}^{given.upper()} {number}" for family, given, number, _ in PATIENTS]
    for path in pictures:
        pixels = np.asarray(Image.open(path))
        assert Image.open(path).info == {}
        assert pixels[ink(pixels, min(texts, key=len), (12, 8))].max() == 0
        assert (pixels[120:] > 0).mean() > 0.9  # the tissue is there


def test_jpeg_comments_exif_and_excel_properties(tmp_path: Path, run: Callable[..., Imported]) -> None:
    import openpyxl

    folder = tmp_path / "export"
    folder.mkdir()
    family, given, number, born = PATIENTS[0]
    exif = Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x9286] = f"{given} {family}", "Pemberton", f"ASCII\0\0\0{number}"
    for i, kind in enumerate(("jpg", "tif", "webp")):
        extra = {"comment": f"{family} {number}".encode()} if kind == "jpg" else {}
        Image.fromarray(speckle(i)).save(folder / f"{family}.{kind}", exif=exif, **extra)
    book = openpyxl.Workbook()
    book.properties.creator = "Pemberton"
    book.active.append(["Full name", "Born", "Seen", "Reader", "Picture", "Age"])  # type: ignore[union-attr]
    for kind in ("jpg", "tif", "webp"):
        row = [f"{given} {family}", born, "2021-05-03", "Pemberton", f"{family}.{kind}", 60]
        book.active.append(row)  # type: ignore[union-attr]
    book.save(folder / "m.xlsx")
    done = run(folder / "m.xlsx")
    assert done.taken == 3
    assert len(list((tmp_path / "cohort" / "images").iterdir())) == 3
    assert_nothing(tmp_path, folder, json.dumps(done.to_dict()))


def test_times_of_files_do_not_tell_the_order_of_the_export(
    tmp_path: Path, png_export: Path, run: Callable[..., Imported]
) -> None:
    run(png_export)
    assert len({p.stat().st_mtime_ns for p in (tmp_path / "cohort" / "images").iterdir()}) == 1


def test_ages_centres_and_pseudonyms(tmp_path: Path, png_export: Path, run: Callable[..., Imported]) -> None:
    from model.ingest.cases import read_cohort

    run(png_export)
    cohort = read_cohort(tmp_path / "cohort")
    assert sorted(cohort.table["age_years"]) == [32, 45, 60]  # on 2021-05-03; birthdays in March, November and July
    assert set(cohort.table["size_mm"]) == {12.0}
    assert cohort.table["centre"].nunique() == 1
    assert cohort.table["centre"].iloc[0].startswith("centre-")
    assert (tmp_path / "cohort.key").stat().st_mode & 0o777 == 0o600
    ids = set(cohort.case_ids)
    run(png_export, out=tmp_path / "again", key_file=tmp_path / "cohort.key")
    assert set(read_cohort(tmp_path / "again").case_ids) == ids  # the same key, the same pseudonyms
    run(png_export, out=tmp_path / "other")
    assert not ids & set(read_cohort(tmp_path / "other").case_ids)  # another key, others


def dicom(pixels: np.ndarray, index: int) -> FileDataset:
    """An ultrasound file with a patient in every kind of tag."""
    family, given, number, born = PATIENTS[index]
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = UltrasoundImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = UltrasoundImageStorage, meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = f"{family}^{given}", number, born.replace("-", "")
    ds.StudyDate, ds.PatientSex, ds.AccessionNumber = "20210503", "F", "ACC5512907"
    ds.InstitutionName, ds.PatientAddress, ds.OperatorsName = (
        "St. Hedwig Hospital",
        "Lane 77, Ruritania",
        "Sonja^Operator",
    )
    ds.ReferringPhysicianName = "Pemberton^Dr"
    inner = Dataset()
    inner.PatientName, inner.PatientID = f"{family}^{given}", number
    ds.ReferencedPatientSequence = [inner]
    block = ds.private_block(0x0019, "ACME US", create=True)
    block.add_new(0x01, "PN", f"{family}^{given}")
    block.add_new(0x02, "UN", f"{given} {family} {number}".encode())
    ds.add_new(0x60003000, "OW", f"{given} {family} ".encode())  # an overlay that is none
    ds.ImageComments = f"{given} {family}"
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 20, 40
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 299, 229
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.012, 0.010
    ds.SequenceOfUltrasoundRegions = [region]
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = pixels.tobytes()
    return ds


def test_dicom_tags_regions_and_text_inside_the_region(tmp_path: Path, run: Callable[..., Imported]) -> None:
    from model.ingest.cases import read_cohort

    folder = tmp_path / "export"
    rows = []
    for i, (family, given, _, _) in enumerate(PATIENTS):
        pixels = with_text(speckle(10 + i), f"{family} {given}", (15, 8))  # outside of the region
        pixels = with_text(pixels, family.upper(), (60, 190), bar=False)  # inside it, over tissue
        name = f"{family}.dcm"
        folder.mkdir(exist_ok=True)
        dicom(pixels, i).save_as(folder / name)
        rows.append(
            [name, f"{given.upper()} {family.upper()}: nodule of 9 mm. Operator Sonja. Lane 77.", "pos" if i else "neg"]
        )
    manifest = write_table(folder / "list.csv", ["DICOM", "Findings", "LLNM"], rows)
    done = run(manifest)
    assert done.taken == 3
    assert done.survey.patients == 3  # by the number in the header
    assert_nothing(tmp_path, folder, json.dumps(done.to_dict()))
    cohort = read_cohort(tmp_path / "cohort")
    assert sorted(cohort.table["age_years"]) == [32, 45, 60]
    assert set(cohort.table["sex"]) == {"female"}
    for case in cohort.iter_cases():
        view = case.images["transverse"]
        assert view.pixels.shape == (190, 280)
        assert view.pixel_spacing_mm == pytest.approx((0.10, 0.12))
        assert "nodule of 9 mm" in case.report_text
        blanked = (view.pixels == 0).mean()
        assert 0.01 < blanked < 0.25
    shortest = min((family.upper() for family, *_ in PATIENTS), key=len)
    for path in (tmp_path / "cohort" / "images").iterdir():
        pixels = np.asarray(Image.open(path))
        assert pixels[ink(pixels, shortest, (40, 150))].max() == 0


def test_names_in_entities_of_a_web_page(tmp_path: Path, run: Callable[..., Imported]) -> None:
    rows = [["M1", "Žofie Müllerová", "M&uuml;llerov&aacute; &#381;ofie has a nodule of 9 mm &amp; no nodes"]]
    run(write_table(tmp_path / "export" / "m.csv", ["Patient ID", "Name", "Report"], rows))
    assert_nothing(tmp_path, tmp_path / "export")
    assert "has a nodule of 9 mm & no nodes" in (tmp_path / "cohort" / "cases.csv").read_text("utf-8")
    assert "llerov" not in (tmp_path / "cohort" / "cases.csv").read_text("utf-8")


def test_a_long_address_is_searched_for_and_a_long_remark_is_not(tmp_path: Path, run: Callable[..., Imported]) -> None:
    address = "Flat 3, 12 Lane 77, Little Bottom, Pemberton, Hedwig Shire, Ruritania, RU1 2AB"
    remark = "the patient was asked to come again because the nodule in the lower pole has grown since the last time"
    rows = [["M1", address, remark, "In Ruritania or Pemberton, the nodule in the lower pole has grown"]]
    run(write_table(tmp_path / "export" / "m.csv", ["Patient ID", "Address", "Remarks", "Report"], rows))
    assert_nothing(tmp_path, tmp_path / "export")
    assert "the nodule in the lower pole has grown" in (tmp_path / "cohort" / "cases.csv").read_text("utf-8")


def test_messages_of_bad_cells_repeat_nothing(tmp_path: Path, run: Callable[..., Imported]) -> None:
    secret = "Zebrowski"
    rows = [[f"MRN8842117-{i}", secret, secret, "40"] for i in range(12)]
    manifest = write_table(tmp_path / "export" / "m.csv", ["Patient ID", "Size", "Smoker", "Age"], rows)
    mapping = {
        "columns": {
            "Patient ID": {"to": "patient"},
            "Size": {"to": "size_mm"},
            "Age": {"to": "age_years"},
            "Smoker": {"to": "own", "name": "smoker", "label": "Smoker", "kind": "flag"},
        },
        "confirmed": ["Size", "Smoker"],
    }
    done = run(manifest, mapping)
    assert done.taken == 12
    assert {t["what"] for t in done.told} == {"not a number", "not yes or no"}
    assert_nothing(tmp_path, tmp_path / "export", json.dumps(done.to_dict()))


def test_a_category_whose_values_are_of_one_patient_each_is_questioned(tmp_path: Path, run: Callable[..., Imported]) -> None:
    names = ["Zebrowski", "Okonkwo", "Hedwig"]
    rows = [[f"p{i % 3}", names[i % 3], ["red", "blue"][i % 2], "40"] for i in range(12)]
    manifest = write_table(tmp_path / "export" / "m.csv", ["Patient ID", "Who", "Ward", "Age"], rows)
    with pytest.raises(CaseError, match="column Who: has 3 values, each of one patient alone") as told:
        run(manifest)
    assert "Ward" not in str(told.value)
    assert_nothing(tmp_path, tmp_path / "export", str(told.value))
    rows = [[f"p{i}", ["T1", "T2", "T3"][i % 3], "40"] for i in range(12)]
    run(write_table(tmp_path / "export" / "n.csv", ["Patient ID", "Class", "Age"], rows))  # of several patients each


def test_a_category_that_names_the_patient_is_refused(tmp_path: Path, run: Callable[..., Imported]) -> None:
    rows = [["Zebrowski Quentin", "Zebrowski" if i == 3 else "red", "40"] for i in range(8)]
    manifest = write_table(tmp_path / "export" / "m.csv", ["Name", "Ward", "Age"], rows)
    ward = {
        "to": "own",
        "name": "ward",
        "label": "Ward",
        "kind": "category",
        "values": {"red": "red", "Zebrowski": "Zebrowski"},
    }
    columns = {"Name": {"to": "identifying"}, "Ward": ward, "Age": {"to": "age_years"}}
    with pytest.raises(
        CaseError, match=r"column Ward: has a value that is one of the patient's own .*\(first in row 5\)"
    ) as told:
        run(manifest, {"columns": columns})
    assert_nothing(tmp_path, tmp_path / "export", str(told.value))
    ward["values"]["Zebrowski"] = "blue"  # type: ignore[index]
    run(manifest, {"columns": columns})
    assert_nothing(tmp_path, tmp_path / "export")
    assert (tmp_path / "cohort" / "cases.csv").read_text().count(",red\n") == 7
