"""Doctors against the model: reader tables of two kinds, operating points, and tests on the same cases.

Per case: a column `label` (or llnm, outcome) of 0 or 1; perhaps `case_id` (or case); perhaps `model` (or probability,
prediction, score), the model's probability; and one column a reader of 0/1 calls or scores from 0 to 1 (empty where the
case was not read), or one column `doctor_mean` (or reader_mean) with the mean over readers. A score counts as positive
from 0.5 on.

Operating points, one row a reader: `sensitivity` and `specificity` (or false_positive_rate), shares from 0 to 1; perhaps
`reader` and `group`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from model.cohort.discrimination import (
    Estimate,
    OperatingPoint,
    RocCurve,
    Z,
    auroc,
    delong_test,
    operating_point,
)
from model.cohort.faults import RowsError
from model.cohort.scores import LABEL_NAMES, PROBABILITY_NAMES, FloatArray, ScoredCases
from model.errors import StatisticsError

MODEL_NAMES = ("model", *PROBABILITY_NAMES)
MEAN_NAMES = ("doctor_mean", "reader_mean")
CASE_NAMES = ("case_id", "case")
_RATES = ("sensitivity", "specificity", "false_positive_rate")


@dataclass(frozen=True)
class ReaderPoint:
    """One reader in the ROC plane."""

    reader: str
    group: str
    sensitivity: float
    specificity: float


@dataclass(frozen=True)
class ReaderCases:
    """Cases that doctors read.

    Parameters
    ----------
    case_ids : (n,) names, or row numbers where the table has none.
    doctors : (n,) mean score of the readers of each case, with outcomes.
    model : (n,) probabilities of the model, None where the table has none.
    points : operating points of the single readers; empty where the table holds their mean only.
    """

    case_ids: tuple[str, ...]
    doctors: ScoredCases
    model: FloatArray | None
    points: tuple[ReaderPoint, ...]


@dataclass(frozen=True)
class Comparison:
    """Mean of the doctors and the model on the same n cases.

    Parameters
    ----------
    doctors, model : rates at the cut-off.
    doctors_auroc, model_auroc : with DeLong intervals.
    auroc_difference, auroc_p : model − doctors, paired DeLong test.
    only_model_right, only_doctors_right : cases one of them calls rightly and the other does not.
    accuracy_difference : model − doctors, with the Wald interval of paired shares.
    mcnemar_p : exact McNemar test, two-sided.
    """

    doctors: OperatingPoint
    model: OperatingPoint
    doctors_auroc: Estimate
    model_auroc: Estimate
    auroc_difference: Estimate
    auroc_p: float
    only_model_right: int
    only_doctors_right: int
    accuracy_difference: Estimate
    mcnemar_p: float


def read_readers(frame: pd.DataFrame) -> ReaderCases | tuple[ReaderPoint, ...]:
    """A reader table of either kind, as the module's text says.

    Raises
    ------
    StatisticsError
        If needed columns are missing or a value is not allowed; rows are named (1 is the first row of data).
    """
    table = frame.rename(columns=lambda c: str(c).strip().lower())
    if table.columns.duplicated().any():
        name = table.columns[table.columns.duplicated()][0]
        raise StatisticsError("two columns of that name", where=name[:60], fix="Rename one of them.")
    if not len(table):
        raise StatisticsError("no row", where="reader table", fix="Give at least one row.")
    if "sensitivity" in table:
        return _points(table)
    return _cases(table)


def compare(doctors: ScoredCases, model: FloatArray, cutoff: float = 0.5) -> Comparison:
    """Both on the same cases; raises `StatisticsError` where only one outcome is there."""
    label = doctors.label
    scored = ScoredCases(model, label)
    difference, p = delong_test(model, doctors.probability, label)
    right = [(s.probability >= cutoff) == (label == 1) for s in (scored, doctors)]
    gained, lost, n = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()), len(label)
    share = (gained - lost) / n
    half = Z * float(np.sqrt(max(gained + lost - (gained - lost) ** 2 / n, 0))) / n
    return Comparison(
        doctors=operating_point(doctors, cutoff),
        model=operating_point(scored, cutoff),
        doctors_auroc=auroc(doctors.probability, label),
        model_auroc=auroc(model, label),
        auroc_difference=difference,
        auroc_p=p,
        only_model_right=gained,
        only_doctors_right=lost,
        accuracy_difference=Estimate(share, share - half, share + half),
        mcnemar_p=float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
    )


def group_means(points: tuple[ReaderPoint, ...]) -> pd.DataFrame:
    """One row for all readers and for each group: readers, and the mean of sensitivity, specificity and balanced accuracy.

    Intervals (`…_low`, `…_high`) are those of a mean over readers (Student's t); NaN for a single reader. Balanced accuracy
    is the accuracy where as many cases have LLNM as not.
    """
    table = pd.DataFrame([(p.group, p.sensitivity, p.specificity) for p in points], columns=["group", *_RATES[:2]])
    table["balanced_accuracy"] = (table["sensitivity"] + table["specificity"]) / 2
    named = [g for g in table["group"].unique() if g]
    parts = {"all readers": table} | {g: table[table["group"] == g] for g in named if len(named) > 1}
    rows = []
    for name, part in parts.items():
        row: dict[str, object] = {"group": name, "readers": len(part)}
        for figure in ("sensitivity", "specificity", "balanced_accuracy"):
            values = part[figure].to_numpy()
            half = float("nan")
            if len(values) > 1:
                half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
            row |= {figure: values.mean(), f"{figure}_low": values.mean() - half, f"{figure}_high": values.mean() + half}
        rows.append(row)
    return pd.DataFrame(rows)


def below_curve(points: tuple[ReaderPoint, ...], curve: RocCurve) -> int:
    """Readers whose point lies below the curve: at their false positive rate the model is more sensitive."""
    at = np.array([1 - p.specificity for p in points])
    reached = np.interp(at, curve.false_positive_rate, curve.sensitivity)
    return int((np.array([p.sensitivity for p in points]) < reached).sum())


def _points(table: pd.DataFrame) -> tuple[ReaderPoint, ...]:
    if not {"specificity", "false_positive_rate"} & set(table.columns):
        raise StatisticsError(
            "neither specificity nor false_positive_rate", where="reader table", fix="Give one of them beside sensitivity."
        )
    rates = {name: _scores(table[name], name) for name in _RATES if name in table}
    for name, values in rates.items():
        if np.isnan(values).any():
            row = int(np.flatnonzero(np.isnan(values))[0]) + 1
            raise StatisticsError(f"empty in row {row}", where=name, fix="Give a share from 0 to 1 in every row.")
    specificity = rates["specificity"] if "specificity" in rates else 1 - rates["false_positive_rate"]

    def text(name: str) -> list[str]:
        return ["" if pd.isna(v) else str(v)[:60] for v in table[name]] if name in table else [""] * len(table)

    readers = [name or f"reader {i + 1}" for i, name in enumerate(text("reader"))]
    return tuple(
        ReaderPoint(name, group, float(s), float(t))
        for name, group, s, t in zip(readers, text("group"), rates["sensitivity"], specificity, strict=True)
    )


def _cases(table: pd.DataFrame) -> ReaderCases:
    label = _first(table, LABEL_NAMES)
    if label is None:
        raise StatisticsError(
            "no column label, and none named sensitivity", where="reader table",
            fix="Give a label of 0 or 1 for each case, or sensitivity and specificity for each reader.",
        )  # fmt: skip
    model, case, mean = (_first(table, names) for names in (MODEL_NAMES, CASE_NAMES, MEAN_NAMES))
    readers = [c for c in table.columns if c not in (label, model, case, mean)]
    if not readers and mean is None:
        raise StatisticsError("no reader's column", where="reader table", fix="Give one column a reader, or doctor_mean.")
    outcome = ScoredCases.from_arrays(np.zeros(len(table)), table[label].to_numpy(object)).label
    scores = {name: _scores(table[name], name) for name in readers}
    if mean is not None:
        together = _scores(table[mean], mean)
    else:
        read = np.stack(list(scores.values()))
        count = (~np.isnan(read)).sum(0)
        together = np.where(count > 0, np.nansum(read, 0) / np.maximum(count, 1), np.nan)
    unread = np.flatnonzero(np.isnan(together)) + 1
    if len(unread):
        raise StatisticsError(
            f"no doctor's score in {len(unread)} rows ({', '.join(map(str, unread[:10]))})",
            where=mean or "reader table", fix="Give a score, or leave the case out.",
        )  # fmt: skip
    ids = table[case].astype(str) if case is not None else pd.Series(range(1, len(table) + 1)).astype(str)
    if ids.duplicated().any():
        row = int(np.flatnonzero(ids.duplicated())[0]) + 1
        raise StatisticsError(f"seen in an earlier row (row {row})", where=str(case), fix="Keep one row a case.")
    points = [_point(name, values, outcome) for name, values in scores.items()]
    return ReaderCases(
        tuple(ids),
        ScoredCases(together, outcome),
        None if model is None else ScoredCases.from_arrays(table[model].to_numpy(object), outcome).probability,
        tuple(p for p in points if p is not None),
    )


def _point(name: str, values: FloatArray, label: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> ReaderPoint | None:
    """A reader's operating point on the cases read; None where they are of one outcome."""
    read = ~np.isnan(values)
    called, ill = values[read] >= 0.5, label[read] == 1
    if not 0 < ill.sum() < len(ill):
        return None
    return ReaderPoint(name[:60], "", float(called[ill].mean()), float((~called[~ill]).mean()))


def _scores(column: pd.Series, name: str) -> FloatArray:
    """Scores from 0 to 1 with NaN where empty; anything else is refused with its rows."""
    empty = column.isna().to_numpy()
    filled = column.astype(object).where(~empty, 0)
    try:
        found = ScoredCases.from_arrays(filled.to_numpy(object), np.zeros(len(column), np.int64)).probability
    except RowsError as error:
        told = "; ".join(fault.told for fault in error.faults)
        raise StatisticsError(told, where=name[:60], fix="Give calls of 0 or 1, or shares from 0 to 1.") from None
    return np.where(empty, np.nan, found)


def _first(table: pd.DataFrame, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in table), None)
