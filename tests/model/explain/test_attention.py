"""Cross-attention maps: rows are distributions, words are where the report has them, maps lie where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.explain.attention import cross_attention, paint
from model.schema import MAPS


def test_rows_are_distributions(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    maps = cross_attention(predictor, measured[0])
    looks = maps.clinical_to_image.sum((-3, -2, -1))
    assert looks == pytest.approx(np.ones_like(looks), abs=1e-4)
    reads = maps.image_to_clinical.sum(-1)
    assert reads == pytest.approx(np.ones_like(reads), abs=1e-4)
    total = maps.rollout.sum((1, 2, 3)) + maps.rollout_clinical.sum(1)
    assert total == pytest.approx(np.ones_like(total), abs=1e-4)


def test_words_are_those_of_the_report(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    for case in measured[:4]:
        report = case.case.report_text
        maps = cross_attention(predictor, case)
        assert maps.words
        assert all(report[w.start : w.end] == w.text for w in maps.words)
        starts = [w.start for w in maps.words]
        assert starts == sorted(starts)
        assert len(maps.tokens) == maps.clinical_to_image.shape[3] == maps.image_to_clinical.shape[-1]


def test_both_directions_read_the_same_cell(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    maps = cross_attention(predictor, measured[1])
    view = maps.views[0]
    assert maps.regions_of(2, view, layer=1, head=0) == pytest.approx(maps.clinical_to_image[1, 0, 0, 2])
    assert maps.words_of("margin", 1, 2, view, layer=0, head=3) == pytest.approx(
        maps.image_to_clinical[0, 0, 3, MAPS.index("margin"), 1, 2]
    )
    assert maps.regions_of(2, view, head="max").sum() >= maps.regions_of(2, view, head="mean").sum()


def test_without_a_report_the_fields_remain(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    silent = replace(measured[0], case=replace(measured[0].case, report_text=""))
    maps = cross_attention(predictor, silent)
    assert maps.words == ()
    assert len(maps.tokens) == len(maps.fields)


def test_paint_lays_a_hot_region_where_its_box_is() -> None:
    weights = np.zeros((4, 4), np.float32)
    weights[0, 3] = 1.0
    painted = paint(weights, (20.0, 60.0, 10.0, 50.0), (100, 80), smooth=False)
    assert np.isnan(painted[:20]).all()
    assert np.isnan(painted[:, 50:]).all()
    assert (painted[20:30, 40:50] == 1).all()
    assert np.nansum(painted) == 100
    beyond = paint(weights, (-10.0, 30.0, 60.0, 100.0), (100, 80))
    assert beyond.shape == (100, 80)
