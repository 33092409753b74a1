"""Counts of a cohort by filter and figure, added up once; a filter change is one product of a vector with a matrix.

A row of the matrix is one combination of filter values that occurs; its columns are the cases, those with LLNM and the sum
of predicted probabilities in every step of capsule distance, place in the gland and bin of probability.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.cohort.calibration import CalibrationBin
from model.cohort.codes import BINS, STEPS_PER_MM
from model.cohort.curves import RiskBin
from model.cohort.discrimination import Rate, wilson
from model.cohort.position import PLACES, PositionRisk
from model.cohort.scores import FloatArray, IntArray

AXES = ("step", "place", "bin")


@dataclass(frozen=True)
class Aggregate:
    """What every aggregate figure is drawn from.

    Parameters
    ----------
    steps : (k + 1, 3) cases, cases with LLNM and sum of probabilities at capsule distances of 0–0.1, 0.1–0.2 … mm; the last
        row is of cases without a distance.
    places : (8, 3) the same in each of `model.cohort.position.PLACES`; the last row is of cases without a place.
    bins : (20, 3) the same in bins of 0.05 of the predicted probability.
    from_cube : whether the counts came from a cube, and not from the rows.
    """

    steps: FloatArray
    places: FloatArray
    bins: FloatArray
    from_cube: bool = True

    @property
    def cases(self) -> int:
        """All cases."""
        return round(float(self.bins[:, 0].sum()))

    @property
    def positives(self) -> int:
        """Cases with LLNM."""
        return round(float(self.bins[:, 1].sum()))

    @property
    def with_distance(self) -> int:
        """Cases with a capsule distance."""
        return round(float(self.steps[:-1, 0].sum()))

    def distance_bins(self, width: int = 5, *, up_to: float | None = None) -> tuple[RiskBin, ...]:
        """Observed and predicted risk in bins of `width` tenths of a millimetre; empty bins are left out.

        Parameters
        ----------
        up_to : the first edge at or above this distance is the last, mm; all where None.
        """
        count = len(self.steps) - 1
        bins = (
            -(-count // width) if up_to is None else min(-(-count // width), -(-round(up_to * STEPS_PER_MM) // width))
        )
        padded = np.zeros((-(-count // width) * width, 3))
        padded[:count] = self.steps[:-1]
        sums = padded.reshape(-1, width, 3).sum(1)[:bins]
        return tuple(
            RiskBin(k * width / STEPS_PER_MM, (k + 1) * width / STEPS_PER_MM, wilson(int(hits), int(n)), float(p / n))
            for k, (n, hits, p) in enumerate(sums)
            if n
        )

    def near(self, distance: float) -> Rate:
        """Observed risk below a capsule distance that is a multiple of 0.1 mm."""
        n, hits, _ = self.steps[:-1][: round(distance * STEPS_PER_MM)].sum(0)
        return wilson(int(hits), int(n))

    def distance_quantile(self, share: float) -> float:
        """Upper end of the step in which this share of the cases with a distance is reached, mm."""
        reached = np.cumsum(self.steps[:-1, 0])
        return float(np.searchsorted(reached, share * reached[-1]) + 1) / STEPS_PER_MM if len(reached) else 0.0

    def positions(self) -> tuple[PositionRisk, ...]:
        """Risk of every place, as `model.cohort.position.risk_by_position` gives it."""
        return tuple(
            PositionRisk(side, third, wilson(int(hits), int(n)), float(p / n) if n else float("nan"))
            for (side, third), (n, hits, p) in zip(PLACES, self.places, strict=False)
        )

    def calibration(self) -> tuple[CalibrationBin, ...]:
        """As `model.cohort.calibration.calibration_bins`: ten bins of equal width that hold any case."""
        sums = self.bins.reshape(-1, 2, 3).sum(1)
        return tuple(CalibrationBin(float(p / n), wilson(int(hits), int(n))) for n, hits, p in sums if n)


@dataclass(frozen=True)
class Cube:
    """Counts of every combination of the values of some fields.

    Parameters
    ----------
    fields : names of the fields, as `model.cohort.selection.Filters` has them.
    codes : (k, fields) code of each field in each combination.
    sums : (k, columns) cases, LLNM and probabilities by step, then place, then bin.
    steps : steps of the capsule distance.
    """

    fields: tuple[str, ...]
    codes: IntArray
    sums: FloatArray
    steps: int

    def select(self, allowed: Mapping[str, npt.NDArray[np.bool_]]) -> Aggregate:
        """Counts over the combinations whose codes are all allowed.

        Parameters
        ----------
        allowed : for each field that filters, whether each code passes.
        """
        keep = np.ones(len(self.codes), dtype=bool)
        for name, passes in allowed.items():
            keep &= passes[self.codes[:, self.fields.index(name)]]
        return aggregate(keep.astype(np.float64) @ self.sums, self.steps)

    def rolled_up(self, fields: tuple[str, ...]) -> Cube:
        """The cube of fewer fields."""
        codes = self.codes[:, [self.fields.index(f) for f in fields]]
        order = np.lexsort(codes.T) if fields else np.arange(len(codes))
        changes = (codes[order][1:] != codes[order][:-1]).any(1)
        starts = np.append(0, np.flatnonzero(changes) + 1)
        return Cube(fields, codes[order][starts], np.add.reduceat(self.sums[order], starts, axis=0), self.steps)


def widths(steps: int) -> tuple[int, int, int]:
    """Columns of a cube for each axis, a third of which each are cases, LLNM and probabilities."""
    return 3 * (steps + 1), 3 * (len(PLACES) + 1), 3 * BINS


def aggregate(sums: FloatArray, steps: int, *, from_cube: bool = True) -> Aggregate:
    """A row of sums as counts by axis."""
    first, second, _ = np.cumsum(widths(steps))
    parts = sums[:first], sums[first:second], sums[second:]
    by_step, by_place, by_bin = (part.reshape(-1, 3) for part in parts)
    return Aggregate(by_step, by_place, by_bin, from_cube)
