"""The Compare page: two cases under one model, or one case under two checkpoints, side by side."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import resources, state
from dashboard.case import outline
from dashboard.case.picker import DEFAULT
from dashboard.case.similar import difference_table, show_differences
from dashboard.figures.case_compare import SIDES, pair_dumbbells, pair_table
from dashboard.figures.case_image import distance_label, picture
from dashboard.figures.case_prediction import basis, prediction_table, risk_bar
from dashboard.figures.style import percent, words
from dashboard.parts import figure, missing, problem
from model.encode import MeasuredCase
from model.errors import ProblemError
from model.explain.shapley import ShapleyResult
from model.predict import Prediction
from model.schema import VIEWS, in_sentence
from model.train.folders import MORE, SHIPPED, checkpoint_folders

WAYS = {"cases": "Two cases", "checkpoints": "One case, two checkpoints"}


@dataclass(frozen=True)
class Choice:
    """What one side shows: a case, a checkpoint folder, and the heading that tells the sides apart."""

    name: str
    case_id: str
    folder: Path


@dataclass(frozen=True)
class Side:
    """What the model says of one side's case."""

    key: str
    measured: MeasuredCase
    prediction: Prediction


def main() -> None:
    """Choose, predict both, show both."""
    st.title("Compare")
    way = st.segmented_control(
        "Compare", list(WAYS), default=state.chosen("by", list(WAYS)) or "cases", format_func=WAYS.__getitem__, key="compare-by",
        label_visibility="collapsed", required=True,
    )  # fmt: skip
    state.write(by=None if way == "cases" else way)
    chosen = _two_cases() if way == "cases" else _two_checkpoints()
    if chosen[0] == chosen[1]:
        st.info("Both sides are the same.", icon=":material/info:")
    st.divider()
    sides: list[Side] = []
    for column, letter, choice in zip(st.columns(2, gap="large"), SIDES, chosen, strict=True):
        with column:
            st.subheader(letter)
            st.text(choice.name)  # the name of a folder is what someone wrote
            try:
                side = _side(choice)
            except ProblemError as error:
                problem(error)
            else:
                _answer(letter, side)
                sides.append(side)
    if len(sides) < len(SIDES):
        st.stop()
    a, b = sides
    if a.prediction.endpoint != b.prediction.endpoint:
        st.warning("The two models predict different outcomes: their numbers are not to be compared.", icon=":material/warning:")
    difference = 100 * (b.prediction.probability - a.prediction.probability)
    st.markdown(f"B − A: **{difference:+.1f} percentage points**")
    _pictures(a, b)
    st.subheader("Why they differ: contribution of each feature group (SHAP)")
    why = st.container()
    _fields(a, b)
    with why:  # last, since it takes longest
        _contributions(*(resources.shapley(s.key, s.prediction.model, s.measured) for s in sides))


def _two_cases() -> tuple[Choice, Choice]:
    """Two cases under the model of the pages."""
    ids = list(resources.sample_cohort().case_ids)
    first = DEFAULT if DEFAULT in ids else ids[0]
    defaults = (first, ids[(ids.index(first) + 1) % len(ids)])
    a, b = (
        column.selectbox(
            f"Case {letter}", ids, index=ids.index(state.chosen(letter.lower(), ids) or default),
            format_func=_described, key=f"compare-{letter}",
        )
        for column, letter, default in zip(st.columns(2), SIDES, defaults, strict=True)
    )  # fmt: skip
    state.write(a=a, b=b, first=None, second=None)
    folder = resources.main_folder()
    return Choice(a, a, folder), Choice(b, b, folder)


def _two_checkpoints() -> tuple[Choice, Choice]:
    """One case under two of the checkpoints found; the page stops where there is only one."""
    folders = _folders()
    ids, names = list(resources.sample_cohort().case_ids), list(folders)
    default = DEFAULT if DEFAULT in ids else ids[0]
    left, middle, right = st.columns(3)
    case_id = left.selectbox(
        "Case", ids, index=ids.index(state.chosen("a", ids) or default), format_func=_described, key="compare-case"
    )
    state.write(a=case_id, b=None)
    if len(names) < 2:
        st.info(
            f"Only one checkpoint was found ({names[0]}). Start the dashboard with `llnm serve --checkpoints FOLDER`, where the "
            "folder holds others that `llnm train` wrote.",
            icon=":material/info:",
        )
        st.stop()
    one, two = (
        column.selectbox(
            f"Checkpoint {letter}", names, index=names.index(state.chosen(name, names) or names[at]), key=f"compare-model-{letter}"
        )
        for at, (column, letter, name) in enumerate(zip((middle, right), SIDES, ("first", "second"), strict=True))
    )
    state.write(first=one, second=two)
    return Choice(one, case_id, folders[one]), Choice(two, case_id, folders[two])


