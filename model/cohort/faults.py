"""What is wrong in a table, by column and row, as one error that says which rows could be gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.errors import StatisticsError


@dataclass(frozen=True)
class Fault:
    """What is wrong in one column: in how many rows, the first of them (1 is the first row of data), and the fix."""

    column: str
    what: str
    rows: npt.NDArray[np.int64]
    fix: str

    @property
    def told(self) -> str:
        """What is wrong in which rows, in words."""
        named = ", ".join(f"{r:,}" for r in self.rows[:10]) + (" …" if len(self.rows) > 10 else "")
        plural = "rows" if len(self.rows) > 1 else "row"
        return f"{self.what} in {len(self.rows):,} {plural} ({named})"

    def __str__(self) -> str:
        return f"{self.column}: {self.told}. {self.fix}"


class RowsError(StatisticsError):
    """Rows that cannot be used; the others could be gone on with.

    Parameters
    ----------
    faults : what is wrong, one for each column and kind.
    bad : row numbers that would be left out.
    unusable : columns without one usable value, which would be left out instead of their rows.
    rows : rows of the table.
    """

    def __init__(
        self, faults: Sequence[Fault], bad: npt.NDArray[np.int64], unusable: tuple[str, ...], rows: int, where: str
    ) -> None:
        self.faults, self.bad, self.unusable, self.rows = tuple(faults), bad, unusable, rows
        self.good = rows - len(bad)
        listed = "\n".join(f"- {fault}" for fault in faults)
        dropped = f" without the column {', '.join(unusable)}" if unusable else ""
        super().__init__(
            f"{len(bad):,} of {rows:,} rows cannot be used:\n{listed}\n"
            if len(bad)
            else f"a column cannot be used:\n{listed}\n",
            where=where,
            fix=f"Mend them, or go on with the {self.good:,} good rows{dropped}." if self.good else "Mend them.",
        )


class Faults:
    """Faults as they are found in a table of so many rows; `check` raises them all at once."""

    def __init__(self, rows: int, where: str) -> None:
        self.rows, self.where = rows, where
        self.found: list[Fault] = []

    def note(self, bad: npt.NDArray[np.bool_], column: str, what: str, fix: str) -> None:
        """Note the rows that are bad: (rows,), True for those."""
        rows = np.flatnonzero(bad) + 1
        if len(rows):
            self.found.append(Fault(column, what, rows, fix))

    def check(self) -> None:
        """Raise `RowsError` if anything was found."""
        if self.found:
            bad = np.unique(np.concatenate([fault.rows for fault in self.found]))
            raise RowsError(self.found, bad, (), self.rows, self.where)
