"""Anatomy in millimetres: gland outline and nodule outline of both views, and the true distances between them.

Coordinates: x to the right of the picture's middle, y down from the skin. The transverse view is built for a right
lobe (lobe on the left of the picture, trachea on the right) and mirrored at the end for a left one. The longitudinal
view has the head on the left. The gland is the region between two curves, top(x) and bottom(x); the nodule is star
shaped about its centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from model.schema import View

Array = npt.NDArray[np.float64]

OUTLINE_POINTS = 141
NODULE_ANGLES = 80
TRACHEA_RADIUS_MM = 9.0
_ANGLES = np.linspace(0, 2 * np.pi, NODULE_ANGLES, endpoint=False)


@dataclass(frozen=True)
class Anatomy:
    """Outlines of one view for n cases.

    Parameters
    ----------
    view : which view.
    x, top, bottom : (n, OUTLINE_POINTS) gland outline; the gland is top ≤ y ≤ bottom.
    centre : (n, 2) nodule centre (x, y).
    radii : (n, NODULE_ANGLES) nodule radius at each angle from +x towards +y.
    lobe : (n, 4) lobe centre x, y and half-axes.
    trachea : (n, 2) trachea centre x, y (transverse) or its top line (longitudinal isthmus); NaN where not in view.
    gap : (n,) true shortest distance of nodule outline to capsule, 0 where it reaches or crosses.
    """

    view: View
    x: Array
    top: Array
    bottom: Array
    centre: Array
    radii: Array
    lobe: Array
    trachea: Array
    gap: Array


def _segment_distance(points: Array, start: Array, end: Array) -> Array:
    """Shortest distance of each point to a polyline's segments: (n, k, 2), (n, s, 2), (n, s, 2) → (n, k)."""
    sx, sy = start[:, None, :, 0], start[:, None, :, 1]
    ax, ay = end[:, None, :, 0] - sx, end[:, None, :, 1] - sy
    px, py = points[:, :, None, 0] - sx, points[:, :, None, 1] - sy
    t = np.clip((px * ax + py * ay) / np.maximum(ax**2 + ay**2, 1e-12), 0, 1)
    return np.asarray(np.sqrt(((px - t * ax) ** 2 + (py - t * ay) ** 2).min(-1)))


