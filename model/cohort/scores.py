"""Probabilities with outcomes, validated: what every figure of a cohort starts from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.errors import StatisticsError
from model.ingest.messages import short

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PROBABILITY_NAMES = ("probability", "prediction", "score")
LABEL_NAMES = ("llnm", "label", "outcome")
LABEL_WORDS = {"yes": 1, "true": 1, "1": 1, "1.0": 1, "no": 0, "false": 0, "0": 0, "0.0": 0}


@dataclass(frozen=True)
class ScoredCases:
    """Predicted probabilities (n,) in 0…1 with outcomes (n,) of 0 or 1."""

    probability: FloatArray
    label: IntArray

    def __len__(self) -> int:
        return len(self.label)

    @property
    def positives(self) -> int:
        """Cases with the outcome."""
        return int(self.label.sum())

    @classmethod
    def from_arrays(cls, probability: npt.ArrayLike, label: npt.ArrayLike) -> ScoredCases:
        """Validate two columns.

        Raises
        ------
        StatisticsError
            If they are empty, differ in length, or hold anything but probabilities and 0/1; rows are named.
        """
        p = _numbers(probability, "probability")
        y = _labels(label)
        if len(p) != len(y):
            raise StatisticsError(
                f"{len(p)} probabilities and {len(y)} labels", where="predictions", fix="Give one label a row."
            )
        if not len(p):
            raise StatisticsError("no case", where="predictions", fix="Give at least one row.")
        _refuse(~np.isfinite(p), "missing or not a number", "probability", "Give a number from 0 to 1 in every row.")
        _refuse((p < 0) | (p > 1), "outside 0 to 1", "probability", "Give probabilities, not scores or percentages.")
        _refuse(y < 0, "neither 0 nor 1", "label", "Give 0 or 1 (or no/yes) in every row.")
        return cls(p, y)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, probability: str | None = None, label: str | None = None) -> ScoredCases:
        """From a table with a probability and a label, and perhaps `case_id`, which must not repeat.

        Parameters
        ----------
        probability, label : their columns; None for the usual names.

        Raises
        ------
        StatisticsError
            If a column is not there, or holds anything but probabilities or 0 and 1; rows are named.
        """
        p = frame[column_of(frame.columns, PROBABILITY_NAMES, probability, where="predictions")]
        y = frame[column_of(frame.columns, LABEL_NAMES, label, where="predictions")]
        if "case_id" in frame:
            _refuse(
                frame["case_id"].duplicated().to_numpy(), "seen in an earlier row", "case_id", "Keep one row a case."
            )
        return cls.from_arrays(p.to_numpy(object), y.to_numpy(object))


def read_predictions(path: Path | str) -> ScoredCases:
    """Read a CSV (any of comma, semicolon, tab) or Parquet file with a probability and a label column."""
    return ScoredCases.from_frame(read_table(path))


def read_table(path: Path | str) -> pd.DataFrame:
    """A CSV or Parquet file as a table.

    Raises
    ------
    StatisticsError
        If it cannot be read.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        # "none" is a value of calcification, so only empty cells are missing.
        with path.open(encoding="utf-8-sig") as lines:
            first = lines.readline()
        return pd.read_csv(
            path, sep=max(",;\t", key=first.count), keep_default_na=False, na_values=[""], encoding="utf-8-sig", low_memory=False
        )  # fmt: skip
    except (OSError, ValueError, pd.errors.ParserError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise StatisticsError(
            f"cannot be read ({reason})", where=str(path), fix="Give a CSV or Parquet file with a header."
        ) from None


def column_of(there: Iterable[str], usual: Sequence[str], told: str | None, *, where: str) -> str:
    """Name of a table's column: the one that was told, or else the first of the usual names, however it is spelt.

    Raises
    ------
    StatisticsError
        If it is not there.
    """
    names = [str(name) for name in there]
    plain = [name.strip().lower() for name in names]
    found = [told] if told in names else [names[plain.index(n)] for n in usual if n in plain] if told is None else []
    if not found:
        listed = ", ".join(short(n) for n in names[:12]) + (" …" if len(names) > 12 else "")
        raise StatisticsError(
            f"none of the columns {', '.join(usual)}" if told is None else f"no column {short(told)}", where=where,
            fix=f"Say which column it is, or name it {usual[0]}; the table has {listed}.",
        )  # fmt: skip
    return found[0]


def _labels(values: npt.ArrayLike) -> IntArray:
    """Labels as 0 and 1, −1 where neither; a million numbers must not become a million words first."""
    column = np.asarray(values).ravel()
    if column.dtype.kind in "biuf":
        return np.where(column == 1, 1, np.where(column == 0, 0, -1)).astype(np.int64)
    words = [str(v).strip().lower() for v in np.asarray(values, dtype=object).ravel()]
    return np.array([LABEL_WORDS.get(w, -1) for w in words], dtype=np.int64)


def _numbers(values: npt.ArrayLike, name: str) -> FloatArray:
    numeric = np.asarray(values).ravel()
    if numeric.dtype.kind in "iuf":
        return numeric.astype(np.float64)
    column = pd.Series(np.asarray(values, dtype=object).ravel())
    numbers = pd.to_numeric(column, errors="coerce")
    _refuse(
        (numbers.isna() & column.notna()).to_numpy(), "not a number", name, "Give a number from 0 to 1 in every row."
    )
    return numbers.to_numpy(np.float64)


def _refuse(bad: npt.NDArray[Any], what: str, where: str, fix: str) -> None:
    """Raise for the rows that are bad, naming the first ten (1 is the first row of data)."""
    rows = np.flatnonzero(bad) + 1
    if len(rows):
        named = ", ".join(map(str, rows[:10])) + (" …" if len(rows) > 10 else "")
        raise StatisticsError(f"{what} in {len(rows)} rows ({named})", where=where, fix=fix)
