"""How well "unlike anything seen in training" tells: `python tests/benchmarks/novelty.py [--json] [--cases N]`.

With the shipped checkpoint. False alarms: cases simulated afresh in the five external centres, with a seed that nothing else
uses; a case counts where either of its pictures is called unlike. Detection: pictures that are no synthetic thyroid, each
given as both views and counted only where both are called unlike, then sample cases whose fields were spoilt. Both counts
are thus the less flattering ones. Each rate has its 95 % Wilson interval. A class whose pictures are not on this machine is
told with the reason. Only what comes inside installed packages or lies in ../shared/data is read; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from model import Predictor, read_cohort  # noqa: E402
from model.cohort.discrimination import wilson  # noqa: E402
from model.encode import MeasuredCase  # noqa: E402
from model.explain.counterfactual import changed  # noqa: E402
from model.ingest.cases import Cohort  # noqa: E402
from model.ingest.dicom import decode_dicom  # noqa: E402
from model.schema import FIELD, VIEWS, Case, Value, ViewImage  # noqa: E402
from model.simulate.cohort import simulate  # noqa: E402

Grey = npt.NDArray[np.float32]
Row = dict[str, Any]

SEED = 40407
SIDE = 256
"""Of the pictures that are made here."""
SHARED = ROOT.parent / "shared" / "data" / "real_ultrasound"
PHOTOGRAPHS = (
    "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "coins.png",
    "clock_motion.png", "horse.png", "brick.png", "grass.png", "gravel.png", "moon.png", "hubble_deep_field.jpg",
)  # fmt: skip
OTHER_ULTRASOUND = {
    "lymph node, power Doppler (one picture in two sizes)": (("examples_jpeg2k.dcm", 1), ("examples_rgb_color.dcm", 1)),
    "pregnancy (one picture, nearly empty)": (("examples_palette.dcm", 1),),
    "heart (frames of one loop)": tuple(("examples_ybr_color.dcm", frame) for frame in range(1, 31)),
}
"""Files and frames that come with pydicom: real ultrasound of other organs, by what it shows."""
TISSUE = {"lymph node": np.s_[0.24:0.68, 0.04:0.96], "heart": np.s_[0.12:0.88, 0.14:0.92]}
"""Rows and columns, as shares, that hold tissue only: neither writing nor a sector's edge tells it from a thyroid there."""
ORGANS = ("retina.jpg", "microaneurysms.png", "cell.png", "ihc.png", "phantom.png")
"""Eye ground twice, one cell, stained tissue, the Shepp-Logan phantom of a head."""


def row(what: str, flagged: int, n: int) -> Row:
    """One row of the table."""
    rate = wilson(flagged, n)
    return {"what": what, "flagged": flagged, "n": n, "rate": rate.value, "low": rate.low, "high": rate.high}


def skipped(what: str, why: str) -> Row:
    """A row of what cannot be measured here."""
    return {"what": what, "flagged": None, "n": 0, "rate": None, "low": None, "high": None, "skipped": why}


def pictures_unlike(predictor: Predictor, measured: MeasuredCase) -> list[bool]:
    """Of each picture."""
    return [score.unlike for score in predictor.novelty(measured) if score.part != "fields"]


def false_alarms(predictor: Predictor, cases: int) -> list[Row]:
    """By external centre and in all: pictures and fields apart."""
    with tempfile.TemporaryDirectory() as folder:
        cohort = read_cohort(simulate(cases, SEED, Path(folder) / "c", part="external"))
        found = []
        for at in range(0, len(cohort), 32):
            for measured in predictor.measure(cohort.case(c) for c in cohort.case_ids[at : at + 32]):
                unlike = {score.part: score.unlike for score in predictor.novelty(measured)}
                by_fields = unlike.pop("fields")
                found.append((measured.case.centre, any(unlike.values()), by_fields))
    rows = []
    for centre in ("all external centres", *sorted({c for c, _, _ in found})):
        here = [f for f in found if centre in (f[0], "all external centres")]
        name = centre if centre.startswith("all") else f"centre {centre}"
        rows += [
            row(f"false alarm, {part}: {name}", sum(f[i] for f in here), len(here))
            for i, part in ((1, "pictures"), (2, "fields"))
        ]
    return rows


def opened(path: Path) -> Grey:
    """Any picture file as grey 0…1."""
    return np.asarray(Image.open(path).convert("L"), np.float32) / 255