def _capsule_segments(x: Array, top: Array, bottom: Array, open_right: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Capsule as segments; an end cut by the picture's edge (`open_right`) is no capsule."""
    upper, lower = np.stack([x, top], -1), np.stack([x, bottom], -1)
    left_cap = (upper[:, :1], lower[:, :1])
    right_end = np.where(open_right[:, None, None], upper[:, -1:], lower[:, -1:])
    start = np.concatenate([upper[:, :-1], lower[:, :-1], left_cap[0], upper[:, -1:]], 1)
    end = np.concatenate([upper[:, 1:], lower[:, 1:], left_cap[1], right_end], 1)
    return start, end


def _inside(points: Array, x: Array, top: Array, bottom: Array) -> npt.NDArray[np.bool_]:
    """Whether points (n, k, 2) lie between the curves."""
    result = np.empty(points.shape[:2], bool)
    for i in range(len(points)):
        px, py = points[i, :, 0], points[i, :, 1]
        above, below = np.interp(px, x[i], top[i]), np.interp(px, x[i], bottom[i])
        result[i] = (px >= x[i, 0]) & (px <= x[i, -1]) & (py >= above) & (py <= below)
    return result


def _nodule_radii(truth: pd.DataFrame, semi_x: Array, semi_y: Array, rng: np.random.Generator) -> Array:
    """Star-shaped outline: an ellipse roughened according to the margin."""
    n = len(truth)
    ellipse = (
        semi_x[:, None]
        * semi_y[:, None]
        / np.hypot(semi_y[:, None] * np.cos(_ANGLES), semi_x[:, None] * np.sin(_ANGLES))
    )
    orders = np.arange(2, 15)
    irregular = (truth["margin"] == "irregular").to_numpy()
    smooth_amplitude = np.where(orders < 5, 0.035 / orders, 0.002)
    rough_amplitude = np.where(orders < 5, 0.04 / orders, 0.036)
    amplitude = np.where(irregular[:, None], rough_amplitude, smooth_amplitude) * rng.standard_normal((n, len(orders)))
    phase = rng.uniform(0, 2 * np.pi, (n, len(orders)))
    waves = (amplitude[:, :, None] * np.cos(orders[:, None] * _ANGLES + phase[:, :, None])).sum(1)
    return np.asarray(ellipse * np.clip(1 + waves, 0.6, 1.4))


def nodule_axes(truth: pd.DataFrame, rng: np.random.Generator) -> Array:
    """True width, height (transverse) and length (longitudinal), mm (n, 3); the largest equals the size."""
    n = len(truth)
    tall = truth["taller_than_wide"].to_numpy()
    ratio = np.where(tall, rng.uniform(1.12, 1.5, n), rng.uniform(0.6, 0.97, n))
    length_ratio = rng.uniform(0.85, 1.15, n)
    axes = np.stack([np.ones(n), ratio, length_ratio], 1)
    return np.asarray(axes / axes.max(1, keepdims=True) * truth["size_mm"].to_numpy()[:, None])


def build(view: View, truth: pd.DataFrame, axes: Array, width_mm: Array, rng: np.random.Generator) -> Anatomy:
    """Place gland and nodule of one view so that the capsule gap comes near `truth.target_distance_mm`.

    The gap that results is measured on the outlines, not assumed: `Anatomy.gap` is the truth.

    Parameters
    ----------
    truth : patients (n rows), see `model.simulate.patients`.
    axes : (n, 3) nodule width, height, length in mm.
    width_mm : (n,) width of the picture.
    """
    n = len(truth)
    target = truth["target_distance_mm"].to_numpy()
    isthmus = (truth["side"] == "isthmus").to_numpy()
    semi = (axes[:, 0] if view == "transverse" else axes[:, 2]) / 2
    semi_y = axes[:, 1] / 2
    radii = _nodule_radii(truth, semi, semi_y, rng)
    skin = rng.uniform(7.5, 10.5, n)  # skin, fat and strap muscles above the gland
    room = np.minimum(target, 4.5) + 0.4
    thickness = np.maximum(rng.uniform(2.4, 4.2, n), np.where(isthmus, 2 * semi_y + room, 0))
    half_y = np.maximum(rng.uniform(6.5, 9.5, n), semi_y + room)
    edge = width_mm / 2
    if view == "transverse":
        half_x = np.maximum(rng.uniform(7.5, 10.0, n), semi + room)
        trachea_x = np.where(isthmus, rng.uniform(-2, 2, n), rng.uniform(9.0, 12.5, n))
        lobe_x = trachea_x - TRACHEA_RADIUS_MM - half_x * rng.uniform(0.55, 0.8, n)
        lobe_y = skin + half_y
        trachea_y = np.where(isthmus, skin + thickness, lobe_y - 0.45 * half_y) + TRACHEA_RADIUS_MM + 0.6
        left = np.maximum(lobe_x - half_x, -edge)
        s = np.linspace(0, 1, OUTLINE_POINTS)
        x = left[:, None] + (edge - left)[:, None] * (1 - np.cos(np.pi / 2 * s))
        top, bottom = _transverse_curves(x, lobe_x, lobe_y, half_x, half_y, trachea_x, trachea_y, thickness, isthmus)
        top, bottom = _uneven(x, top, bottom, rng)
        trachea = np.stack([trachea_x, trachea_y], 1)
        start, end = _capsule_segments(x, top, bottom, np.ones(n, bool))
    else:
        half_x = np.where(isthmus, np.maximum(9, semi + 3), rng.uniform(19.0, 25.0, n))
        half_y = np.where(isthmus, thickness / 2, half_y)
        lobe_x, lobe_y = rng.uniform(-1.5, 1.5, n), skin + half_y
        s = np.linspace(0, 1, OUTLINE_POINTS)
        x = lobe_x[:, None] - half_x[:, None] * np.cos(np.pi * s)
        profile = _profile((x - lobe_x[:, None]) / half_x[:, None], 2.3)
        tilt = np.where(isthmus, 0.0, rng.uniform(-0.07, 0.07, n))[:, None] * (x - lobe_x[:, None])
        top, bottom = _uneven(
            x,
            lobe_y[:, None] + tilt - half_y[:, None] * profile,
            lobe_y[:, None] + tilt + half_y[:, None] * profile,
            rng,
        )
        trachea = np.where(isthmus[:, None], np.stack([lobe_x, lobe_y + half_y + 0.6], 1), np.nan)
        start, end = _capsule_segments(x, top, bottom, np.zeros(n, bool))

    # Candidate centres on a line; the one whose gap comes nearest to the target is taken.
    steps = np.linspace(0, 1, 31)
    if view == "transverse":
        angle = rng.uniform(0, 2 * np.pi, n)
        anchor = np.stack([np.where(isthmus, trachea_x + rng.uniform(-5, 5, n), lobe_x), lobe_y], 1)
        anchor[isthmus, 1] = (skin + thickness / 2)[isthmus]
        reach = np.where(isthmus[:, None], 0, np.stack([half_x * np.cos(angle), half_y * np.sin(angle)], 1))
        # A nodule of the medial wall would lie in the trachea's shadow; keep the sweep lateral and vertical.
        reach[:, 0] = np.where(reach[:, 0] > 0.5 * half_x, -reach[:, 0], reach[:, 0])
    else:
        place = truth["third"].map({"upper": -0.56, "middle": 0.0, "lower": 0.56}).to_numpy(float)
        along = np.where(isthmus, 0.0, place + rng.uniform(-0.17, 0.17, n))
        anchor = np.stack([lobe_x + along * half_x, lobe_y], 1)
        up = np.where(rng.random(n) < 0.5, -1.0, 1.0)
        reach = np.stack([np.zeros(n), np.where(isthmus, 0, up * half_y)], 1)
    centres = anchor[:, None] + steps[None, :, None] * reach[:, None]
    centre = np.empty((n, 2))
    gap = np.empty(n)
    outline = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)
    # The second view shows the same nodule at its nearest or a little deeper.
    aim = target + (0.0 if view == "transverse" else 0.35 * rng.exponential(1.0, n))
    for i in range(0, n, 128):  # in blocks: the distance tables are large
        b = slice(i, i + 128)
        reach_of_nodule = (radii[b].mean(1) + semi_y[b]) / 2
        to_capsule = _segment_distance(centres[b], start[b], end[b]) - reach_of_nodule[:, None]
        best = np.abs(to_capsule - aim[b][:, None]).argmin(1)
        centre[b] = centres[b][np.arange(len(best)), best]
        points = centre[b][:, None] + radii[b][..., None] * outline
        nearest = _segment_distance(points, start[b], end[b]).min(1)
        gap[b] = np.where(_inside(points, x[b], top[b], bottom[b]).all(1), nearest, 0.0)
    lobe = np.stack([lobe_x, lobe_y, half_x, half_y], 1)
    return Anatomy(view, x, top, bottom, centre, radii, lobe, trachea, gap)


