"""The Case page: one patient, the answer, the pictures, and why."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import resources, state
from dashboard.case import (
    attention,
    evidence,
    outline,
    picker,
    pixels,
    reports,
    scores,
    similar,
    trust,
    uncertainty,
    upload,
    whatif,
)  # fmt: skip
from dashboard.cohort.atlas import SWITCH
from dashboard.figures.case_image import distance_label, picture, shortest_distance
from dashboard.figures.case_prediction import basis, prediction_table, risk_bar, stage_bars, truth_bars, truth_table
from dashboard.figures.style import percent
from dashboard.parts import asked, back_link, figure, problem
from model.encode import MeasuredCase
from model.errors import ProblemError
from model.explain.summary import summarise
from model.features.tirads import kwak
from model.predict import OUT_OF_DOMAIN, Prediction
from model.schema import VIEWS, Case, Schema, View, in_sentence

SOURCES = ("Sample case", "Your own case")
OVERLAYS = ("Nodule", "Gland", "Capsule distance", "Scale")


def main() -> None:
    """Choose, predict, show."""
    predictor = resources.predictor()
    schema, model = predictor.schema, predictor.checkpoint.identity
    st.title(f"{schema.endpoint.label}: one case")
    back_link()
    samples = resources.cohort_folder() == resources.SAMPLES
    wanted = SOURCES[1] if state.read("source") == "own" else SOURCES[0]
    source = st.segmented_control(
        "Case from", SOURCES, default=wanted, key="source", label_visibility="collapsed", required=True,
        format_func=lambda s: "Case of the cohort" if s == SOURCES[0] and not samples else s,
    )  # fmt: skip
    own = source == SOURCES[1]
    state.write(source="own" if own else None)
    try:
        case = upload.form(schema) if own else picker.choose()
    except ProblemError as error:
        problem(error)
        st.stop()
    if case is None:
        st.stop()
    try:
        shown = outline.applied(case)
        key = resources.case_key(shown)
        measured = resources.measured(key, model, shown)
        prediction = resources.prediction(key, model, measured)
    except ProblemError as error:
        problem(error)
        # An outline that cannot be measured must not lock the page on which it could be taken back.
        if outline.take_back(case.case_id):
            st.button("Go on with the outlines before that", type="primary")
        st.stop()
    revealed = answer(shown, measured, prediction, schema)
    seen = schema.has_images and bool(shown.images)
    if seen:
        pictures(shown, measured)
    if not own and samples and schema.has_images:
        st.page_link(
            "screens/cohort.py", label="Show in the cohort's risk atlas", icon=":material/view_in_ar:",
            query_params={"case": case.case_id, SWITCH: "1"},
        )  # fmt: skip
    st.subheader("Why: contribution of each feature group (SHAP)")
    why = st.container()
    st.subheader("Scores as published")
    if asked("Show scores as published", "scores"):
        scores.section(key, model, measured)
    if seen:
        st.subheader("Cross-attention between picture and report")
        if st.toggle("Show cross-attention", value=state.read("attention") != "0", key="attention-on"):
            state.write(attention=None)
            plain, weighted = (of(key, model, measured) for of in (resources.attention, resources.attention_gradient))
            attention.section(measured, plain, weighted)
        else:
            state.write(attention="0", **dict.fromkeys(attention.STATE))
        st.subheader("Image evidence")
        if st.toggle("Ask which pixels moved the prediction", value=state.read("methods") != "", key="evidence-on"):
            pixels.section(key, model, measured)
        else:
            state.write(methods=None)
    st.subheader("How sure")
    if asked("Show achieved coverage, distance from the training cases, and what is missing", "sure"):
        uncertainty.section(key, model, measured, prediction)
    st.subheader("What if")
    if asked("Change the case and see the prediction move", "whatif"):
        whatif.section(key, model, measured)
    st.subheader("Similar cases")
    if asked("Find the cases that the model finds alike", "similar"):
        similar.section(model, measured)
    st.subheader("How far to trust these explanations")
    if asked("Show what the checks of each method say", "trust"):
        trust.section()
    details(measured, schema)
    with why:  # last, since it takes longest
        shapley = evidence.choose_background(key, model, measured)
        plain_shapley = resources.shapley(key, model, measured)
        for sentence in summarise(prediction, plain_shapley, measured, schema):
            st.text(sentence)
        evidence.shapley_section(shapley)
        if asked("Look inside a group: words, picture regions, fields", "inside"):
            evidence.owen_section(key, model, measured, plain_shapley)
        if revealed and (known := resources.sample_truth()) is not None and not schema.own:
            evidence.truth_section(plain_shapley, known.loc[case.case_id], known)
    st.subheader("Report")
    reports.buttons(measured, prediction, plain_shapley, predictor.checkpoint.card, schema)


def answer(case: Case, measured: MeasuredCase, prediction: Prediction, schema: Schema) -> bool:
    """The number with its uncertainty, what must be known beside it, stages and TI-RADS; whether the truth was revealed."""
    st.divider()
    revealed, endpoint = False, schema.endpoint
    told = basis(prediction.interval, endpoint.short)
    synthetic = " The validation cases are synthetic." if resources.training_data() == "synthetic" else ""
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.text(f"Calibrated probability of {in_sentence(endpoint.title)}")
        st.markdown(f"# {percent(prediction.probability, 1)}")
        if OUT_OF_DOMAIN in prediction.notices:
            st.warning(OUT_OF_DOMAIN, icon=":material/warning:")
        figure(
            risk_bar(prediction.probability, prediction.interval),
            f"{told} (box; red: this case).{synthetic}",
            key="risk-bar",
            data=prediction_table(prediction),
            alt=f"Risk from 0 to 100 %: this case at {percent(prediction.probability, 1)}. {told}.",
        )
        st.text(prediction.conformal_set.sentence)
        unlike = [score.words for score in prediction.novelty if score.unlike]
        for notice in prediction.notices:
            if notice in unlike:
                st.warning(notice, icon=":material/warning:")
            elif notice != OUT_OF_DOMAIN:
                st.info(notice, icon=":material/info:")
        if case.provenance == "synthetic" and case.labels and resources.sample_truth() is not None:
            revealed = truth(case)
        elif endpoint.name in case.labels:
            outcome(case, schema)
    with right:
        if schema.has_images and case.images:
            beside(case, measured)
        elif scores.has_findings(measured):
            comparator(case)
        if prediction.stage_probabilities is not None:
            st.markdown(f"**Risk stage, if there is {endpoint.short}**")
            figure(
                stage_bars(prediction.stage_probabilities),
                "1: at most 5 nodes, all under 2 mm; 3: any node over 30 mm; 2: otherwise.", key="stages",
            )  # fmt: skip
    return revealed


def outcome(case: Case, schema: Schema) -> None:
    """What surgery showed, hidden until asked for: it must not lead the reader."""
    if st.toggle("Show the outcome after surgery", key=f"outcome-{case.case_id}"):
        known, endpoint = bool(case.labels[schema.endpoint.name]), schema.endpoint.short
        st.text(f"Outcome: {endpoint if known else f'no {endpoint}'}. The model was not given it.")


def beside(case: Case, measured: MeasuredCase) -> None:
    """The capsule distance and TI-RADS of a case with pictures."""
    distance = shortest_distance(measured.features.values())
    st.metric("Capsule distance, shortest over the views", "not measured" if distance is None else distance_label(distance))
    comparator(case)


def comparator(case: Case) -> None:
    """Kwak TI-RADS as reported, or counted from the findings; never given to the model."""
    result = kwak(case.fields)
    reported = case.fields.get("tirads")
    st.metric("Kwak TI-RADS (comparator, not given to the model)", str(reported or result.label))
    found = f": {', '.join(result.suspicious)}" if result.suspicious else ""
    missing = f"; {len(result.missing)} finding{'s' if len(result.missing) > 1 else ''} not given" if result.missing else ""
    said = f"As reported; counted from the findings: {result.label}" if reported else "Counted from the findings"
    st.caption(f"{said}. {len(result.suspicious)} of 5 suspicious{found}{missing}.")


def truth(case: Case) -> bool:
    """What the simulation knows, for teaching; hidden until asked for. Whether it was."""
    if not st.toggle("Reveal the simulated truth", key=f"truth-{case.case_id}"):
        return False
    known = resources.sample_truth()
    assert known is not None  # `answer` asked
    row = known.loc[case.case_id]
    said = "LLNM" if bool(row["llnm"]) else "no LLNM"
    stage = f", stage {int(row['stage'])}" if pd.notna(row["stage"]) else ""
    st.markdown(
        f"Outcome: **{said}{stage}**. True probability: **{percent(row['probability'], 1)}**. "
        f"True capsule distance: **{row['capsule_distance_mm']:.1f} mm**."
    )
    table = truth_table(row)
    figure(
        truth_bars(table), "The causes as simulated (model.simulate.risk): what a perfect explanation would find.",
        key="truth", data=table,
    )  # fmt: skip
    return True


@st.fragment
def pictures(case: Case, measured: MeasuredCase) -> None:
    """Both views with outlines and the capsule-distance line, and the way to draw them by hand."""
    st.subheader("Pictures")
    overlays = st.pills(
        "Overlays", OVERLAYS, selection_mode="multi", default=OVERLAYS, key="overlays", label_visibility="collapsed"
    )
    views = [v for v in VIEWS if v in case.images]
    for column, view in zip(st.columns(max(2, len(views))), views, strict=False):
        with column:
            view_picture(case, measured, view, overlays)


def view_picture(case: Case, measured: MeasuredCase, view: View, overlays: list[str]) -> None:
    """One view, what was measured on it in words, and the editor of its outlines."""
    image, found, features = case.images[view], measured.segmentations[view], measured.features.get(view)
    drawn = picture(
        image.pixels,
        spacing_mm=image.pixel_spacing_mm if "Scale" in overlays else None,
        nodule=found.nodule if "Nodule" in overlays else None,
        gland=found.gland if "Gland" in overlays else None,
        capsule=features.capsule if features and "Capsule distance" in overlays else None,
    )
    origin = {"nodule": image.nodule_mask, "gland": image.gland_mask}
    said = [f"{name}: {'network' if mask is None else 'by hand'}" for name, mask in origin.items()]
    distance = "Nothing was measured." if features is None else f"Capsule distance {distance_label(features.capsule)}."
    spacing = "" if image.pixel_spacing_mm is not None else " Pixel spacing unknown."
    figure(
        drawn, f"{view.capitalize()} view. {distance} Outlines: yellow nodule, blue gland ({', '.join(said)}).{spacing}",
        key=f"picture-{view}", data=measurements(measured, view),
    )  # fmt: skip
    if (doubt := outline.doubt(found)) is not None:
        st.warning(doubt, icon=":material/warning:")
    with st.expander("Outline by hand", icon=":material/draw:"):
        if st.toggle("Draw on this view", key=f"draw-{case.case_id}-{view}"):
            outline.editor(case, view, image, found)


def measurements(measured: MeasuredCase, view: View) -> pd.DataFrame:
    """What was measured on a view: quantity, value, unit; values that are not known are left out."""
    found, features = measured.segmentations[view], measured.features.get(view)
    rows: list[tuple[str, float | None, str]] = [
        ("nodule outline confidence", found.nodule_confidence, ""),
        ("gland outline confidence", found.gland_confidence, ""),
    ]
    if features is not None:
        rows += [
            ("capsule distance", features.capsule.distance, "mm"),
            ("capsule distance / gland depth", features.capsule.fraction, ""),
            ("nodule height", features.height_mm, "mm"),
            ("nodule width", features.width_mm, "mm"),
            ("nodule height", features.height_px, "pixels"),
            ("nodule width", features.width_px, "pixels"),
            ("echo difference", features.echo_difference, "grey levels, -1 to 1"),
        ]
    return pd.DataFrame([row for row in rows if row[1] is not None], columns=["quantity", "value", "unit"])


def details(measured: MeasuredCase, schema: Schema) -> None:
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
            for f in schema.fields
            if f.is_token
        ]
        st.dataframe(pd.DataFrame(rows), hide_index=True)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


main()
