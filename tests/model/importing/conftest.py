"""An export as a hospital would hand it over, with a patient's name wherever one can hide."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from model.importing.keys import key_beside
from model.importing.manifest import open_manifest
from model.importing.mapping import Agreed, mapping_of
from model.importing.profile import profiles
from model.importing.propose import propose
from model.importing.run import Imported, import_cohort
from model.importing.sources import Folder

PATIENTS = [
    ("Zebrowski", "Quentin", "MRN8842117", "1961-03-14"),
    ("Okonkwo", "Adaeze", "MRN7719345", "1975-11-30"),
    ("Müllerová", "Žofie", "MRN6620981", "1988-07-02"),
]


def speckle(seed: int, height: int = 240, width: int = 320) -> np.ndarray:
    """(height, width) uint8 like tissue: smooth speckle with a dark nodule, different for each seed."""
    import cv2

    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 2.5)
    coarse = cv2.resize(rng.normal(0, 1, (6, 8)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:height, :width]
    nodule = ((rows - height / 2) ** 2 / 45**2 + (columns - width / 2) ** 2 / 60**2) < 1
    return (110 + 90 * noise + 18 * coarse - 45 * nodule).clip(5, 235).astype(np.uint8)


def with_text(pixels: np.ndarray, text: str, at: tuple[int, int], size: int = 16, *, bar: bool = True) -> np.ndarray:
    """A copy with text burnt in, on a black bar as machines write it, or over the tissue."""
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    if bar:
        left, top, right, bottom = draw.textbbox(at, text, font)
        draw.rectangle((left - 6, top - 5, right + 6, bottom + 5), fill=0)
    draw.text(at, text, fill=255, font=font)
    return np.asarray(image)


def ink(pixels: np.ndarray, text: str, at: tuple[int, int], size: int = 16) -> np.ndarray:
    """(height, width) bool: where that text was written."""
    blank = Image.new("L", pixels.shape[::-1])
    ImageDraw.Draw(blank).text(at, text, fill=255, font=ImageFont.load_default(size))
    return np.asarray(blank) > 128


def write_table(path: Path, header: list[str], rows: list[list[Any]], separator: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Imported]:
    """Import a manifest into `tmp_path/cohort`, by a given mapping (its JSON) or the proposal."""

    def imported(manifest: Path, mapping: dict[str, Any] | Agreed | None = None, **options: Any) -> Imported:
        opened = open_manifest(manifest, manifest.name)
        if mapping is None:
            mapping = propose(opened, profiles(opened.header, opened.rows(), opened.separator)[0])
        agreed = mapping if isinstance(mapping, Agreed) else mapping_of(mapping)
        out = options.pop("out", tmp_path / "cohort")
        options.setdefault("key_file", key_beside(out))
        options.setdefault("workers", 1)
        return import_cohort(opened, agreed, Folder(manifest.parent), out, **options)

    return imported


@pytest.fixture
def png_export(tmp_path: Path) -> Path:
    """Three patients with PNG pictures; names in columns, file names, PNG text chunks, reports and pixels."""
    folder = tmp_path / "export"
    folder.mkdir()
    rows = []
    for i, (family, given, number, born) in enumerate(PATIENTS):
        name = f"{family}_{given}_{born}.png"
        pixels = with_text(speckle(i), f"{family.upper()}^{given.upper()} {number}", (12, 8))
        about = PngInfo()
        about.add_text("Patient", f"{given} {family}")
        Image.fromarray(pixels).save(folder / name, pnginfo=about)
        report = (
            f"Patient: {given} {family}, born {born}, {number}. Seen by Dr. Pemberton on 03/05/2021, tel 0441 235 6688. "
            f"Mrs {family} has a solid hypoechoic nodule of 12 x 8 x 9 mm in the left lobe."
        )
        rows.append(
            [
                number,
                f"{given} {family}",
                born,
                "2021-05-03",
                "F" if i else "M",
                "1.2",
                report,
                name,
                "St. Hedwig Hospital",
                "yes" if i else "no",
            ]
        )
    header = [
        "Patient ID",
        "Patient Name",
        "Date of Birth",
        "Exam Date",
        "Gender",
        "Size (cm)",
        "Report",
        "Image",
        "Hospital",
        "LLNM",
    ]
    return write_table(folder / "manifest.csv", header, rows)
