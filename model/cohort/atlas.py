"""3-D risk atlas: nodules laid into one thyroid by their normalised place, and the risk smoothed around every point.

The paper registers its patients to a template by diffeomorphism (Shen et al. 2025, Fig. 4c). Two ultrasound pictures do not
hold a gland's volume, so here a nodule is placed by its shares of width, depth and height of its own lobe, and the template
is drawn by formula.

Coordinates of the template, mm: X to the patient's left, Y backwards, Z to the head; the origin lies midway between the lobes
at half their height.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage, stats
from statsmodels.stats.proportion import proportion_confint

from model.cohort.scores import FloatArray, IntArray
from model.errors import StatisticsError
from model.features.place import PLACE_COLUMNS

Axis = Literal["left–right", "front–back", "height"]
AXES: tuple[Axis, ...] = ("left–right", "front–back", "height")

MIN_SUPPORT = 10.0
"""Fewer cases around a point, each counted by its kernel weight (1 at the point itself), and no risk is given there."""
BANDWIDTH_MM = 4.0

# A usual adult gland (Gray's Anatomy: lobes of 50 × 30 × 20 mm at most; means on ultrasound near these).
HALF_HEIGHT, HALF_WIDTH, HALF_DEPTH = 22.5, 9.0, 8.0
ISTHMUS_HALF_WIDTH, ISTHMUS_HALF_HEIGHT, ISTHMUS_HALF_DEPTH = 11.0, 8.0, 2.3
_ISTHMUS_Z = -6.0
_TRACHEA_RADIUS, _TRACHEA_Y = 9.0, 10.0
_GLAND_HALF_WIDTH = 26.0

_STEP = 1.0  # mm, of the grid that cases are counted on
_LOW, _HIGH = np.array([-32.0, -12.0, -30.0]), np.array([32.0, 22.0, 30.0])
_THIRD_HEIGHT = {"upper": 5 / 6, "middle": 0.5, "lower": 1 / 6}


@dataclass(frozen=True)
class Mesh:
    """A closed surface: vertices (v, 3) in mm, faces (f, 3) as indices of vertices."""

    vertices: FloatArray
    faces: IntArray


@dataclass(frozen=True)
class Placed:
    """Where cases lie in the template.

    Parameters
    ----------
    points : (n, 3) mm, NaN where the lobe is not known.
    measured : (n,) bool, all three coordinates measured; the others lie, where a coordinate is not known, in the middle of
        their third or lobe.
    """

    points: FloatArray
    measured: npt.NDArray[np.bool_]

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Cases that could be placed (n,)."""
        return np.asarray(~np.isnan(self.points[:, 0]))


@dataclass(frozen=True)
class AtlasRisk:
    """Smoothed risk at k points.

    Parameters
    ----------
    risk, low, high : (k,) with a 95 % Wilson interval on the kernel's effective number of cases; NaN where `cases` is below
        `MIN_SUPPORT`. Neighbours share cases, and smoothing draws neighbouring risks together: the interval holds for the
        smoothed risk.
    cases : (k,) cases around the point, each counted by its kernel weight.
    """

    risk: FloatArray
    low: FloatArray
    high: FloatArray
    cases: FloatArray


@dataclass(frozen=True)
class Atlas:
    """Kernel-smoothed risk in the template.

    Parameters
    ----------
    bandwidth : standard deviation of the Gaussian kernel, mm.
    cases, measured : how many cases are in it, and how many of them have all three coordinates measured.
    weight, hits, square : (i, j, k) on a grid of 1 mm: sums of kernel weights, of weights times outcome, of squared weights.
    """

    bandwidth: float
    cases: int
    measured: int
    weight: FloatArray
    hits: FloatArray
    square: FloatArray

    def at(self, points: FloatArray) -> AtlasRisk:
        """Smoothed risk at points (k, 3) in mm."""
        where = ((np.asarray(points, float) - _LOW) / _STEP).T
        weight, hits, square = (
            ndimage.map_coordinates(grid, where, order=1, mode="constant")
            for grid in (self.weight, self.hits, self.square)
        )
        enough = weight >= MIN_SUPPORT
        safe = np.where(enough, weight, 1.0)
        risk = np.where(enough, np.clip(hits / safe, 0, 1), np.nan)
        effective = np.where(enough, safe**2 / np.maximum(square, 1e-12), 1.0)
        low, high = proportion_confint(np.nan_to_num(risk) * effective, effective, method="wilson")
        return AtlasRisk(risk, np.where(enough, low, np.nan), np.where(enough, high, np.nan), weight)


