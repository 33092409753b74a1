"""What pages share and what is kept: the model, the sample cases, and results by content.

Everything heavy is imported where it is first needed, so that a page opens before torch does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from model.errors import CaseError, ProblemError, StatisticsError
from model.train.folders import SHIPPED

if TYPE_CHECKING:
    from model.cohort.coverage import CentreCoverage
    from model.cohort.curves import RiskCurve
    from model.cohort.selection import Filters
    from model.cohort.store import CohortStore
    from model.encode import MeasuredCase
    from model.explain.attention import CrossAttention
    from model.explain.counterfactual import CapsulePath, Crossing, DistanceCurve
    from model.explain.evidence import PictureEvidence
    from model.explain.owen import OwenResult
    from model.explain.scores import FeatureScores
    from model.explain.shapley import ShapleyResult
    from model.explain.words import WordContributions
    from model.ingest.cases import Cohort
    from model.predict import Prediction, Predictor
    from model.schema import Case, View
    from model.uncertainty.missing import MissingField

SAMPLES = Path(__file__).resolve().parent.parent / "data_samples"
EXTERNAL_SCORES = SAMPLES / "cohort.parquet"
"""2,000 scored synthetic cases of the five external centres, without pictures."""
SAMPLE_SCORES = SAMPLES / "scored.parquet"
"""The sample cases as the shipped model scores them: `llnm score data_samples --explain shap`."""


@st.cache_resource(show_spinner=False)
def _registry() -> dict[str, Predictor]:
    """Every model that was loaded, by its identity."""
    return {}


@st.cache_resource(show_spinner="Loading the model …")
def load_predictor(folder: str = str(SHIPPED)) -> Predictor:
    """The model of a checkpoint folder, shared by all sessions; raises `CheckpointError`."""
    from model.predict import Predictor

    found = Predictor.load(folder)
    return _registry().setdefault(found.checkpoint.identity, found)


def predictor() -> Predictor:
    """The shipped model; a missing or damaged one is told and the page stops."""
    from dashboard.parts import problem

    try:
        return load_predictor()
    except ProblemError as error:
        problem(error)
        st.stop()


def loaded(model: str) -> Predictor:
    """A loaded model by its identity, which pages pass on as part of the key of everything that is kept."""
    return _registry()[model]


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


@dataclass(frozen=True)
class OpenCohort:
    """A cohort that can be asked, and the folder that its validated form lies in as long as it is open."""

    store: CohortStore
    folder: TemporaryDirectory[str]

    @classmethod
    def of(cls, file: Path, *, good_rows_only: bool = False) -> OpenCohort:
        """Validate a table and count it by every filter; raises `RowsError`, `StatisticsError`."""
        from model.cohort.store import CohortStore

        folder = TemporaryDirectory(prefix="llnm-")
        try:
            store = CohortStore.open(file, good_rows_only=good_rows_only, cache=Path(folder.name))
            store.prepare()
        except ProblemError:
            folder.cleanup()
            raise
        return cls(store, folder)


def _closed(cohort: OpenCohort) -> None:
    cohort.folder.cleanup()


@st.cache_resource(show_spinner="Reading the cohort …", max_entries=4, on_release=_closed)
def shipped_cohort(file: Path, changed: int) -> OpenCohort:
    """A table that ships, as it was when last changed; all sessions share it."""
    return OpenCohort.of(file)


@st.cache_resource(show_spinner="Checking every row …", max_entries=2, on_release=_closed, scope="session")
def uploaded_cohort(file_id: str, name: str, good_rows_only: bool, _data: bytes) -> OpenCohort:
    """A table that a user gave; it and what was made of it go when the session ends."""
    with TemporaryDirectory(prefix="llnm-") as folder:
        file = Path(folder) / f"table{Path(name).suffix}"
        file.write_bytes(_data)
        try:
            return OpenCohort.of(file, good_rows_only=good_rows_only)
        except StatisticsError as error:
            error.where = error.where.replace(file.name, name)
            raise


@st.cache_resource(show_spinner="Fetching the cases …", max_entries=4, scope="session")
def cohort_rows(key: str, filters: Filters, columns: tuple[str, ...], _store: CohortStore) -> pd.DataFrame:
    """Cases of a cohort that pass, kept by content; not to be changed by who gets them."""
    return _store.rows(filters, columns)


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


@st.cache_data(show_spinner=False)
def centre_coverage(model: str, level: float) -> tuple[CentreCoverage, ...]:
    """What the model's conformal sets achieve in each centre of the scored external cohort; empty without one."""
    from model.cohort.coverage import by_centre
    from model.cohort.scores import ScoredCases

    if not EXTERNAL_SCORES.exists():
        return ()
    table = external_scores()
    logits, labels = table["logit"].to_numpy(float), ScoredCases.from_frame(table).label.astype(bool)
    return by_centre(loaded(model).thresholds[level], logits, labels, list(table["centre"]))


