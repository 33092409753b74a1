"""The figures of a scored cohort, with intervals, as one object, one table or one JSON."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from model.cohort.bootstrap import brier_of, calibration_error_of, cells, interval
from model.cohort.calibration import brier, expected_calibration_error
from model.cohort.discrimination import (
    STAGE_COLUMNS,
    Estimate,
    Rate,
    auroc,
    operating_point,
    stage_auroc,
    staged_cases,
)
from model.cohort.faults import Faults, RowsError
from model.cohort.scores import ScoredCases
from model.schema import LLNM, Endpoint

PUBLISHED_EXTERNAL = {"auroc": 0.944, "accuracy": 0.847, "sensitivity": 0.768, "specificity": 0.947, "stage_auroc": 0.971,
                      "nodule_miou": 0.841, "gland_miou": 0.818}  # fmt: skip
"""LLNM-Net on the five external centres (Shen et al. 2025): another cohort, real patients."""


LABELS = {
    "auroc": "AUROC", "accuracy": "accuracy at 0.5", "sensitivity": "sensitivity at 0.5",
    "specificity": "specificity at 0.5", "ece": "calibration error (ECE)", "brier": "Brier score",
    "stage_auroc": "AUROC of the stages", "bayes_auroc": "AUROC of true risks",
    "nodule_miou": "mean IoU, nodule", "gland_miou": "mean IoU, gland",
}  # fmt: skip
"""The figures in words."""


@dataclass(frozen=True)
class Evaluation:
    """Figures of n cases at cut-off 0.5; None where one cannot be computed.

    `bayes_auroc` is the AUROC of the true probabilities, which only a simulation knows; `nodule_miou` and `gland_miou`
    are mean intersections over union of predicted with true masks.
    """

    n: int
    positives: int
    auroc: Estimate | None
    accuracy: Rate
    sensitivity: Rate
    specificity: Rate
    ece: Estimate
    brier: Estimate
    stage_auroc: Estimate | None = None
    bayes_auroc: float | None = None
    nodule_miou: float | None = None
    gland_miou: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data: `name` and `name_ci` for each figure that could be computed."""
        result: dict[str, Any] = {"n": self.n, "positives": self.positives}
        for name in ("auroc", "accuracy", "sensitivity", "specificity", "ece", "brier", "stage_auroc"):
            figure: Estimate | Rate | None = getattr(self, name)
            if figure is not None and np.isfinite(figure.value):
                result[name] = round(figure.value, 6)
                result[f"{name}_ci"] = [round(figure.low, 6), round(figure.high, 6)]
        for name in ("bayes_auroc", "nodule_miou", "gland_miou"):
            value: float | None = getattr(self, name)
            if value is not None:
                result[name] = round(value, 6)
        return result


def evaluate(scores: ScoredCases, *, seed: int = 0, rounds: int = 1000) -> Evaluation:
    """Discrimination and calibration; DeLong, Wilson and (for ECE and Brier) percentile bootstrap intervals.

    Parameters
    ----------
    seed, rounds : of the bootstrap.
    """
    p, y = scores.probability, scores.label.astype(float)
    point = operating_point(scores)
    both = 0 < scores.positives < len(scores)
    made = cells(scores)
    drawn = made.draw(rounds, seed)
    return Evaluation(
        n=len(scores),
        positives=scores.positives,
        auroc=auroc(p, scores.label) if both else None,
        accuracy=point.accuracy,
        sensitivity=point.sensitivity,
        specificity=point.specificity,
        ece=interval(made, calibration_error_of, expected_calibration_error(p, y), drawn),
        brier=interval(made, brier_of, brier(p, y), drawn),
    )