@dataclass(frozen=True)
class Agreement:
    """Rank correlation of two atlases over the same points.

    Parameters
    ----------
    correlation : Spearman's ρ over the points where this atlas gives a risk.
    mirrored : the same with left and right of the other atlas exchanged.
    used, total : points with a risk, and all.
    """

    correlation: float
    mirrored: float
    used: int
    total: int


def place(frame: pd.DataFrame) -> Placed:
    """Lay cases into the template.

    Parameters
    ----------
    frame : column `side`, and any of `third`, `x_normalised`, `y_normalised`, `z_normalised` (see
        `model.features.place.normalised_place`). What is not known is taken from the middle of the third, or of the lobe.
    """
    n = len(frame)
    side = frame["side"].to_numpy(object)
    shares = [frame[c].to_numpy(float) if c in frame else np.full(n, np.nan) for c in PLACE_COLUMNS]
    measured = ~np.isnan(np.stack(shares)).any(0)
    third = frame["third"].map(_THIRD_HEIGHT).to_numpy(float) if "third" in frame else np.full(n, np.nan)
    in_isthmus = side == "isthmus"
    height = np.where(np.isnan(shares[2]), np.where(in_isthmus, 0.5, third), shares[2])
    x, y, z = (np.where(np.isnan(v), 0.5, v) for v in (shares[0], shares[1], height))
    sign = np.where(side == "left", 1.0, np.where(side == "right", -1.0, np.nan))
    # Without third and height all that is known is the lobe: that is no place.
    points = np.where((in_isthmus | ~np.isnan(height))[:, None], _lobe_points(sign, x, y, z), np.nan)
    points[in_isthmus] = _isthmus_points(x[in_isthmus], y[in_isthmus], z[in_isthmus])
    known = ~np.isnan(points[:, 0])
    return Placed(points, measured & known)


def risk_atlas(placed: Placed, outcome: npt.ArrayLike, *, bandwidth: float = BANDWIDTH_MM) -> Atlas:
    """Nadaraya–Watson estimate of the risk with a Gaussian kernel: at each point the mean outcome of the cases around it.

    Cases are first counted on a grid of 1 mm, so that the time does not grow with their number; kernels run across the gap
    between lobe and isthmus.

    Parameters
    ----------
    placed : from `place`.
    outcome : (n,) of 0 and 1, or probabilities.
    bandwidth : standard deviation of the kernel, mm.

    Raises
    ------
    StatisticsError
        If fewer cases than `MIN_SUPPORT` have a place, or the bandwidth is below 1 mm.
    """
    if not bandwidth >= _STEP:
        raise StatisticsError(f"{bandwidth} mm", where="bandwidth", fix="Give at least 1 mm.")
    known = placed.known
    if known.sum() < MIN_SUPPORT:
        raise StatisticsError(
            f"too few: {known.sum()} cases with a known place", where="risk atlas", fix="Widen the filters."
        )
    points, y = placed.points[known], np.asarray(outcome, float)[known]
    shape = np.round((_HIGH - _LOW) / _STEP).astype(int) + 1
    cell = tuple(np.clip(np.round((points - _LOW) / _STEP).astype(int), 0, shape - 1).T)
    count, positive = np.zeros(shape), np.zeros(shape)
    np.add.at(count, cell, 1.0)
    np.add.at(positive, cell, y)

    def smooth(grid: FloatArray, width: float) -> FloatArray:
        """Sum of kernels of height 1."""
        sigma = width / _STEP
        filtered = ndimage.gaussian_filter(grid, sigma, mode="constant", truncate=5.0)
        return np.asarray(filtered * (2 * np.pi) ** 1.5 * sigma**3)

    return Atlas(
        bandwidth, int(known.sum()), int(placed.measured.sum()),
        smooth(count, bandwidth), smooth(positive, bandwidth), smooth(count, bandwidth / np.sqrt(2)),
    )  # fmt: skip


