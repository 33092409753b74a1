"""What if, on the Case page: change fields, words or the nodule's place, and see the prediction move."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
import streamlit as st

from dashboard import resources, state
from dashboard.case import nodule
from dashboard.figures.case_image import distance_label, shortest_distance
from dashboard.figures.case_whatif import distance_table, individual_curve
from dashboard.figures.style import percent, words
from dashboard.parts import asked, figure, literal, problem
from model.encode import MeasuredCase
from model.errors import ProblemError
from model.explain.counterfactual import (
    IMMUTABLE,
    CapsulePath,
    Change,
    Crossing,
    away_from_capsule,
    changed,
    nearest_view,
    placed,
    without_words,
    words_of,
)
from model.schema import Field, Schema, Value, View, category_values, in_sentence, parse

THRESHOLD = 50
"""In %, where the address does not say another."""
MOST_WORDS = 150
"""Words of a report that can be taken out by clicking; a longer one is edited as text."""
AWAY = {"mm": 5.0, "pixels": 30.0}
"""How far the nodule can be moved from the capsule."""
STEP = {"mm": (0.1, "%.1f"), "pixels": (1.0, "%.0f")}
"""Step of a slider that moves it, and how its value is written."""
SPREADS = 8
"""A number's slider reaches so many spreads from its mean, where the field allows more: fine enough for a finger."""


def section(key: str, model: str, measured: MeasuredCase) -> None:
    """The changed case with its prediction; below it, the risk over the distance and the smallest change that crosses.

    Two fragments, so that a slider of the one does not draw the other again.
    """
    st.caption("How the model would read another case; not what a treatment or another patient would bring.")
    with st.container():  # as far as this the answer stays in sight
        _changes(key, model, measured)
    _distance_and_crossing(key, model, measured)


@st.fragment
def _changes(key: str, model: str, measured: MeasuredCase) -> None:
    answer = st.container(key="if-answer")
    left, right = st.columns([2, 3], gap="large")
    schema = resources.loaded(model).schema
    move, other = None, measured
    with left:
        picture = st.container()
        if schema.has_images and measured.case.images:
            move = _move(key, model, measured)
    with right:
        given, faults = _fields(measured, schema)
        report = _report(measured) if schema.has_report else None
    for error in faults:
        problem(error)
    if faults:
        return
    if move is not None:
        along, towards = move.ways
        other = placed(measured, move.view, move.path, along=along, towards=towards)
    other = changed(other, given, report)
    with answer:
        _answer(key, model, measured, other)
    if move is not None:
        # Last, since the next wish of a nodule that is being dragged comes as soon as this one is drawn.
        with picture:
            scene = nodule.scene(measured, other, move.view, move.path.at(*move.ways))
            nodule.movable(scene, move.key, lambda: _follow(move))
            st.caption(
                "Drag the nodule along or towards the capsule (dotted: where it was); arrow keys and the sliders below do the "
                "same. The picture itself stays, and so does what the model sees of the nodule's inside and edge."
            )


def _answer(key: str, model: str, before: MeasuredCase, after: MeasuredCase) -> None:
    """Probability of the changed case, with the difference in percentage points."""
    was = resources.prediction(key, model, before).probability
    same = after.fields == before.fields and after.features is before.features
    same = same and after.case.report_text == before.case.report_text
    now = was if same else resources.loaded(model).predict_measured([after])[0].probability
    st.metric(
        "Calibrated probability after the change", percent(now, 1),
        delta=None if same else f"{100 * (now - was):+.1f} percentage points", delta_color="off",
    )  # fmt: skip
    shortest = shortest_distance(after.features.values())
    distance = "" if shortest is None else f" Capsule distance, shortest over the views: {distance_label(shortest)}."
    st.caption(f"As it is: {percent(was, 1)}.{distance}")