def photographs() -> list[Grey]:
    """Those that come with scikit-image, scikit-learn and matplotlib."""
    import matplotlib
    import skimage.data
    import sklearn.datasets

    skimage_data = Path(skimage.data.__file__).parent
    sklearn_images = Path(sklearn.datasets.__file__).parent / "images"
    places = [skimage_data / name for name in PHOTOGRAPHS]
    places += [sklearn_images / name for name in ("china.jpg", "flower.jpg")]
    places += [Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"]
    return [opened(p) for p in places if p.exists()]


def organs() -> list[Grey]:
    """Medical pictures that come with scikit-image and matplotlib; none of them is ultrasound."""
    import matplotlib
    import skimage.data

    folder = Path(skimage.data.__file__).parent
    found = [opened(folder / name) for name in ORGANS if (folder / name).exists()]
    brain = Path(matplotlib.get_data_path()) / "sample_data" / "s1045.ima.gz"  # magnetic resonance, 256 × 256
    if brain.exists():
        levels = np.frombuffer(gzip.decompress(brain.read_bytes()), "<u2").reshape(256, 256).astype(np.float32)
        found.append(levels / levels.max())
    return found


def other_ultrasound() -> dict[str, list[Grey]]:
    """Real ultrasound of other organs, as an import reads it, whole and cut down to tissue."""
    import pydicom.data

    folder = Path(pydicom.data.__file__).parent / "test_files"
    found: dict[str, list[Grey]] = {}
    for what, frames in OTHER_ULTRASOUND.items():
        here = [(folder / name, frame) for name, frame in frames if (folder / name).exists()]
        whole = [decode_dicom(file, name=file.name, frame=frame).image.pixels for file, frame in here]
        found[f"ultrasound of another organ: {what}"] = whole
        for organ, (rows, columns) in TISSUE.items():
            if what.startswith(organ):
                found[f"the same, {organ}, cut down to tissue"] = [_part(p, rows, columns) for p in whole]
    return found


def _part(pixels: Grey, rows: slice, columns: slice) -> Grey:
    high, wide = pixels.shape
    return pixels[int(high * rows.start) : int(high * rows.stop), int(wide * columns.start) : int(wide * columns.stop)]


def text_pages(reports: Sequence[str]) -> list[Grey]:
    """Reports as they look on paper, dark on white and white on dark."""
    pages = []
    for i, report in enumerate(reports):
        page = Image.new("L", (2 * SIDE, 2 * SIDE), 255)
        lines = [report[at : at + 70] for at in range(0, len(report), 70)]
        ImageDraw.Draw(page).multiline_text((20, 20), "\n".join(lines * (1 + 25 // max(len(lines), 1))), fill=0)
        levels = np.asarray(page, np.float32) / 255
        pages.append(1 - levels if i % 2 else levels)
    return pages


def noise(kind: str, seeds: Iterable[int]) -> list[Grey]:
    """White noise, or fully developed speckle: the logarithm of an exponential intensity, smoothed to a resolution cell."""
    made = []
    for seed in seeds:
        rng = np.random.default_rng([SEED, seed])
        if kind == "white":
            levels = rng.random((SIDE, SIDE))
        else:
            field = ndimage.gaussian_filter(rng.normal(size=(2, SIDE, SIDE)), (0, 1.0, 1.5))
            levels = np.log1p(100 * (field**2).sum(0))
            levels = levels / levels.max()
        made.append(levels.astype(np.float32))
    return made


def gradients() -> list[Grey]:
    """Sixteen directions."""
    down, right = np.mgrid[0 : 1 : SIDE * 1j, 0 : 1 : SIDE * 1j]
    made = []
    for angle in np.arange(16) * np.pi / 8:
        way = np.cos(angle) * down + np.sin(angle) * right
        made.append(((way - way.min()) / np.ptp(way)).astype(np.float32))
    return made


def checkerboards() -> list[Grey]:
    """Squares of 2 to 64 pixels."""
    down, right = np.mgrid[0:SIDE, 0:SIDE]
    return [((down // side + right // side) % 2).astype(np.float32) for side in (2, 4, 8, 12, 16, 24, 32, 48, 64)]


CHANGES: dict[str, Callable[[Grey], Grey]] = {
    "inverted": lambda x: 1 - x,
    "upside down": lambda x: x[::-1],
    "rotated by 90°": lambda x: np.rot90(x),
    "blurred, σ 4 pixels": lambda x: ndimage.gaussian_filter(x, 4),
    "blurred, σ 1.5 pixels": lambda x: ndimage.gaussian_filter(x, 1.5),
    "white noise added, σ 0.2": lambda x: np.clip(x + np.random.default_rng(SEED).normal(0, 0.2, x.shape), 0, 1),
    "left third cut away": lambda x: x[:, x.shape[1] // 3 :],
    "mirrored left to right (still a thyroid)": lambda x: x[:, ::-1],
    "brighter, γ 0.7 (still a thyroid)": lambda x: x**0.7,
}
"""What is done to the pictures of the sample cases."""


def case_of(name: str, pictures: Iterable[Grey]) -> Case:
    """A case with these pictures in the order of the views, and nothing else."""
    images = {
        view: ViewImage(np.ascontiguousarray(levels, np.float32)) for view, levels in zip(VIEWS, pictures, strict=False)
    }
    return Case(name, images)


def detection(predictor: Predictor, samples: Cohort) -> list[Row]:
    """Classes of foreign pictures, then the sample cases' own pictures, whole and changed."""
    cases = [samples.case(c) for c in samples.case_ids]
    real = [opened(p) for p in sorted(SHARED.glob("*.jpg")) if "mask" not in p.name]
    classes: dict[str, list[Grey]] = {
        "photographs": photographs(),
        "text pages": text_pages([c.report_text for c in cases][:20]),
        "white noise": noise("white", range(20)),
        "speckle without anatomy": noise("speckle", range(20)),
        "constant (files of this kind are refused before)": [
            np.full((SIDE, SIDE), g, np.float32) for g in (0, 0.25, 0.5, 1)
        ],
        "gradients": gradients(),
        "checkerboards": checkerboards(),
        "eye, cells, tissue, head phantom, brain (not ultrasound)": organs(),
        **other_ultrasound(),
        "real thyroid ultrasound (not synthetic)": real,
    }
    rows = []
    for what, pictures in classes.items():
        if not pictures:
            rows.append(skipped(what, f"none in {SHARED if pictures is real else 'the installed packages'}"))
            continue
        found = predictor.measure(case_of(what, [p] * len(VIEWS)) for p in pictures)
        rows.append(row(what, sum(all(pictures_unlike(predictor, m)) for m in found), len(found)))
    rows.append(sample_row(predictor, "sample cases as they are: either picture", cases, any))
    for what, change in CHANGES.items():
        spoilt = [case_of(c.case_id, [change(c.images[v].pixels) for v in VIEWS if v in c.images]) for c in cases]
        rows.append(sample_row(predictor, f"sample pictures {what}", spoilt, all))
    return rows


def sample_row(predictor: Predictor, what: str, cases: Iterable[Case], together: Callable[[list[bool]], bool]) -> Row:
    """How many of the cases are flagged by `any` or by `all` of their pictures."""
    found = predictor.measure(cases)
    return row(what, sum(together(pictures_unlike(predictor, m)) for m in found), len(found))


def scaled(factor: float, *names: str, case: MeasuredCase) -> dict[str, Value | None]:
    """The case's own lengths times a factor, within what a form accepts."""
    return {
        n: float(np.clip(float(case.fields[n]) * factor, FIELD[n].low, FIELD[n].high))
        for n in names
        if n in case.fields
    }


def spoilt_fields(predictor: Predictor, samples: Cohort) -> list[Row]:
    """Sample cases whose fields no patient of the training centres has, each judged on its fields alone."""
    measured = predictor.measure(samples.case(c) for c in samples.case_ids)
    ways: dict[str, Callable[[MeasuredCase], dict[str, Value | None]]] = {
        "as they are": lambda _: {},
        "age 105 years": lambda _: {"age_years": 105.0},
        "size ten times (cm for mm)": lambda m: scaled(10, "size_mm", case=m),
        "size a tenth (mm for cm)": lambda m: scaled(0.1, "size_mm", case=m),
        "size twice": lambda m: scaled(2, "size_mm", case=m),
        "every length twice (spacing wrong)": lambda m: scaled(
            2, "size_mm", "height_mm", "width_mm", "capsule_distance_mm", case=m
        ),
        "every length ten times (spacing wrong)": lambda m: scaled(
            10, "size_mm", "height_mm", "width_mm", "capsule_distance_mm", case=m
        ),
        "every length a tenth (spacing wrong)": lambda m: scaled(
            0.1, "size_mm", "height_mm", "width_mm", "capsule_distance_mm", case=m
        ),
        "isthmus, upper third; cystic with microcalcification": lambda _: {
            "side": "isthmus", "third": "upper", "composition": "cystic", "calcification": "micro",
        },
        "age 18, medullary, BRAF V600E": lambda _: {"age_years": 18.0, "histology": "MTC", "braf_v600e": True},
        "size 1 mm, extension suspected": lambda _: {"size_mm": 1.0, "extrathyroidal_extension_suspected": True},
    }  # fmt: skip
    rows = []
    for what, way in ways.items():
        scores = [predictor.novelty(changed(m, way(m)))[-1] for m in measured]
        rows.append(row(f"sample fields, {what}", sum(s.unlike for s in scores), len(scores)))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cases", type=int, default=100, help="external cases, over the five centres")
    given = parser.parse_args()
    predictor = Predictor.load(device="cpu")
    samples = read_cohort(ROOT / "data_samples")
    parts = (partial(false_alarms, predictor, given.cases), partial(detection, predictor, samples))
    rows = [r for part in (*parts, partial(spoilt_fields, predictor, samples)) for r in part()]
    if given.json:
        print(json.dumps(rows))
        return
    for r in rows:
        told = f"skipped: {r['skipped']}" if r["rate"] is None else (
            f"{r['flagged']:>4} of {r['n']:<4} {r['rate']:>7.1%} ({r['low']:.1%}–{r['high']:.1%})"
        )  # fmt: skip
        print(f"{r['what']:<68} {told}")


if __name__ == "__main__":
    main()