def _levels(t: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Cross-section of a lobe at height t (−1…1): centre |X|, centre Y, half width, half depth, mm."""
    profile = (1 - np.minimum(np.abs(t), 1) ** 2.3) ** (1 / 2.3)
    return 17.0 + 1.5 * t, 6.0 + 1.5 * t, HALF_WIDTH * profile * (1 - 0.12 * t), HALF_DEPTH * profile


def _lobe_points(sign: FloatArray, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Shares of a lobe → mm; sign +1 left, −1 right."""
    t, u = 2 * z - 1, 1 - 2 * x
    centre_x, centre_y, half_x, half_y = _levels(t)
    depth = half_y * np.sqrt(np.maximum(1 - u**2, 0)) * (2 * y - 1)
    return np.stack([sign * (centre_x + half_x * u), centre_y + depth, HALF_HEIGHT * t], -1)


def _isthmus_y(x: FloatArray) -> FloatArray:
    """Middle of the isthmus, which bends around the front of the trachea."""
    return _TRACHEA_Y - np.sqrt(np.maximum((_TRACHEA_RADIUS + 0.6) ** 2 - 0.7 * x**2, 1.0)) - ISTHMUS_HALF_DEPTH - 0.3


def _isthmus_points(x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
    """Shares of the isthmus → mm; x is a share of the whole gland's width."""
    across = np.clip((x - 0.5) * 2 * _GLAND_HALF_WIDTH, -ISTHMUS_HALF_WIDTH, ISTHMUS_HALF_WIDTH)
    t = 2 * z - 1
    depth = ISTHMUS_HALF_DEPTH * np.sqrt(np.maximum(1 - t**2, 0)) * (2 * y - 1)
    return np.stack([across, _isthmus_y(across) + depth, _ISTHMUS_Z + ISTHMUS_HALF_HEIGHT * t], -1)


def inside(points: FloatArray) -> npt.NDArray[np.bool_]:
    """Whether points (…, 3) lie in the template."""
    x, y, z = np.moveaxis(np.asarray(points, float), -1, 0)
    centre_x, centre_y, half_x, half_y = _levels(z / HALF_HEIGHT)
    radius = ((np.abs(x) - centre_x) / np.maximum(half_x, 1e-9)) ** 2 + ((y - centre_y) / np.maximum(half_y, 1e-9)) ** 2
    in_lobe = (np.abs(z) < HALF_HEIGHT) & (radius <= 1)
    across = ((y - _isthmus_y(x)) / ISTHMUS_HALF_DEPTH) ** 2 + ((z - _ISTHMUS_Z) / ISTHMUS_HALF_HEIGHT) ** 2
    return np.asarray(in_lobe | ((np.abs(x) <= ISTHMUS_HALF_WIDTH) & (across <= 1)))


@lru_cache(maxsize=1)
def template() -> Mesh:
    """Surface of the template: right lobe, left lobe, isthmus."""
    t = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 33))  # rings lie closer at the poles
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    centre_x, centre_y, half_x, half_y = (v[:, None] for v in _levels(t))
    lobe = np.stack(
        [
            centre_x + half_x * np.cos(turn),
            centre_y + half_y * np.sin(turn),
            np.broadcast_to(HALF_HEIGHT * t[:, None], (33, 28)),
        ],
        -1,
    )
    across = np.linspace(-ISTHMUS_HALF_WIDTH, ISTHMUS_HALF_WIDTH, 17)
    bridge = np.stack(
        [
            np.broadcast_to(across[:, None], (17, 28)),
            _isthmus_y(across)[:, None] + ISTHMUS_HALF_DEPTH * np.sin(turn),
            np.broadcast_to(_ISTHMUS_Z + ISTHMUS_HALF_HEIGHT * np.cos(turn), (17, 28)),
        ],
        -1,
    )
    vertices: list[FloatArray] = []
    faces: list[IntArray] = []
    for rings in (lobe * (-1, 1, 1), lobe, bridge):
        faces.append(_tube(*rings.shape[:2]) + sum(map(len, vertices)))
        vertices.append(rings.reshape(-1, 3))
    return Mesh(np.concatenate(vertices), np.concatenate(faces))


def trachea() -> Mesh:
    """The windpipe between the lobes, for orientation."""
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([_TRACHEA_RADIUS * 0.92 * np.cos(turn), _TRACHEA_Y + _TRACHEA_RADIUS * 0.92 * np.sin(turn)], -1)
    rings = np.stack([np.column_stack([ring, np.full(24, z)]) for z in (-28.0, 28.0)])
    return Mesh(rings.reshape(-1, 3), _tube(2, 24))


def _tube(rings: int, around: int) -> IntArray:
    """Faces between neighbouring rings of points."""
    i, j = np.meshgrid(np.arange(rings - 1), np.arange(around), indexing="ij")
    a, b = i * around + j, i * around + (j + 1) % around
    return np.concatenate([np.stack([a, b, a + around], -1), np.stack([b, b + around, a + around], -1)]).reshape(-1, 3)


