"""What pages share and what is kept: the model, the sample cases, and results by content.

Everything heavy is imported where it is first needed, so that a page opens before torch does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from model.errors import ProblemError, StatisticsError

if TYPE_CHECKING:
    from model.cohort.curves import RiskCurve
    from model.encode import MeasuredCase
    from model.explain.attention import CrossAttention
    from model.explain.counterfactual import Crossing, DistanceCurve
    from model.explain.evidence import PictureEvidence
    from model.explain.shapley import ShapleyResult
    from model.ingest.cases import Cohort
    from model.predict import Prediction, Predictor
    from model.schema import Case

SAMPLES = Path(__file__).resolve().parent.parent / "data_samples"
EXTERNAL_SCORES = SAMPLES / "cohort.parquet"
"""2,000 scored synthetic cases of the five external centres, without pictures."""


@st.cache_resource(show_spinner="Loading the model …")
def _load_predictor() -> Predictor:
    from model.predict import Predictor

    return Predictor.load()


def predictor() -> Predictor:
    """The shipped model, shared by all sessions; a missing or damaged one is told and the page stops."""
    from dashboard.parts import problem

    try:
        return _load_predictor()
    except ProblemError as error:
        problem(error)
        st.stop()


@st.cache_resource(show_spinner="Reading the sample cases …")
def sample_cohort() -> Cohort:
    """The sample cases that ship."""
    from model.ingest.cases import read_cohort

    return read_cohort(SAMPLES)


@st.cache_data(show_spinner=False)
def sample_truth() -> pd.DataFrame:
    """The truth behind the sample cases."""
    from model.simulate.cohort import read_truth

    return read_truth(SAMPLES).set_index("case_id")


@st.cache_data(show_spinner="Reading the cohort …")
def external_scores() -> pd.DataFrame:
    """The scored external cohort."""
    return pd.read_parquet(EXTERNAL_SCORES)


@st.cache_data(show_spinner=False)
def external_curve() -> RiskCurve | None:
    """Observed risk of the external cohort over capsule distance; None where it cannot be fitted."""
    from model.cohort.curves import risk_curve
    from model.cohort.scores import ScoredCases

    if not EXTERNAL_SCORES.exists():
        return None
    table = external_scores()
    known = table[table["capsule_distance_mm"].notna()]
    x = known["capsule_distance_mm"].to_numpy(float)
    try:
        return risk_curve(x, ScoredCases.from_frame(known).label, np.linspace(0, float(np.quantile(x, 0.99)), 60))
    except StatisticsError:
        return None


def case_key(case: Case) -> str:
    """Hash of all that a prediction depends on: pictures, spacing, masks, fields, report."""
    digest = hashlib.sha256()
    for view, image in sorted(case.images.items()):
        digest.update(f"{view}|{image.pixels.shape}|{image.pixel_spacing_mm}|".encode())
        digest.update(image.pixels.tobytes())
        for mask in (image.nodule_mask, image.gland_mask):
            digest.update(b"none" if mask is None else mask.tobytes())
    digest.update(repr((sorted(case.fields.items()), case.report_text, case.provenance, case.case_id)).encode())
    return digest.hexdigest()


@st.cache_resource(max_entries=64, show_spinner="Outlining and measuring …")
def measured(key: str, model: str, _case: Case) -> MeasuredCase:
    """A case measured by the shared model, kept by content."""
    return predictor().measure([_case])[0]


@st.cache_resource(max_entries=256, show_spinner=False)
def prediction(key: str, model: str, _measured: MeasuredCase) -> Prediction:
    """The prediction of a measured case, kept by content."""
    return predictor().predict_measured([_measured])[0]


@st.cache_resource(max_entries=32, show_spinner="Reading the attention …")
def attention(key: str, model: str, _measured: MeasuredCase) -> CrossAttention:
    """Cross-attention of a measured case, kept by content."""
    from model.explain.attention import cross_attention

    return cross_attention(predictor(), _measured)


@dataclass(frozen=True)
class SampleSpace:
    """The sample cases as the model sees them: measured, their embeddings (n, W) and calibrated probabilities."""

    measured: list[MeasuredCase]
    embeddings: npt.NDArray[np.float32]
    probabilities: list[float]


@st.cache_resource(max_entries=2, show_spinner="Placing the sample cases …")
def sample_space(model: str) -> SampleSpace:
    """Every sample case in the model's own space, computed once for a model."""
    from model.explain.similar import embeddings

    cohort = sample_cohort()
    cases = predictor().measure(cohort.case(c) for c in cohort.case_ids)
    probabilities = [p.probability for p in predictor().predict_measured(cases)]
    return SampleSpace(cases, embeddings(predictor(), cases), probabilities)


@st.cache_resource(max_entries=64, show_spinner="Moving the nodule …")
def distance_curve(key: str, model: str, _measured: MeasuredCase) -> DistanceCurve:
    """Risk over the capsule distance of one case, kept by content; the case must have a measured view."""
    from model.explain.counterfactual import distance_curve as curve_of
    from model.explain.counterfactual import nearest_view

    view = nearest_view(_measured)
    assert view is not None
    return curve_of(predictor(), _measured, view)


@st.cache_resource(max_entries=64, show_spinner="Trying changes …")
def smallest_crossing(key: str, model: str, threshold: float, _measured: MeasuredCase) -> Crossing | None:
    """Smallest change of a case that crosses a threshold, kept by content."""
    from model.explain.counterfactual import smallest_crossing as crossing_of

    return crossing_of(predictor(), _measured, threshold)


def trust() -> dict[str, Any] | None:
    """How far to trust the explanations of the shipped model; None where nobody checked it."""
    from model.explain.trust import NAME
    from model.train.checkpoint import SHIPPED

    path = SHIPPED / NAME
    return _trust(path.stat().st_mtime_ns, predictor().checkpoint.identity, path) if path.is_file() else None


@st.cache_data(max_entries=2, show_spinner=False)
def _trust(changed: int, model: str, path: Path) -> dict[str, Any] | None:
    from model.explain.trust import read_trust

    return read_trust(path, model)


@st.cache_resource(max_entries=64, show_spinner="Asking the model about the pixels …")
def evidence(key: str, model: str, method: str, _measured: MeasuredCase) -> PictureEvidence:
    """Image evidence of a measured case by one method, kept by content."""
    from model.explain.gradcam import grad_cam_plus_plus
    from model.explain.gradients import integrated_gradients
    from model.explain.occlusion import sliding_occlusion, superpixel_occlusion

    methods = {
        "gradients": integrated_gradients, "cam": grad_cam_plus_plus, "occlusion": sliding_occlusion,
        "superpixels": superpixel_occlusion,
    }  # fmt: skip
    return methods[method](predictor(), _measured)


@st.cache_resource(max_entries=256, show_spinner="Computing Shapley values over all coalitions …")
def shapley(key: str, model: str, _measured: MeasuredCase) -> ShapleyResult:
    """Shapley values of a measured case, kept by content."""
    from model.explain.shapley import group_shapley

    return group_shapley(predictor(), _measured)
