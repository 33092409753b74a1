"""What a research group does on the Import page: upload, map, try, import, open a case."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests.browser.test_case_page import settled

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
SECRETS = ("Zebrowski", "Quentin", "MRN88421")


def export(folder: Path, count: int = 8) -> Path:
    """An export of sample cases under made-up names, with a name burnt into each picture."""
    folder.mkdir()
    with (SAMPLES / "cases.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:count]
    with (folder / "export.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(["MRN", "Name", "Age", "Gender", "Largest (cm)", "TSH", "Findings", "Picture", "N", "Hospital"])
        for i, row in enumerate(rows):
            name = f"Zebrowski_{i}.png"
            pixels = np.asarray(Image.open(SAMPLES / row["image_transverse"]).convert("L"))
            framed = Image.new("L", (pixels.shape[1], pixels.shape[0] + 30))
            framed.paste(Image.fromarray(pixels), (0, 30))
            ImageDraw.Draw(framed).text((8, 6), f"ZEBROWSKI^QUENTIN {i}", fill=255, font=ImageFont.load_default(15))
            framed.save(folder / name)
            size = f"{float(row['size_mm'] or 9) / 10:.1f}".replace(".", ",")
            report = f"Patient: Quentin Zebrowski. {row['report_text']}"
            writer.writerow(
                [
                    f"MRN88421{i}",
                    "Quentin Zebrowski",
                    row["age_years"] or "50",
                    "W" if row["sex"] == "female" else "M",
                    size,
                    f"{i},5",
                    report,
                    name,
                    "N1b" if row["llnm"] == "yes" else "N0",
                    "St. Hedwig",
                ]
            )
    return folder / "export.csv"


def upload(page, address: str, folder: Path) -> None:  # type: ignore[no-untyped-def]
    page.goto(address + "import_cohort")
    page.get_by_text("Table of the export").wait_for()
    inputs = page.locator("input[type=file]")
    inputs.nth(1).set_input_files([str(p) for p in sorted(folder.glob("*.png"))])
    settled(page)
    inputs.nth(0).set_input_files(str(folder / "export.csv"))
    page.get_by_text("What the columns mean").wait_for()
    settled(page)


def test_an_export_is_mapped_tried_imported_and_opened(page, address: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    manifest = export(tmp_path / "export")
    upload(page, address, manifest.parent)
    # What no rule understands is mapped by hand: the size under another name.
    box = page.get_by_role("combobox", name="Largest (cm) goes to")
    box.click()
    box.fill("Nodule size")
    page.get_by_role("option", name="Nodule size (mm)").click()
    settled(page)
    name = page.get_by_label("Name of the cohort")
    name.fill(f"browser {tmp_path.name}")
    name.press("Enter")
    settled(page)
    page.get_by_role("button", name="Dry run").click()
    page.get_by_text("Dry run: what an import would do").wait_for()
    settled(page)
    assert "8 of 8" in page.get_by_test_id("stMetric").first.inner_text()
    page.get_by_test_id("stBaseButton-primary").click()
    page.get_by_text("What next").wait_for()
    settled(page)
    said = page.locator("body").inner_text()
    assert "Data quality" in said
    code = page.locator("code").filter(has_text="llnm predict").inner_text()
    out = Path(code.split('"')[1])
    assert out.is_dir()
    held = "".join(p.read_bytes().decode("latin-1") for p in out.rglob("*") if p.is_file())
    assert not any(secret in held for secret in SECRETS)
    with (out / "cases.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert all(float(row["size_mm"]) >= 1 for row in rows)
    assert {row["sex"] for row in rows} <= {"female", "male"}
    first = np.asarray(Image.open(io.BytesIO((out / rows[0]["image_transverse"]).read_bytes())))
    assert first[:28].max() == 0  # the bar that held the name
    page.get_by_role("button", name="Open it on the Case page").click()
    page.get_by_text("Calibrated probability").wait_for()
    assert "source=own" in page.url
