"""`simulate`: a cohort folder with pictures, reports, fields, labels and the truth behind them.

The folder holds `cohort.json` (what it is, and the call that made it), `cases.csv` (what a hospital would export, and
what the model may read), `truth.csv` (what only a simulation knows: every cause, its contribution to the logit and the
true probability), `images/` and `masks/`. Equal arguments give equal files; a run that was stopped goes on where it
stopped.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from model.errors import CaseError
from model.features.tirads import kwak
from model.ingest.files import atomic_write_bytes, atomic_write_text
from model.ingest.images import encode_png
from model.processes import cores
from model.schema import VIEWS, Mask, View
from model.simulate import anatomy, patients, risk
from model.simulate.centres import CENTRES, Machine, chosen
from model.simulate.picture import Findings, Picture, render
from model.simulate.reports import write_report

GENERATOR_VERSION = 1
TRUTH_NAME = "truth.csv"
_BLOCK = 24

# How often a table lacks a value, and how often a finding in it is wrong.
_MISSING = {
    "age_years": 0.005, "sex": 0.005, "size_mm": 0.02, "side": 0.02, "third": 0.03, "composition": 0.08,
    "calcification": 0.07, "margin": 0.07, "echogenicity": 0.07, "taller_than_wide": 0.08, "multifocal": 0.05,
    "histology": 0.03, "braf_v600e": 0.08, "extrathyroidal_extension_suspected": 0.05,
}  # fmt: skip
_WRONG = {"composition": 0.02, "echogenicity": 0.03, "multifocal": 0.03}
# Readers overlook suspicious findings more often than they invent them.
_OVERLOOKED: dict[str, tuple[object, object, float]] = {
    "margin": ("irregular", "ill-defined", 0.22),
    "calcification": ("micro", "none", 0.18),
    "taller_than_wide": (True, False, 0.25),
}


@dataclass(frozen=True)
class Simulation:
    """A cohort before its pictures are drawn.

    Parameters
    ----------
    truth : one row a case: every cause, `contribution_*` to the logit, `probability`, and the outcome.
    cases : one row a case: the columns of `cases.csv`.
    views : the anatomy of each view, rows as in `truth`.
    """

    truth: pd.DataFrame
    cases: pd.DataFrame
    views: dict[View, anatomy.Anatomy]


def draw(count: int, seed: int, part: str = "all") -> Simulation:
    """Draw patients, anatomy, reports, fields and outcomes of `count` cases.

    Parameters
    ----------
    count : number of cases, at least 1.
    seed : everything follows from it.
    part : "training" (2 centres), "external" (5) or "all" (7).
    """
    rng = np.random.default_rng([seed, GENERATOR_VERSION])
    centres, shares = chosen(part)
    machines = {c.name: c.machine for c in CENTRES}
    styles = {c.name: c.style for c in CENTRES}
    truth = patients.draw_patients(count, centres, shares, rng)
    axes = anatomy.nodule_axes(truth, rng)
    width = np.array([m.columns * m.depth_mm / m.rows for m in map(machines.__getitem__, truth["centre"])])
    views = {view: anatomy.build(view, truth, axes, width, rng) for view in VIEWS}
    truth.insert(0, "case_id", [f"syn-{seed}-{i:05d}" for i in range(count)])
    truth[["width_mm", "height_mm", "length_mm"]] = axes.round(2)
    for view in VIEWS:
        truth[f"capsule_distance_{view}_mm"] = views[view].gap.round(3)
    truth["capsule_distance_mm"] = truth[[f"capsule_distance_{v}_mm" for v in VIEWS]].min(axis=1)
    parts = risk.contributions(truth)
    truth["probability"] = risk.probability(truth)
    outcome = risk.outcomes(truth, truth["probability"].to_numpy(), rng)
    truth = pd.concat([truth, parts.add_prefix("contribution_"), outcome], axis=1)
    reports = [
        write_report(row, styles[row["centre"]], np.random.default_rng([seed, GENERATOR_VERSION, i, 9]))
        for i, row in enumerate(_records(truth))
    ]
    return Simulation(truth, _as_exported(truth, outcome, reports, machines, rng), views)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _as_exported(
    truth: pd.DataFrame,
    outcome: pd.DataFrame,
    reports: list[str],
    machines: dict[str, Machine],
    rng: np.random.Generator,
) -> pd.DataFrame:
    """What the hospital's table says: gaps and slips included, capsule distance not."""
    table = truth[["case_id", "centre", *_MISSING]].copy().astype(object)
    table["size_mm"] = (truth["size_mm"] * rng.normal(1, 0.04, len(truth))).clip(1, 149).round(1)
    for name, chance in _WRONG.items():
        options = truth[name].unique()
        slip = rng.random(len(truth)) < chance
        table.loc[slip, name] = rng.choice(options, slip.sum())
    for name, (there, read_as, chance) in _OVERLOOKED.items():
        overlooked = (truth[name] == there) & (rng.random(len(truth)) < chance)
        table[name] = table[name].mask(overlooked, read_as)
    table.loc[truth["side"] == "isthmus", "third"] = None  # the isthmus has no thirds
    # The category is the reader's own, who saw all findings, whatever the table lost afterwards.
    read = _records(table)
    for name, chance in _MISSING.items():
        table.loc[rng.random(len(truth)) < chance, name] = None
    table["tirads"] = [
        "6" if proven else kwak(row).category for row, proven in zip(read, truth["biopsy_proven"], strict=True)
    ]
    table["report_text"] = reports
    spacing = {name: m.depth_mm / m.rows for name, m in machines.items()}
    table["pixel_spacing_mm"] = truth["centre"].map(spacing).round(6)
    for view in VIEWS:
        table[f"image_{view}"] = [f"images/{c}_{view}.png" for c in truth["case_id"]]
        for kind in ("nodule", "gland"):
            table[f"{kind}_mask_{view}"] = [f"masks/{c}_{view}_{kind}.png" for c in truth["case_id"]]
    table["provenance"] = "synthetic"
    flags = table.map(lambda v: ("yes" if v else "no") if isinstance(v, bool | np.bool_) else v)
    return pd.concat([flags, outcome.replace({True: "yes", False: "no"})], axis=1)


