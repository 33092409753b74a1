"""Image evidence on the Case page: which pixels moved the logit, by up to four methods side by side."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboard import resources, state
from dashboard.case import trust
from dashboard.case.maps import MAP_LABELS, map_picture
from dashboard.figures.case_evidence import share_bars, share_table
from dashboard.parts import figure
from model.encode import MeasuredCase
from model.explain.evidence import PictureEvidence, shares
from model.schema import MAPS, MapName, View

METHODS = {
    "gradients": "Integrated gradients", "cam": "Grad-CAM++", "occlusion": "Occlusion, sliding",
    "superpixels": "Occlusion, superpixels",
}  # fmt: skip
STRONGEST = 0.995
"""Quantile of the absolute relevance that is drawn at full strength; a single bright pixel must not fade the rest."""


@st.fragment
def section(key: str, model: str, measured: MeasuredCase) -> None:
    """Choose methods, view and map; nothing is computed before it is asked for."""
    views = list(measured.features)
    if not views:
        st.info("Nodule or gland was not found on any view, so there are no pixels to explain. Outline them by hand.")
        return
    known = [m for m in state.read("methods").split(",") if m in METHODS]
    chosen: list[str] = st.pills(
        "Methods, up to four", list(METHODS), selection_mode="multi", default=known or ["gradients", "occlusion"],
        format_func=lambda m: trust.label(m, METHODS[m]), key="evidence-methods",
    )  # fmt: skip
    state.write(methods=",".join(chosen))
    a, b, c = st.columns(3)
    view: View = a.selectbox("View", views, key="evidence-view", format_func=str.capitalize)
    map_name: MapName = b.selectbox("Map", MAPS, index=1, key="evidence-map", format_func=MAP_LABELS.__getitem__)
    opacity = c.slider("Overlay opacity (%)", 10, 100, 70, 10, key="evidence-opacity") / 100
    if not chosen:
        st.caption("Choose a method.")
        return
    found = {name: resources.evidence(key, model, name, measured) for name in chosen}
    columns = st.columns(2)
    for i, (name, evidence) in enumerate(found.items()):
        with columns[i % 2]:
            _overlay(measured, evidence, name, view, map_name, opacity)
    parts = {METHODS[name]: part for name, e in found.items() if (part := shares(e, measured, view)) is not None}
    if parts:
        figure(
            share_bars(parts),
            f"Share of the absolute relevance of all three maps of the {view} view. Capsule side: the part of the nodule less than "
            "2 mm from its point nearest to the capsule (without pixel spacing: a quarter of its diameter).",
            key="evidence-shares", data=share_table(parts),
        )  # fmt: skip


def _overlay(
    measured: MeasuredCase, evidence: PictureEvidence, name: str, view: View, map_name: MapName, opacity: float
) -> None:
    relevance = evidence.of(view, map_name)
    full = float(np.quantile(np.abs(evidence.relevance), STRONGEST))
    drawn = map_picture(
        measured, view, map_name, height=400, weights=relevance / full if full > 0 else relevance,
        title="lowers ← relevance → raises", signed_opacity=opacity,
    )  # fmt: skip
    figure(drawn, _told(evidence, METHODS[name]), key=f"evidence-{name}")
    trust.verdict_line(name)


def _told(evidence: PictureEvidence, name: str) -> str:
    """Method, baseline, cost and, where the method promises a sum, whether it holds."""
    said = f"{evidence.method}. {evidence.model_rows:,} model call{'s' if evidence.model_rows > 1 else ''}."
    if evidence.signed:
        said += f" Against: {evidence.baseline} (logit {evidence.baseline_logit:+.2f}; this case {evidence.logit:+.2f})."
    else:
        said += " Shows only what raises the logit; coarse."
    if np.isfinite(evidence.residual):
        said += f" The relevance sums to the difference within {abs(evidence.residual):.2g} logit."
    return said + f" Each method on its own scale, 1 its strongest pixels: {name} says where, not how much in %."
