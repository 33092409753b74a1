"""The contact sheet of the README, and how synthetic pictures compare with real ones.

`python docs/contact_sheet.py` writes `docs/images/contact_sheet.png` from the sample cases.
`python docs/contact_sheet.py --compare FOLDER` prints the same statistics for the samples and for the pictures of a folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[1]
SHEET = ROOT / "docs" / "images" / "contact_sheet.png"
TILE = (320, 240)

Picture = npt.NDArray[np.float32]


def samples() -> list[Path]:
    """Sixteen views, eight of each kind, of the first sixteen cases."""
    views = ("transverse", "longitudinal")
    return [ROOT / "data_samples" / "images" / f"syn-40-{i:05d}_{views[i % 2]}.png" for i in range(16)]


def write_sheet(files: list[Path]) -> None:
    """Four by four, each picture in its own proportions on black."""
    sheet = Image.new("L", (4 * TILE[0], 4 * TILE[1]))
    for i, file in enumerate(files):
        picture = Image.open(file).convert("L")
        picture.thumbnail(TILE, Image.Resampling.LANCZOS)
        x, y = (i % 4) * TILE[0], (i // 4) * TILE[1]
        sheet.paste(picture, (x + (TILE[0] - picture.width) // 2, y + (TILE[1] - picture.height) // 2))
    SHEET.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(SHEET, optimize=True)


def statistics(file: Path) -> dict[str, float]:
    """Grey levels and speckle of one picture, resampled to 320 columns.

    Speckle is looked at where there is tissue (grey 0.15–0.85 after smoothing): the spread of what is left when the local
    mean is taken away, and the lag at which its autocorrelation falls to one half, along the beam and across it.
    """
    raw = Image.open(file).convert("L")
    picture = np.asarray(raw.resize((320, round(320 * raw.height / raw.width)), Image.Resampling.LANCZOS), np.float32) / 255
    mean = ndimage.uniform_filter(picture, 15)
    tissue = (mean > 0.15) & (mean < 0.85)
    rest = np.where(tissue, picture - mean, 0)
    return {
        "mean grey": float(picture.mean()),
        "5th percentile": float(np.quantile(picture, 0.05)),
        "95th percentile": float(np.quantile(picture, 0.95)),
        "local spread": float(rest[tissue].std()),
        "axial half-width (px)": _half_width(rest, 0),
        "lateral half-width (px)": _half_width(rest, 1),
    }


def _half_width(rest: Picture, axis: int) -> float:
    """Lag in pixels at which the autocorrelation along an axis is one half, between lags linearly."""
    own = float((rest * rest).mean())
    moved = np.moveaxis(rest, axis, 0)
    shares = [float((moved[:-k] * moved[k:]).mean()) / own for k in range(1, 12)]
    before = 1.0
    for k, share in enumerate(shares):
        if share < 0.5:
            return k + (before - 0.5) / (before - share)
        before = share
    return float(len(shares))


def compare(folder: Path) -> None:
    """A table: median and range of each statistic, synthetic and real."""
    real = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg") and "mask" not in p.stem)
    if not real:
        raise SystemExit(f"{folder}: no PNG or JPEG picture there. Name a folder of real pictures.")
    rows = {"synthetic": [statistics(f) for f in samples()], "real": [statistics(f) for f in real]}
    print(f"| statistic | synthetic (n = {len(rows['synthetic'])}) | real (n = {len(real)}) |\n| --- | --- | --- |")
    for name in rows["synthetic"][0]:
        cells = [f"{np.median(v):.2f} ({min(v):.2f}–{max(v):.2f})" for v in ([r[name] for r in rows[k]] for k in rows)]
        print(f"| {name} | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compare", type=Path, help="folder of real pictures")
    chosen = parser.parse_args()
    if chosen.compare:
        compare(chosen.compare)
    else:
        write_sheet(samples())
