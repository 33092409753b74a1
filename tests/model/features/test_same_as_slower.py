"""Routines chosen for speed give what the plain ones of SciPy and NumPy give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from model.features.cpdt import capsule_distance
from model.features.extract import _percentiles
from model.features.masks import bounds, counts, distance_inside, filled


def shapes(count: int):  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    for _ in range(count):
        height, width = rng.integers(20, 90, 2)
        down, right = np.mgrid[:height, :width]
        shape = ((down - height / 2) / (0.4 * height)) ** 2 + ((right - width / 2) / (0.45 * width)) ** 2 < 1
        yield shape & (rng.random(shape.shape) > rng.choice([0, 0.01, 0.2]))


def test_distances_and_their_whole_steps_are_exact() -> None:
    for mask in shapes(20):
        expected, made = ndimage.distance_transform_edt(mask), distance_inside(mask)
        assert (expected.astype(np.float32) == made).all()
        assert all(((expected <= step) == (made <= step)).all() for step in range(1, 15))


def test_holes_are_those_of_scipy() -> None:
    for mask in shapes(20):
        assert (filled(mask) == ndimage.binary_fill_holes(mask)).all()


def test_bounds_and_counts_are_those_of_numpy() -> None:
    for mask in shapes(20):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert bounds(mask) == (rows[0], rows[-1] + 1, columns[0], columns[-1] + 1)
        assert [c.tolist() for c in counts(mask.T)] == [mask.sum(0).tolist(), mask.sum(1).tolist()]
    assert bounds(np.zeros((5, 7), bool)) == (0, 0, 0, 0)


@pytest.mark.parametrize("spacing", [(0.1, 0.1), (0.1, 0.17)])
def test_the_shortest_line_ends_at_a_nearest_point(spacing: tuple[float, float]) -> None:
    for mask in shapes(20):
        gland = ndimage.binary_fill_holes(mask)
        inner = ndimage.distance_transform_edt(gland, sampling=spacing)
        nodule = inner > 0.6 * inner.max()
        found = capsule_distance(gland, nodule, spacing)
        step = np.subtract(found.capsule_point, found.nodule_point) * spacing
        assert found.distance is not None
        assert abs(np.hypot(*step) - found.distance) < 0.01


def test_percentiles_are_those_of_numpy() -> None:
    values = np.random.default_rng(0).random(1001).astype(np.float32)
    for part in (values, values[:1], values[:64]):
        assert _percentiles(part, (0.05, 0.5, 0.95)) == pytest.approx(np.quantile(part, [0.05, 0.5, 0.95]).tolist(), abs=1e-6)
