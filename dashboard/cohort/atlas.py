"""3-D risk atlas of the cohort, with the case of the Case page in it."""

from __future__ import annotations

from typing import IO

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import resources, state
from dashboard.cohort.part import Part, by_content, panel
from dashboard.figures.atlas import atlas_figure, atlas_table
from dashboard.figures.style import percent
from dashboard.parts import asked, figure, missing, problem
from model.cohort.atlas import (
    AXES,
    BANDWIDTH_MM,
    HALF_HEIGHT,
    MIN_SUPPORT,
    Atlas,
    Axis,
    agreement,
    place,
    risk_atlas,
    template,
)
from model.cohort.scores import FloatArray
from model.errors import ProblemError, StatisticsError
from model.features.place import PLACE_COLUMNS

SWITCH = "atlas"
"""Key of the address bar that opens the atlas: `?case=ID&atlas=1` on the Cohort page marks that case in it."""
COLUMNS = ("side", "third", *PLACE_COLUMNS, "llnm", "probability")
_WHOLE = "none"


def section(part: Part) -> None:
    """The thyroid coloured by smoothed risk, when asked for."""
    if "side" not in part:
        return  # told at the head of the page
    st.subheader("3-D risk atlas")
    if not any(c in part for c in ("third", "z_normalised")):
        missing("Risk atlas", "the table has neither third nor z_normalised, so no nodule can be placed.")
        return
    if asked("Show the risk in three dimensions", SWITCH):
        _shown(part)


@panel
def _shown(part: Part) -> None:
    left, middle, right = st.columns(3, gap="large")
    kind = left.segmented_control(
        "Risk", ["observed", "predicted"], default="observed", key="atlas-kind", required=True
    )
    bandwidth = middle.slider(
        "Smoothing (mm)", 2.0, 8.0, BANDWIDTH_MM, 0.5, key="atlas-bandwidth",
        help="Standard deviation of the Gaussian kernel: smaller shows more detail and more chance.",
    )  # fmt: skip
    options = [_WHOLE, *AXES]
    cut = right.segmented_control(
        "Cut plane across", options, default=state.chosen("cut", options) or _WHOLE, key="atlas-cut", required=True
    )
    state.write(cut=None if cut == _WHOLE else cut)
    axis: Axis | None = None if cut == _WHOLE else cut
    name, point, note = _marked(part)
    position = 0.0 if axis is None else _position(axis, point)
    outcome = "llnm" if kind == "observed" else "probability"
    try:
        atlas = _atlas(part, outcome, bandwidth)
    except StatisticsError as error:
        missing("Risk atlas", f"{error.what}. {error.fix}")
        return
    mark = "" if point is None else f", mark=np.array({point.tolist()!r}), mark_name={name!r}"
    where = f"axis={axis!r}, position={position!r}"
    figure(
        atlas_figure(atlas, axis=axis, position=position, mark=point, mark_name=name),
        f"{atlas.cases:,} of {part.counts.cases:,} cases laid into one template by the share of width, depth and height of "
        "their own "
        f"lobe: {atlas.measured:,} measured on both pictures, {atlas.cases - atlas.measured:,} placed in the middle of "
        "what is known "
        f"(their third or lobe). Colour: {kind} risk, Gaussian kernel of {bandwidth:g} mm (a lobe is {2 * HALF_HEIGHT:.0f} mm "
        f"high). Grey: fewer than {MIN_SUPPORT:.0f} cases around, each counted by its weight. Drag to turn; hover for the 95 % "
        "interval.",
        key="risk-atlas", data=atlas_table(atlas, axis=axis, position=position),
        alt=f"Thyroid in three dimensions coloured by {kind} risk of {atlas.cases:,} cases.",
        method=part.method(
            f"{atlas.cases:,} cases were laid into a thyroid drawn by formula, by the share of width, depth and height of "
            "their own lobe "
            f"({atlas.measured:,} measured on both pictures, the others in the middle of their third or lobe). The {kind} risk was "
            f"smoothed by a Gaussian kernel with a standard deviation of {bandwidth:g} mm (Nadaraya–Watson); no risk is "
            "given where the "
            f"kernel weights sum to fewer than {MIN_SUPPORT:.0f} cases. Intervals are Wilson's on the effective number of "
            "cases. No "
            "registration of images was done.",
            f"""
{"import numpy as np" if point is not None else ""}
from dashboard.figures.atlas import atlas_figure, atlas_table
from model.cohort.atlas import place, risk_atlas
cases = cohort.rows(filters, {[c for c in COLUMNS if c in part]!r})
atlas = risk_atlas(place(cases), cases[{outcome!r}], bandwidth={bandwidth!r})
table = atlas_table(atlas, {where})
figure = atlas_figure(atlas, {where}{mark})
""",
        ),
    )  # fmt: skip
    if point is not None:
        st.markdown(_said_of(atlas, name, point, kind))
    if note:
        st.caption(note)
    if part.is_llnm:
        _published(atlas)


