"""Shapley values over the feature groups: pictures, report and table attributed together.

The game: v(S) is the calibrated logit when the case gives the groups in S only. The other groups become the learned
"missing" token, on which the model was trained by dropping groups at random, or are taken from the cases of a background
cohort, over which the worth is averaged (Shapley 1953; Lundberg and Lee 2017). Pictures and words are turned into tokens
once a case; a coalition only puts tokens together. Which coalitions are run: `explain.coalitions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit
from torch import Tensor

from model.encode import MeasuredCase, nothing_known
from model.explain.coalitions import EXACT_NOISE, coalition_design, estimated_values
from model.nets.config import NetConfig
from model.nets.llnm_net import LlnmNet, NetworkInputs, Tokens
from model.predict import Predictor
from model.schema import DEFAULT, MAPS, Group, Schema

if TYPE_CHECKING:
    import shap

FloatArray = npt.NDArray[np.float64]

ROWS_AT_ONCE = 32  # more at once is no quicker on a CPU
COALITIONS, COALITIONS_OF_MANY, HARDLY_MORE = 112, 64, 1.25
"""Coalitions that are run against "missing", and against each case of a background cohort; all, where these are hardly more."""
REDUCED_NOISE = 1e-6
"""Variance that bfloat16 adds to a worth, as a share of the worths' own (0.002 logit, measured over whole games)."""
BACKGROUND_CASES, FEWEST, YEARS = 8, 3, 10.0
"""Cases of a background cohort at most and at least; same age is within so many years."""


@dataclass(frozen=True)
class Background:
    """What the groups that a coalition leaves out are taken from.

    Parameters
    ----------
    label : in words.
    cases : measured cases, over which the worth is averaged.
    """

    label: str
    cases: tuple[MeasuredCase, ...]


@dataclass(frozen=True)
class ShapleyResult:
    """Attribution of one prediction to the feature groups.

    Parameters
    ----------
    groups : the players, in the order of the model's schema.
    values : (G,) contribution of each to the calibrated logit of the endpoint.
    probability_values : (G,) contribution of each to the calibrated probability, by the game of probabilities. They sum
        to the difference of the probabilities, and are no rescaled logits, since the curve between is not straight.
    present : whether the case has any input of the group; an absent one has value 0 unless a background has it.
    base_logit, base_probability : mean over the background, or with every group missing.
    logit : calibrated logit of the case.
    method, baseline : what was computed, and against what.
    start : name of the place that the contributions start from.
    model_rows : cases that the network was run on.
    residual : logit − base_logit − Σ values.
    endpoint : short name of what is predicted.
    """

    groups: tuple[Group, ...]
    values: FloatArray
    probability_values: FloatArray
    present: tuple[bool, ...]
    base_logit: float
    base_probability: float
    logit: float
    method: str
    baseline: str
    start: str
    model_rows: int
    residual: float
    endpoint: str = "LLNM"

    def to_shap(self, *, probability: bool = False) -> shap.Explanation:
        """As `shap.Explanation`, in logits or in probability, so that shap's own plots work."""
        import shap

        return shap.Explanation(
            values=self.probability_values if probability else self.values,
            base_values=self.base_probability if probability else self.base_logit,
            feature_names=[g.label for g in self.groups],
        )


def backgrounds(here: MeasuredCase, pool: Sequence[MeasuredCase]) -> dict[str, Background]:
    """Background cohorts for one case: "all", "centre" (its own) and "peers" (same sex, age within ten years).

    From each, a fixed random choice of at most eight cases that have the views of this one; a cohort with fewer than three
    is left out, and so is the case itself.
    """
    age, sex, centre = here.fields.get("age_years"), here.fields.get("sex"), here.case.centre

    def peer(other: MeasuredCase) -> bool:
        years = other.fields.get("age_years")
        known = age is not None and sex is not None and years is not None
        return known and other.fields.get("sex") == sex and abs(float(years) - float(age)) <= YEARS  # type: ignore[arg-type]

    order = np.random.default_rng(0).permutation(len(pool))
    usable = [pool[i] for i in order if pool[i].case.case_id != here.case.case_id and set(here.features) <= set(pool[i].features)]
    chosen = {
        "all": ("every centre", usable),
        "centre": (f"centre {centre}", [c for c in usable if centre and c.case.centre == centre]),
        "peers": (f"same sex, age within {YEARS:.0f} years", [c for c in usable if peer(c)]),
    }
    return {
        name: Background(f"mean of {len(cases[:BACKGROUND_CASES])} cases ({label})", tuple(cases[:BACKGROUND_CASES]))
        for name, (label, cases) in chosen.items()
        if len(cases) >= FEWEST
    }


