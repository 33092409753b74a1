"""Splits: a patient is on one side, a given split is kept, a centre is left out whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.errors import CaseError
from model.ingest.cases import Cohort, read_cohort
from model.train.split import by_centre, folds, outcomes, patients, split_cases, subset, without_centre


@pytest.fixture
def cohort(make_table) -> Cohort:  # type: ignore[no-untyped-def]
    return read_cohort(make_table())


def with_column(cohort: Cohort, name: str, values: object) -> Cohort:
    return replace(cohort, table=cohort.table.assign(**{name: values}))


def test_without_patients_it_is_the_random_split_of_the_shipped_checkpoint(cohort: Cohort):
    order = np.random.default_rng([5, 80]).permutation(90)
    training, validation = split_cases(cohort, seed=5)
    assert validation.tolist() == sorted(order[:18])
    assert training.tolist() == sorted(order[18:])


def test_all_cases_of_a_patient_stand_on_one_side(cohort: Cohort):
    people = [f"p{i // 3}" for i in range(90)]
    several = with_column(cohort, "patient", people)
    training, validation = split_cases(several, seed=1)
    assert not {people[i] for i in training} & {people[i] for i in validation}
    assert 0.1 < len(validation) / 90 < 0.3
    parts = folds(outcomes(several), patients(several), 5, seed=0)
    assert sorted(np.concatenate(parts)) == list(range(90))
    owners = [{people[i] for i in part} for part in parts]
    assert sum(len(o) for o in owners) == len(set().union(*owners))


def test_a_given_split_is_kept_and_tests_are_left_out(cohort: Cohort):
    given = np.array(["train"] * 60 + ["validation"] * 20 + ["test"] * 10, object)
    training, validation = split_cases(with_column(cohort, "split", given), seed=1)
    assert (training.tolist(), validation.tolist()) == (list(range(60)), list(range(60, 80)))
    torn = with_column(with_column(cohort, "split", given), "patient", [f"p{i % 80}" for i in range(90)])
    with pytest.raises(CaseError, match="10 patients stand in two splits"):
        split_cases(torn, seed=1)
    given[3] = None
    with pytest.raises(CaseError, match="1 cases have none"):
        split_cases(with_column(cohort, "split", given), seed=1)


def test_a_centre_is_left_out_whole(cohort: Cohort):
    rest, held = without_centre(cohort, "B")
    assert set(held.table["centre"]) == {"B"}
    assert set(rest.table["centre"]) == {"A", "C"}
    assert [name for name, _ in by_centre(cohort)] == ["A", "B", "C"]
    with pytest.raises(CaseError, match=r"no case of centre 'D'.*A, B, C"):
        without_centre(cohort, "D")
    with pytest.raises(CaseError, match="patients of it are also in other centres"):
        without_centre(with_column(cohort, "patient", ["p"] * 90), "B")
    with pytest.raises(CaseError, match="needs two centres"):
        list(by_centre(rest if len(set(rest.table["centre"])) < 2 else held))


def test_what_nothing_can_be_learned_from_is_refused(cohort: Cohort):
    with pytest.raises(CaseError, match="all 90 cases are without malignancy"):
        outcomes(with_column(cohort, "malignant", [False] * 90))
    with pytest.raises(CaseError, match="1 patient"):
        outcomes(with_column(cohort, "patient", ["p"] * 90))
    with pytest.raises(CaseError, match="without `malignant`, the first t-000"):
        outcomes(with_column(cohort, "malignant", [None] + [True] * 89))
    with pytest.raises(CaseError, match="fewer folds"):
        folds(np.arange(90) < 3, patients(cohort), 5, seed=0)
    assert len(subset(cohort, np.arange(90) < 7)) == 7
