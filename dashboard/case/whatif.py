"""What if, on the Case page: change fields, words or the nodule's place, and see the prediction move."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboard import resources
from dashboard.figures.case_whatif import distance_table, individual_curve
from dashboard.figures.style import percent, words
from dashboard.parts import figure, problem
from model.encode import MeasuredCase
from model.errors import ProblemError
from model.explain.counterfactual import Change, Crossing, away_from_capsule, changed, moved_away, nearest_view
from model.schema import FIELD, FIELDS, Field, Value, category_values, parse

INPUTS = [f for f in FIELDS if f.role == "input"]
THRESHOLD = 0.5


@st.fragment
def section(key: str, model: str, measured: MeasuredCase) -> None:
    """The changed case and its prediction beside the case as it is."""
    st.caption("How the model would read another case; not what a treatment or another patient would bring.")
    name = measured.case.case_id
    left, right = st.columns([3, 2], gap="large")
    with left:
        values: dict[str, Value | None] = {}
        faults: list[ProblemError] = []
        for at in range(0, len(INPUTS), 3):
            for column, field in zip(st.columns(3), INPUTS[at : at + 3], strict=False):
                try:
                    values[field.name] = parse(field, _entry(column, field, measured, name), where="what if")
                except ProblemError as error:
                    faults.append(error)
        report = st.text_area("Report, to be shortened or rewritten", measured.case.report_text, key=f"if-report-{name}")
        towards_mm = _shift(measured, name)
    for error in faults:
        problem(error)
    if faults:
        return
    view = nearest_view(measured)
    other = moved_away(measured, view, -towards_mm) if view is not None and towards_mm else measured
    given = {n: v for n, v in values.items() if v != measured.fields.get(n)}
    other = changed(other, given, report)
    with right:
        _answer(model, measured, other, given, report, bool(towards_mm))
        if view is not None:
            curve = resources.distance_curve(key, model, measured)
            figure(
                individual_curve(curve, resources.external_curve(), THRESHOLD),
                f"The nodule of the {view} view slid along its line to the capsule, all else held; red: as it is. Dotted: observed "
                "in the synthetic external cohort. The distance is the shortest over the views.",
                key="if-distance", data=distance_table(curve),
            )  # fmt: skip
        if st.button(f"Smallest change that crosses {percent(THRESHOLD)}", key=f"if-smallest-{name}"):
            st.markdown(_told(resources.smallest_crossing(key, model, THRESHOLD, measured)))


def _answer(
    model: str, before: MeasuredCase, after: MeasuredCase, given: dict[str, Value | None], report: str, shifted: bool
) -> None:
    """Probability of the changed case, with the difference in percentage points."""
    was, now = (p.probability for p in resources.loaded(model).predict_measured([before, after]))
    same = not given and not shifted and report == before.case.report_text
    st.metric(
        "Calibrated probability after the change", percent(now, 1),
        delta=None if same else f"{100 * (now - was):+.1f} percentage points", delta_color="off",
    )  # fmt: skip
    distance = after.fields.get("capsule_distance_mm")
    st.caption(
        f"As it is: {percent(was, 1)}." + (f" Capsule distance now {float(distance):.1f} mm." if distance is not None else "")
    )


def _entry(column: st.delta_generator.DeltaGenerator, field: Field, measured: MeasuredCase, name: str) -> object:
    """A widget holding the case's value."""
    label = field.label_with_unit
    key, value = f"if-{field.name}-{name}", measured.fields.get(field.name)
    if field.kind == "number":
        return column.text_input(label, "" if value is None else f"{float(value):g}", key=key, help=f"Allowed: {field.allowed()}.")
    options = ["", *category_values(field)]
    shown = "" if value is None else ("yes" if value else "no") if field.kind == "flag" else str(value)
    return column.selectbox(label, options, index=options.index(shown), key=key, format_func=lambda v: v or "not given")


def _shift(measured: MeasuredCase, name: str) -> float:
    """How far to move the nodule towards the capsule, in mm; 0 where it cannot be moved."""
    view = nearest_view(measured)
    if view is None:
        return 0.0
    (line, touches), spacing = away_from_capsule(measured, view), measured.case.images[view].pixel_spacing_mm
    if spacing is None or touches:
        return 0.0
    length = round(float(np.hypot(*(line * spacing))), 1)
    label = "Move the nodule towards the capsule (mm; below 0: away)"
    return float(st.slider(label, -5.0, length, 0.0, 0.1, key=f"if-shift-{name}"))


def _told(found: Crossing | None) -> str:
    if found is None:
        return (
            f"No change of one or two fields that a second look could read differently takes the prediction across "
            f"{percent(THRESHOLD)}. Age, sex, histology, BRAF and place were held."
        )
    return (
        f"{' and '.join(_change(c) for c in found.changes)}: **{percent(found.probability, 1)}**. "
        "Age, sex, histology, BRAF and place were held."
    )


def _change(change: Change) -> str:
    field = FIELD[change.name]
    return f"{field.label} {words(field, change.before, 1)} → {words(field, change.after, 1)}"
