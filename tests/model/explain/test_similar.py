"""Similar cases: a twin is found first, and only what differs is told."""

from __future__ import annotations

import numpy as np
import pytest

from model.explain.counterfactual import changed
from model.explain.similar import differences, embeddings, nearest


def test_a_twin_is_the_nearest(predictor, measured) -> None:
    pool = embeddings(predictor, measured)
    place, likeness = nearest(pool[5], pool, 3)[0]
    assert place == 5
    assert likeness == pytest.approx(1, abs=1e-5)


def test_similarity_falls_along_the_list_and_is_a_cosine(predictor, measured) -> None:
    pool = embeddings(predictor, measured)
    found = [likeness for _, likeness in nearest(pool[0], pool, len(pool))]
    assert found == sorted(found, reverse=True)
    assert all(-1.00001 <= s <= 1.00001 for s in found)


def test_a_common_part_does_not_make_cases_alike() -> None:
    rng = np.random.default_rng(0)
    pool = rng.normal(size=(50, 8)).astype(np.float32)
    order = [i for i, _ in nearest(pool[0], pool, 10)]
    shifted = [i for i, _ in nearest(pool[0] + 5, pool + 5, 10)]
    assert order == shifted


def test_only_what_differs_is_told(measured) -> None:
    case = measured[0]
    assert differences(case, case) == ()
    age = float(case.fields["age_years"])
    other = changed(case, {"age_years": age + 30, "sex": None, "size_mm": float(case.fields["size_mm"]) + 0.1})
    found = {d.name: (d.here, d.there) for d in differences(case, other)}
    assert found == {"age_years": (age, age + 30), "sex": (case.fields["sex"], None)}


def test_no_cases_no_embeddings(predictor) -> None:
    assert embeddings(predictor, []).shape[0] == 0
