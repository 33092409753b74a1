"""Which cases of a cohort are looked at: values, ranges, and a region drawn by hand."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from model.cohort.scores import FloatArray

MAX_CORNERS = 24
SCALE = np.array([100.0, 1000.0])
"""A corner is kept to 1/100 mm and 1/1000 of probability."""
CATEGORIES = ("centre", "sex", "histology", "side", "third", "tirads")
RANGES = {"age": "age_years", "size": "size_mm"}
STEPS = {"age": 5, "size": 5}
"""Width of the bands of a cube, in years and mm: a range whose ends are multiples of it is counted without the rows."""


@dataclass(frozen=True)
class Region:
    """A polygon over capsule distance (mm) and predicted probability; the last corner joins the first.

    Corners are kept to 0.01 mm and 0.001, and at most 24 of them, so that the region is short enough for an address
    and means the same after it was sent.
    """

    corners: tuple[tuple[float, float], ...]

    @classmethod
    def drawn(cls, x: npt.ArrayLike, y: npt.ArrayLike) -> Region | None:
        """A region from the path of a lasso, or from opposite corners of a box; None where it encloses nothing."""
        points = np.column_stack([np.asarray(x, float).ravel(), np.asarray(y, float).ravel()])
        points = points[np.isfinite(points).all(1)]
        if len(points) == 2:
            (x0, y0), (x1, y1) = points
            points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
        points = np.rint(np.clip(points, [-1, -1], [99, 2]) * SCALE) / SCALE
        while len(points) > MAX_CORNERS:  # the corner that matters least goes first (Visvalingam and Whyatt 1993)
            points = np.delete(points, np.argmin(_triangles(points)), axis=0)
        corners = tuple((float(a), float(b)) for a, b in points)
        return cls(corners) if len(set(corners)) >= 3 else None

    def contains(self, x: FloatArray, y: FloatArray) -> npt.NDArray[np.bool_]:
        """Whether points (n,) lie inside, by the even-odd rule; a missing coordinate lies outside."""
        inside = np.zeros(len(x), dtype=bool)
        for x0, y0, y1, slope in self.edges():
            inside ^= ((y0 > y) != (y1 > y)) & (x < slope * (y - y0) + x0)
        return inside & ~np.isnan(x) & ~np.isnan(y)

    def edges(self) -> tuple[tuple[float, float, float, float], ...]:
        """x and y of an edge's start, y of its end, and dx/dy; level edges are never crossed and left out."""
        around = (*self.corners, self.corners[0])
        return tuple((x0, y0, y1, (x1 - x0) / (y1 - y0)) for (x0, y0), (x1, y1) in pairwise(around) if y0 != y1)


@dataclass(frozen=True)
class Filters:
    """Which cases of a cohort are looked at; empty means all.

    Parameters
    ----------
    centre, sex, histology, side, third, tirads : allowed values.
    age, size : (low, high) inclusive, in years and mm.
    region : drawn by hand over capsule distance and predicted probability.
    """

    centre: tuple[str, ...] = ()
    sex: tuple[str, ...] = ()
    histology: tuple[str, ...] = ()
    side: tuple[str, ...] = ()
    third: tuple[str, ...] = ()
    tirads: tuple[str, ...] = ()
    age: tuple[float, float] | None = None
    size: tuple[float, float] | None = None
    region: Region | None = None

    def used(self) -> tuple[str, ...]:
        """Names of the values and ranges that leave anything out."""
        return tuple(n for n in (*CATEGORIES, *RANGES) if getattr(self, n))

    def on_steps(self) -> bool:
        """Whether a cube can count these cases: no region, and every range ends on a step."""
        ranges = [(STEPS[n], getattr(self, n)) for n in RANGES if getattr(self, n) is not None]
        return self.region is None and all(end % step == 0 for step, pair in ranges for end in pair)


def _triangles(points: FloatArray) -> FloatArray:
    """Twice the area of the triangle that each corner makes with its neighbours."""
    before, after = np.roll(points, 1, axis=0) - points, np.roll(points, -1, axis=0) - points
    return np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
