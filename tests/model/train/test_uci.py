"""Real patients, table only: five folds beside a logistic regression, and an explanation that names the neck examination."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from model.explain.shapley import group_shapley
from model.ingest.cases import Cohort, read_cohort
from model.predict import Predictor
from model.train.checkpoint import load_checkpoint
from model.train.crossvalidate import crossvalidate
from model.train.loop import settings_for
from model.train.settings import Settings, for_small_cohort

RAW = Path(__file__).parents[4] / "shared" / "data" / "uci_thyroid" / "Thyroid_Diff.csv"
FEATURES = {
    "Smoking": "smoking", "Hx Smoking": "hx_smoking", "Hx Radiothreapy": "hx_radiotherapy", "Thyroid Function": "function",
    "Physical Examination": "palpation", "Adenopathy": "adenopathy", "Pathology": "tumour", "Focality": "focality", "T": "t",
}  # fmt: skip


@pytest.fixture
def uci(tmp_path: Path) -> Cohort:
    """The raw file with lateral nodes (N1b) as the endpoint; what is known only afterwards is left behind."""
    if not RAW.exists():
        pytest.skip("no ../shared/data beside this checkout")
    raw = pd.read_csv(RAW, sep=";")
    table = raw.rename(columns={**FEATURES, "Age": "age_years", "Gender": "sex"})[["age_years", "sex", *FEATURES.values()]]
    table.insert(0, "case_id", [f"uci-{i:03d}" for i in range(len(raw))])
    table["llnm"] = raw["N"].eq("N1b").map({True: "yes", False: "no"})
    fields: list[dict[str, object]] = [{"name": "age_years", "low": 10}]
    for label, name in FEATURES.items():
        values = sorted(raw[label].unique())
        kind = {"kind": "flag"} if values == ["No", "Yes"] else {"kind": "category", "values": values}
        fields.append({"name": name, "label": label, **kind})
    table.to_csv(tmp_path / "cases.csv", index=False)
    (tmp_path / "cohort.json").write_text(json.dumps({"name": "UCI", "fields": fields}), "utf-8")
    return read_cohort(tmp_path)


def test_five_folds_and_an_explanation_of_real_patients(uci: Cohort, tmp_path: Path) -> None:
    assert settings_for(uci) == for_small_cohort(Settings())
    # Fewer epochs and parts than by default, so that the test is quick; the tutorial runs the whole.
    quick = Settings(folds=2, epochs=1, batch=32)
    found = crossvalidate(uci, tmp_path / "cv", settings=quick, device="cpu", log=lambda _: None)
    assert (found.cases, found.positives) == (383, 93)
    net, linear = found.models["llnm_net"], found.models["logistic_regression"]
    assert linear["auroc"] == pytest.approx(0.964, abs=0.0006)  # as published for these folds
    assert found.models["gradient_boosting"]["auroc"] == pytest.approx(0.950, abs=0.006)
    assert net["auroc"] > linear["auroc"] - 0.0005
    assert net["low"] > 0.92

    predictor = Predictor(load_checkpoint(tmp_path / "cv" / "fold_1"), "cpu")
    held = pd.read_csv(tmp_path / "cv" / "fold_1.csv")["case_id"].tolist()[:40]
    results = [group_shapley(predictor, case) for case in predictor.measure(uci.case(c) for c in held)]
    mean = np.abs([r.values for r in results]).mean(0)
    assert results[0].groups[int(mean.argmax())].label == "Adenopathy"