def evaluate_table(
    frame: pd.DataFrame, *, probability: str | None = None, label: str | None = None, seed: int = 0, rounds: int = 1000
) -> Evaluation:
    """All figures that the columns of a table allow.

    Parameters
    ----------
    frame : a probability and a label, and any of stage with `STAGE_COLUMNS`, nodule_iou and gland_iou (mean overlap of a
        case's masks, 0…1).
    probability, label : their columns; None for the usual names.
    seed, rounds : of the bootstrap.

    Raises
    ------
    RowsError
        If a column that is used holds what it must not; rows are named.
    StatisticsError
        If probability or label are absent.
    """
    scores = ScoredCases.from_frame(frame, probability=probability, label=label)
    extra: dict[str, Any] = {}
    if {"stage", *STAGE_COLUMNS} <= set(frame):
        predicted, stage = staged_cases(_stages(frame).assign(llnm=scores.label))
        if len(np.unique(stage)) == len(STAGE_COLUMNS):
            extra["stage_auroc"] = stage_auroc(predicted, stage)
    for target in ("nodule", "gland"):
        if f"{target}_iou" in frame:
            overlap = _shares(frame[f"{target}_iou"])
            if overlap.notna().any():
                extra[f"{target}_miou"] = float(overlap.mean())
    return replace(evaluate(scores, seed=seed, rounds=rounds), **extra)


def evaluate_good_rows(
    frame: pd.DataFrame, *, probability: str | None = None, label: str | None = None
) -> tuple[Evaluation, int]:
    """As `evaluate_table` without the rows at fault; how many those were.

    Raises
    ------
    StatisticsError
        If probability or label are absent, or no row is good.
    """
    good = frame
    while True:
        try:
            return evaluate_table(good, probability=probability, label=label), len(frame) - len(good)
        except RowsError as error:
            if not error.good:
                raise
            good = good.drop(index=good.index[error.bad - 1])


def _stages(frame: pd.DataFrame) -> pd.DataFrame:
    """Stages as 1, 2, 3 or missing, and their probabilities; raises `RowsError`."""
    stage = pd.to_numeric(frame["stage"], errors="coerce")
    faults = Faults(len(frame), "predictions")
    faults.note((frame["stage"].notna() & ~stage.isin([1, 2, 3])).to_numpy(), "stage", "neither 1, 2 nor 3", _MEND)
    faults.check()
    return pd.DataFrame({"stage": stage} | {name: _shares(frame[name]) for name in STAGE_COLUMNS})


def _shares(column: pd.Series) -> pd.Series:
    """Numbers from 0 to 1, missing where there is none; raises `RowsError`."""
    numbers = pd.to_numeric(column, errors="coerce")
    faults = Faults(len(column), "predictions")
    bad = (column.notna() & ~numbers.between(0, 1)).to_numpy()
    faults.note(bad, str(column.name), "not a number from 0 to 1", _MEND)
    faults.check()
    return numbers


_MEND = "Give one, or leave it empty."


def format_table(evaluation: Evaluation, endpoint: Endpoint = LLNM) -> str:
    """A plain table with 95 % intervals, and beside those of lateral node metastasis the published external values."""
    beside = PUBLISHED_EXTERNAL if endpoint.name == LLNM.name else {}
    figures = evaluation.to_dict()
    n, positives = figures.pop("n"), figures.pop("positives")
    lines = [
        f"{n:,} cases, {positives:,} with the outcome ({positives / n:.1%}); rates at cut-off 0.5",
        f"{'':<24}{'value':>8}  {'95 % interval':<17}{'published' if beside else '':>9}".rstrip(),
    ]
    for name, value in figures.items():
        if name.endswith("_ci"):
            continue
        interval = figures.get(f"{name}_ci")
        shown = f"{interval[0]:.4f}–{interval[1]:.4f}" if interval else ""
        published = f"{beside[name]:.3f}" if name in beside else ""
        lines.append(f"{LABELS[name]:<24}{value:>8.4f}  {shown:<17}{published:>9}".rstrip())
    if beside:
        lines.append(
            "published: LLNM-Net, five external centres, real patients (Shen et al. 2025); not comparable in kind."
        )
    return "\n".join(lines)
