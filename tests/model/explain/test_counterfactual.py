"""What if: what is changed changes, what is not stays, and a planted lever is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.encode import MeasuredCase, measure
from model.explain.counterfactual import (
    capsule_path,
    changed,
    distance_curve,
    moved,
    nearest_view,
    placed,
    smallest_crossing,
    without_words,
    words_of,
)
from model.schema import DEFAULT, Case, ViewImage
from model.segment import Segmentation


def test_changing_nothing_changes_nothing(predictor, measured) -> None:
    before = predictor.predict_measured([measured[0]])[0]
    assert predictor.predict_measured([changed(measured[0])])[0] == before
    view = next(iter(measured[0].features))
    still = replace(measured[0], case=replace(measured[0].case, fields=dict(measured[0].case.fields)))
    assert moved(still, view, 0, 0).features[view].maps == pytest.approx(measured[0].features[view].maps, abs=1e-6)


def test_a_field_can_be_set_and_taken_away(measured) -> None:
    case = changed(measured[0], {"age_years": 71.0, "sex": None})
    assert case.fields["age_years"] == 71
    assert "sex" not in case.fields
    assert "sex" not in case.case.fields
    assert measured[0].fields != case.fields


def test_what_the_model_does_not_read_cannot_be_changed(measured) -> None:
    with pytest.raises(KeyError, match="tirads"):
        changed(measured[0], {"tirads": "5"})


def test_moving_towards_the_capsule_shortens_the_distance_and_keeps_the_looks(measured) -> None:
    case = next(c for c in measured if (c.features[nearest_view(c)].capsule.distance or 0) > 1)
    view = nearest_view(case)
    capsule = case.features[view].capsule
    step = np.subtract(capsule.capsule_point, capsule.nodule_point)
    nearer = moved(case, view, *(0.5 * step))
    assert nearer.fields["capsule_distance_mm"] < case.fields["capsule_distance_mm"]
    assert np.array_equal(nearer.features[view].maps[1:], case.features[view].maps[1:])
    assert not np.array_equal(nearer.features[view].maps[0], case.features[view].maps[0])


def discs(centre: tuple[float, float], radius: float = 9, spacing: tuple[float, float] | None = (0.1, 0.1)) -> MeasuredCase:
    """A round nodule in a round gland of radius 60 about (80, 80), in a picture of 160 × 160."""
    rows, columns = np.mgrid[:160, :160]
    gland = np.hypot(rows - 80, columns - 80) <= 60
    nodule = np.hypot(rows - centre[0], columns - centre[1]) <= radius
    image = ViewImage(np.random.default_rng(0).random((160, 160), np.float32), spacing)
    found = Segmentation(nodule, gland, 1.0, 1.0)
    return measure(Case("discs", {"transverse": image}), {"transverse": found}, map_size=64)


def test_path_in_a_round_gland_is_a_circle_run_clockwise() -> None:
    case = discs((40, 80))  # above the middle, 40 pixels from it
    path = capsule_path(case, "transverse")
    assert path.unit == "mm"
    assert np.hypot(*np.add(path.offset, (-40, 0)).T) == pytest.approx(40, abs=1)
    assert path.along[-1] - path.along[0] == pytest.approx(2 * np.pi * 4.0, rel=0.05)
    assert path.at(0) == pytest.approx((0, 0), abs=1e-9)
    quarter = path.at(2 * np.pi * 4.0 / 4)
    assert quarter == pytest.approx((40, 40), abs=3)  # to the right of the middle
    assert path.at(-2 * np.pi * 4.0 / 4) == pytest.approx((40, -40), abs=3)


def test_way_along_is_in_pixels_where_the_spacing_is_unknown() -> None:
    path = capsule_path(discs((40, 80), spacing=None), "transverse")
    assert path.unit == "pixels"
    assert path.along[-1] - path.along[0] == pytest.approx(2 * np.pi * 40, rel=0.05)


def test_nodule_in_the_middle_has_no_other_place_and_one_that_fills_the_picture_stays() -> None:
    path = capsule_path(discs((80, 80)), "transverse")
    assert np.abs(path.offset).max() <= 2
    whole = discs((80, 80), radius=200)
    assert len(capsule_path(whole, "transverse").along) == 1


@settings(max_examples=25)
@given(case=st.integers(0, 7), share=st.floats(-1, 1), view=st.integers(0, 1))
def test_along_keeps_the_distance_and_back_again_too(measured, case: int, share: float, view: int) -> None:
    one = measured[case]
    names = list(one.features)
    name = names[view % len(names)]
    path = capsule_path(one, name)
    pixel = max(one.case.images[name].pixel_spacing_mm)
    before = one.features[name].capsule.distance
    along = share * (path.along[-1] if share > 0 else -path.along[0])
    there = placed(one, name, path, along=along)
    assert there.features[name].capsule.distance == pytest.approx(before, abs=pixel)
    back = placed(there, name, capsule_path(there, name), along=-along)
    assert back.features[name].capsule.distance == pytest.approx(before, abs=pixel)


def test_towards_after_along_shortens_the_distance_by_as_much() -> None:
    case = discs((50, 80))
    path = capsule_path(case, "transverse")
    before = case.features["transverse"].capsule.distance
    moved_both = placed(case, "transverse", path, along=3.0, towards=1.0)
    assert moved_both.features["transverse"].capsule.distance == pytest.approx(before - 1.0, abs=0.1)
    assert placed(case, "transverse", path) is case


def test_dragged_along_or_towards_in_a_round_gland_the_nodule_follows() -> None:
    path = capsule_path(discs((50, 80)), "transverse")  # 30 pixels above the middle, 2.1 mm from the capsule
    assert path.nearest((0, 0), 5, 2) == pytest.approx((0, 0), abs=0.02)
    quarter = 2 * np.pi * 3.0 / 4
    assert path.nearest((30, 30), 5, 2) == pytest.approx((quarter, 0), abs=0.15)  # to the right of the middle
    assert path.nearest((-10, 0), 5, 2) == pytest.approx((0, 1), abs=0.15)
    assert path.nearest((10, 0), 5, 2) == pytest.approx((0, -1), abs=0.15)
    assert path.nearest((30 - 7, 40), 5, 2)[1] == pytest.approx(np.hypot(7, 40) / 10 - 3, abs=0.15)


def test_dragged_further_than_it_may_go_the_nodule_stays_within_its_limits() -> None:
    path = capsule_path(discs((50, 80), spacing=None), "transverse")
    assert path.nearest((-70, 0), 10, 20) == pytest.approx((0, 20), abs=1.5)  # out of the gland
    _, towards = path.nearest((25, 0), 10, 20)  # to the middle, as far as it may go from every side
    assert towards == -10
    assert path.room == pytest.approx(30, abs=2)  # as far as the middle
    still = capsule_path(discs((80, 80), radius=200), "transverse")
    assert still.nearest((5, 5), 3, 0)[0] == 0


@settings(max_examples=25)
@given(case=st.integers(0, 7), along=st.floats(-1, 1), towards=st.floats(-0.9, 0.9))
def test_dragged_to_a_place_of_the_sliders_the_nodule_comes_to_lie_there(measured, case, along, towards) -> None:
    one = measured[case]
    view = nearest_view(one)
    path, most = capsule_path(one, view), one.features[view].capsule.distance
    way = along * (path.along[-1] if along > 0 else -path.along[0])
    off = towards * (most if towards > 0 else path.room[np.abs(path.along - way).argmin()])
    shift = path.at(way, off)
    again = path.at(*path.nearest(shift, 99, most))
    assert np.hypot(*((again - shift) * path.spacing)) < 0.1 * most + 2 * max(path.spacing)


def test_words_are_taken_out_where_they_stand() -> None:
    report = "Left lobe,\n11 mm  nodule, solid."
    assert words_of(report) == ["Left", "lobe,", "11", "mm", "nodule,", "solid."]
    assert without_words(report, []) == report
    assert without_words(report, [1, 4]) == "Left 11 mm  solid."
    assert without_words(report, [5, 5, 99, -1]) == "Left lobe,\n11 mm  nodule,"
    assert without_words(report, range(6)) == ""


def test_distance_curve_passes_through_the_case_itself(predictor, measured) -> None:
    for case in measured[:4]:
        curve = distance_curve(predictor, case, nearest_view(case))
        now = predictor.predict_measured([case])[0].probability
        assert curve.probability[curve.here] == pytest.approx(now, abs=1e-5)
        assert (np.diff(curve.distance) >= 0).all()
        assert curve.unit == "mm"


class Planted:
    """A model that reads the margin only: 0.8 where it is irregular, 0.2 elsewhere."""

    schema = DEFAULT

    def predict_measured(self, cases):  # type: ignore[no-untyped-def]
        class Told:
            def __init__(self, probability: float) -> None:
                self.probability = probability

        return [Told(0.8 if c.fields.get("margin") == "irregular" else 0.2) for c in cases]


def test_the_planted_lever_is_found_alone(measured) -> None:
    case = changed(measured[0], {"margin": "smooth"})
    found = smallest_crossing(Planted(), case, 0.5)
    assert found is not None
    assert [(c.name, c.before, c.after) for c in found.changes] == [("margin", "smooth", "irregular")]
    assert found.cost == 1


def test_no_lever_no_crossing_and_immutable_fields_are_held(measured) -> None:
    class Age(Planted):
        def predict_measured(self, cases):  # type: ignore[no-untyped-def]
            return [replace_probability(c) for c in cases]

    def replace_probability(case):  # type: ignore[no-untyped-def]
        told = Planted().predict_measured([case])[0]
        told.probability = 0.9 if float(case.fields.get("age_years", 50)) < 40 else 0.1
        return told

    assert smallest_crossing(Age(), changed(measured[0], {"age_years": 60.0}), 0.5) is None