def picture(simulation: Simulation, index: int, view: View, seed: int) -> Picture:
    """Draw one view of one case."""
    row = simulation.truth.iloc[index]
    findings = Findings(
        echogenicity=row["echogenicity"],
        margin=row["margin"],
        calcification=row["calcification"],
        composition=row["composition"],
        left=row["side"] == "left",
        isthmus=row["side"] == "isthmus",
        thyroiditis=bool(row["thyroiditis"]),
    )
    machine = next(c.machine for c in CENTRES if c.name == row["centre"])
    number = int(row["case_id"].rsplit("-", 1)[1])
    rng = np.random.default_rng([seed, GENERATOR_VERSION, number, VIEWS.index(view)])
    return render(simulation.views[view], index, findings, machine, rng)


def simulate(
    count: int,
    seed: int,
    out: Path | str,
    *,
    part: str = "all",
    workers: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Path:
    """Write a synthetic cohort to the folder `out` and return it.

    Parameters
    ----------
    count, seed, part : as for `draw`.
    out : folder, new or holding an unfinished run of the same call.
    workers : processes; all cores by default.
    progress : called with the number of cases done since the last call.

    Raises
    ------
    CaseError
        If `out` holds anything else, or count or seed is out of range.
    """
    out = Path(out)
    if not 1 <= count <= 1_000_000:
        raise CaseError(f"{count} cases", where="--cases", fix="Ask for 1 to 1,000,000 cases.")
    if seed < 0:
        raise CaseError(f"seed {seed}", where="--seed", fix="Give a whole number of 0 or more.")
    card = {
        "name": f"Synthetic cohort, seed {seed}",
        "provenance": "synthetic",
        "cases": count,
        "seed": seed,
        "part": part,
        "generator_version": GENERATOR_VERSION,
        "note": "Simulated. No patient. Figures on synthetic data say nothing about patients.",
    }
    card_file = out / "cohort.json"
    if card_file.exists():
        if json.loads(card_file.read_text("utf-8")) != card:
            raise CaseError("another cohort is there", where=str(out), fix="Name a new folder, or repeat its own call.")
    elif out.exists() and any(out.iterdir()):
        raise CaseError("the folder is not empty", where=str(out), fix="Name a new or empty folder.")
    if (out / "cases.csv").exists():
        progress(count)
        return out
    for sub in ("images", "masks"):
        (out / sub).mkdir(parents=True, exist_ok=True)
    atomic_write_text(card_file, json.dumps(card, indent=1) + "\n")
    simulation = draw(count, seed, part)
    todo = [i for i, c in enumerate(simulation.truth["case_id"]) if not (out / "masks" / f"{c}.done").exists()]
    progress(count - len(todo))
    blocks = [todo[k : k + _BLOCK] for k in range(0, len(todo), _BLOCK)]
    jobs = [(_rows(simulation, block), seed, out) for block in blocks]
    count_workers = workers or cores()
    for done in _run(jobs, count_workers):
        progress(done)
    atomic_write_text(out / TRUTH_NAME, simulation.truth.to_csv(index=False, float_format="%.6g"))
    # Last, so that a folder with cases.csv is a whole cohort.
    atomic_write_text(out / "cases.csv", simulation.cases.to_csv(index=False))
    for marker in (out / "masks").glob("*.done"):
        marker.unlink()
    return out


def read_truth(folder: Path | str) -> pd.DataFrame:
    """The truth of a simulated cohort, one row a case: causes, `contribution_*`, `probability`, outcome.

    Raises
    ------
    CaseError
        If the folder is no simulated cohort.
    """
    file = Path(folder) / TRUTH_NAME
    if not file.is_file():
        raise CaseError(f"no {TRUTH_NAME}", where=str(folder), fix="Only a folder that `llnm simulate` wrote has one.")
    return pd.read_csv(file, keep_default_na=False, na_values=[""])


def _run(jobs: list[tuple[Simulation, int, Path]], workers: int) -> Iterator[int]:
    if workers == 1 or len(jobs) < 2:
        yield from map(_write_block, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_write_block, jobs)


def _rows(simulation: Simulation, index: list[int]) -> Simulation:
    """The same simulation, some rows only: what a worker process needs."""
    views = {
        view: replace(a, **{f.name: getattr(a, f.name)[index] for f in fields(a) if f.name != "view"})
        for view, a in simulation.views.items()
    }
    return Simulation(simulation.truth.iloc[index], simulation.cases.iloc[index], views)


def _write_block(job: tuple[Simulation, int, Path]) -> int:
    """Draw and write the pictures of a block of cases."""
    simulation, seed, out = job
    for i, case_id in enumerate(simulation.truth["case_id"]):
        for view in VIEWS:
            drawn = picture(simulation, i, view, seed)
            atomic_write_bytes(out / "images" / f"{case_id}_{view}.png", encode_png(drawn.pixels))
            for kind, mask in (("nodule", drawn.nodule), ("gland", drawn.gland)):
                _write_mask(out / "masks" / f"{case_id}_{view}_{kind}.png", mask)
        (out / "masks" / f"{case_id}.done").touch()
    return len(simulation.truth)


def _write_mask(path: Path, mask: Mask) -> None:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG", compress_level=4)  # a bit a pixel
    atomic_write_bytes(path, buffer.getvalue())
