"""Maps and measurements of a view; Kwak TI-RADS."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import CaseError
from model.features.extract import extract_view, mosaic
from model.features.tirads import findings, kwak
from model.schema import MAPS, ViewImage

ROWS, COLUMNS = np.mgrid[:160, :180]


def ellipse(row: float, column: float, half_rows: float, half_columns: float) -> np.ndarray:
    return ((ROWS - row) / half_rows) ** 2 + ((COLUMNS - column) / half_columns) ** 2 < 1


def view(inside: float = 0.3, spacing: tuple[float, float] | None = (0.1, 0.2), seed: int = 0) -> ViewImage:
    noise = 0.02 * np.random.default_rng(seed).standard_normal(ROWS.shape)
    nodule, gland = ellipse(80, 95, 14, 22), ellipse(80, 90, 60, 70)
    pixels = np.where(nodule, inside, np.where(gland, 0.6, 0.2)) + noise
    return ViewImage(np.clip(pixels, 0, 1).astype(np.float32), spacing, nodule, gland)


def test_planted_measurements_are_found() -> None:
    features = extract_view(view())
    assert features.echo_difference == pytest.approx(-0.3, abs=0.01)
    assert features.height_mm == pytest.approx(2.8, abs=0.15)
    assert features.width_mm == pytest.approx(8.8, abs=0.3)
    assert extract_view(view(spacing=None)).height_mm is None
    assert features.maps.shape == (len(MAPS), 64, 64)
    assert features.maps.dtype == np.float32
    assert (features.maps >= 0).all()
    assert (features.maps <= 1).all()


def test_gain_matters_little_to_the_maps() -> None:
    plain = view()
    louder = ViewImage(
        (0.7 * plain.pixels + 0.2).astype(np.float32), plain.pixel_spacing_mm, plain.nodule_mask, plain.gland_mask
    )
    assert extract_view(louder).maps == pytest.approx(extract_view(plain).maps, abs=0.03)


def test_the_same_view_gives_the_same_maps() -> None:
    assert np.array_equal(extract_view(view()).maps, extract_view(view()).maps)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 9), st.integers(0, 2**31), st.integers(5, 40), st.integers(5, 40))
def test_mosaic_keeps_the_values_and_the_rest(tile: int, seed: int, rows: int, columns: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.random((rows, columns)).astype(np.float32)
    core = rng.random((rows, columns)) < 0.8
    shuffled = mosaic(pixels, core, tile=tile, seed=seed)
    assert np.array_equal(np.sort(shuffled[core]), np.sort(pixels[core]))
    assert np.array_equal(shuffled[~core], pixels[~core])


def test_margin_map_loses_where_a_spot_was_but_keeps_the_edge() -> None:
    one, other = view(), view()
    a, b = one.pixels.copy(), other.pixels.copy()
    a[78:82, 90:94] = 1.0
    b[84:88, 100:104] = 1.0
    maps_a = extract_view(ViewImage(a, one.pixel_spacing_mm, one.nodule_mask, one.gland_mask)).maps
    maps_b = extract_view(ViewImage(b, other.pixel_spacing_mm, other.nodule_mask, other.gland_mask)).maps
    internal = MAPS.index("internal")
    bright_a, bright_b = (np.argwhere(m[internal] > 0.95).mean(0) for m in (maps_a, maps_b))
    assert np.linalg.norm(bright_a - bright_b) > 5  # internal morphology knows the place
    edge = np.abs(maps_a[MAPS.index("margin")] - maps_b[MAPS.index("margin")])
    r0, r1, c0, c1 = extract_view(one).crop_box
    at = (np.arange(64) + 0.5) / 64
    rows, columns = (r0 + at * (r1 - r0)).astype(int), (c0 + at * (c1 - c0)).astype(int)
    outside = ~one.nodule_mask[rows[:, None], columns]  # type: ignore[index]
    assert edge[outside].max() < 0.15  # the band outside is the same


def test_without_masks_it_says_what_to_do() -> None:
    with pytest.raises(CaseError, match="outline both by hand"):
        extract_view(ViewImage(view().pixels))


HARMLESS = {"composition": "cystic", "echogenicity": "isoechoic", "margin": "smooth", "calcification": "none",
            "taller_than_wide": False}  # fmt: skip
SUSPICIOUS = {"composition": "solid", "echogenicity": "hypoechoic", "margin": "irregular", "calcification": "micro",
              "taller_than_wide": True}  # fmt: skip


@pytest.mark.parametrize(("count", "category"), [(0, "3"), (1, "4A"), (2, "4B"), (3, "4C"), (4, "4C"), (5, "5")])
def test_kwak_counts_suspicious_features(count: int, category: str) -> None:
    fields = {**HARMLESS, **dict(list(SUSPICIOUS.items())[:count])}
    result = kwak(fields)
    assert result.category == result.low == result.high == category
    assert len(result.suspicious) == count


def test_kwak_with_gaps_is_a_range() -> None:
    result = kwak({"composition": "solid", "margin": "smooth"})
    assert result.category is None
    assert (result.low, result.high) == ("4A", "4C")
    assert result.missing == ("echogenicity", "calcification", "taller_than_wide")
    assert kwak({**SUSPICIOUS, "echogenicity": "marked hypoechoic"}).category == "5"


def test_findings_tell_given_absent_and_unknown() -> None:
    found = {f.name: f for f in findings({"composition": "solid", "taller_than_wide": False})}
    assert len(found) == 5
    assert found["composition"].suspicious is True
    assert found["taller_than_wide"].suspicious is False
    assert found["margin"].suspicious is None
    assert found["margin"].value is None
