"""One row → one case: spacing of two views, masks, frames, report files, dates, centres."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from model.errors import CaseError
from model.importing.pictures import read_picture
from model.importing.run import Imported
from model.ingest.cases import read_cohort
from tests.model.importing.conftest import speckle, with_text, write_table
from tests.model.ingest.test_ingest_dicom import HEIGHT, WIDTH, file_of, region, tissue


def mapping(**columns: Any) -> dict[str, Any]:
    return {"columns": {name: to if isinstance(to, dict) else {"to": to} for name, to in columns.items()}}


def test_two_views_come_to_one_spacing_and_their_masks_with_them(tmp_path: Path, run: Callable[..., Imported]) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    for name, delta in (("t", (0.010, 0.010)), ("l", (0.0125, 0.008))):
        regions = [region((20, 20, 139, 119), delta)]
        file_of(tissue(), "MONOCHROME2", SequenceOfUltrasoundRegions=regions).save_as(folder / f"{name}.dcm")
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[50:70, 60:100] = 255  # 20 × 40 pixels of the file
        Image.fromarray(mask).save(folder / f"{name}_mask.png")
    manifest = write_table(folder / "m.csv", ["T", "L", "TM", "LM"], [["t.dcm", "l.dcm", "t_mask.png", "l_mask.png"]])
    done = run(
        manifest,
        mapping(
            T="image_transverse", L="image_longitudinal", TM="nodule_mask_transverse", LM="nodule_mask_longitudinal"
        ),
    )
    assert any("resampled to the spacing of the other" in t["what"] for t in done.told)
    cohort = read_cohort(tmp_path / "cohort", use_masks=True)
    views = cohort.case(cohort.case_ids[0]).images
    assert views["transverse"].pixel_spacing_mm == views["longitudinal"].pixel_spacing_mm == pytest.approx((0.1, 0.1))
    assert views["transverse"].pixels.shape == (100, 120)
    assert views["longitudinal"].pixels.shape == (80, 150)  # 100 × 0.08 mm high, 120 × 0.125 mm wide
    for view, (high, wide) in {"transverse": (20, 40), "longitudinal": (16, 50)}.items():
        mask_now = views[view].nodule_mask  # type: ignore[index]
        assert mask_now is not None
        assert (mask_now.any(axis=1).sum(), mask_now.any(axis=0).sum()) == pytest.approx((high, wide), abs=1)


def test_a_shrunk_picture_widens_the_spacing_of_the_table(tmp_path: Path, run: Callable[..., Imported]) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    Image.fromarray(speckle(1, 1024, 2048)).save(folder / "t.png")
    manifest = write_table(folder / "m.csv", ["T", "S"], [["t.png", "0,05"]], ";")
    run(manifest, mapping(T="image_transverse", S="pixel_spacing_mm"))
    cohort = read_cohort(tmp_path / "cohort")
    view = cohort.case(cohort.case_ids[0]).images["transverse"]
    assert view.pixels.shape == (512, 1024)
    assert view.pixel_spacing_mm == pytest.approx((0.1, 0.1))


def test_the_table_names_the_frame(tmp_path: Path, run: Callable[..., Imported]) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    frames = np.stack([tissue(i) for i in range(4)])
    file_of(frames, "MONOCHROME2", frames=4).save_as(folder / "c.dcm")
    manifest = write_table(folder / "m.csv", ["T", "F"], [["c.dcm", "3"], ["c.dcm", "9"]])
    done = run(manifest, mapping(T="image_transverse", F="frame_transverse"), dry=True)
    assert {t["first_row"]: t["what"] for t in done.told if t["column"] == "T"} == {
        2: "frame 3 of 4 was taken, as the table says",
        3: "frame 9 of 4",
    }
    run(manifest, mapping(T="image_transverse", F="frame_transverse"))
    cohort = read_cohort(tmp_path / "cohort")
    np.testing.assert_array_equal(
        (cohort.case(cohort.case_ids[0]).images["transverse"].pixels * 255).round(), frames[2]
    )


def test_a_file_that_says_its_text_is_burnt_in_is_refused_where_none_is_found(
    tmp_path: Path, run: Callable[..., Imported]
) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    file_of(tissue(), "MONOCHROME2", BurnedInAnnotation="YES").save_as(folder / "a.dcm")
    covered = speckle(0)
    for top in range(4, 220, 26):
        covered = with_text(covered, "DOE JANE 4711882 born 1970", (10, top), 20)
    Image.fromarray(covered).save(folder / "b.png")
    manifest = write_table(folder / "m.csv", ["T", "Age"], [["a.dcm", "40"], ["b.png", "40"]])
    done = run(manifest, mapping(T="image_transverse", Age="age_years"))
    told = {t["first_row"]: t["what"] for t in done.told}
    assert "none was found to blank" in told[2]
    assert "text covers too much" in told[3]
    assert not (tmp_path / "cohort" / "images").exists()


def test_report_files_that_are_no_plain_text_are_left_out_and_web_pages_unmarked(
    tmp_path: Path, run: Callable[..., Imported]
) -> None:
    files = {
        "a.rtf": rb"{\rtf1\ansi{\info{\author Pemberton}} Frau M\'fcller hat einen Knoten\par}",
        "b.pdf": b"%PDF-1.4\n1 0 obj<</Author(Pemberton)>>\n(Zebrowski) Tj\n",
        "c.docx": b"PK\x03\x04 Pemberton Zebrowski",
        "d.txt": bytes(range(256)) * 4,
        "e.html": b"<head><title>Zebrowski</title></head><p><b>Zebr</b>owski: 9 mm<br/>&lt; 1 cm; <5 mm</p>",
        "f.txt": "Größe 12 mm".encode("utf-16-le"),
    }
    rows = []
    for name, data in files.items():
        (tmp_path / "export").mkdir(exist_ok=True)
        (tmp_path / "export" / name).write_bytes(data)
        rows.append([name[0], name, "Zebrowski", 40])
    manifest = write_table(tmp_path / "export" / "m.csv", ["P", "R", "N", "A"], rows)
    columns = mapping(P="patient", R="report_file", N="identifying", A="age_years")
    done = run(manifest, columns)
    told = {t["what"]: t["rows"] for t in done.told if t["effect"] == "left out"}
    assert told == {
        "a PDF or Word file; save it as plain text": 2, "a rich text file (RTF); save it as plain text": 1, "no plain text": 1,
    }  # fmt: skip
    texts = set(read_cohort(tmp_path / "cohort").table["report_text"])
    assert texts == {"", "▇▇: 9 mm\n< 1 cm; <5 mm", "Größe 12 mm"}


@pytest.mark.parametrize("kind", ["png", "jpg", "dcm"])
def test_text_in_colour_is_blanked_where_grey_hides_it(tmp_path: Path, kind: str) -> None:
    tissue_grey = speckle(7, 300, 400)
    ink = Image.new("L", (400, 300))
    ImageDraw.Draw(ink).text((20, 200), "ZEBROWSKI", fill=255, font=ImageFont.load_default(18))
    strokes = np.asarray(ink) > 128
    for colour in ((0, 255, 0), (255, 140, 0), (90, 90, 255)):
        pixels = np.repeat(tissue_grey[..., None], 3, axis=2)
        pixels[strokes] = colour
        path = tmp_path / f"picture.{kind}"
        if kind == "dcm":
            file_of(pixels, "RGB", Rows=300, Columns=400).save_as(path)
        else:
            Image.fromarray(pixels).save(path)
        picture = read_picture(path)
        assert picture.pixels[strokes].max() == 0, colour
        assert (picture.pixels[:150] > 0).all()  # the tissue elsewhere stays
    assert not read_picture(_saved(tissue_grey, tmp_path / "grey.png")).notices


def _saved(pixels: np.ndarray, path: Path) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_reports_come_from_files(tmp_path: Path, run: Callable[..., Imported]) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "a.txt").write_text("Jane Doe: solid nodule, 9 mm. Reported by Alan Smith on 3 May 2021.", "utf-8")
    (folder / "b.txt").write_bytes("Größe 9 mm".encode("cp1252"))
    (folder / "c.txt").write_text("x" * 2_000_000)
    rows = [["Doe, Jane", "a.txt"], ["Roe", "b.txt"], ["Poe", "c.txt"], ["Moe", "gone.txt"]]
    done = run(write_table(folder / "m.csv", ["Name", "R"], rows), mapping(Name="identifying", R="report_file"))
    assert (done.taken, done.dropped) == (2, 2)
    reports = " ".join(read_cohort(tmp_path / "cohort").table["report_text"])
    assert "solid nodule, 9 mm" in reports
    assert "Größe 9 mm" in reports
    assert not any(word in reports for word in ("Jane", "Doe", "Smith", "2021"))


@pytest.mark.parametrize(
    ("born", "words"),
    [
        (["03.04.1980", "05.06.1970"], "whose day and month could be either"),
        (["23.04.1980", "05.26.1970"], "holds 1 dates with the day first and 1 with the month first"),
        (["23.04.1980", "05.06.1970"], "whose day and month could be either"),
    ],
)
def test_the_order_of_dates_is_asked_for(
    tmp_path: Path, run: Callable[..., Imported], born: list[str], words: str
) -> None:
    manifest = write_table(tmp_path / "export" / "m.csv", ["B", "E"], [[b, "2020-06-01"] for b in born])
    with pytest.raises(CaseError, match=words):
        run(manifest, mapping(B="birth_date", E="exam_date"))


def test_dates_become_ages_and_the_impossible_is_told(tmp_path: Path, run: Callable[..., Imported]) -> None:
    rows = [
        ["1/6/1980", "2020-05-31"],
        ["1/6/1980", "2020-06-01"],
        ["1/6/1921", "2020-06-01"],
        ["1/6/2021", "2020-06-01"],
        ["1/6/2010", "2020-06-01"],
    ]
    manifest = write_table(tmp_path / "export" / "m.csv", ["B", "E", "G"], [[*row, "F"] for row in rows])
    columns = mapping(B={"to": "birth_date", "dates": "dmy"}, E="exam_date", G="sex")
    done = run(manifest, columns)
    ages = read_cohort(tmp_path / "cohort").table["age_years"]
    assert sorted(ages.dropna()) == [39, 40, 90]  # above 89: 90, as the Safe Harbor asks
    assert {t["first_row"]: t["what"] for t in done.told} == {
        5: "examined before birth",
        6: "not a number from 18 to 110 years",
    }


def test_centres_become_codes(tmp_path: Path, run: Callable[..., Imported]) -> None:
    rows = [["H2", "30"], ["St. Hedwig Hospital", "30"], ["St. hedwig  hospital", "30"], ["Charity", "30"]]
    manifest = write_table(tmp_path / "export" / "m.csv", ["C", "Age"], rows)
    run(manifest, mapping(C={"to": "centre", "values": {"Charity": "B"}}, Age="age_years"))
    centres = read_cohort(tmp_path / "cohort").table["centre"].value_counts()
    assert {"H2", "B"} < set(centres.index)
    assert sorted(centres) == [1, 1, 2]


def test_quality_sees_gaps_ranges_classes_and_centres(tmp_path: Path, run: Callable[..., Imported]) -> None:
    import json

    from model.importing.quality import quality_from

    rows = [
        [
            "A" if i < 30 else "B",
            30 + i % 10 + (0 if i < 30 else 25),
            "F" if i % 2 else "M",
            "" if i < 30 and i % 3 else "9",
            "yes" if i % 4 == 0 else "no",
        ]
        for i in range(60)
    ]
    manifest = write_table(tmp_path / "export" / "m.csv", ["C", "Age", "Sex", "Size", "Y"], rows)
    run(manifest, mapping(C="centre", Age="age_years", Sex="sex", Size="size_mm", Y="endpoint"))
    quality = quality_from(json.loads((tmp_path / "cohort" / "quality.json").read_text()))
    assert (quality.cases, quality.patients) == (60, 60)
    fields = {f.name: f for f in quality.fields}
    assert (fields["age_years"].low, fields["age_years"].high) == (30, 64)
    assert fields["size_mm"].missing == 20
    assert fields["size_mm"].by_centre == pytest.approx({"A": 1 / 3, "B": 1.0})
    assert {c.centre: (c.cases, c.positive) for c in quality.centres} == {"A": (30, 8), "B": (30, 7)}
    found = {(d.centre, d.field, d.of) for d in quality.differences}
    assert found == {(c, f, of) for c in "AB" for f, of in (("age_years", "mean"), ("size_mm", "filled"))}
    gap = next(d for d in quality.differences if (d.centre, d.field) == ("B", "age_years"))
    assert gap.standardised == pytest.approx(25 / np.std(np.arange(10)), rel=1e-6)
