"""What a checkpoint keeps of its training cases to tell others apart: fitted at the end of training, or added later."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model.devices import device_for
from model.errors import CaseError
from model.ingest.cases import read_cohort
from model.schema import DEFAULT, VIEWS, Schema, View
from model.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from model.train.data import Dataset, build_dataset, dataset_logits
from model.train.folders import SHIPPED
from model.train.split import split_cases
from model.uncertainty.novelty import LEVEL, FieldTable, FloatArray, Reference, false_alarms, field_table, fit_reference

SAME_WITHIN = 0.05
"""Calibrated logits that differ by less are of the same cases: another processor adds up in another order."""


def reference_of(training: Dataset, validation: Dataset, schema: Schema = DEFAULT) -> Reference:
    """Fit on the training cases, with thresholds from the validation cases (`model.uncertainty.novelty`)."""
    parts = (_features(training), _features(validation))
    given = [{view: x[~np.isnan(x).any(1)] for view, x in part.items() if x.shape[1]} for part in parts]
    return fit_reference(given[0], given[1], _fields(training, schema), _fields(validation, schema), schema)


def cross_fitted_reference(dataset: Dataset, parts: Sequence[npt.NDArray[np.int64]], schema: Schema) -> Reference:
    """Fit on all cases, with thresholds from each part's distances to a reference that the other parts gave."""
    whole = reference_of(dataset, dataset, schema)
    pictures: dict[View, list[FloatArray]] = {view: [] for view in whole.pictures}
    fields = []
    for held in parts:
        rest = np.setdiff1d(np.arange(len(dataset)), held)
        part = reference_of(dataset.rows(torch.from_numpy(rest)), dataset.rows(torch.from_numpy(held)), schema)
        fields.append(part.fields.validation)
        for view, known in part.pictures.items():
            if view in pictures:
                pictures[view].append(known.validation)
    return Reference(
        {v: replace(p, validation=np.sort(np.concatenate(pictures[v] or [p.validation]))) for v, p in whole.pictures.items()},
        replace(whole.fields, validation=np.sort(np.concatenate(fields))),
    )


def described(reference: Reference, training: Dataset, validation: Dataset) -> dict[str, Any]:
    """For the model card: from how many cases, and how many validation cases are called unlike."""
    alarms = false_alarms(reference, _features(validation), _fields(validation, reference.fields.schema))
    return {
        "training_cases": len(training),
        "validation_cases": len(validation),
        "level": LEVEL,
        "validation_called_unlike": alarms._asdict(),
    }


def add_reference(
    cohort_folder: Path | str,
    folder: Path | str = SHIPPED,
    *,
    device: str | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Checkpoint:
    """Add the reference to a checkpoint without training again; its weights and validation cases stay as they are.

    Parameters
    ----------
    cohort_folder : the cohort that the checkpoint was trained on.
    progress : cases measured, cases in all.

    Raises
    ------
    CaseError
        If the validation cases do not give the logits that the checkpoint holds: then it is another cohort. Also if the
        card does not tell the seed by which they were chosen.
    """
    checkpoint = load_checkpoint(folder)
    try:
        seed, folds = int(checkpoint.card["settings"]["seed"]), int(checkpoint.card["settings"].get("folds", 0))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CaseError(
            "its card does not tell the seed that chose its validation cases",
            where=str(folder),
            fix="Name a checkpoint that `llnm train` made.",
        ) from None
    if folds:
        raise CaseError(
            "it was cross-fitted and holds its reference already", where=str(folder), fix="Train again for another one."
        )
    place = device_for(device)
    net, segmentation = checkpoint.net.to(place), checkpoint.segmentation
    segmentation = None if segmentation is None else segmentation.to(place)
    cohort = read_cohort(cohort_folder)
    rows = split_cases(cohort, seed=seed)
    if len(rows[1]) != len(checkpoint.validation_logits):
        raise _another(
            cohort_folder, f"{len(rows[1])} validation cases where it has {len(checkpoint.validation_logits)}"
        )
    done = 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress(done, len(cohort))

    schema = checkpoint.schema
    dataset = build_dataset(cohort, segmentation, checkpoint.tokenizer, net.config, device=place, schema=schema, progress=count)
    training, validation = (dataset.rows(torch.from_numpy(part)) for part in rows)
    logits = dataset_logits(net, validation, place).numpy() / checkpoint.temperature
    worst = float(np.abs(logits - checkpoint.validation_logits).max())
    if worst > SAME_WITHIN or not np.array_equal(validation.outcome.numpy() > 0.5, checkpoint.validation_labels):
        raise _another(cohort_folder, f"outcomes or logits of the validation cases differ (by up to {worst:.2g})")
    reference = reference_of(training, validation, schema)
    card = {**checkpoint.card, "reference": described(reference, training, validation)}
    save_checkpoint(replace(checkpoint, reference=reference, card=card), folder)
    return load_checkpoint(folder)


def _another(cohort: Path | str, why: str) -> CaseError:
    return CaseError(f"not the cohort that trained it: {why}", where=str(cohort), fix="Name the training cohort.")


def _features(dataset: Dataset) -> dict[View, FloatArray]:
    """(n, F) of each view, with rows of NaN where a case lacks the picture."""
    return {view: dataset.features[:, v].numpy().astype(float) for v, view in enumerate(VIEWS)}


def _fields(dataset: Dataset, schema: Schema) -> FieldTable:
    inputs = dataset.inputs
    return field_table(inputs.numeric.numpy(), inputs.numeric_present.numpy(), inputs.categorical.numpy(), schema)
