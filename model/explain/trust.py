"""How far each explanation method may be trusted: the rules, the figures over the sample cases, and the file of them.

`trust.json` lies beside a checkpoint and is no part of its hash. It names the model it was made for, and is not read for
another. Thresholds were set before any figure was seen; the area that `sanity.inside` compares with was changed after
eight pilot cases, for the reason given there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from model.cohort.discrimination import Estimate
from model.errors import CaseError
from model.ingest.files import atomic_write_text

if TYPE_CHECKING:
    import pandas as pd

    from model.explain.sanity import Method
    from model.ingest.cases import Cohort
    from model.predict import Predictor

FloatArray = npt.NDArray[np.float64]

NAME = "trust.json"
FORMAT = 1
COSTLY_CASES = 6
"""Cases, spread over the cohort, on which what takes many explanations is done."""
ROUNDS = 2000
"""Of the bootstrap."""
MAP_CAUSES = ("capsule distance", "calcification", "margin")
"""What is truly to be seen in the location, internal and margin maps."""


@dataclass(frozen=True)
class Check:
    """A rule by which a method passes or fails.

    Parameters
    ----------
    key, label : name in files and on pages.
    threshold : that the figure is compared with.
    above : whether the figure must lie above the threshold; else below.
    rule : what is measured, in words, with unit and source.
    failed : what to say of a method that fails.
    figure : of the values of all cases.
    """

    key: str
    label: str
    threshold: float
    above: bool
    rule: str
    failed: str
    figure: Callable[[FloatArray], float]

    def passed(self, found: Estimate) -> bool:
        """The whole 95 % interval must lie on the right side."""
        return found.low > self.threshold if self.above else found.high < self.threshold


def _mean(values: FloatArray) -> float:
    return float(values.mean())


def _median(values: FloatArray) -> float:
    return float(np.median(values))


def _largest(values: FloatArray) -> float:
    return float(values.max())


def _map_ranks(rows: FloatArray) -> float:
    """Mean over the maps of Spearman's ρ between relevance (n, 3) and true contribution (n, 3), side by side as (n, 6)."""
    return float(np.nanmean(map_ranks(rows)))


def map_ranks(rows: FloatArray) -> FloatArray:
    """(3,) Spearman's ρ over cases, one a map; 0 where either side is constant."""
    ranks = rankdata(rows, axis=0) - (len(rows) + 1) / 2
    found, true = ranks[:, :3], ranks[:, 3:]
    scale = np.sqrt((found**2).sum(0) * (true**2).sum(0))
    return np.asarray(np.divide((found * true).sum(0), scale, out=np.zeros(3), where=scale > 0))