@torch.inference_mode()
def group_shapley(
    predictor: Predictor, measured: MeasuredCase, background: Background | None = None, *, exact: bool = False,
    coalitions: int | None = None,
) -> ShapleyResult:
    """Shapley values of one case over the groups of the model's schema, in calibrated logits and in probability.

    Parameters
    ----------
    predictor : shared between threads safely: nothing on it changes.
    measured : from `Predictor.measure`.
    background : None for the learned "missing" tokens.
    exact : run every coalition; else the values are estimated where there are many more than `COALITIONS`
        (`COALITIONS_OF_MANY` against a background cohort). `Predictor.quick_net` then runs, but for the two worths that are
        shown: what the values sum to is exact.
    coalitions : so many at most instead; fewer are quicker and less exact.
    """
    inputs, groups = predictor.encode([measured]), predictor.schema.groups
    rest = nothing_known(inputs, predictor.schema) if background is None else predictor.encode(background.cases)
    present = given_groups(inputs, predictor.net.config, predictor.schema)
    # A group that neither side has changes nothing.
    other = [given_groups(rest.rows([i]), predictor.net.config, predictor.schema) for i in range(len(rest))]
    players = [g for g in range(len(groups)) if present[g] or any(given[g] for given in other)]
    few = coalitions or (COALITIONS if background is None else COALITIONS_OF_MANY)
    whole = 1 << len(players)
    masks = coalition_design(len(players), whole if exact or whole <= HARDLY_MORE * few else few)
    quick = predictor.net if len(masks) == whole else predictor.quick_net
    keep = torch.zeros(len(masks), len(groups), dtype=torch.bool, device=predictor.device)
    for bit, group in enumerate(players):
        keep[:, group] = torch.from_numpy(masks >> bit & 1).bool()
    tokens = _tokens(predictor, inputs, rest)

    def worths(net: LlnmNet, rows: Tensor) -> tuple[FloatArray, FloatArray]:
        table = predictor.calibrated(_coalition_table(net, predictor.schema, tokens, rows)).double().cpu().numpy()
        return table.mean(0), expit(table).mean(0)

    game, chances = worths(quick, keep)
    # The rounding of one network cancels among its own worths; the two that are shown, and the sum, are not rounded.
    rounded = quick is not predictor.net
    ends, end_chances = worths(predictor.net, keep[[0, -1]]) if rounded else (game[[0, -1]], chances[[0, -1]])
    values, in_probability = np.zeros(len(groups)), np.zeros(len(groups))
    noise = REDUCED_NOISE if rounded else EXACT_NOISE
    for into, worth, (least, most) in ((values, game, ends), (in_probability, chances, end_chances)):
        into[players] = estimated_values(len(players), masks, worth, float(most - least), noise=noise)
    how = "Exact Shapley values" if len(masks) == whole else f"Shapley values from {len(masks)} of {whole:,} coalitions"
    return ShapleyResult(
        groups=groups,
        values=values,
        probability_values=in_probability,
        present=present,
        base_logit=float(ends[0]),
        base_probability=float(end_chances[0]),
        logit=float(ends[1]),
        method=f"{how} over feature groups",
        baseline=(
            "every group missing (the model's learned “missing” tokens)" if background is None else background.label
        ),
        start="Knowing nothing" if background is None else "Background, mean",
        model_rows=len(rest) * (len(masks) + 2 * rounded),
        residual=float(ends[1] - ends[0] - values.sum()),
        endpoint=predictor.schema.endpoint.short,
    )


