"""What if, on the Case page: change fields, words or the nodule's place, and see the prediction move."""

from __future__ import annotations

import numpy as np
import streamlit as st

from dashboard import resources
from dashboard.figures.case_whatif import distance_table, individual_curve
from dashboard.figures.style import percent
from dashboard.parts import figure, problem
from model.encode import MeasuredCase
from model.errors import ProblemError, StatisticsError
from model.explain.counterfactual import Change, Crossing, changed, moved, nearest_view
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
        shift = _shift(measured, name)
    for error in faults:
        problem(error)
    if faults:
        return
    view = nearest_view(measured)
    other = measured
    if view is not None and shift:
        other = moved(measured, view, *shift)
    given = {n: v for n, v in values.items() if v != measured.fields.get(n)}
    other = changed(other, given, report)
    with right:
        _answer(measured, other, given, report, bool(shift))
        if view is not None:
            curve = resources.distance_curve(key, model, measured)
            figure(
                individual_curve(curve, _cohort_curve(), THRESHOLD),
                f"The nodule of the {view} view slid along its line to the capsule, all else held; red: as it is. Dotted: observed "
                "in the synthetic external cohort. The distance is the shortest over the views.",
                key="if-distance", data=distance_table(curve),
            )  # fmt: skip
        if st.button(f"Smallest change that crosses {percent(THRESHOLD)}", key=f"if-smallest-{name}"):
            st.markdown(_told(resources.smallest_crossing(key, model, THRESHOLD, measured)))


def _answer(
    before: MeasuredCase, after: MeasuredCase, given: dict[str, Value | None], report: str, shifted: bool
) -> None:
    """Probability of the changed case, with the difference in percentage points."""
    was, now = (p.probability for p in resources.predictor().predict_measured([before, after]))
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
    label = field.label + (f" ({field.unit})" if field.unit else "")
    key, value = f"if-{field.name}-{name}", measured.fields.get(field.name)
    if field.kind == "number":
        return column.text_input(label, "" if value is None else f"{float(value):g}", key=key, help=f"Allowed: {field.allowed()}.")
    options = ["", *category_values(field)]
    shown = "" if value is None else ("yes" if value else "no") if field.kind == "flag" else str(value)
    return column.selectbox(label, options, index=options.index(shown), key=key, format_func=lambda v: v or "not given")


def _shift(measured: MeasuredCase, name: str) -> tuple[float, float] | None:
    """(down, right) in pixels along the nodule's line to the capsule; None where it stays."""
    view = nearest_view(measured)
    if view is None:
        return None
    capsule, spacing = measured.features[view].capsule, measured.case.images[view].pixel_spacing_mm
    line = np.subtract(capsule.capsule_point, capsule.nodule_point)
    if spacing is None or float(np.hypot(*line)) < 1:
        return None
    length = float(np.hypot(*(line * spacing)))
    mm = st.slider(
        "Move the nodule towards the capsule (mm; below 0: away)", -5.0, round(length, 1), 0.0, 0.1, key=f"if-shift-{name}"
    )
    return None if mm == 0 else (float(line[0] * mm / length), float(line[1] * mm / length))


@st.cache_data(show_spinner=False)
def _cohort_curve():  # type: ignore[no-untyped-def]
    """The external cohort's observed curve; None where it cannot be fitted."""
    from model.cohort.curves import risk_curve
    from model.cohort.scores import ScoredCases

    if not resources.EXTERNAL_SCORES.exists():
        return None
    table = resources.external_scores()
    known = table[table["capsule_distance_mm"].notna()]
    x = known["capsule_distance_mm"].to_numpy(float)
    try:
        return risk_curve(x, ScoredCases.from_frame(known).label, np.linspace(0, float(np.quantile(x, 0.99)), 60))
    except StatisticsError:
        return None


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

    def word(value: Value | None) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        return f"{value:.1f} {field.unit}" if isinstance(value, float) else str(value)

    return f"{field.label} {word(change.before)} → {word(change.after)}"
