"""Beside the truth: every cause has its group, and agreement is measured as it should be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from model.explain.shapley import group_shapley
from model.explain.truth import CAUSES, agreement, true_contributions
from model.schema import GROUPS
from model.simulate.cohort import read_truth


@pytest.fixture
def truth(cohort_folder) -> pd.DataFrame:
    return read_truth(cohort_folder).set_index("case_id")


def test_every_cause_of_the_risk_equation_belongs_to_one_group(truth: pd.DataFrame) -> None:
    named = [cause for causes in CAUSES.values() for cause in causes]
    assert sorted(named) == sorted(c.removeprefix("contribution_") for c in truth if c.startswith("contribution_"))
    assert set(CAUSES) == {g.name for g in GROUPS}


def test_true_contributions_sum_to_the_logit_from_the_mean(truth: pd.DataFrame) -> None:
    logit = np.log(truth["probability"] / (1 - truth["probability"]))
    inside = truth["probability"].between(0.001, 0.999)  # the file holds six digits
    for case_id in truth.index[inside][:5]:
        total = true_contributions(truth.loc[case_id], truth).sum()
        columns = [c for c in truth if c.startswith("contribution_")]
        other = truth.index[inside][-1]
        difference = total - true_contributions(truth.loc[other], truth).sum()
        assert difference == pytest.approx(logit[case_id] - logit[other], abs=0.02)
        assert total == pytest.approx(float((truth.loc[case_id, columns] - truth[columns].mean()).sum()), abs=1e-6)


def test_a_perfect_explanation_agrees_and_its_reverse_does_not(predictor, measured, truth: pd.DataFrame) -> None:
    case = measured[0]
    row = truth.loc[case.case.case_id]
    perfect = replace(group_shapley(predictor, case), values=true_contributions(row, truth))
    assert agreement(perfect, row, truth).rank_correlation == pytest.approx(1)
    reversed_ = replace(perfect, values=-perfect.values)
    assert agreement(reversed_, row, truth).rank_correlation == pytest.approx(-1)
    nothing = replace(perfect, values=np.zeros(len(GROUPS)))
    assert np.isnan(agreement(nothing, row, truth).rank_correlation)
