"""Inside a group: parts sum to the group, a planted word is found, threads do not cross."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from model.explain.owen import owen_values
from model.explain.shapley import group_shapley


@pytest.mark.parametrize("group", ["report", "location", "internal", "pathology"])
def test_parts_sum_to_the_group(predictor, measured, group: str) -> None:  # type: ignore[no-untyped-def]
    shapley = group_shapley(predictor, measured[0])
    found = owen_values(predictor, measured[0], shapley, group)
    at = [g.name for g in shapley.groups].index(group)
    assert found.values.sum() == pytest.approx(shapley.values[at], abs=1e-6)
    assert len(found.parts) == len(found.values) == len(found.errors)
    assert (found.errors >= 0).all()
    kinds = {p.kind for p in found.parts}
    assert kinds == {"report": {"word"}, "pathology": {"field"}}.get(group, {"region", "field"})


def test_all_parts_together_are_the_whole_group(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    """With every other group there and then all words, the network says what it says of the case."""
    import torch

    from model.encode import nothing_known
    from model.explain.owen import _worths
    from model.nets.llnm_net import NetworkInputs

    inputs = predictor.encode([measured[0]])
    hidden = nothing_known(inputs)
    tokens = predictor.net.embed(NetworkInputs.cat([inputs, hidden]))
    length = tokens.image.shape[1] * tokens.image.shape[2] + tokens.clinical.shape[1]
    ends = _worths(predictor, tokens, torch.tensor([[False] * length, [True] * length]))
    assert ends[0] == pytest.approx(float(predictor.run(hidden).logit[0]), abs=1e-4)
    assert ends[1] == pytest.approx(float(predictor.run(inputs).logit[0]), abs=1e-4)


def test_a_group_that_is_not_there_is_refused(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    from dataclasses import replace

    bare = replace(measured[0], case=replace(measured[0].case, report_text=""))
    with pytest.raises(ValueError, match="nothing of 'report'"):
        owen_values(predictor, bare, group_shapley(predictor, bare), "report")


def test_ten_sessions_at_once_get_their_own_parts(predictor, measured) -> None:  # type: ignore[no-untyped-def]
    cases = [(m, group_shapley(predictor, m)) for m in measured[:4]]

    def values(case) -> np.ndarray:  # type: ignore[no-untyped-def]
        return owen_values(predictor, *case, "pathology").values

    alone = [values(case) for case in cases]
    with ThreadPoolExecutor(10) as pool:
        again = list(pool.map(values, cases))
    for a, b in zip(alone, again, strict=True):
        assert np.allclose(a, b, atol=1e-6)
