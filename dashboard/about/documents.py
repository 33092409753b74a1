"""Downloads of the Model page: the model card, and the performance report after TRIPOD+AI."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from dashboard import resources
from dashboard.parts import asked, problem
from model.errors import ProblemError

if TYPE_CHECKING:
    from model.predict import Predictor
    from model.reporting.document import Document
    from model.reporting.study import Study

EXTERNAL, CASES = "Held-out synthetic cases, scored before", "Cases of the Case page"


def section(predictor: Predictor) -> None:
    """Both documents, each as HTML and PDF; a cohort is scored only when asked for."""
    st.subheader("Model card and performance report")
    st.caption(
        "The card: intended use, data, fields, training, limits, versions and hashes. The report adds how the model performs on a "
        "cohort, item by item of TRIPOD+AI, and says which items a run cannot answer."
    )
    _buttons(predictor, lambda: None, "Model card", "card")
    if not asked("Make a performance report", "report"):
        return
    shipped = resources.is_shipped(predictor.checkpoint.identity) and resources.EXTERNAL_SCORES.exists()
    names = [EXTERNAL, CASES] if shipped else [CASES]
    which = st.segmented_control("On which cases", names, default=names[0], key="report-cohort", required=True)
    try:
        study = _external(predictor) if which == EXTERNAL else _cases(predictor)
    except ProblemError as error:
        problem(error)
        return
    found = study.performance
    area = found.evaluation.auroc
    told = "not computed: one outcome only" if area is None else f"{area.value:.3f} (95 %: {area.low:.3f}–{area.high:.3f})"
    st.text(
        f"{study.name}: {len(found.scores):,} {study.provenance} cases, {found.scores.positives:,} with "
        f"{predictor.schema.endpoint.short}; AUROC {told}."
    )
    _buttons(predictor, lambda: study, "Performance report", "performance")


def _buttons(predictor: Predictor, study: Callable[[], Study | None], label: str, key: str) -> None:
    """Two buttons; a document is made when its button is clicked."""

    def document() -> Document:
        from model.reporting.card import model_card
        from model.reporting.study import Subject

        subject = Subject.of(predictor.checkpoint)
        return model_card(subject, study(), version=version("llnm-explorer"), date=date.today().isoformat())

    def file(ending: str) -> bytes:
        from model.reporting import writers

        return writers()[ending](document())

    name = re.sub(r"[^\w.-]+", "-", str(predictor.checkpoint.card["name"]))
    with st.container(horizontal=True):
        st.download_button(
            f"{label} (PDF)", lambda: file(".pdf"), f"{name}-{key}.pdf", "application/pdf", key=f"{key}-pdf",
            icon=":material/picture_as_pdf:",
        )  # fmt: skip
        st.download_button(
            f"{label} (HTML)", lambda: file(".html"), f"{name}-{key}.html", "text/html", key=f"{key}-html",
            icon=":material/description:",
        )  # fmt: skip


def _external(predictor: Predictor) -> Study:
    from model.reporting.study import Subject, scored_study

    scored = pd.read_parquet(resources.EXTERNAL_SCORES)
    name = "Synthetic cohort, seed 1001, external centres"
    return scored_study(Subject.of(predictor.checkpoint), scored, name=name, provenance="synthetic")


def _cases(predictor: Predictor) -> Study:
    """The cohort of the Case page, scored once in a session."""
    from model.reporting.study import judged

    cohort = resources.sample_cohort()
    key = f"study-{predictor.checkpoint.identity}-{cohort.root}-{len(cohort)}"
    if key not in st.session_state:
        bar = st.progress(0.0, "Scoring the cases …")
        st.session_state[key] = judged(
            predictor, cohort, progress=lambda done, of: bar.progress(done / of, f"Scoring: {done:,} of {of:,} cases")
        )
        bar.empty()
    study: Study = st.session_state[key]
    return study