CHECKS: tuple[Check, ...] = (
    Check(
        "randomisation", "Depends on the weights", 0.5, False,
        "Parameter randomisation (Adebayo et al. 2018): median Spearman's ρ between the explanation and that of the same "
        "network with all its weights shuffled, each tensor within itself. Below 0.5: it depends on what was learned.",
        "it hardly changes when the network's weights are shuffled", _median,
    ),
    Check(
        "deletion", "Deletion", 0.0, False,
        "Area under the probability as the highest-valued parts are taken away, less that of random orders (Petsiuk et al. "
        "2018), mean over cases. Below 0: what it calls important is what the prediction rests on.",
        "taking away what it calls important lowers the risk no faster than chance", _mean,
    ),
    Check(
        "insertion", "Insertion", 0.0, True,
        "Area under the probability as the highest-valued parts are put into an empty case, less that of random orders "
        "(Petsiuk et al. 2018), mean over cases. Above 0: what it calls important brings the prediction back.",
        "putting in what it calls important raises the risk no faster than chance", _mean,
    ),
    Check(
        "gap", "Sums to the prediction", 0.01, False,
        "Completeness or efficiency: largest gap over cases between the sum of the values and the difference of logits that "
        "it should be, as a share of it (of 0.01 logit at least). Below 0.01: the parts make up the whole.",
        "its parts do not sum to the prediction", _largest,
    ),
    Check(
        "stability", "Stable under noise", 0.5, False,
        "Largest change of the explanation when every pixel that shows something moves by up to 2 % of the grey scale "
        "(sensitivity_max, Yeh et al. 2019, by Captum), as a share of its own norm, median over cases. Below 0.5: a picture "
        "that looks the same is explained alike.",
        "pictures that look the same are explained differently", _median,
    ),
    Check(
        "inside", "Lies in the true nodule", 0.0, True,
        "Share of the absolute relevance within the true nodule of the simulation, less what would lie there if the relevance "
        "of each map were spread evenly over its pixels inside the picture; mean over cases, on outlines as the network draws "
        "them. Above 0: more than by area alone. (The area was changed after 8 pilot cases: at first it left out what equals "
        "the baseline, to which some methods give relevance all the same.)",
        "no more of it lies in the true nodule than by area alone", _mean,
    ),
    Check(
        "rank", "Follows the true causes", 0.0, True,
        "Spearman's ρ with the true contributions of the simulation. Pixels: the sum in the location, internal and margin map "
        "with the contribution of capsule distance, calcification and margin, over cases, mean of the three. Groups: over the "
        "groups of a case, median over cases. Above 0: it follows the truth.",
        "it does not follow the true causes of the simulation", _median,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """What the checks say of a method.

    Parameters
    ----------
    label : of the method.
    passed, total : checks that apply.
    failed : the checks that it fails.
    """

    label: str
    passed: int
    total: int
    failed: tuple[Check, ...]

    @property
    def sentence(self) -> str:
        """To be shown beside the method."""
        if not self.failed:
            return f"Passes {self.passed} of {self.total} checks of trust."
        told = "; ".join(f"{c.label.lower()}: {c.failed}" for c in self.failed)
        return f"Fails {len(self.failed)} of {self.total} checks of trust ({told}): do not rely on it for that."


def measure_trust(
    predictor: Predictor, cohort: Cohort, *, cases: int | None = None, seed: int = 0,
    partial: Path | None = None, progress: Callable[[int, int], None] = lambda _done, _total: None,
    methods: Sequence[Method] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Every check of every method over the cases of a simulated cohort, as `trust.json` holds it.

    Parameters
    ----------
    cohort : a folder that `llnm simulate` wrote, without `use_masks`.
    cases : the first so many; None for all.
    seed : of random orders, shuffles, noise and bootstrap.
    partial : file that finished cases are kept in, so that the same call goes on where it stopped.
    progress : called with cases done and to do.
    methods : `sanity.METHODS` by default.

    Raises
    ------
    CaseError
        If the folder has no truth, or nodule and gland were found in none of its cases.
    """
    from model.explain.sanity import METHODS, examine
    from model.simulate.cohort import read_truth

    methods = METHODS if methods is None else methods
    truth = read_truth(cohort.root).set_index("case_id")
    names = cohort.case_ids[:cases]
    costly = {names[i] for i in np.linspace(0, len(names) - 1, min(COSTLY_CASES, len(names))).round().astype(int)}
    head = {
        "format": FORMAT, "model": predictor.checkpoint.identity, "explorer": version("llnm-explorer"), "seed": seed,
        "cohort": cohort.name, "cases": len(names), "methods": [m.key for m in methods],
    }  # fmt: skip
    records = _kept(partial, head)
    progress(len(records), len(names))
    for i, name in enumerate(names):
        if name not in records:
            measured = predictor.measure([cohort.case(name)])[0]
            true = {view: masks.nodule for view, masks in cohort.true_masks(name).items() if masks.nodule is not None}
            case_seed = int(np.random.SeedSequence([seed, i]).generate_state(1)[0])
            records[name] = (
                examine(predictor, measured, true, cast("pd.Series[Any]", truth.loc[name]), truth, costly=name in costly,
                        seed=case_seed, methods=methods)
                if measured.features else {}
            )  # fmt: skip
            _keep(partial, head, {"name": name, "record": records[name]})
        progress(len(records), len(names))
    usable = [record for name in names if (record := records[name])]
    if not usable:
        raise CaseError(
            "nodule and gland found in no case", where=str(cohort.root), fix="Name a cohort that the model can outline."
        )
    return {**head, **_summary(usable, methods, seed), "left_out": len(names) - len(usable)}


def write_trust(trust: Mapping[str, Any], path: Path | str) -> None:
    """Write the file whole or not at all."""
    atomic_write_text(path, json.dumps(trust, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_trust(path: Path | str, identity: str) -> dict[str, Any] | None:
    """The figures of a model; None where there are none, or they are of another model or format."""
    try:
        trust = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    fits = isinstance(trust, dict) and trust.get("format") == FORMAT and trust.get("model") == identity
    return trust if fits else None


def verdicts(trust: Mapping[str, Any]) -> dict[str, Verdict]:
    """What the checks say of each method, by its key."""
    result = {}
    for key, method in trust["methods"].items():
        failed = tuple(c for c in CHECKS if c.key in method["checks"] and not method["checks"][c.key]["passed"])
        total = len(method["checks"])
        result[key] = Verdict(method["label"], total - len(failed), total, failed)
    return result


def estimate(values: FloatArray, figure: Callable[[FloatArray], float], seed: int) -> Estimate:
    """A figure over cases, the first axis, with its 95 % percentile bootstrap interval."""
    rng = np.random.default_rng(seed)
    drawn = [figure(values[rng.integers(len(values), size=len(values))]) for _ in range(ROUNDS)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(figure(values), float(low), float(high))


def _summary(records: Sequence[Mapping[str, Any]], methods: Sequence[Method], seed: int) -> dict[str, Any]:
    from model.explain.sanity import area

    random = {kind: np.array([r["random"][kind] for r in records]) for kind in records[0]["random"]}  # (n, R, 2, POINTS)
    true = np.array([r["true_of_maps"] for r in records])
    told: dict[str, Any] = {}
    for method in methods:
        rows = [r["methods"][method.key] for r in records]
        curve = np.array([r["curves"] for r in rows])  # (n, 2, POINTS)
        gained = area(curve) - area(random[method.kind]).mean(1)
        cascade = np.array([r["cascade"] for r in rows if "cascade" in r])
        values: dict[str, FloatArray] = {
            "randomisation": cascade[:, -1], "deletion": gained[:, 0], "insertion": gained[:, 1],
            **{key: np.array([r[key] for r in rows if key in r and math.isfinite(r[key])])
               for key in ("gap", "stability", "inside", "rank")},
        }  # fmt: skip
        if method.kind == "pixels":
            # Attention has no sign: it can only follow how strong a cause is.
            causes = true if method.directed else np.abs(true)
            values["rank"] = np.concatenate([np.array([r["of_maps"] for r in rows]), causes], 1)
        checks = {}
        for check in CHECKS:
            if not len(values[check.key]):
                continue
            of_maps = check.key == "rank" and method.kind == "pixels"
            found = estimate(values[check.key], _map_ranks if of_maps else check.figure, seed)
            checks[check.key] = {
                "value": _rounded(found.value), "low": _rounded(found.low), "high": _rounded(found.high),
                "cases": len(values[check.key]), "passed": check.passed(found),
            }  # fmt: skip
        told[method.key] = {
            "label": method.label,
            "kind": method.kind,
            "checks": checks,
            "cascade": [
                [_rounded(v) for v in (e.value, e.low, e.high)]
                for e in (estimate(stage, _median, seed) for stage in cascade.T)
            ],
            "curves": curve.mean(0).round(5).tolist(),
            "ranks": [_rounded(float(v)) for v in
                      (map_ranks(values["rank"]) if method.kind == "pixels" else values["rank"])],
        }  # fmt: skip
    bands = {kind: [drawn.mean(0).min(0).round(5).tolist(), drawn.mean(0).max(0).round(5).tolist()]
             for kind, drawn in random.items()}  # fmt: skip
    rules = [{"key": c.key, "label": c.label, "threshold": c.threshold, "above": c.above, "rule": c.rule} for c in CHECKS]
    return {"checks": rules, "methods": told, "random": bands}


def _rounded(value: float) -> float:
    """Six significant digits."""
    return float(f"{value:.6g}")


def _kept(partial: Path | None, head: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Finished cases of an interrupted run of the same call, by name."""
    if partial is None or not partial.exists():
        return {}
    whole, _, torn = partial.read_text("utf-8").rpartition("\n")  # what follows the last line end was cut off in writing
    lines = whole.split("\n")
    if not whole or json.loads(lines[0]) != head:
        partial.unlink()
        return {}
    if torn:
        atomic_write_text(partial, whole + "\n")
    return {entry["name"]: entry["record"] for entry in map(json.loads, lines[1:])}


def _keep(partial: Path | None, head: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
    if partial is None:
        return
    new = not partial.exists()
    with partial.open("a", encoding="utf-8") as file:
        if new:
            file.write(json.dumps(head) + "\n")
        file.write(json.dumps(entry) + "\n")
