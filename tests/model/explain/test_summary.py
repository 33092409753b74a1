"""Three sentences from numbers: every number in them must be the model's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.explain.shapley import group_shapley
from model.explain.summary import summarise
from model.schema import GROUPS


@pytest.fixture
def parts(predictor, measured):  # type: ignore[no-untyped-def]
    case = measured[0]
    return predictor.predict_measured([case])[0], group_shapley(predictor, case), case


def planted(shapley, **values: float):  # type: ignore[no-untyped-def]
    filled = np.array([values.get(g.name, 0.0) for g in GROUPS])
    return replace(shapley, values=filled, present=tuple(True for _ in GROUPS))


def test_first_sentence_holds_probability_and_its_basis(parts) -> None:
    prediction, shapley, case = parts
    first = summarise(prediction, shapley, case)[0]
    assert f"{100 * prediction.probability:.1f} %" in first
    assert f"of the {prediction.interval.count} validation cases" in first


def test_reasons_stand_on_their_side_strongest_first(parts) -> None:
    prediction, shapley, case = parts
    second = summarise(prediction, planted(shapley, age=-2.0, report=1.5, location=2.5, sex=0.01), case)[1]
    raises, lowers = second.split("; against it: ")
    assert raises.index("capsule distance and location") < raises.index("report words")
    assert "+2.5 logit" in raises
    assert "age" in lowers
    assert "−2.0" in lowers or "-2.0" in lowers
    assert "sex" not in second


def test_nothing_of_note_is_said_so(parts) -> None:
    prediction, shapley, case = parts
    assert "noticeably" in summarise(prediction, planted(shapley), case)[1]
    assert "against it: nothing of note" in summarise(prediction, planted(shapley, age=1.0), case)[1]


def test_what_is_missing_is_named(parts) -> None:
    prediction, shapley, case = parts
    bare = replace(case, fields={k: v for k, v in case.fields.items() if k != "braf_v600e"})
    assert "BRAF V600E" in summarise(prediction, shapley, bare)[2]
    unread = replace(bare, case=replace(bare.case, report_text=" "))
    assert "report" in summarise(prediction, shapley, unread)[2]
