"""How good would it be on cases it has not seen: the whole training, fold by fold, beside simple models on the same folds.

Every fold trains from nothing (scales, wide path, epochs, temperature) on the other folds' cases, and predicts its own. A
logistic regression and gradient boosting get the same fields of the same cases. Each fold's checkpoint and predictions stay
in the work folder, so the same call goes on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from model.cohort.discrimination import auroc, delong_test
from model.errors import CaseError
from model.ingest.cases import Cohort
from model.ingest.files import atomic_write_text
from model.nets.config import NetConfig, columns
from model.nets.llnm_net import NetworkInputs
from model.predict import Predictor
from model.schema import category_values
from model.train.checkpoint import load_checkpoint
from model.train.fit import Log, Step
from model.train.loop import content_hash, train
from model.train.settings import Settings
from model.train.split import IntArray, by_centre, folds, outcomes, patients, subset
from model.train.wide import design

By = Literal["patient", "centre"]
RESULT, PREDICTIONS = "crossvalidation.json", "out_of_fold.csv"
MODELS: dict[str, str] = {
    "llnm_net": "LLNM-Net", "logistic_regression": "Logistic regression", "gradient_boosting": "Gradient boosting",
}  # fmt: skip
"""Models by the names of their columns; the first is this project's."""


@dataclass(frozen=True)
class Validated:
    """Out-of-fold performance.

    Parameters
    ----------
    endpoint : short name of the outcome.
    cases, positives : of the cohort.
    by : how it was cut: "patient" or "centre".
    folds : name, cases, positives and AUROC by model of each; no AUROC where a fold has one outcome.
    models : by name, AUROC of all out-of-fold probabilities with its 95 % DeLong interval, and the difference to logistic
        regression with its interval and p value (paired DeLong).
    """

    endpoint: str
    cases: int
    positives: int
    by: By
    folds: tuple[dict[str, Any], ...]
    models: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """A table for the terminal."""
        lines = [
            f"{self.endpoint}: {self.positives} of {self.cases} cases; {len(self.folds)} folds by {self.by}, every case "
            "predicted by a model that did not see it.",
            f"{'':<22}{'AUROC':>7}  {'95 % (DeLong)':<15}{'against logistic regression':<29}",
        ]
        for name, m in self.models.items():
            against = (
                "" if name == "logistic_regression"
                else f"{m['difference']:+.3f} ({m['difference_low']:+.3f} to {m['difference_high']:+.3f}), p = {m['p']:.2f}"
            )  # fmt: skip
            lines.append(f"{MODELS[name]:<22}{m['auroc']:>7.3f}  {m['low']:.3f}–{m['high']:.3f}    {against}")
        return "\n".join(lines)


def crossvalidate(
    cohort: Cohort,
    work: Path,
    *,
    count: int = 5,
    by: By = "patient",
    seed: int = 0,
    settings: Settings | None = None,
    config: NetConfig | None = None,
    allow: Collection[str] = (),
    device: str | None = None,
    log: Log = print,
    step: Step = lambda _what, _done, _total: None,
) -> Validated:
    """Train and predict fold by fold; the result and the out-of-fold predictions are also written to `work`.

    Where the table has a split, its test cases stay out of it, and the other cases are cut anew.

    Parameters
    ----------
    work : folder for the folds; an unfinished call in it is gone on with.
    count : folds, where they are cut by patient.
    by : "patient" for `count` folds with about the same share of the outcome, "centre" to leave one centre out at a time.
    seed : of the cut.
    settings, config, allow, device : as for `train`.

    Raises
    ------
    CaseError
        As `train` does, or if `work` holds another cross-validation.
    """
    cohort = subset(cohort, (cohort.table["split"].astype(object) != "test").to_numpy(bool))
    cohort = replace(cohort, table=cohort.table.assign(split=None))
    label = outcomes(cohort)
    if by == "centre":
        parts = list(by_centre(cohort))
    else:
        parts = [(f"fold {k + 1}", held) for k, held in enumerate(folds(label, patients(cohort), count, seed=seed))]
    _claim(work, cohort, parts, settings, seed)
    tables = []
    for k, (name, held) in enumerate(parts):
        step("folds", k, len(parts))
        file = work / f"fold_{k + 1}.csv"
        if not file.exists():
            folder = work / f"fold_{k + 1}"
            training = subset(cohort, np.setdiff1d(np.arange(len(cohort)), held))
            if not (folder / "card.json").exists():
                train(
                    training, folder, settings=settings, config=config, allow=allow, device=device, name=f"fold-{k + 1}",
                    log=partial(_under, name, log), step=step,
                )  # fmt: skip
            found = _fold(Predictor(load_checkpoint(folder), device), training, subset(cohort, held))
            atomic_write_text(file, found.assign(fold=name).to_csv(index=False))
        tables.append(pd.read_csv(file, dtype={"case_id": str, "fold": str}))
    step("folds", len(parts), len(parts))
    result = _validated(cohort, pd.concat(tables, ignore_index=True), by)
    atomic_write_text(work / PREDICTIONS, pd.concat(tables, ignore_index=True).to_csv(index=False))
    atomic_write_text(work / RESULT, json.dumps(result.to_dict(), indent=1))
    return result


