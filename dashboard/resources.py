"""What pages share and what is kept: the model, the sample cases, and results by content.

Everything heavy is imported where it is first needed, so that a page opens before torch does.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd
import streamlit as st

from model.errors import CaseError, ProblemError, StatisticsError
from model.schema import LLNM
from model.train.folders import CASES, MAIN, MORE, SHIPPED

if TYPE_CHECKING:
    from model.cohort.coverage import CentreCoverage
    from model.cohort.cube import Aggregate
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
def settle(page: str) -> None:
    """After the first run of a page: what it left behind (modules, model, caches) is no longer looked through for garbage.

    Streamlit looks after every run, however small. With torch and plotly loaded these are 370,000 objects, and for the 0.3 s
    that it takes the server answers nobody.
    """
    gc.collect()
    gc.freeze()


def registry_folder() -> Path | None:
    """The folder of checkpoints that `llnm serve --checkpoints` named."""
    named = os.environ.get(MORE)
    return Path(named) if named else None


def chosen_folder() -> Path:
    """The checkpoint that the pages use: the one `llnm serve --checkpoint` named, else the one that is in use in the folder
    of checkpoints, else the shipped one; raises `CheckpointError` where the one in use is gone or another."""
    if named := os.environ.get(MAIN):
        return Path(named)
    root = registry_folder()
    if root is None:
        return SHIPPED
    from model.registry import folder_in_use

    return folder_in_use(root)


def main_folder() -> Path:
    """As `chosen_folder`; what is wrong is told, with the way to mend it, and the page stops."""
    from dashboard.parts import problem

    try:
        return chosen_folder()
    except ProblemError as error:
        problem(error)
        st.page_link("screens/about.py", label="Choose another on the Model page", icon=":material/info:")
        st.stop()


def registry_rows(root: Path) -> list[dict[str, str]]:
    """What lies in a folder of checkpoints (`model.registry.overview`), looked at again when a file of it changed."""
    files = [*root.glob("*"), *root.glob("*/*"), *SHIPPED.glob("*")]
    return _registry_rows(root, tuple(sorted((str(f), f.stat().st_mtime_ns) for f in files if f.is_file())))


@st.cache_data(max_entries=4, show_spinner="Checking the checkpoints …")
def _registry_rows(root: Path, state: tuple[tuple[str, int], ...]) -> list[dict[str, str]]:
    from model.registry import overview

    return overview(root)


def training_data() -> str:
    """What the model of the pages was trained on, as its card says; the loader tells what is wrong with a card."""
    return str(_card().get("training_data", "synthetic"))


def outcome() -> str:
    """Column of the outcome that the model of the pages predicts, as its card says."""
    schema = _card().get("schema")
    endpoint = schema.get("endpoint") if isinstance(schema, dict) else None
    return str(endpoint.get("name")) if isinstance(endpoint, dict) else LLNM.name


def cases_outcome() -> str:
    """Column of the outcome that the cases of the Case page have, as their card says; empty where it cannot be read."""
    from model.ingest.card import schema_of
    from model.ingest.cases import read_card

    folder = cohort_folder()
    try:
        return schema_of(read_card(folder), where=folder.name).endpoint.name
    except ProblemError:  # told where the cases are read
        return ""


def _card() -> dict[str, Any]:
    try:
        card = json.loads((chosen_folder() / "card.json").read_text("utf-8"))
    except (OSError, ValueError, ProblemError):
        return {}
    return card if isinstance(card, dict) else {}


def cohort_folder() -> Path:
    """The cases that the Case page shows: those `llnm serve --cases` named, else the samples."""
    return Path(os.environ.get(CASES) or SAMPLES)


def is_shipped(model: str) -> bool:
    """Whether a model is the shipped one: only of it are scored cohorts kept."""
    return main_folder() == SHIPPED and model == predictor().checkpoint.identity


@st.cache_resource(show_spinner=False)
def _registry() -> dict[str, Predictor]:
    """Every model that was loaded, by its identity."""
    return {}


def load_predictor(folder: str = str(SHIPPED)) -> Predictor:
    """The model of a checkpoint folder, shared by all sessions; raises `CheckpointError`."""
    card = Path(folder) / "card.json"
    return _load_predictor(folder, card.stat().st_mtime_ns if card.is_file() else 0)


@st.cache_resource(show_spinner="Loading the model …")
def _load_predictor(folder: str, changed: int) -> Predictor:
    from model.predict import Predictor

    found = Predictor.load(folder)
    return _registry().setdefault(found.checkpoint.identity, found)


def predictor() -> Predictor:
    """The model of the pages; a missing or damaged one is told and the page stops."""
    from dashboard.parts import problem

    try:
        return load_predictor(str(main_folder()))
    except ProblemError as error:
        problem(error)
        st.stop()


def loaded(model: str) -> Predictor:
    """A loaded model by its identity, which pages pass on as part of the key of everything that is kept."""
    return _registry()[model]


def sample_cohort() -> Cohort:
    """The cases to choose from: the samples that ship, or the cohort named on starting; a faulty one is told."""
    from dashboard.parts import problem

    try:
        return _read_cohort(str(cohort_folder()))
    except ProblemError as error:
        problem(error)
        st.stop()


@st.cache_resource(show_spinner="Reading the cases …")
def _read_cohort(folder: str) -> Cohort:
    from model.ingest.cases import read_cohort

    return read_cohort(folder)


def sample_truth() -> pd.DataFrame | None:
    """The truth behind the cases, by `case_id`; None where it is not known."""
    from model.simulate.cohort import TRUTH_NAME

    folder = cohort_folder()
    return _read_truth(str(folder)) if (folder / TRUTH_NAME).is_file() else None


@st.cache_data(show_spinner=False)
def _read_truth(folder: str) -> pd.DataFrame:
    from model.simulate.cohort import read_truth

    return read_truth(Path(folder)).set_index("case_id")


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
    def of(
        cls, file: Path, *, label: str | None = None, good_rows_only: bool = False, keep: bool = False,
        folder: TemporaryDirectory[str] | None = None,
    ) -> OpenCohort:  # fmt: skip
        """Validate a table and count it by every filter; raises `RowsError`, `StatisticsError`.

        Parameters
        ----------
        label : column of the outcome; None for the usual names.
        folder : what the table lies in, to go with the cohort; None where the table is to stay.
        keep : leave the validated form in the user's cache folder, so that the same table opens at once the next time.
        """
        from model.cohort.store import CohortStore

        folder = folder or TemporaryDirectory(prefix="llnm-")
        try:
            with _told_of_rows() as progress:
                cache = None if keep else Path(folder.name)
                store = CohortStore.open(file, label=label, good_rows_only=good_rows_only, cache=cache, progress=progress)
                store.prepare()
            Thread(target=_count_ranges, args=(store,), daemon=True).start()
        except ProblemError:
            folder.cleanup()
            raise
        return cls(store, folder)


@contextmanager
def _told_of_rows() -> Iterator[Callable[[int], None]]:
    """A line that counts the rows read of a large table."""
    place = st.empty()

    def told(rows: int) -> None:
        if rows > 200_000:
            place.caption(f"{rows:,} rows checked …")

    try:
        yield told
    finally:
        place.empty()


def _count_ranges(store: CohortStore) -> None:
    """Count ages and sizes beforehand, beside the page."""
    import duckdb

    with suppress(duckdb.Error):  # the cohort was closed meanwhile, and its file is gone
        store.prepare_ranges()


def _closed(cohort: OpenCohort) -> None:
    cohort.folder.cleanup()


@st.cache_resource(show_spinner="Reading the cohort …", max_entries=4, on_release=_closed)
def shipped_cohort(file: Path, changed: int) -> OpenCohort:
    """A table that ships, as it was when last changed; all sessions share it."""
    return OpenCohort.of(file)


@st.cache_resource(show_spinner="Checking every row …", max_entries=2, on_release=_closed)
def served_cohort(file: Path, changed: int, label: str | None, good_rows_only: bool) -> OpenCohort:
    """The table that the server was started with, as it was when last changed; all sessions share it."""
    return OpenCohort.of(file, label=label, good_rows_only=good_rows_only, keep=True)


@st.cache_resource(show_spinner="Checking every row …", max_entries=2, on_release=_closed, scope="session")
def uploaded_cohort(file_id: str, name: str, label: str | None, good_rows_only: bool, _data: BinaryIO) -> OpenCohort:
    """A table that a user gave; it and what was made of it go when the session ends."""
    folder = TemporaryDirectory(prefix="llnm-")
    file = Path(folder.name) / f"table{Path(name).suffix}"
    _data.seek(0)
    with file.open("wb") as target:
        shutil.copyfileobj(_data, target)
    try:
        return OpenCohort.of(file, label=label, good_rows_only=good_rows_only, folder=folder)
    except StatisticsError as error:
        error.where = error.where.replace(file.name, name)
        raise


@st.cache_resource(show_spinner="Scoring the cases by the model in use …", max_entries=2, on_release=_closed)
def scored_cases(model: str, folder: str) -> OpenCohort:
    """The cases of the Case page whose outcome is known, scored by a loaded model; what the table says of itself tells how
    many are `without_outcome`. Raises `CaseError`, `StatisticsError`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from model.cohort.explained import METADATA, widened
    from model.evaluate import score_cohort

    endpoint, cohort = loaded(model).schema.endpoint, _read_cohort(folder)
    scored = score_cohort(loaded(model), cohort)
    known = scored[scored[endpoint.name].notna()].rename(columns={endpoint.name: "llnm"})
    if known.empty:
        raise CaseError(
            f"none of {len(scored):,} cases has a value in the column {endpoint.name}", where=Path(folder).name,
            fix="Choose another table.",
        )  # fmt: skip
    told = {"model": model, "outcome": endpoint.short, "without_outcome": len(scored) - len(known)}
    told |= {"ranges": widened(cohort.schema)}
    table = pa.Table.from_pandas(known.drop(columns="outcome", errors="ignore"), preserve_index=False)
    place = TemporaryDirectory(prefix="llnm-")
    file = Path(place.name) / "scored.parquet"
    pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(told)}), file)
    return OpenCohort.of(file, folder=place)


@st.cache_resource(show_spinner="Fetching the cases …", max_entries=8, scope="session")
def cohort_rows(key: str, filters: Filters, columns: tuple[str, ...], _store: CohortStore) -> pd.DataFrame:
    """Cases of a cohort that pass, kept by content; not to be changed by who gets them."""
    return _store.rows(filters, columns)


@st.cache_resource(show_spinner="Counting …", max_entries=64)
def cohort_counts(key: str, filters: Filters, _store: CohortStore) -> Aggregate:
    """Counts of every aggregate figure, kept by content."""
    return _store.aggregate(filters)


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
    """What the model's conformal sets achieve in each centre of the scored external cohort; empty without one, or
    for another model than the one that scored it."""
    from model.cohort.coverage import by_centre
    from model.cohort.scores import ScoredCases

    if not is_shipped(model) or not EXTERNAL_SCORES.exists():
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


MOST_PLACED = 500
"""Cases of a cohort that others are compared with, at most: the first ones."""


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
    names = cohort.case_ids[:MOST_PLACED]
    cases = loaded(model).measure(cohort.case(c) for c in names)
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
    """How far to trust the explanations of the model of the pages; None where nobody checked it."""
    from model.explain.trust import NAME

    path = main_folder() / NAME
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