@dataclass(frozen=True)
class Move:
    """A nodule that can be moved on a view: its way, and how far it may leave it away from and towards the capsule."""

    name: str
    view: View
    path: CapsulePath
    most_away: float
    most_towards: float

    @property
    def key(self) -> str:
        """Of the picture."""
        return f"if-nodule-{self.name}-{self.view}"

    @property
    def keys(self) -> tuple[str, str]:
        """Of the sliders along and towards: what they hold is where the nodule is, whatever moved it."""
        return f"if-along-{self.name}-{self.view}", f"if-shift-{self.name}-{self.view}"

    @property
    def step(self) -> float:
        """Of the sliders."""
        return STEP[self.path.unit][0]

    @property
    def ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """What the sliders along and towards span; the first nothing where there is no other place."""
        low, high = (math.floor(end / self.step) * self.step for end in (-self.path.along[0], self.path.along[-1]))
        return (-round(low, 1), round(high, 1)), (-self.most_away, self.most_towards)

    @property
    def ways(self) -> tuple[float, float]:
        """Along and towards the capsule, as the sliders stand."""
        along, towards = (float(st.session_state.get(key, 0.0)) for key in self.keys)
        return along, towards

    def reached(self, shift: tuple[float, float]) -> tuple[float, float]:
        """Values of the sliders that bring the nodule as near as can be to a shift, (down, right) in pixels."""
        found = self.path.nearest(shift, self.most_away, self.most_towards)
        along, towards = (
            round(min(max(round(way / self.step) * self.step, low), high), 1)
            for way, (low, high) in zip(found, self.ends, strict=True)
        )
        return along, towards


def _follow(move: Move) -> None:
    """The sliders to where the nodule was dragged, or as near as it can be; before the run that draws them."""
    if (shift := nodule.wish(move.key)) is not None:
        st.session_state.update(zip(move.keys, move.reached(shift), strict=True))


def _move(key: str, model: str, measured: MeasuredCase) -> Move | None:
    """Which view's nodule moves, and the sliders that move it along the capsule and towards it."""
    name, nearest = measured.case.case_id, nearest_view(measured)
    if nearest is None:
        st.caption("Nodule or gland was not found on any view, so the nodule cannot be moved. Outline them by hand.")
        return None
    views = list(measured.features)
    view: View = nearest
    if len(views) > 1:
        view = st.segmented_control(
            "Move the nodule on", views, default=nearest, key=f"if-view-{name}", format_func=str.capitalize, required=True
        )
    path = resources.capsule_path(key, model, view, measured)
    line, touches = away_from_capsule(measured, view)
    spacing = measured.case.images[view].pixel_spacing_mm or (1.0, 1.0)
    length = 0.0 if touches else round(float(np.hypot(*(line * spacing))), 1)
    move = Move(name, view, path, AWAY[path.unit], length)
    unit, (step, shown) = path.unit, STEP[path.unit]
    for slider in move.keys:
        st.session_state.setdefault(slider, 0.0)
    (low, high), (away, towards) = move.ends
    if low < high:
        st.slider(
            f"Along the capsule ({unit}; above 0: clockwise on the picture)", low, high, None, step, shown, key=move.keys[0]
        )
    else:
        st.caption("So deep in the gland, it has no other place at this distance from the capsule.")
    st.slider(f"Towards the capsule ({unit}; below 0: away)", away, towards, None, step, shown, key=move.keys[1])
    return move


def _fields(measured: MeasuredCase, schema: Schema) -> tuple[dict[str, Value | None], list[ProblemError]]:
    """Fields with another value than the case's, and what could not be read."""
    name = measured.case.case_id
    values: dict[str, Value | None] = {}
    faults: list[ProblemError] = []
    inputs = [f for f in schema.fields if f.role == "input"]
    for at in range(0, len(inputs), 3):
        for column, field in zip(st.columns(3), inputs[at : at + 3], strict=False):
            try:
                values[field.name] = parse(field, _entry(column, field, measured, name), where="what if")
            except ProblemError as error:
                faults.append(error)
    numbers = [f.name for f in inputs if f.kind == "number" and f.name in measured.fields]
    if numbers:
        hidden = st.pills(
            "Numbers to take away", numbers, selection_mode="multi", key=f"if-hidden-{name}",
            format_func=lambda n: schema.by_name[n].label,
        )  # fmt: skip
        values.update(dict.fromkeys(hidden))
    return {n: v for n, v in values.items() if v != measured.fields.get(n)}, faults


