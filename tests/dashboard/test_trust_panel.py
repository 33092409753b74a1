"""How far to trust an explanation, as the pages tell it."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.figures import trust as figures
from model.explain.trust import CHECKS, FORMAT


def made_up(model: str = "m@1") -> dict[str, Any]:
    """Figures by hand: one method that fails one check and one that passes all."""

    def method(label: str, kind: str, keys: tuple[str, ...], failed: str = "") -> dict[str, Any]:
        checks = {
            key: {"value": 0.2, "low": 0.1, "high": 0.3, "cases": 4, "passed": key != failed} for key in keys
        }
        ranks = [0.1, 0.2, 0.3] if kind == "pixels" else [0.5, 0.6, 0.7, 0.8]
        return {"label": label, "kind": kind, "checks": checks, "cascade": [[0.5, 0.4, 0.6]] * 5,
                "curves": [[0.5] * 11] * 2, "ranks": ranks}  # fmt: skip

    every = tuple(c.key for c in CHECKS)
    groups = tuple(k for k in every if k != "inside")
    return {
        "format": FORMAT, "model": model, "explorer": "0", "seed": 0, "cohort": "c", "cases": 4, "left_out": 0,
        "checks": [{"key": c.key, "label": c.label, "threshold": c.threshold, "above": c.above, "rule": c.rule} for c in CHECKS],
        "methods": {"gradients": method("Integrated gradients", "pixels", every, "stability"),
                    "shapley": method("Shapley values of groups", "groups", groups)},
        "random": {"pixels": [[[0.4] * 11] * 2] * 2, "groups": [[[0.4] * 11] * 2] * 2},
    }  # fmt: skip


def page() -> None:
    from dashboard.case import trust

    trust.verdict_line("gradients")
    trust.verdict_line("shapley")
    trust.section()


def shown(monkeypatch: pytest.MonkeyPatch, trust: dict[str, Any] | None) -> str:
    monkeypatch.setattr("dashboard.resources.trust", lambda: trust)
    app = AppTest.from_function(page, default_timeout=60).run()
    assert not app.exception
    return "\n".join(str(e.value) for kind in (app.text, app.caption, app.markdown) for e in kind)


def test_a_method_that_fails_says_so_beside_it_and_in_the_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(monkeypatch, made_up())
    assert "Fails 1 of 7 checks" in said
    assert "do not rely on it" in said
    assert "Passes 6 of 6 checks" in said
    assert "4 synthetic cases" in said


def test_without_figures_of_this_model_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    said = shown(monkeypatch, None)
    assert "Passes" not in said
    assert "Fails" not in said
    assert "llnm trust" in said


def test_every_cell_says_pass_or_fail_in_a_sign() -> None:
    cells = figures.heat(made_up()).data[0].text
    assert cells[0][[c.key for c in CHECKS].index("stability")].startswith("✗")
    assert cells[1][[c.key for c in CHECKS].index("inside")] == "–"
    assert sum(cell.startswith("✓") for row in cells for cell in row) == 12
