"""How fast the explanations are beside the libraries' own: `python tests/benchmarks/explanations.py [--json] [--cases N]`.

One game, every group of a sample case against the model's "missing" tokens, played as a user calls each explainer, in turns
on the same cases in one run; errors, as shares of the values' norm, are against all 2,064 coalitions.
Then the parts of the Case page, warm.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
FEWER = "ours, 56 coalitions"
"""About as exact as `shap.PermutationExplainer` with its defaults, which `ratio_to_fewer` is for."""


class Game:
    """The model as a function of (n, G) masks; counts the rows it was asked for."""

    def __init__(self, predictor, measured) -> None:  # type: ignore[no-untyped-def]
        self.predictor, self.inputs, self.rows = predictor, predictor.encode([measured]), 0

    def __call__(self, masks: Any) -> np.ndarray:
        from model.encode import drop_groups

        keep = torch.as_tensor(np.asarray(masks)) > 0.5
        self.rows += len(keep)
        logits = []
        for block in torch.split(keep, 128):
            output = self.predictor.run(drop_groups(self.inputs.repeat(len(block)), block))
            logits.append(self.predictor.calibrated(output.logit.float()))
        return torch.cat(logits).double().numpy()


def kernel(game: Game, players: int) -> np.ndarray:
    import shap

    return shap.KernelExplainer(game, np.zeros((1, players))).shap_values(np.ones((1, players)), silent=True)[0]


def permutation(game: Game, players: int) -> np.ndarray:
    import shap

    explainer = shap.PermutationExplainer(game, shap.maskers.Independent(np.zeros((1, players))), seed=0)
    return explainer(np.ones((1, players)), silent=True).values[0]


def sampling(game: Game, players: int) -> np.ndarray:
    from captum.attr import ShapleyValueSampling

    def forward(masks: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(game(masks))

    torch.manual_seed(0)
    return ShapleyValueSampling(forward).attribute(torch.ones(1, players), baselines=torch.zeros(1, players)).numpy()[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cases", type=int, default=12)
    options = parser.parse_args()
    logging.getLogger("shap").setLevel(logging.ERROR)

    from model.explain.attention import cross_attention
    from model.explain.attention_gradient import attention_gradient
    from model.explain.gradients import integrated_gradients
    from model.explain.shapley import group_shapley
    from model.ingest.cases import read_cohort
    from model.predict import Predictor

    predictor, cohort = Predictor.load(device="cpu"), read_cohort(ROOT / "data_samples")
    cases = predictor.measure(cohort.case(c) for c in cohort.case_ids[: options.cases + 1])
    group_shapley(predictor, cases[-1])  # warm: kernels, the rule
    others = {
        "shap.KernelExplainer": kernel, "shap.PermutationExplainer": permutation, "captum.ShapleyValueSampling": sampling,
    }  # fmt: skip
    seconds: dict[str, list[float]] = {}
    errors: dict[str, list[float]] = {}
    rows: dict[str, int] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        time.sleep(0.1)  # threads of NumPy's that still wait in the one before get in nobody's way
        begin = time.perf_counter()
        result = call()
        seconds.setdefault(name, []).append(time.perf_counter() - begin)
        return result

    for case in cases[: options.cases]:
        exact = timed("exact", lambda case=case: group_shapley(predictor, case, exact=True))
        ours = timed("ours", lambda case=case: group_shapley(predictor, case))
        fewer = timed(FEWER, lambda case=case: group_shapley(predictor, case, coalitions=56))
        found = {"exact": exact.values, "ours": ours.values, FEWER: fewer.values}
        rows |= {"exact": exact.model_rows, "ours": ours.model_rows, FEWER: fewer.model_rows}
        for name, explain in others.items():
            game = Game(predictor, case)
            players = len(exact.values)
            found[name] = timed(name, lambda game=game, explain=explain, n=players: explain(game, n))
            rows[name] = game.rows
        for name, values in found.items():
            gap = np.linalg.norm(values - exact.values) / np.linalg.norm(exact.values)
            errors.setdefault(name, []).append(float(gap))
        # What the Case page shows of a new case, warm: attention both ways, Shapley values, one gradient map.
        timed("panel", lambda case=case: [f(predictor, case) for f in (cross_attention, attention_gradient, group_shapley)]
              + [integrated_gradients(predictor, case)])  # fmt: skip
        timed("panel without gradient attention", lambda case=case: [
            f(predictor, case) for f in (cross_attention, group_shapley, integrated_gradients)])  # fmt: skip
    ours_seconds, fewer_seconds = statistics.median(seconds["ours"]), statistics.median(seconds[FEWER])
    table = [
        {
            "method": name, "seconds": statistics.median(times), "model_rows": rows.get(name),
            "relative_error": statistics.median(errors[name]) if name in errors else None,
            "worst_error": max(errors[name]) if name in errors else None,
            "ratio_to_ours": statistics.median(times) / ours_seconds,
            "ratio_to_fewer": statistics.median(times) / fewer_seconds,
        }
        for name, times in seconds.items()
    ]  # fmt: skip
    if options.json:
        print(json.dumps(table))
        return
    print(f"{'method':<36}{'seconds':>9}{'rows':>7}{'error':>9}{'worst':>9}{'ratio':>8}{'to 56':>8}")
    for row in table:
        error, worst = (
            "" if row[key] is None else f"{100 * row[key]:.2f} %" for key in ("relative_error", "worst_error")
        )
        count = "" if row["model_rows"] is None else row["model_rows"]
        print(f"{row['method']:<36}{row['seconds']:>9.3f}{count:>7}{error:>9}{worst:>9}{row['ratio_to_ours']:>8.1f}{row['ratio_to_fewer']:>8.1f}")


if __name__ == "__main__":
    main()
