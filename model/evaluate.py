"""A checkpoint against a cohort: one row a case, and the figures that follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from model.cohort.discrimination import auroc
from model.cohort.evaluate import Evaluation, evaluate_table
from model.encode import MeasuredCase, encode_fields
from model.errors import CaseError
from model.features.place import PLACE_COLUMNS, normalised_place
from model.ingest.cases import Cohort, ViewMasks
from model.ingest.parts import TARGETS
from model.ingest.table import present_values
from model.predict import Prediction, Predictor
from model.schema import VIEWS, Schema, View
from model.simulate.cohort import TRUTH_NAME, read_truth

Progress = Callable[[int, int], None]


def score_cohort(
    predictor: Predictor, cohort: Cohort, *, progress: Progress = lambda _done, _total: None
) -> pd.DataFrame:
    """One row a case: identity, fields read, prediction, stages, labels and, where masks are known, overlap.

    Columns `probability`, `logit`, `interval_low`, `interval_high`, `stage_1` … `stage_3` (where the model has stages),
    `nodule_iou`, `gland_iou`
    (mean over views; intersection over union of predicted with true mask), and `x_normalised`, `y_normalised`,
    `z_normalised` (see `place_of`), beside the schema's names.
    """
    rows: list[dict[str, Any]] = []
    for k in range(0, len(cohort), 32):
        names = cohort.case_ids[k : k + 32]
        measured = predictor.measure(cohort.case(name) for name in names)
        for case, prediction in zip(measured, predictor.predict_measured(measured), strict=True):
            rows.append(scored_row(case, prediction, cohort.true_masks(case.case.case_id), cohort.schema))
        progress(len(rows), len(cohort))
    return pd.DataFrame(rows)


def place_of(case: MeasuredCase) -> dict[str, float]:
    """Normalised place of a measured case, on the masks that it was measured on: see `normalised_place`."""
    masks = {v: (case.segmentations[v].gland, case.segmentations[v].nodule) for v in case.features}
    return normalised_place(masks, case.fields.get("side"))


def evaluate_scored(scored: pd.DataFrame, cohort: Cohort, *, seed: int = 0) -> Evaluation:
    """Figures of a scored cohort; the Bayes-optimal AUROC too where the folder holds the simulation's truth."""
    endpoint = cohort.schema.endpoint.name
    labelled = scored[scored[endpoint].notna()]
    label = labelled[endpoint].to_numpy(np.int64)
    extra: dict[str, Any] = {}
    truth_file = cohort.root / TRUTH_NAME
    if truth_file.exists():
        truth = read_truth(cohort.root).set_index("case_id").loc[labelled["case_id"], "probability"].to_numpy()
        extra["bayes_auroc"] = auroc(truth, label).value
    for target in TARGETS:  # masks of cases without a label count too
        overlap = scored[f"{target}_iou"].dropna()
        if len(overlap):
            extra[f"{target}_miou"] = float(overlap.mean())
    return replace(evaluate_table(labelled.assign(llnm=label), seed=seed), **extra)


def check_outcome(of_model: Schema, of_cohort: Schema, *, where: str) -> None:
    """Raise CaseError where a cohort has another endpoint than the model: its outcomes would pass for what the model predicts."""
    predicted, known = of_model.endpoint.name, of_cohort.endpoint.name
    if predicted != known:
        raise CaseError(
            f"its outcome is {known!r}, the model predicts {predicted!r}", where=where,
            fix="Name a cohort with the model's outcome, or a model of the cohort's.",
        )  # fmt: skip


def check_judged(cohort: Cohort, schema: Schema) -> None:
    """Whether a model can be judged on a cohort, told before anything is computed.

    Parameters
    ----------
    schema : of the model.

    Raises
    ------
    CaseError
        If the cohort has another endpoint, no known outcome, or a value that the model does not know.
    """
    check_outcome(schema, cohort.schema, where=str(cohort.root))
    name = schema.endpoint.name
    if not cohort.table[name].notna().any():
        raise CaseError(f"no case with a known {name!r}", where=str(cohort.root), fix="Fill in outcomes.")
    for row in cohort.table.to_dict("records"):
        encode_fields(present_values({str(k): v for k, v in row.items()}, cohort.schema), schema)


def evaluate_cohort(
    predictor: Predictor, cohort: Cohort, *, seed: int = 0, progress: Progress = lambda _done, _total: None
) -> Evaluation:
    """Score a cohort and evaluate it; raises `CaseError` as `check_judged` does."""
    check_judged(cohort, predictor.schema)
    return evaluate_scored(score_cohort(predictor, cohort, progress=progress), cohort, seed=seed)


def scored_row(case: MeasuredCase, prediction: Prediction, truth: Mapping[View, ViewMasks], schema: Schema) -> dict[str, Any]:
    """One row of `score_cohort`.

    Parameters
    ----------
    truth : true masks by view, where they are known.
    schema : of the cohort, whose labels are told.
    """
    row: dict[str, Any] = {
        "case_id": case.case.case_id,
        "centre": case.case.centre,
        "provenance": case.case.provenance,
        **case.fields,
        "probability": prediction.probability,
        "logit": prediction.logit,
        "interval_low": prediction.interval.low,
        "interval_high": prediction.interval.high,
        **{f"stage_{i + 1}": p for i, p in enumerate(prediction.stage_probabilities or ())},
        **_labels(schema, case),
    }
    place = place_of(case)
    row |= {name: place.get(name) for name in PLACE_COLUMNS}
    for target in TARGETS:
        overlaps = [
            _overlap(getattr(case.segmentations[view], target), true)
            for view in VIEWS
            if view in truth and view in case.segmentations and (true := getattr(truth[view], target)) is not None
        ]
        row[f"{target}_iou"] = float(np.mean(overlaps)) if overlaps else None
    return row


def _labels(schema: Schema, case: MeasuredCase) -> dict[str, Any]:
    """What surgery showed; another endpoint than the built-in one also as `outcome`, by which any table of scores is read."""
    labels = case.case.labels
    if schema.has_stages:
        return {f.name: labels.get(f.name) for f in schema.labels}
    known = labels.get(schema.endpoint.name)
    return {schema.endpoint.name: known, "outcome": known}


def _overlap(found: np.ndarray[Any, Any], true: np.ndarray[Any, Any]) -> float:
    return float((found & true).sum() / max(int((found | true).sum()), 1))
