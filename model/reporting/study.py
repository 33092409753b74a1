"""A model and the cohort it is judged on, as the reports need them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import expit

from model.cohort.evaluate import evaluate
from model.cohort.scores import ScoredCases
from model.errors import CaseError
from model.ingest.table import IMAGE_COLUMNS
from model.reporting.performance import Performance, performance
from model.schema import Schema
from model.uncertainty.conformal import STATED, Thresholds, all_thresholds

if TYPE_CHECKING:
    from model.ingest.cases import Cohort
    from model.predict import Predictor
    from model.train.checkpoint import Checkpoint

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Subject:
    """The model that is described.

    Parameters
    ----------
    card, identity, schema : of its checkpoint.
    validation : its calibrated probabilities of the validation cases, with their outcomes.
    limits : thresholds of the conformal sets of the stated level.
    """

    card: Mapping[str, Any]
    identity: str
    schema: Schema
    validation: ScoredCases
    limits: Thresholds

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Subject:
        """The model of a checkpoint."""
        logits, labels = checkpoint.validation_logits, checkpoint.validation_labels
        return cls(
            checkpoint.card, checkpoint.identity, checkpoint.schema,
            ScoredCases.from_arrays(expit(logits.astype(float)), labels.astype(np.int64)),
            all_thresholds(logits, labels, checkpoint.schema.endpoint.short)[STATED],
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Study:
    """A cohort that a model was judged on.

    Parameters
    ----------
    name, provenance : of the cohort ("synthetic" or "user").
    cases, unlabelled : all cases, and those of them without a known outcome, which are left out.
    frame : one row a case with known outcome: outcome, probability, fields as the model read them (measured ones too).
    absent : by what the model reads, cases of `frame` in which it was not given; None where only scores are known.
    performance : the figures.
    trained_on : whether it is the cohort that trained the model, as far as its name and size tell.
    """

    name: str
    provenance: str
    cases: int
    unlabelled: int
    frame: pd.DataFrame
    absent: Mapping[str, int] | None
    performance: Performance
    trained_on: bool


def judged(predictor: Predictor, cohort: Cohort, *, progress: Progress = lambda _done, _total: None) -> Study:
    """Score a cohort and count; the figures are those of `llnm evaluate`.

    Raises
    ------
    CaseError
        If the model cannot be judged on the cohort (`model.evaluate.check_judged`).
    """
    from model.evaluate import check_judged, evaluate_scored, score_cohort

    subject = Subject.of(predictor.checkpoint)
    endpoint = subject.schema.endpoint
    check_judged(cohort, subject.schema)
    known = cohort.table[endpoint.name].notna().to_numpy(bool)
    scored = score_cohort(predictor, cohort, progress=progress)
    frame = scored[scored[endpoint.name].notna()].reset_index(drop=True)
    table = cohort.table[known]
    absent = {name: int(table[name].isna().sum()) for name in subject.schema.tokens if name in table}
    if subject.schema.has_images:
        absent |= {column: int((table[column] == "").sum()) for column in IMAGE_COLUMNS}
    if subject.schema.has_report:
        absent["report_text"] = int((table["report_text"].str.strip() == "").sum())
    found = performance(evaluate_scored(scored, cohort), frame, subject.schema, limits=subject.limits)
    return Study(
        cohort.name, cohort.provenance, len(cohort), int((~known).sum()), frame, absent, found,
        _trained_on(subject.card, cohort.name, len(cohort)),
    )  # fmt: skip


def scored_study(subject: Subject, scored: pd.DataFrame, *, name: str, provenance: str) -> Study:
    """A cohort that was scored before by the same model (`llnm predict --out`), of which only the table is there.

    Raises
    ------
    CaseError
        If no case has a known outcome.
    """
    endpoint = subject.schema.endpoint.name
    frame = scored[scored[endpoint].notna()].reset_index(drop=True)
    if not len(frame):
        raise CaseError(f"no case with a known {endpoint!r}", where=name, fix="Fill in outcomes.")
    scores = ScoredCases.from_arrays(
        frame["probability"].to_numpy(float), frame[endpoint].astype(bool).to_numpy(np.int64)
    )
    found = performance(evaluate(scores), frame, subject.schema, limits=subject.limits)
    return Study(
        name,
        provenance,
        len(scored),
        len(scored) - len(frame),
        frame,
        None,
        found,
        _trained_on(subject.card, name, len(scored)),
    )


def _trained_on(card: Mapping[str, Any], name: str, cases: int) -> bool:
    cohort = card.get("cohort", {})
    return bool(cohort.get("name") == name and cohort.get("cases") == cases)
