"""Integrated gradients of the pixels (Sundararajan et al. 2017), through Captum."""

from __future__ import annotations

from captum.attr import IntegratedGradients

from model.encode import MeasuredCase
from model.explain.evidence import PictureEvidence, Subject
from model.predict import Predictor

COMPLETE_WITHIN = 0.01
"""Largest gap allowed, as a share of the difference explained; more steps are taken until then."""
_STEPS = (32, 96, 288)
_AT_ONCE = 16


def integrated_gradients(predictor: Predictor, measured: MeasuredCase) -> PictureEvidence:
    """Relevance that sums to what the pixels change, within 1 % of it or after 288 steps.

    Raises
    ------
    ValueError
        If no view was measured.
    """
    subject = Subject.of(predictor, measured)
    method = IntegratedGradients(subject.logits)
    maps, baseline = subject.maps[None], subject.baseline[None]
    logit, base = ends = subject.ends()
    rows = len(ends)
    for steps in _STEPS:
        relevance = method.attribute(maps, baselines=baseline, n_steps=steps, internal_batch_size=_AT_ONCE)
        rows += steps
        residual = logit - base - float(relevance.sum())
        if abs(residual) <= COMPLETE_WITHIN * max(abs(logit - base), 0.01):
            break
    name = "Integrated gradients (Sundararajan et al. 2017)"
    return subject.against_baseline(name, relevance[0], ends, model_rows=rows, residual=residual)
