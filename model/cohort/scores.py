"""Probabilities with outcomes, validated: what every figure of a cohort starts from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.cohort.faults import Faults
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
        RowsError
            If they hold anything but probabilities and 0/1; all rows at fault are named.
        StatisticsError
            If they are empty or differ in length.
        """
        return cls._checked(probability, label, None)

    @classmethod
    def _checked(cls, probability: npt.ArrayLike, label: npt.ArrayLike, ids: pd.Series | None) -> ScoredCases:
        p, no_number = _numbers(probability)
        y = _labels(label)
        if len(p) != len(y):
            raise StatisticsError(
                f"{len(p)} probabilities and {len(y)} labels", where="predictions", fix="Give one label a row."
            )
        if not len(p):
            raise StatisticsError("no case", where="predictions", fix="Give at least one row.")
        faults, number = Faults(len(p), "predictions"), "Give a number from 0 to 1 in every row."
        faults.note(no_number, "probability", "not a number", number)
        faults.note(np.isnan(p) & ~no_number, "probability", "missing", number)
        faults.note((p < 0) | (p > 1), "probability", "outside 0 to 1", "Give probabilities, not scores or percentages.")
        faults.note(y < 0, "label", "neither 0 nor 1", "Give 0 or 1 (or no/yes) in every row.")
        if ids is not None:
            faults.note(ids.duplicated().to_numpy(), "case_id", "seen in an earlier row", "Keep one row a case.")
        faults.check()
        return cls(p, y)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, probability: str | None = None, label: str | None = None) -> ScoredCases:
        """From a table with a probability and a label, and perhaps `case_id`, which must not repeat.

        Parameters
        ----------
        probability, label : their columns; None for the usual names.

        Raises
        ------
        RowsError
            If a column holds anything but probabilities or 0 and 1; all rows at fault are named.
        StatisticsError
            If a column is not there.
        """
        p = frame[column_of(frame.columns, PROBABILITY_NAMES, probability, where="predictions")]
        y = frame[column_of(frame.columns, LABEL_NAMES, label, where="predictions")]
        return cls._checked(p.to_numpy(object), y.to_numpy(object), frame.get("case_id"))


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


def _numbers(values: npt.ArrayLike) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Numbers, NaN where there is none, and which cells hold something else than a number."""
    numeric = np.asarray(values).ravel()
    if numeric.dtype.kind in "iuf":
        return numeric.astype(np.float64), np.zeros(len(numeric), dtype=bool)
    column = pd.Series(np.asarray(values, dtype=object).ravel())
    numbers = pd.to_numeric(column, errors="coerce")
    missing = column.isna() | column.astype(str).str.strip().str.lower().isin(("", "nan"))
    return numbers.to_numpy(np.float64), (numbers.isna() & ~missing).to_numpy()
