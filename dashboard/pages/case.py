"""The Case page: one patient, the answer, the pictures, and why."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import resources, state
from dashboard.case import evidence, outline, picker, upload
from dashboard.figures.case_image import distance_label, picture
from dashboard.figures.case_prediction import risk_bar, stage_bars, truth_bars, truth_table
from dashboard.figures.style import percent
from dashboard.parts import figure, problem
from model.encode import MeasuredCase
from model.errors import ProblemError
from model.features.tirads import kwak
from model.predict import Prediction
from model.schema import FIELDS, VIEWS, Case

SOURCES = ("Sample case", "Your own case")


def main() -> None:
    """Choose, predict, show."""
    st.title("Lateral node metastasis: one case")
    wanted = SOURCES[1] if state.read("source") == "own" else SOURCES[0]
    source = st.segmented_control("Case from", SOURCES, default=wanted, key="source", label_visibility="collapsed")
    own = source == SOURCES[1]
    state.write(source="own" if own else None)
    case = upload.form() if own else picker.choose()
    if case is None:
        st.stop()
    predictor = resources.predictor()
    model = predictor.checkpoint.identity
    case = outline.applied(case)
    try:
        key = resources.case_key(case)
        measured = resources.measured(key, model, case)
        prediction = resources.prediction(key, model, measured)
    except ProblemError as error:
        problem(error)
        st.stop()
    st.divider()
    answer(case, measured, prediction)
    pictures(case, measured)
    st.subheader("Why: contribution of each feature group (SHAP)")
    evidence.shapley_section(resources.shapley(key, model, measured))
    st.subheader("Cross-attention between picture and report")
    if st.toggle("Show cross-attention", value=state.read("attention") == "1", key="attention-on"):
        state.write(attention="1")
        evidence.attention_section(measured, resources.attention(key, model, measured))
    else:
        state.write(attention=None, word=None)
    details(measured)


def answer(case: Case, measured: MeasuredCase, prediction: Prediction) -> None:
    """The number with its uncertainty, what must be known beside it, stages and TI-RADS."""
    foreign = [n for n in prediction.notices if n.startswith("Outside the model's domain")]
    for notice in foreign:
        st.warning(notice, icon=":material/warning:")
    left, right = st.columns([3, 2], gap="large")
    interval = prediction.interval
    with left:
        st.metric("Calibrated probability of lateral node metastasis", percent(prediction.probability, 1))
        figure(
            risk_bar(prediction.probability, interval),
            f"Red: this case. White box: {percent(interval.low)} to {percent(interval.high)}, the 95 % interval of the rate "
            f"among the {interval.count} validation cases that scored nearest ({interval.positives} of {interval.count} had "
            "LLNM; synthetic cases).",
            key="risk-bar",
        )
        for notice in prediction.notices:
            if notice not in foreign:
                st.info(notice, icon=":material/info:")
    with right:
        distance = min(
            (f.capsule for f in measured.features.values()), key=lambda c: c.fraction if c.distance is None else c.distance,
            default=None,
        )  # fmt: skip
        a, b = st.columns(2)
        a.metric("Capsule distance", "not measured" if distance is None else distance_label(distance))
        tirads = kwak(case.fields)
        reported = case.fields.get("tirads")
        counted = tirads.category or f"{tirads.low}–{tirads.high}"
        b.metric("Kwak TI-RADS", str(reported or counted), help="A comparator; it is not given to the model.")
        st.caption(
            f"Counted from the findings given: {counted} ({len(tirads.suspicious)} of 5 suspicious"
            + (f": {', '.join(tirads.suspicious)}" if tirads.suspicious else "")
            + (f"; {len(tirads.missing)} not given" if tirads.missing else "")
            + ")."
        )
        st.markdown("**Risk stage, if there is LLNM**")
        figure(
            stage_bars(prediction.stage_probabilities), "Stages by number and size of nodes; given LLNM.", key="stages"
        )
    if case.provenance == "synthetic" and case.labels:
        truth(case)


def truth(case: Case) -> None:
    """What the simulation knows, for teaching; hidden until asked for."""
    if not st.toggle("Reveal the simulated truth", key=f"truth-{case.case_id}"):
        return
    row = resources.sample_truth().loc[case.case_id]
    outcome = "LLNM" if bool(row["llnm"]) else "no LLNM"
    stage = f", stage {int(row['stage'])}" if pd.notna(row["stage"]) else ""
    st.markdown(
        f"Outcome: **{outcome}{stage}**. True probability: **{percent(row['probability'], 1)}**. "
        f"True capsule distance: **{row['capsule_distance_mm']:.1f} mm**."
    )
    table = truth_table(row)
    figure(
        truth_bars(table), "The causes as simulated (model.simulate.risk): what a perfect explanation would find.",
        key="truth", data=table,
    )  # fmt: skip


def pictures(case: Case, measured: MeasuredCase) -> None:
    """Both views with outlines and the capsule-distance line, and the way to draw them by hand."""
    st.subheader("Pictures")
    overlays = st.pills(
        "Overlays", ["Outlines", "Capsule distance"], selection_mode="multi", default=["Outlines", "Capsule distance"],
        key="overlays", label_visibility="collapsed",
    )  # fmt: skip
    views = [v for v in VIEWS if v in case.images]
    for column, view in zip(st.columns(len(views)), views, strict=True):
        image, found = case.images[view], measured.segmentations[view]
        features = measured.features.get(view)
        with column:
            drawn = picture(
                image.pixels,
                spacing_mm=image.pixel_spacing_mm,
                nodule=found.nodule if "Outlines" in overlays else None,
                gland=found.gland if "Outlines" in overlays else None,
                capsule=features.capsule if features and "Capsule distance" in overlays else None,
            )
            said = "" if features is None else f" Capsule distance {distance_label(features.capsule)}."
            by_hand = image.nodule_mask is not None or image.gland_mask is not None
            figure(
                drawn,
                f"{view.capitalize()} view. Yellow: nodule; blue: gland ({'drawn by hand' if by_hand else 'found by the network'})."
                + said,
                key=f"picture-{view}",
            )
            with st.expander("Outline by hand", icon=":material/draw:"):
                if st.toggle("Draw on this view", key=f"draw-{case.case_id}-{view}"):
                    outline.editor(case, view, image, found)


def details(measured: MeasuredCase) -> None:
    """Every field the model read, with its unit and where it came from."""
    with st.expander("Fields the model read", icon=":material/list:"):
        typed = measured.case.fields
        rows = [
            {
                "field": f.label,
                "value": _shown(measured.fields.get(f.name)),
                "unit": f.unit,
                "from": "not given" if f.name not in measured.fields else "given" if f.name in typed else "measured",
            }
            for f in FIELDS
            if f.is_token
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


main()
