"""The 3-D atlas: planted hot spots, masks, places, and the published points; and place × distance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.cohort.atlas import (
    AXES,
    MIN_SUPPORT,
    Placed,
    agreement,
    inside,
    place,
    published_points,
    risk_atlas,
    section,
    template,
)
from model.cohort.position import distance_interaction, near_and_far
from model.errors import StatisticsError
from model.features.place import normalised_place

POINTS = Path(__file__).parents[4] / "shared" / "reference" / "source_data" / "risk_atlas_points.csv"
SAMPLE = Path(__file__).parents[3] / "data_samples" / "cohort.parquet"


def cases(n: int, seed: int = 0) -> pd.DataFrame:
    """Cases all over the gland, with distances."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.random((n, 3)), columns=["x_normalised", "y_normalised", "z_normalised"])
    third = pd.cut(table["z_normalised"], [-0.1, 1 / 3, 2 / 3, 1], labels=["lower", "middle", "upper"]).astype(str)
    return table.assign(side=rng.choice(["left", "right"], n), third=third, capsule_distance_mm=rng.gamma(2, 1.5, n))


def test_planted_hot_spot_is_found_and_nowhere_else() -> None:
    table = cases(6000)
    hot = (table["side"] == "left") & (table["z_normalised"] > 0.7)
    label = np.random.default_rng(1).random(len(table)) < np.where(hot, 0.9, 0.1)
    atlas = risk_atlas(place(table), label, bandwidth=3.0)
    spots = place(pd.DataFrame({"side": ["left", "right", "left"], "third": ["upper", "upper", "lower"]})).points
    found = atlas.at(spots)
    assert found.risk[0] > 0.75
    assert found.risk[1:].max() < 0.2
    assert ((found.low < found.risk) & (found.risk < found.high)).all()


def test_grid_agrees_with_the_kernel_written_out() -> None:
    table = cases(800, 2)
    placed, label = place(table), np.random.default_rng(3).random(800)
    at = template().vertices[::97]
    weight = np.exp(-((at[:, None] - placed.points) ** 2).sum(-1) / (2 * 5.0**2))
    found = risk_atlas(placed, label, bandwidth=5.0).at(at)
    known = ~np.isnan(found.risk)
    assert known.sum() > 10
    assert found.risk[known] == pytest.approx((weight @ label / weight.sum(1))[known], abs=0.01)
    assert found.cases == pytest.approx(weight.sum(1), rel=0.06, abs=0.3)


def test_no_risk_is_given_where_nobody_lies() -> None:
    table = cases(500).query("side == 'left'").reset_index(drop=True)
    atlas = risk_atlas(place(table), np.ones(len(table)))
    found = atlas.at(place(pd.DataFrame({"side": ["left", "right"], "third": ["middle", "middle"]})).points)
    assert found.cases[0] >= MIN_SUPPORT
    assert np.isnan(found.risk[1])
    assert np.isnan(found.low[1])


def test_one_place_only_and_too_few_and_all_missing() -> None:
    same = pd.DataFrame({"side": ["isthmus"] * 40, "third": [None] * 40})
    atlas = risk_atlas(place(same), np.tile([0, 1], 20))
    assert atlas.measured == 0
    assert atlas.at(place(same.iloc[:1]).points).risk[0] == pytest.approx(0.5)
    with pytest.raises(StatisticsError, match="too few: 9 cases"):
        risk_atlas(place(same.iloc[:9]), np.zeros(9))
    nowhere = pd.DataFrame({"side": [None, "left"] * 10, "third": [None] * 20})
    assert not place(nowhere).known.any()
    with pytest.raises(StatisticsError, match="too few: 0 cases"):
        risk_atlas(place(nowhere), np.zeros(20))


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.sampled_from(["left", "right", "isthmus"]))
def test_every_place_lies_in_the_template_on_its_own_side(x: float, y: float, z: float, side: str) -> None:
    row = pd.DataFrame({"side": [side], "x_normalised": [x], "y_normalised": [y], "z_normalised": [z]})
    placed: Placed = place(row)
    point = placed.points[0]
    assert placed.measured[0]
    centre = place(pd.DataFrame({"side": [side], "third": ["middle"]})).points[0]
    assert inside(centre + 0.999 * (point - centre))
    assert side == "isthmus" or (point[0] > 0) == (side == "left")