def _profile(u: Array, power: float) -> Array:
    """Half height of a superellipse at −1 ≤ u ≤ 1."""
    return np.asarray((1 - np.minimum(np.abs(u), 1) ** power) ** (1 / power))


def _uneven(x: Array, top: Array, bottom: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Real glands are no ellipses: slow waves of up to about half a millimetre on both surfaces."""
    thickness = np.maximum(bottom - top, 0)
    orders = np.arange(1, 5)
    result = []
    for curve, sign in ((top, -1.0), (bottom, 1.0)):
        size = 0.55 / orders * rng.standard_normal((len(x), len(orders)))
        phase = rng.uniform(0, 2 * np.pi, (len(x), len(orders)))
        turn = 2 * np.pi * orders[None, :, None] * (x / 44.0)[:, None, :] + phase[:, :, None]
        wave = (size[:, :, None] * np.cos(turn)).sum(1) * np.minimum(thickness / 12.0, 1)
        result.append(curve + sign * np.maximum(wave, -thickness / 4))
    return result[0], result[1]


def _transverse_curves(
    x: Array, lobe_x: Array, lobe_y: Array, half_x: Array, half_y: Array,
    trachea_x: Array, trachea_y: Array, thickness: Array, isthmus: npt.NDArray[np.bool_],
) -> tuple[Array, Array]:  # fmt: skip
    """Lobe joined to the isthmus that runs over the trachea to the picture's edge: top(x), bottom(x)."""
    c = [a[:, None] for a in (lobe_x, lobe_y, half_x, half_y, trachea_x, trachea_y, thickness)]
    lx, ly, hx, hy, tx, ty, th = c
    lobe = _profile((x - lx) / hx, 2.2)
    in_lobe = np.abs(x - lx) <= hx + 1e-9
    # The isthmus lies on the trachea: a flattened arc over it, continued by the other lobe's shoulder.
    arc = ty - np.sqrt(np.maximum((TRACHEA_RADIUS_MM + 0.6) ** 2 - (0.72 * (x - tx)) ** 2, 4.0))
    in_isthmus = x >= lx
    under = np.where(in_isthmus, arc, np.inf)
    over = np.where(in_isthmus, arc - th, np.inf)
    trachea = np.maximum((TRACHEA_RADIUS_MM + 0.6) ** 2 - (x - tx) ** 2, 0)
    other = np.where(isthmus[:, None] & (x > 2 * tx - lx - hx), _profile((x - 2 * tx + lx) / hx, 2.2), 0.0)
    top = np.minimum(np.where(in_lobe, ly - hy * lobe, np.inf), over)
    bottom = np.maximum(np.where(in_lobe, ly + hy * lobe, -np.inf), np.where(in_isthmus, under, -np.inf))
    top = np.where(other > 0, np.minimum(top, ly - hy * other), top)
    bottom = np.where(other > 0, np.maximum(bottom, ly + hy * other), bottom)
    # The gland wraps the trachea's shoulder and never enters it.
    bottom = np.where(trachea > 0, np.minimum(bottom, ty - np.sqrt(trachea)), bottom)
    return top, bottom