def _under(name: str, log: Log, line: str) -> None:
    log(f"{name}: {line}")


def _fold(predictor: Predictor, training: Cohort, held: Cohort) -> pd.DataFrame:
    """Probabilities of the held-out cases by every model."""
    cases, known = _inputs(predictor, held), _inputs(predictor, training)
    logits = torch.cat([predictor.run(part).logit.float().cpu() for part in cases])
    label, truth = outcomes(training), held.table[held.schema.endpoint.name].astype(bool).to_numpy()
    x, new = _design(predictor, known), _design(predictor, cases)
    probability = torch.sigmoid(predictor.calibrated(logits).double()).numpy()
    return pd.DataFrame(
        {
            "case_id": held.case_ids,
            "label": truth.astype(int),
            "llnm_net": probability,
            "logistic_regression": LogisticRegression(max_iter=5000).fit(x, label).predict_proba(new)[:, 1],
            "gradient_boosting": GradientBoostingClassifier(random_state=0).fit(x, label).predict_proba(new)[:, 1],
        }
    )


def _inputs(predictor: Predictor, cohort: Cohort) -> list[NetworkInputs]:
    names = cohort.case_ids
    return [
        predictor.encode(predictor.measure(cohort.case(name) for name in names[k : k + 64]))
        for k in range(0, len(names), 64)
    ]


def _design(predictor: Predictor, parts: list[NetworkInputs]) -> npt.NDArray[np.float64]:
    numbers, categories = columns(predictor.net.config, predictor.schema)
    sizes = [1 + len(category_values(predictor.schema.categories[i])) for i in categories]
    # Without their maps: cohorts with pictures are large.
    small = [replace(p, maps=p.maps[:, :, :, :0, :0]).to(torch.device("cpu")) for p in parts]
    fields = design(NetworkInputs.cat(small), numbers, categories, sizes)
    # Without fields the simple models read nothing, and predict the share of cases with the outcome.
    return fields if fields.shape[1] else np.zeros((len(fields), 1))


def _validated(cohort: Cohort, table: pd.DataFrame, by: By) -> Validated:
    label = table["label"].to_numpy(np.int64)
    scores = {name: table[name].to_numpy(float) for name in MODELS}
    models = {}
    for name, score in scores.items():
        area = auroc(score, label)
        models[name] = {"auroc": area.value, "low": area.low, "high": area.high}
        if name != "logistic_regression":
            difference, p = delong_test(score, scores["logistic_regression"], label)
            models[name] |= {
                "difference": difference.value, "difference_low": difference.low, "difference_high": difference.high, "p": p,
            }  # fmt: skip
    each = []
    for name in dict.fromkeys(table["fold"]):
        part = table[table["fold"] == name]
        y = part["label"].to_numpy(np.int64)
        both = 0 < y.sum() < len(y)
        areas = {m: auroc(part[m].to_numpy(float), y).value if both else None for m in MODELS}
        each.append({"name": str(name), "cases": len(part), "positives": int(y.sum()), "auroc": areas})
    return Validated(cohort.schema.endpoint.short, len(table), int(label.sum()), by, tuple(each), models)


def _claim(work: Path, cohort: Cohort, parts: list[tuple[str, IntArray]], settings: Settings | None, seed: int) -> None:
    """Take the work folder, or refuse if another cross-validation is in it."""
    run = {
        "cohort": cohort.name,
        "cases": content_hash(cohort),
        "folds": {name: [cohort.case_ids[i] for i in held] for name, held in parts},
        "settings": None if settings is None else asdict(settings),
        "seed": seed,
    }
    file, text = work / "crossvalidate.json", json.dumps(run, sort_keys=True)
    if file.exists() and file.read_text("utf-8") != text:
        raise CaseError("another cross-validation is there", where=str(work), fix="Name another --work, or delete it.")
    atomic_write_text(file, text)
