"""Pictures, reports and fields in any mixture: what a cohort lacks is not built, what a case lacks is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from model.explain.attention import cross_attention
from model.explain.shapley import group_shapley
from model.ingest.cases import read_cohort
from model.ingest.table import PATH_COLUMNS
from model.nets.config import NetConfig
from model.predict import Predictor
from model.schema import DEFAULT
from model.train.checkpoint import load_checkpoint
from model.train.crossvalidate import crossvalidate
from model.train.loop import config_for, train
from model.train.settings import Settings

QUICK = Settings(seed=3, epochs=1, segmentation_cases=4, segmentation_epochs=1, batch=12)
FIELDS = [f.name for f in DEFAULT.fields if f.role in ("input", "comparator", "measured")]


def small(config: NetConfig) -> NetConfig:
    return replace(config, width=16, heads=2, mlp_width=16, fusion_layers=min(config.fusion_layers, 1), self_layers=1, wide=False)


@pytest.fixture
def variant(cohort_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """The synthetic cohort with cells emptied: `variant(images=…, report=…, fields=…)`, each the rows that keep theirs."""

    def make(images: slice, report: slice, fields: slice) -> Path:
        copy = tmp_path / "cohort"
        shutil.copytree(cohort_folder, copy)
        table = pd.read_csv(copy / "cases.csv", dtype=str, keep_default_na=False)
        for columns, rows in ((PATH_COLUMNS, images), (["report_text"], report), (FIELDS, fields)):
            gone = table.index.difference(table.index[rows])
            table.loc[gone, [c for c in columns if c in table]] = ""
        table.to_csv(copy / "cases.csv", index=False)
        return copy

    return make


ALL, NONE = slice(None), slice(0, 0)


def test_reports_alone(variant: Callable[..., Path], tmp_path: Path) -> None:
    cohort = read_cohort(variant(NONE, ALL, NONE))
    made = train(cohort, tmp_path / "m", settings=QUICK, config=small(config_for(cohort)), device="cpu", log=lambda _: None)
    assert [g.name for g in made.schema.groups] == ["report"]
    assert made.segmentation is None
    assert made.tokenizer is not None
    predictor = Predictor(load_checkpoint(tmp_path / "m"), "cpu")
    case = predictor.measure([cohort.case(cohort.case_ids[0])])[0]
    result = group_shapley(predictor, case)
    assert result.values.sum() == pytest.approx(result.logit - result.base_logit, abs=1e-5)


def test_pictures_alone_are_measured(variant: Callable[..., Path], tmp_path: Path) -> None:
    cohort = read_cohort(variant(ALL, NONE, NONE))
    config = config_for(cohort)
    assert set(config.fields) == {f.name for f in DEFAULT.fields if f.role == "measured"}
    made = train(cohort, tmp_path / "m", settings=QUICK, config=small(config), device="cpu", log=lambda _: None)
    assert made.tokenizer is None
    assert not made.schema.has_report
    predictor = Predictor(load_checkpoint(tmp_path / "m"), "cpu")
    masked = read_cohort(cohort.root, use_masks=True)
    case = predictor.measure([masked.case(cohort.case_ids[0])])[0]
    assert cross_attention(predictor, case).words == ()
    assert not any("report" in n for n in predictor.predict_measured([case])[0].notices)
    assert group_shapley(predictor, case).present[0]


def test_pictures_alone_start_from_a_regression_of_what_is_measured(variant: Callable[..., Path], tmp_path: Path) -> None:
    """The network of a cohort of hundreds, whose fields are all numbers: the wide path has no category."""
    cohort = read_cohort(variant(ALL, NONE, NONE))
    config = replace(small(config_for(cohort)), wide=True)
    made = train(cohort, tmp_path / "m", settings=QUICK, config=config, device="cpu", log=lambda _: None)
    assert made.net.config.wide
    assert made.net.category_sizes == []


def test_reports_alone_are_cross_validated(variant: Callable[..., Path], tmp_path: Path) -> None:
    """Beside models of fields, which have none to read."""
    cohort = read_cohort(variant(NONE, ALL, NONE))
    config = small(config_for(cohort))
    found = crossvalidate(cohort, tmp_path / "cv", count=4, settings=QUICK, config=config, device="cpu", log=lambda _: None)
    assert found.folds[0]["auroc"]["logistic_regression"] == found.folds[0]["auroc"]["gradient_boosting"] == 0.5


def test_any_mixture_by_case(variant: Callable[..., Path], tmp_path: Path) -> None:
    cohort = read_cohort(variant(slice(0, 16), slice(8, 24), slice(0, 24, 2)))
    made = train(cohort, tmp_path / "m", settings=QUICK, config=small(config_for(cohort)), device="cpu", log=lambda _: None)
    predictor = Predictor(made, "cpu")
    found = predictor.predict_measured(predictor.measure(cohort.iter_cases()))
    notices = [" ".join(p.notices) for p in found]
    assert ["No picture" in n for n in notices] == [False] * 16 + [True] * 8
    assert ["No report" in n for n in notices] == [True] * 8 + [False] * 16


def test_the_shipped_model_reads_a_case_without_pictures(cohort) -> None:  # type: ignore[no-untyped-def]
    predictor = Predictor.load(device="cpu")
    case = replace(cohort.case(cohort.case_ids[0]), images={})
    found = predictor.predict(case)
    assert 0 < found.probability < 1
    assert any("No picture" in n for n in found.notices)
