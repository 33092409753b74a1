"""What if: what is changed changes, what is not stays, and a planted lever is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.explain.counterfactual import changed, distance_curve, moved, nearest_view, smallest_crossing


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


def test_distance_curve_passes_through_the_case_itself(predictor, measured) -> None:
    for case in measured[:4]:
        curve = distance_curve(predictor, case, nearest_view(case))
        now = predictor.predict_measured([case])[0].probability
        assert curve.probability[curve.here] == pytest.approx(now, abs=1e-5)
        assert (np.diff(curve.distance) >= 0).all()
        assert curve.unit == "mm"


class Planted:
    """A model that reads the margin only: 0.8 where it is irregular, 0.2 elsewhere."""

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
