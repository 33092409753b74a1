"""The checkpoint that ships, on the cases that ship: what the README says must hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from model import Predictor, read_cohort
from model.cohort.evaluate import evaluate
from model.cohort.scores import ScoredCases
from model.simulate.cohort import read_truth
from model.train.folders import SHIPPED

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "data_samples"


@pytest.fixture(scope="module")
def shipped() -> Predictor:
    return Predictor.load()


@pytest.fixture(scope="module")
def card() -> dict:  # type: ignore[type-arg]
    return json.loads((SHIPPED / "card.json").read_text("utf-8"))


def test_card_names_data_seed_commit_time_and_limits(card: dict) -> None:  # type: ignore[type-arg]
    assert card["training_data"] == "synthetic"
    assert card["settings"]["seed"] == 2025
    assert len(card["commit"]) >= 7
    assert sum(card["training_seconds"].values()) <= 3600
    assert "synthetic" in card["limits"][0]


def test_held_out_figures_on_the_card_reach_the_goal(card: dict) -> None:  # type: ignore[type-arg]
    external = card["external"]
    assert external["n"] == 2000
    assert external["auroc"] >= 0.94
    assert external["accuracy"] >= 0.847
    assert external["ece"] <= 0.03


def test_scored_cohort_that_ships_gives_the_card_s_figures(card: dict) -> None:  # type: ignore[type-arg]
    table = pd.read_parquet(SAMPLES / "cohort.parquet")
    figures = evaluate(ScoredCases.from_arrays(table["probability"].to_numpy(), table["llnm"].to_numpy(np.int64)))
    assert figures.auroc is not None
    assert figures.auroc.value == pytest.approx(card["external"]["auroc"], abs=2e-3)
    assert figures.accuracy.value == pytest.approx(card["external"]["accuracy"], abs=2e-3)


def test_scored_cohort_holds_no_picture_and_no_report() -> None:
    table = pd.read_parquet(SAMPLES / "cohort.parquet")
    assert "report_text" not in table
    assert not any("image" in c for c in table)


def test_samples_are_scored_close_to_their_true_probability(shipped: Predictor) -> None:
    cohort, truth = read_cohort(SAMPLES), read_truth(SAMPLES).set_index("case_id")
    found = {p.case_id: p.probability for p in shipped.predict_many(cohort.case(c) for c in cohort.case_ids)}
    true = truth["probability"].loc[list(found)].to_numpy()
    given = np.array(list(found.values()))
    assert len(found) == 40
    assert np.corrcoef(given, true)[0, 1] > 0.85
    assert ((given > 0.5) == (true > 0.5)).mean() > 0.8


def test_outlines_of_the_samples_lie_on_the_true_ones(shipped: Predictor) -> None:
    cohort = read_cohort(SAMPLES)
    overlaps = {"nodule": [], "gland": []}  # type: ignore[var-annotated]
    for case in shipped.measure(cohort.case(c) for c in cohort.case_ids[:20]):
        for view, true in cohort.true_masks(case.case.case_id).items():
            for target, values in overlaps.items():
                a, b = getattr(case.segmentations[view], target), getattr(true, target)
                values.append((a & b).sum() / (a | b).sum())
    assert np.mean(overlaps["gland"]) > 0.9
    assert np.mean(overlaps["nodule"]) > 0.7


def test_model_reacts_to_a_suspicious_node_in_words_alone(shipped: Predictor) -> None:
    from dataclasses import replace

    cohort = read_cohort(SAMPLES)
    rises = []
    for case_id in cohort.case_ids[:10]:
        case = cohort.case(case_id)
        plain = replace(case, report_text="Hypoechoic solid nodule. No suspicious lymph nodes.")
        worse = replace(case, report_text="Hypoechoic solid nodule. Suspicious lymph node in the lateral neck.")
        rises.append(shipped.predict(worse).logit - shipped.predict(plain).logit)
    assert np.median(rises) > 1


def test_field_table_of_the_samples_is_the_schema_s() -> None:
    from model.schema import fields_as_markdown

    assert fields_as_markdown() in (SAMPLES / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["scored.parquet", "cohort.parquet"])
def test_shipped_tables_are_explained_by_the_shipped_model(name: str, shipped: Predictor) -> None:
    from model.cohort.explained import BASE, explanations, read_description

    table, told = pd.read_parquet(SAMPLES / name), read_description(SAMPLES / name)
    assert told["model"] == shipped.checkpoint.identity
    found = explanations(tuple(table.columns), told)
    assert found is not None
    assert len(found.columns) == len(shipped.schema.groups)
    np.testing.assert_allclose(table[list(found.columns)].sum(axis=1) + table[BASE], table["logit"], atol=1e-4)


def test_shipped_explanations_are_those_of_the_case_page(shipped: Predictor) -> None:
    from model.explain.shapley import group_shapley

    cohort, table = read_cohort(SAMPLES), pd.read_parquet(SAMPLES / "scored.parquet").set_index("case_id")
    for case in shipped.measure(cohort.case(c) for c in cohort.case_ids[:2]):
        found = group_shapley(shipped, case)
        stored = [table.loc[case.case.case_id, f"shap_{g.name}"] for g in found.groups]
        np.testing.assert_allclose(found.values, stored, atol=0.05)  # bfloat16 rounds as the machine does
