"""Errors that cross from a worker process say there what they said here."""

from __future__ import annotations

import pickle

import pytest

from model.cohort.source import NoLabelError
from model.errors import CaseError, ProblemError, StatisticsError, StorageError
from model.importing.survey import OpenQuestionsError, Question

FAULT = {"where": "row 2", "fix": "Mend it."}
ERRORS = [
    CaseError("odd", **FAULT),
    StorageError("the disk is full", **FAULT),
    NoLabelError(StatisticsError("no label", **FAULT), ("outcome", "known")),
    OpenQuestionsError((Question("size", "is odd", "Look at it."),)),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_an_error_comes_back_whole_from_a_pickle(error: ProblemError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert vars(back) == vars(error)