@st.cache_resource(max_entries=64, show_spinner="Trying values of what is missing …")
def missing_fields(key: str, model: str, _measured: MeasuredCase) -> tuple[MissingField, ...]:
    """What each missing field of a case could do, kept by content."""
    from model.uncertainty.missing import if_known

    return if_known(loaded(model), _measured)


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
    return loaded(model).measure([_case])[0]


@st.cache_resource(max_entries=256, show_spinner=False)
def prediction(key: str, model: str, _measured: MeasuredCase) -> Prediction:
    """The prediction of a measured case, kept by content."""
    return loaded(model).predict_measured([_measured])[0]


@st.cache_resource(max_entries=32, show_spinner="Reading the attention …")
def attention(key: str, model: str, _measured: MeasuredCase) -> CrossAttention:
    """Cross-attention of a measured case, kept by content."""
    from model.explain.attention import cross_attention

    return cross_attention(loaded(model), _measured)


@st.cache_resource(max_entries=32, show_spinner="Weighting the attention …")
def attention_gradient(key: str, model: str, _measured: MeasuredCase) -> CrossAttention:
    """Attention × gradient of a measured case, kept by content."""
    from model.explain.attention_gradient import attention_gradient as weighted

    return weighted(loaded(model), _measured)


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
    cases = loaded(model).measure(cohort.case(c) for c in cohort.case_ids)
    probabilities = [p.probability for p in loaded(model).predict_measured(cases)]
    return SampleSpace(cases, embeddings(loaded(model), cases), probabilities)


@st.cache_resource(max_entries=64, show_spinner="Moving the nodule …")
def distance_curve(key: str, model: str, _measured: MeasuredCase) -> DistanceCurve:
    """Risk over the capsule distance of one case, kept by content; the case must have a measured view."""
    from model.explain.counterfactual import distance_curve as curve_of
    from model.explain.counterfactual import nearest_view

    view = nearest_view(_measured)
    assert view is not None
    return curve_of(loaded(model), _measured, view)


@st.cache_resource(max_entries=64, show_spinner=False)
def capsule_path(key: str, model: str, view: View, _measured: MeasuredCase) -> CapsulePath:
    """Where the nodule of a measured view can be moved along the capsule, kept by content."""
    from model.explain.counterfactual import capsule_path as path_of

    return path_of(_measured, view)


@st.cache_resource(max_entries=64, show_spinner="Trying changes …")
def smallest_crossing(key: str, model: str, threshold: float, _measured: MeasuredCase) -> Crossing | None:
    """Smallest change of a case that crosses a threshold, kept by content."""
    from model.explain.counterfactual import smallest_crossing as crossing_of

    return crossing_of(loaded(model), _measured, threshold)


def trust() -> dict[str, Any] | None:
    """How far to trust the explanations of the shipped model; None where nobody checked it."""
    from model.explain.trust import NAME
    from model.train.folders import SHIPPED

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
    return methods[method](loaded(model), _measured)


@st.cache_resource(max_entries=256, show_spinner="Computing Shapley values …")
def shapley(
    key: str, model: str, _measured: MeasuredCase, background: str = "missing", exact: bool = False
) -> ShapleyResult:
    """Shapley values of a measured case against "missing" or a background cohort of sample cases, kept by content.

    Raises `CaseError` where there are too few sample cases for that background.
    """
    from model.explain.shapley import FEWEST, backgrounds, group_shapley

    if background == "missing":
        return group_shapley(loaded(model), _measured, exact=exact)
    found = backgrounds(_measured, sample_space(model).measured).get(background)
    if found is None:
        raise CaseError(
            f"fewer than {FEWEST} sample cases", where=f"background “{background}”", fix="Choose another background."
        )
    return group_shapley(loaded(model), _measured, found)


@st.cache_resource(max_entries=128, show_spinner="Looking inside the group …")
def owen(key: str, model: str, group: str, _shapley: ShapleyResult, _measured: MeasuredCase) -> OwenResult:
    """Owen values of a group's parts, kept by content."""
    from model.explain.owen import owen_values

    return owen_values(loaded(model), _measured, _shapley, group)


@st.cache_resource(max_entries=256, show_spinner=False)
def scores(key: str, model: str, _measured: MeasuredCase) -> FeatureScores:
    """Score of every feature of a measured case, kept by content."""
    from model.explain.scores import feature_scores

    return feature_scores(loaded(model), _measured)


@st.cache_resource(max_entries=64, show_spinner="Leaving out one word at a time …")
def word_contributions(key: str, model: str, _measured: MeasuredCase) -> WordContributions:
    """What each word of the report of a measured case adds, kept by content."""
    from model.explain.words import word_contributions as contributions_of

    return contributions_of(loaded(model), _measured)