def test_cut_planes_lie_in_the_template_and_the_surface_is_closed() -> None:
    for axis in AXES:
        plane = section(axis, 5.0)
        within = np.isfinite(plane[..., 2])
        assert within.any()
        assert inside(plane[within]).all()
        assert (plane[within][:, AXES.index(axis)] == 5.0).all()
    faces = template().faces
    assert faces.max() < len(template().vertices)


def test_place_is_read_off_the_masks_for_either_side() -> None:
    gland = np.zeros((60, 100), bool)
    gland[10:50, 10:40] = True  # the lobe
    gland[10:18, 40:100] = True  # the isthmus, to the picture's edge
    nodule = np.zeros_like(gland)
    nodule[18:22, 14:18] = True
    long = np.zeros((60, 100), bool)
    long[20:40, 5:95] = True
    spot = np.zeros_like(long)
    spot[28:32, 21:25] = True
    right = normalised_place({"transverse": (gland, nodule), "longitudinal": (long, spot)}, "right")
    assert right == pytest.approx({"x_normalised": 0.19, "y_normalised": 0.244, "z_normalised": 0.803}, abs=0.01)
    left = normalised_place({"transverse": (gland[:, ::-1], nodule[:, ::-1])}, "left")
    assert left["x_normalised"] == pytest.approx(right["x_normalised"], abs=1e-9)
    assert "z_normalised" not in left
    assert normalised_place({"transverse": (gland, nodule)}, None)["x_normalised"] == pytest.approx(right["x_normalised"])


@pytest.mark.skipif(not POINTS.exists(), reason="the published atlas is not beside this checkout")
def test_rank_agreement_with_the_published_atlas_is_reported() -> None:
    scored, points = pd.read_parquet(SAMPLE), pd.read_csv(POINTS)
    found = agreement(risk_atlas(place(scored), scored["llnm"].astype(float)), points)
    assert found.total == 4580
    assert found.used > 4000
    assert -1 <= found.correlation <= 1
    itself = published_points(points)[0]
    lobes = np.abs(itself[:, 0]) > 12
    assert inside(itself[lobes] * [1, 1, 0.97] * 0.999 + [0, 0.006, 0]).mean() > 0.8


def test_bad_points_are_named() -> None:
    scored = cases(100)
    atlas = risk_atlas(place(scored), np.zeros(100))
    with pytest.raises(StatisticsError, match="no column z"):
        agreement(atlas, pd.DataFrame({"x": [1], "y": [1], "relative_risk": [1]}))
    with pytest.raises(StatisticsError, match="no number in row 2"):
        agreement(atlas, pd.DataFrame({"x": [1, "a"], "y": [1, 2], "z": [1, 2], "relative_risk": [1, 1]}))


def test_interaction_is_found_where_planted_and_not_where_absent() -> None:
    table, rng = cases(4000, 4), np.random.default_rng(5)
    upper = (table["third"] == "upper").to_numpy()
    fall = 0.8 * table["capsule_distance_mm"].to_numpy()
    alike = table.assign(llnm=(rng.random(4000) < 1 / (1 + np.exp(fall - 2 - upper))).astype(int))
    crossed = table.assign(llnm=(rng.random(4000) < 1 / (1 + np.exp(np.where(upper, 0, fall) - 2))).astype(int))
    assert distance_interaction(alike).p_value > 0.01
    found = distance_interaction(crossed)
    assert found.p_value < 1e-6
    assert found.degrees == 2 * (len(found.places) - 1)


def test_near_and_far_count_every_case_once_and_one_place_alone_is_told() -> None:
    table = cases(300, 6).assign(llnm=np.tile([0, 1, 1], 100))
    rows = near_and_far(table, 2.5)
    assert sum(r.near.denominator + r.far.denominator for r in rows) == 300
    assert sum(r.near.numerator + r.far.numerator for r in rows) == 200
    assert next(r for r in rows if r.name == "isthmus").difference is None
    with pytest.raises(StatisticsError, match="1 places with 30 cases"):
        distance_interaction(table.assign(side="left", third="upper"))