def _entry(column: st.delta_generator.DeltaGenerator, field: Field, measured: MeasuredCase, name: str) -> object:
    """A widget holding the case's value: a slider for a number that it has."""
    label = field.label_with_unit
    key, value = f"if-{field.name}-{name}", measured.fields.get(field.name)
    if field.kind == "number":
        if value is None:
            return column.text_input(label, "", key=key, placeholder="not given", help=f"Allowed: {field.allowed()}.")
        low, high = slider_ends(field, float(value))
        step, shown = (1.0, "%.0f") if field.unit == "years" else (0.1, "%.1f")
        return column.slider(label, low, high, float(value), step, shown, key=key)
    options = ["", *category_values(field)]
    shown = "" if value is None else ("yes" if value else "no") if field.kind == "flag" else str(value)
    return column.selectbox(label, options, index=options.index(shown), key=key, format_func=lambda v: v or "not given")


def slider_ends(field: Field, value: float) -> tuple[float, float]:
    """What a number's slider spans: the field's range, or `SPREADS` around its mean where that is less, with the value."""
    reach = SPREADS * field.spread
    return float(max(field.low, min(value, field.mean - reach))), float(min(field.high, max(value, field.mean + reach)))


def _report(measured: MeasuredCase) -> str:
    """The report without the words that were clicked, or rewritten."""
    name, place = measured.case.case_id, st.container()
    with st.expander("Rewrite the report", icon=":material/edit:"):
        text = st.text_area("Report", measured.case.report_text, key=f"if-report-{name}", label_visibility="collapsed")
    told = words_of(text)
    if len(told) > MOST_WORDS:
        place.caption(f"The report has {len(told):,} words: rewrite it below to shorten it.")
        return text
    if not told:
        place.caption("There is no report: write one below.")
        return text
    gone: list[int] = place.pills(
        "Report: click a word to take it out", range(len(told)), selection_mode="multi", wrap=True,
        format_func=lambda i: literal(told[i]), key=f"if-words-{name}-{zlib.crc32(text.encode('utf-8', 'replace'))}",
    )  # fmt: skip
    if gone:
        place.caption(f"{len(gone)} of {len(told)} words taken out.")
    return without_words(text, gone)


@st.fragment
def _distance_and_crossing(key: str, model: str, measured: MeasuredCase) -> None:
    left, right = st.columns([3, 2], gap="large")
    with right:
        raw = state.read("threshold")
        wanted = int(raw) if raw.isdecimal() and 1 <= int(raw) <= 99 else THRESHOLD
        at = st.slider("Threshold (%)", 1, 99, wanted, key="if-threshold")
        state.write(threshold=str(at) if at != THRESHOLD else None)
        threshold = at / 100
        if asked("Find the smallest change that crosses it", "smallest"):
            found = resources.smallest_crossing(key, model, threshold, measured)
            st.markdown(_told(found, threshold, resources.loaded(model).schema))
    if measured.features:
        with left:
            curve = resources.distance_curve(key, model, measured)
            figure(
                individual_curve(curve, resources.external_curve(), threshold),
                f"The nodule of the {nearest_view(measured)} view slid along its line to the capsule, all else held; red: as it "
                "is. Dotted: observed in the synthetic external cohort. The distance is the shortest over the views.",
                key="if-distance", data=distance_table(curve),
            )  # fmt: skip


def _told(found: Crossing | None, threshold: float, schema: Schema) -> str:
    names = [in_sentence(schema.by_name[n].label) for n in IMMUTABLE if n in schema.by_name]
    held = f"Held: {', '.join(names)}." if names else ""
    if found is None:
        return (
            f"No change of one or two fields that a second look could read differently takes the prediction across "
            f"{percent(threshold)}. {held}"
        )
    return f"{' and '.join(_change(c, schema) for c in found.changes)}: **{percent(found.probability, 1)}**. {held}"


def _change(change: Change, schema: Schema) -> str:
    field = schema.by_name[change.name]
    return f"{field.label} {words(field, change.before, 1)} → {words(field, change.after, 1)}"
