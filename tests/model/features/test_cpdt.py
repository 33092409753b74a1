"""CPDT and capsule distance: analytic answers on circles and ellipses, and laws that must hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import CaseError
from model.features.cpdt import capsule_distance, capsule_distance_map, centre_point, location_image

ROWS, COLUMNS = np.mgrid[:160, :180]


def disc(row: float, column: float, radius: float, stretch: float = 1.0) -> np.ndarray:
    """Ellipse of half-axes radius (rows) and radius·stretch (columns)."""
    return np.hypot(ROWS - row, (COLUMNS - column) / stretch) < radius


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 40), st.floats(0, 2 * np.pi), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_circle_in_circle(offset: float, angle: float, dr: float, dc: float) -> None:
    """Gland radius 70, nodule radius 15: distance is 70 − 15 − offset."""
    r, c = 80 + dr, 90 + dc
    found = capsule_distance(
        disc(r, c, 70), disc(r + offset * np.sin(angle), c + offset * np.cos(angle), 15), (1.0, 1.0)
    )
    assert found.distance == pytest.approx(55 - offset, abs=0.75)
    # The deepest pixel may lie √½ from the true centre, where that is a corner of four.
    assert found.gland_depth == pytest.approx(70, abs=1)
    assert np.hypot(*np.subtract(found.capsule_point, (r, c))) == pytest.approx(70, abs=1)


def test_circles_are_unbiased() -> None:
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(60):
        r, c = 80 + rng.uniform(-0.5, 0.5), 90 + rng.uniform(-0.5, 0.5)
        offset, angle = rng.uniform(0, 45), rng.uniform(0, 2 * np.pi)
        nodule = disc(r + offset * np.sin(angle), c + offset * np.cos(angle), 15)
        errors.append(capsule_distance(disc(r, c, 70), nodule, (1.0, 1.0)).distance - (55 - offset))
    assert abs(np.mean(errors)) < 0.15
    assert np.std(errors) < 0.3


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.1, 1.5])
def test_small_nodule_in_an_ellipse(angle: float) -> None:
    """Against the distance to the parametrised ellipse."""
    half_rows, half_columns = 50.0, 75.0
    gland = disc(80, 90, half_rows, half_columns / half_rows)
    r, c = 80 + 25 * np.sin(angle), 90 + 40 * np.cos(angle)
    turn = np.linspace(0, 2 * np.pi, 20_000)
    true = np.hypot(80 + half_rows * np.sin(turn) - r, 90 + half_columns * np.cos(turn) - c).min() - 5
    assert capsule_distance(gland, disc(r, c, 5), (1.0, 1.0)).distance == pytest.approx(true, abs=0.75)


def test_phi_is_one_at_the_capsule_and_zero_at_the_centre() -> None:
    gland = disc(80, 90, 60)
    phi = location_image(gland, gland)
    assert phi[80, 90] == pytest.approx(0, abs=0.02)
    assert phi[80, 90 + 30] == pytest.approx(0.5, abs=0.02)
    assert phi[80, 90 + 59] > 0.97
    assert np.hypot(*np.subtract(centre_point(gland), (80, 90))) < 1.5
    outside = disc(80, 90, 70)
    assert (location_image(gland, outside)[outside & ~gland] == 1).all()
    nodule = disc(80, 100, 10)
    assert (location_image(gland, nodule)[~nodule] == 0).all()


def test_the_picture_border_is_no_capsule() -> None:
    gland = COLUMNS > 60  # cut by the border on three sides
    found = capsule_distance(gland, disc(80, 120, 10), (1.0, 1.0))
    assert found.distance == pytest.approx(50, abs=1.2)
    assert found.capsule_point[1] == pytest.approx(60.5, abs=1)


def test_a_hole_where_the_nodule_is_makes_no_capsule() -> None:
    gland, nodule = disc(80, 90, 60), disc(80, 90, 15)
    assert capsule_distance(gland & ~nodule, nodule, (1.0, 1.0)).distance == pytest.approx(45, abs=0.75)


def test_a_nodule_that_crosses_the_capsule_is_at_distance_zero() -> None:
    found = capsule_distance(disc(80, 90, 50), disc(80, 135, 15), (0.1, 0.1))
    assert found.distance == 0
    assert found.fraction == 0
    assert found.nodule_point == found.capsule_point


@settings(deadline=None, max_examples=15)
@given(st.floats(0.05, 0.4), st.floats(0, 40))
def test_distance_scales_with_spacing_and_fraction_does_not(spacing: float, offset: float) -> None:
    gland, nodule = disc(80, 90, 60), disc(80, 90 + offset, 10)
    pixels, scaled = capsule_distance(gland, nodule, (1.0, 1.0)), capsule_distance(gland, nodule, (spacing, spacing))
    unknown = capsule_distance(gland, nodule, None)
    assert scaled.distance == pytest.approx(spacing * pixels.distance, rel=1e-4)
    assert scaled.fraction == pytest.approx(pixels.fraction, rel=1e-4)
    assert unknown.distance is None
    assert unknown.gland_depth is None
    assert unknown.fraction == pytest.approx(pixels.fraction, rel=1e-6)


def test_unequal_spacing() -> None:
    """Rows of 0.2 mm and columns of 0.1 mm: a circle in mm is an ellipse in pixels."""
    gland, nodule = disc(80, 90, 40, 2.0), disc(80, 90 + 20, 5, 2.0)
    assert capsule_distance(gland, nodule, (0.2, 0.1)).distance == pytest.approx(8 - 2 - 1, abs=0.15)


@settings(deadline=None, max_examples=15)
@given(st.floats(-30, 30), st.floats(-30, 30))
def test_laws(dr: float, dc: float) -> None:
    gland, nodule = disc(80, 90, 60), disc(80 + dr, 90 + dc, 12)
    phi = location_image(gland, nodule)
    assert ((phi >= 0) & (phi <= 1)).all()
    mirrored = location_image(gland[:, ::-1], nodule[:, ::-1])
    assert mirrored[:, ::-1] == pytest.approx(phi, abs=1e-5)
    distance = capsule_distance_map(gland)
    assert (distance[~gland] == 0).all()
    assert (np.abs(np.diff(distance, axis=0)) <= 1 + 1e-4).all()


@pytest.mark.parametrize("which", ["gland", "nodule"])
def test_nothing_outlined_is_told(which: str) -> None:
    masks = {"gland": disc(80, 90, 60), "nodule": disc(80, 90, 10), which: np.zeros(ROWS.shape, bool)}
    with pytest.raises(CaseError, match=f"{which} mask: empty.*Outline the {which} by hand"):
        capsule_distance(masks["gland"], masks["nodule"], None)
    with pytest.raises(CaseError, match="fills the whole picture"):
        capsule_distance(np.ones(ROWS.shape, bool), disc(80, 90, 10), None)