def _position(axis: Axis, point: FloatArray | None) -> float:
    """Where the plane lies, mm from the template's origin; at first through the marked case, so that it is seen."""
    k = AXES.index(axis)
    low, high = (int(v) for v in (np.ceil(template().vertices[:, k].min()), np.floor(template().vertices[:, k].max())))
    words = {"left–right": "to the patient's left", "front–back": "backwards", "height": "towards the head"}
    start = {"left–right": 17, "front–back": 6, "height": 0}[axis] if point is None else round(float(point[k]))
    return float(
        st.slider(f"Position of the plane (mm {words[axis]})", low, high, min(max(start, low), high), key=f"atlas-{k}")
    )


@st.cache_data(max_entries=32, show_spinner="Smoothing the risk …", hash_funcs=by_content)
def _atlas(part: Part, outcome: str, bandwidth: float) -> Atlas:
    cases = part.rows(*COLUMNS)
    return risk_atlas(place(cases), cases[outcome].to_numpy(float), bandwidth=bandwidth)


def _marked(part: Part) -> tuple[str, FloatArray | None, str]:
    """The case of the address bar: its name, its place, and what there is to say where it cannot be marked.

    It is looked up in the table, then among the sample cases, which are measured for it.
    """
    name = state.read("case")
    if not name:
        return "", None, "No case is marked. Open one on the Case page and come back, or add case=… to the address."
    rows = part.store.case(name)
    if rows.empty:
        cohort = resources.sample_cohort()
        if name not in cohort.case_ids:
            return "", None, "The case of the address bar is neither in this table nor among the sample cases."
        from model.evaluate import place_of

        case = cohort.case(name)
        try:
            measured = resources.measured(resources.case_key(case), resources.predictor().checkpoint.identity, case)
        except ProblemError as error:
            problem(error)
            return "", None, ""
        rows = pd.DataFrame(
            [{"side": measured.fields.get("side"), "third": measured.fields.get("third"), **place_of(measured)}]
        )
    placed = place(rows)
    if not placed.known[0]:
        return "", None, f"Case {name} is not marked: its side, or its height in the lobe, is not known."
    note = "" if placed.measured[0] else f"Case {name} lies in the middle of what is known of its place."
    return name, placed.points[0], note


def _said_of(atlas: Atlas, name: str, point: FloatArray, kind: str) -> str:
    """What the atlas says at the case's place."""
    here = atlas.at(point[None])
    if np.isnan(here.risk[0]):
        return f"Around case `{name}` there are fewer than {MIN_SUPPORT:.0f} cases: no risk is given."
    return (
        f"At the place of case `{name}` (red pin): {kind} risk **{percent(here.risk[0])}** (95 % {percent(here.low[0])}–"
        f"{percent(here.high[0])}; {here.cases[0]:.0f} cases around). Of the place alone, whatever else is known of the case."
    )


def _published(atlas: Atlas) -> None:
    """Rank agreement with another atlas's surface points, which the reader brings."""
    with st.expander("Compare with a published atlas"):
        st.caption(
            "The surface points of Shen et al. 2025 (Fig. 4c) are for research use and not shipped. A CSV with x (to the patient's "
            "left), y (to the head), z (to the front) and relative_risk is compared with this atlas by rank."
        )
        file = st.file_uploader("Surface points", ["csv"], key="atlas-points")
        if file is None:
            return
        try:
            found = agreement(atlas, _points(file))
        except StatisticsError as error:
            problem(error)
            return
        st.markdown(
            f"Spearman's ρ = **{found.correlation:.2f}** over {found.used:,} of {found.total:,} points "
            f"(left and right exchanged: {found.mirrored:.2f}). Neighbouring points are not independent, so no p-value is given."
        )


def _points(file: IO[bytes]) -> pd.DataFrame:
    try:
        return pd.read_csv(file)
    except ValueError as error:  # among them what pandas raises for files that are no CSV
        reason = str(error).splitlines()[0][:200]
        raise StatisticsError(
            f"cannot be read ({reason})", where="atlas points", fix="Give a CSV with a header."
        ) from None