def given_groups(inputs: NetworkInputs, config: NetConfig, schema: Schema = DEFAULT) -> tuple[bool, ...]:
    """Which groups one encoded case has any input of."""
    shown = (inputs.map_present & inputs.view_present[:, :, None]).any(1)[0]
    numbers = dict(zip((f.name for f in schema.numbers), inputs.numeric_present[0].tolist(), strict=True))
    categories = dict(zip((f.name for f in schema.categories), (inputs.categorical[0] > 0).tolist(), strict=True))
    given = {**numbers, **categories}
    return tuple(
        any(bool(shown[MAPS.index(m)]) for m in group.maps)
        or any(given[f] for f in group.fields if f in config.fields)
        or (group.report and bool(inputs.word_present.any()))
        for group in schema.groups
    )


def coalition_logits(predictor: Predictor, inputs: NetworkInputs, keep: Tensor) -> Tensor:
    """Uncalibrated logits (R,) of one case with groups hidden.

    Parameters
    ----------
    inputs : one encoded case.
    keep : (R, G) bool, in the order of the schema's groups; False hides the group.
    """
    hidden = nothing_known(inputs, predictor.schema)
    return _coalition_table(predictor.net, predictor.schema, _tokens(predictor, inputs, hidden), keep)[0]


def _tokens(predictor: Predictor, inputs: NetworkInputs, rest: NetworkInputs) -> Tokens:
    """Tokens of one case and of K others, read through the views that the one case has."""
    # One call, so that all have the same word columns.
    tokens = predictor.net.embed(NetworkInputs.cat([inputs, rest]), trim=True)
    # Views that the case lacks have no weight: leave them out.
    views = tokens.view_weight[0] > 0
    return replace(tokens, image=tokens.image[:, views], view_weight=tokens.view_weight[:1, views])


def _coalition_table(net: LlnmNet, schema: Schema, tokens: Tokens, keep: Tensor) -> Tensor:
    """Uncalibrated logits (K, R) of one case with groups taken from each of K others.

    Parameters
    ----------
    tokens : from `_tokens`.
    keep : (R, G) bool, in the order of the schema's groups; False takes the group from the other case.
    """
    words = tokens.clinical.shape[1] - len(net.config.fields)
    image_group, clinical_group = _token_groups(net.config, schema, words, keep.device)
    report = next((g for g, group in enumerate(schema.groups) if group.report), None)
    logits = torch.empty(len(tokens.clinical) - 1, len(keep), device=keep.device)
    for k in range(len(logits)):
        other = k + 1
        for told in (True, False):
            with_report = keep.any(1) if report is None else keep[:, report]
            rows = torch.nonzero(with_report == told)[:, 0]
            if not len(rows):
                continue
            # Word columns after the last word of whichever report is read are empty.
            shown = tokens.clinical_present[0 if told else other, :words]
            last = int(torch.nonzero(shown).max()) + 1 if words else 0
            for block in torch.split(rows, ROWS_AT_ONCE):
                with_image = keep[block][:, image_group][:, None, :, None]
                with_clinical = keep[block][:, clinical_group]
                image = torch.where(with_image, tokens.image[:1], tokens.image[other : other + 1])
                clinical = torch.where(with_clinical[..., None], tokens.clinical[0], tokens.clinical[other])
                present = torch.where(with_clinical, tokens.clinical_present[0], tokens.clinical_present[other])
                clinical = torch.cat([clinical[:, :last], clinical[:, words:]], 1)
                present = torch.cat([present[:, :last], present[:, words:]], 1)
                weight = tokens.view_weight.expand(len(block), -1)
                logits[k, block] = net.fuse(Tokens(image, clinical, present, weight)).logit.float()
    return logits


def _token_groups(config: NetConfig, schema: Schema, words: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Group index of every image token (T_I,) and clinical token (T_C,)."""
    of_map = {m: g for g, group in enumerate(schema.groups) for m in group.maps}
    of_field = {f: g for g, group in enumerate(schema.groups) for f in group.fields}
    report = next((g for g, group in enumerate(schema.groups) if group.report), -1)
    image = [of_map[name] for name, _, _ in config.image_tokens]
    clinical = [report] * words + [of_field[name] for name in config.fields]
    return (
        torch.tensor(image, dtype=torch.long, device=device), torch.tensor(clinical, dtype=torch.long, device=device),
    )  # fmt: skip