def section(axis: Axis, position: float, step: float = 0.75) -> FloatArray:
    """Points (r, c, 3) of a plane across the template; NaN in Z outside of it.

    Parameters
    ----------
    axis : which coordinate is held.
    position : its value, mm.
    step : between points, mm.
    """
    held = AXES.index(axis)
    rows, columns = (k for k in range(3) if k != held)
    low, high = template().vertices.min(0), template().vertices.max(0)
    grid = np.meshgrid(
        *(np.arange(low[k], high[k] + step, step) for k in (rows, columns)), indexing="ij"
    )  # fmt: skip
    points = np.empty((*grid[0].shape, 3))
    points[..., held], points[..., rows], points[..., columns] = position, grid[0], grid[1]
    points[~inside(points), 2] = np.nan
    return points


def published_points(table: pd.DataFrame) -> tuple[FloatArray, FloatArray]:
    """Surface points of another atlas laid over the template: points (k, 3) in mm, relative risks (k,).

    Each lobe's bounding box, and the isthmus's, is stretched to the template's; what then lies outside the template's
    surface is drawn in to it.

    Parameters
    ----------
    table : columns x (to the patient's left), y (to the head), z (to the front), relative_risk, in any unit. The middle
        sixth of x is the isthmus, as in the atlas of Shen et al. 2025.

    Raises
    ------
    StatisticsError
        If a column is missing or holds anything but numbers, or a lobe has no point.
    """
    wanted = ["x", "y", "z", "relative_risk"]
    absent = [c for c in wanted if c not in table]
    if absent:
        raise StatisticsError(f"no column {', '.join(absent)}", where="atlas points", fix=f"Give {', '.join(wanted)}.")
    numbers = table[wanted].apply(pd.to_numeric, errors="coerce")
    if not np.isfinite(numbers.to_numpy()).all():
        row = int(np.flatnonzero(~np.isfinite(numbers.to_numpy()).all(1))[0]) + 1
        raise StatisticsError(f"no number in row {row}", where="atlas points", fix="Give a number in every cell.")
    raw = numbers[["x", "z", "y"]].to_numpy() * (1, -1, 1)
    share = (raw[:, 0] - raw[:, 0].min()) / max(float(np.ptp(raw[:, 0])), 1e-9)
    middle = np.abs(share - 0.5) < 1 / 12
    mesh = template().vertices
    points = np.empty_like(raw)
    bridge = slice(2 * 33 * 28, None)
    for here, box in (
        (~middle & (share < 0.5), mesh[: 33 * 28]),
        (~middle & (share > 0.5), mesh[33 * 28 : 2 * 33 * 28]),
        (middle, mesh[bridge]),
    ):
        if not here.any():
            if here is middle:
                continue
            raise StatisticsError("no point in a lobe", where="atlas points", fix="Give points of both lobes.")
        low, span = raw[here].min(0), np.maximum(np.ptp(raw[here], axis=0), 1e-9)
        points[here] = box.min(0) + (raw[here] - low) / span * np.ptp(box, axis=0)
    lobes = ~middle
    points[lobes] = _drawn_in(points[lobes])
    return points, numbers["relative_risk"].to_numpy()


def _drawn_in(points: FloatArray) -> FloatArray:
    """Points of the lobes that lie outside moved to the surface, along their own level."""
    t = np.clip(points[:, 2] / HALF_HEIGHT, -0.98, 0.98)
    sign = np.where(points[:, 0] < 0, -1.0, 1.0)
    centre_x, centre_y, half_x, half_y = _levels(t)
    u, v = (np.abs(points[:, 0]) - centre_x) / half_x, (points[:, 1] - centre_y) / half_y
    shrink = np.maximum(np.hypot(u, v), 1.0)
    return np.stack([sign * (centre_x + half_x * u / shrink), centre_y + half_y * v / shrink, HALF_HEIGHT * t], -1)


def agreement(atlas: Atlas, table: pd.DataFrame) -> Agreement:
    """Spearman's rank correlation with another atlas's surface points; see `published_points`.

    Neighbouring points are not independent, so no p-value is given.

    Raises
    ------
    StatisticsError
        If the points cannot be read, or this atlas gives a risk at fewer than 10 of them.
    """
    points, relative = published_points(table)
    found = []
    for side in (1.0, -1.0):
        risk = atlas.at(points * (side, 1, 1)).risk
        known = ~np.isnan(risk)
        if known.sum() < 10:
            raise StatisticsError(
                f"a risk at {known.sum()} of {len(points)} points", where="atlas agreement", fix="Widen the filters."
            )
        found.append((float(stats.spearmanr(risk[known], relative[known]).statistic), int(known.sum())))
    return Agreement(found[0][0], found[1][0], found[0][1], len(points))