def _folders() -> dict[str, Path]:
    """Checkpoints that ship, and those of the folder that was named at the start; a fault in that name is told."""
    here, more = [resources.main_folder(), SHIPPED.parent], os.environ.get(MORE, "")
    if more:
        try:
            return checkpoint_folders(*here, Path(more))
        except ProblemError as error:
            problem(error)
    try:
        return checkpoint_folders(*here)
    except ProblemError as error:
        problem(error)
        st.stop()


def _described(case_id: str) -> str:
    """A case with what is known of the patient."""
    cohort = resources.sample_cohort()
    row = cohort.table.set_index("case_id").loc[case_id]
    known = [words(cohort.schema.by_name[n], row[n], 0) for n in ("age_years", "sex") if pd.notna(row[n])]
    return " · ".join([case_id, *known])


def _side(choice: Choice) -> Side:
    """Everything that is shown at once; raises `ProblemError` for a checkpoint or case that cannot be used."""
    model = resources.load_predictor(str(choice.folder)).checkpoint.identity
    case = outline.applied(resources.sample_cohort().case(choice.case_id))
    key = resources.case_key(case)
    measured = resources.measured(key, model, case)
    return Side(key, measured, resources.prediction(key, model, measured))


def _answer(letter: str, side: Side) -> None:
    """The number with its uncertainty and what must be known beside it."""
    prediction = side.prediction
    endpoint = resources.loaded(prediction.model).schema.endpoint
    told = basis(prediction.interval, endpoint.short)
    st.text(f"Calibrated probability of {in_sentence(endpoint.title)}")
    st.markdown(f"# {percent(prediction.probability, 1)}")
    figure(
        risk_bar(prediction.probability, prediction.interval),
        f"{told} (box; red: this case). Model {prediction.model}, trained on {_trained_on(prediction.model)} cases.",
        key=f"compare-risk-{letter}", data=prediction_table(prediction),
        alt=f"{letter}: risk {percent(prediction.probability, 1)}. {told}.",
    )  # fmt: skip
    for notice in prediction.notices:
        st.info(notice, icon=":material/info:")


def _trained_on(model: str) -> str:
    data = str(resources.loaded(model).checkpoint.card.get("training_data"))
    return "synthetic" if data == "synthetic" else "a user's"


def _pictures(a: Side, b: Side) -> None:
    """The views one under the other, the sides beside each other; nothing where neither side read a picture."""
    if not (a.measured.segmentations or b.measured.segmentations):
        return
    st.subheader("Pictures")
    for view in VIEWS:
        for column, letter, side in zip(st.columns(2, gap="large"), SIDES, (a, b), strict=True):
            case, features = side.measured.case, side.measured.features.get(view)
            with column:
                if view not in side.measured.segmentations:
                    missing(f"{letter}, {view} view", "not given")
                    continue
                image, found = case.images[view], side.measured.segmentations[view]
                distance = "Nothing was measured." if features is None else f"Capsule distance {distance_label(features.capsule)}."
                figure(
                    picture(
                        image.pixels, spacing_mm=image.pixel_spacing_mm, nodule=found.nodule, gland=found.gland,
                        capsule=features.capsule if features else None,
                    ),
                    f"{letter}, {view} view. {distance} Outlines: yellow nodule, blue gland.", key=f"compare-{view}-{letter}",
                )  # fmt: skip


def _fields(a: Side, b: Side) -> None:
    """What the model read differently, and both reports."""
    st.subheader("Fields that differ")
    table = difference_table(a.measured, b.measured, SIDES, resources.loaded(a.prediction.model).schema)
    if len(table):
        show_differences(table)
        st.caption("Numbers are told as different from half of their usual spread on.")
    else:
        st.caption("No field that the model reads differs notably.")
    with st.expander("Reports in full"):
        for column, letter, side in zip(st.columns(2, gap="large"), SIDES, (a, b), strict=True):
            column.markdown(f"**{letter}**")
            column.text(side.measured.case.report_text or "No report was given.")


@st.fragment
def _contributions(a: ShapleyResult, b: ShapleyResult) -> None:
    """Both sides' Shapley values on one scale."""
    scale = st.segmented_control("Scale", ["probability", "logit"], default="probability", key="compare-scale", required=True)
    table = pair_table(a, b, scale=scale)
    logits = np.array([[a.base_logit, b.base_logit], [a.logit, b.logit]])
    bases, ends = 1 / (1 + np.exp(-logits)) if scale == "probability" else logits
    ends_told = [_told(v, scale) for v in (*bases, *ends)]
    figure(
        pair_dumbbells(table, scale=scale),
        f"Knowing nothing, A is at {ends_told[0]} and B at {ends_told[1]}; with all contributions, A at {ends_told[2]} and B at "
        f"{ends_told[3]}. Hollow: the case has nothing of that group. {a.method}; they explain the model, not the disease.",
        key="compare-shapley", data=table,
    )  # fmt: skip


def _told(value: float, scale: str) -> str:
    return percent(value, 1) if scale == "probability" else f"{value:+.2f} logit"


main()
