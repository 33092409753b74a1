"""A score per feature, as in the published interface (Shen et al. 2025, Fig. 5), with a stated meaning.

The paper prints a score from 0 to 1 beside each feature (location 0.854, margin 0.597, … → metastasis 0.833) but does not
define it in full. Here the score of a feature is the calibrated probability when the model is given that feature alone and
everything else is its learned "missing" token. It is read against what the model says knowing nothing, which is not 0.5.
Scores do not sum to the prediction, since features act together; the Shapley values (`explain.shapley`) do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from model.encode import MeasuredCase
from model.explain.shapley import coalition_logits, given_groups
from model.predict import Predictor
from model.schema import Group, Schema


@dataclass(frozen=True)
class Branch:
    """A feature of the published hierarchy; `groups` names the groups it holds."""

    label: str
    groups: tuple[str, ...]


BRANCHES: tuple[Branch, ...] = (
    Branch("Location", ("location",)),
    Branch("Morphology", ("internal", "margin", "echogenicity", "shape")),
    Branch("Report", ("report",)),
    Branch("Demographics", ("sex", "age")),
    Branch("Further fields", ("position", "size", "pathology")),
)
"""The hierarchy of Figs. 5 and 6a; its last branch holds what the paper's model does not read."""


def branches_of(schema: Schema) -> tuple[Branch, ...]:
    """`BRANCHES` with the groups that a schema has; own groups are further fields, and empty branches are left out."""
    names = [g.name for g in schema.groups]
    known = {name for branch in BRANCHES for name in branch.groups}
    own = tuple(name for name in names if name not in known)
    kept = [
        Branch(b.label, tuple(n for n in b.groups if n in names) + (own if b is BRANCHES[-1] else ())) for b in BRANCHES
    ]
    return tuple(b for b in kept if b.groups)


@dataclass(frozen=True)
class FeatureScores:
    """Scores of one case, all calibrated probabilities of the endpoint (0…1).

    Parameters
    ----------
    groups : those of the model's schema.
    scores : (G,) knowing that group alone; None where the case has nothing of it.
    branches : `branches_of` the schema.
    branch_scores : knowing all groups of that branch and nothing else; None where the case has none of them.
    base : knowing nothing.
    probability : knowing all: the prediction.
    endpoint : short name of what is predicted.
    """

    groups: tuple[Group, ...]
    scores: tuple[float | None, ...]
    branches: tuple[Branch, ...]
    branch_scores: tuple[float | None, ...]
    base: float
    probability: float
    endpoint: str = "LLNM"

    def of(self, name: str) -> float | None:
        """Score of a group by its name."""
        return self.scores[[g.name for g in self.groups].index(name)]


@torch.inference_mode()
def feature_scores(predictor: Predictor, measured: MeasuredCase) -> FeatureScores:
    """Score every feature group and branch of one case: one coalition each, in one call."""
    inputs, groups = predictor.encode([measured]), predictor.schema.groups
    branches = branches_of(predictor.schema)
    given = dict(
        zip((g.name for g in groups), given_groups(inputs, predictor.net.config, predictor.schema), strict=True)
    )
    told = [(g.name,) for g in groups] + [b.groups for b in branches] + [(), tuple(given)]
    keep = torch.tensor([[g.name in names for g in groups] for names in told], device=predictor.device)
    logits = predictor.calibrated(coalition_logits(predictor, inputs, keep))
    found = torch.sigmoid(logits.double()).cpu().tolist()
    shown = [p if any(given[n] for n in names) else None for p, names in zip(found, told[:-2], strict=False)]
    return FeatureScores(
        groups=groups,
        scores=tuple(shown[: len(groups)]),
        branches=branches,
        branch_scores=tuple(shown[len(groups) :]),
        base=found[-2],
        probability=found[-1],
        endpoint=predictor.schema.endpoint.short,
    )
