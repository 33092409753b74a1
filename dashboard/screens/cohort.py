"""The Cohort page: risk against capsule distance and lobe position, for any filter."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import resources, state
from dashboard.cohort import atlas, distance, drivers, position, quality, readers, selecting, statistics
from dashboard.cohort.part import Part, safe
from dashboard.figures.style import percent
from dashboard.parts import choose_picture_format, literal, missing, problem
from model.cohort import SERVED
from model.cohort.discrimination import wilson
from model.cohort.faults import RowsError
from model.cohort.selection import CATEGORIES, RANGES, STEPS, Filters
from model.cohort.source import NoLabelError
from model.cohort.store import CohortStore
from model.errors import CaseError, ProblemError
from model.schema import FIELD
from model.train.folders import SHIPPED as SHIPPED_MODEL

SHIPPED, SAMPLES, OWN = "Synthetic external cohort", "Sample cases", "Your own scored table"
STARTED, MODEL = "Table of this server", "Cases scored by the model in use"
MAX_UPLOAD_MB = 200
# By what the address bar calls each. Comments here: Streamlit prints a string that stands alone on a page.
SOURCES = {"external": SHIPPED, "samples": SAMPLES, "own": OWN, "model": MODEL}
if SERVED in os.environ:
    SOURCES = {"external": SHIPPED, "served": STARTED, "samples": SAMPLES, "own": OWN, "model": MODEL}
# Columns without which a figure cannot be shown.
NEEDS = {
    "Risk against capsule distance": ("capsule_distance_mm",),
    "Selecting cases in a figure": ("capsule_distance_mm",),
    "Risk by lobe position": ("side", "third"),
    "3-D risk atlas": ("side",),
    "Opening a case": ("case_id",),
}


def main() -> None:
    """Choose, filter, show."""
    st.title("Risk factors in a cohort")
    try:
        store, name, file = _cohort()
    except ProblemError as error:
        problem(error)
        st.stop()
    _told_of(store)
    part = Part(store, _filtered(store), file, name)
    selecting.section(part)
    counts = part.counts
    rate = wilson(counts.positives, counts.cases)
    share = f" ({percent(rate.value)}, 95 % {percent(rate.low)}–{percent(rate.high)})" if counts.cases else ""
    ill = f"{counts.positives:,} with {literal(store.outcome)}{share}"
    st.markdown(f"**{counts.cases:,} of {store.cases:,} cases**, {ill} · {name}")
    if not part.filters.on_steps():
        st.caption(
            f"A drawn region, or a range that does not end on steps of {STEPS['age']} years or {STEPS['size']} mm, is finer than "
            "what was counted beforehand: these cases are counted row by row."
        )
    if not counts.cases:
        st.info("No case passes these filters. Widen one of them.", icon=":material/filter_alt_off:")
        st.stop()
    choose_picture_format()
    for section in (distance, position, atlas, quality, drivers, statistics):
        safe(section.section)(part)
    readers.section()


def _cohort() -> tuple[CohortStore, str, str]:
    """The chosen cohort, what it is in words, and its file's name; raises `ProblemError`."""
    # The tables that ship were scored by the shipped model; another one can score the cases that have what it predicts.
    other = resources.main_folder() != SHIPPED_MODEL and resources.outcome() == resources.cases_outcome()
    options = [v for v in SOURCES.values() if v != MODEL or other]
    usual = MODEL if other else SHIPPED
    wanted = SOURCES.get(state.read("cohort"), usual)
    which = st.segmented_control(
        "Cohort", options, default=wanted if wanted in options else usual, key="cohort-source", label_visibility="collapsed",
        required=True,
    )  # fmt: skip
    state.write(cohort=None if which == usual else next(k for k, v in SOURCES.items() if v == which))
    if which == MODEL:
        cases = resources.cohort_folder()
        scored = resources.scored_cases(resources.predictor().checkpoint.identity, str(cases))
        without = scored.store.described["without_outcome"]
        more = f", without {without:,} whose outcome is not known" if without else ""
        return scored.store, f"cases of {cases.name}{more}", "scored.parquet"
    if which == SHIPPED:
        return _shipped(resources.EXTERNAL_SCORES), "synthetic, five external centres", _path(resources.EXTERNAL_SCORES)
    if which == SAMPLES:
        return (
            _shipped(resources.SAMPLE_SCORES),
            "synthetic, each can be opened on the Case page",
            _path(resources.SAMPLE_SCORES),
        )
    if which == STARTED:
        table = Path(os.environ[SERVED])
        if not table.is_file():
            raise CaseError("not there any more", where=table.name, fix="Start the server again with a file that is there.")
        changed = table.stat().st_mtime_ns
        store = _usable(lambda *how: resources.served_cohort(table, changed, *how).store, f"{table}-{changed}")
        return store, "the table that this server was started with", table.name
    file = st.file_uploader(
        "CSV or Parquet with columns probability (or prediction) and llnm (or label), and any of the schema's fields",
        ["csv", "parquet"], key="cohort-file", max_upload_size=MAX_UPLOAD_MB,
    )  # fmt: skip
    st.caption(
        "Kept for this session only, in a temporary folder of this computer that goes when the session ends. "
        "`llnm score COHORT --out scored.parquet --explain shap` writes such a table, with explanations. "
        "A larger one: `llnm serve --scored FILE`."
    )
    if file is None:
        st.stop()
    given = file
    store = _usable(lambda *how: resources.uploaded_cohort(given.file_id, given.name, *how, given).store, given.file_id)
    return store, "your table", file.name


def _usable(opened: Callable[[str | None, bool], CohortStore], table: str) -> CohortStore:
    """A table, with its outcome in the column that the user names where its own name does not tell, and without its rows at
    fault only where the user says so; faults are told, and the page stops at them."""
    agreed, asked = f"cohort-good-rows-{table}", f"cohort-labels-{table}"
    good_only, label = bool(st.session_state.get(agreed)), None
    if columns := st.session_state.get(asked):
        before = state.read("outcome")
        label = st.selectbox(
            "Which column tells the outcome (1: it was there)?", columns, key=f"cohort-label-{table}",
            index=columns.index(before) if before in columns else None, placeholder="One of those that hold only 0 and 1",
        )  # fmt: skip
        state.write(outcome=label)
    try:
        return opened(label, good_only)
    except NoLabelError as error:
        if error.candidates and not columns:
            st.session_state[asked] = error.candidates
            st.rerun()
        problem(error)
        st.stop()
    except RowsError as error:
        problem(error)
        if error.good and not good_only and st.button(f"Go on with the {error.good:,} good rows", key="cohort-go-on"):
            st.session_state[agreed] = True
            st.rerun()
        st.stop()


def _path(file: Path) -> str:
    """A shipped table as code in the project's folder opens it."""
    return f"{file.parent.name}/{file.name}"


def _shipped(file: Path) -> CohortStore:
    if not file.exists():
        raise CaseError("not there", where=file.name, fix=f"Restore data_samples/{file.name}.")
    return resources.shipped_cohort(file, file.stat().st_mtime_ns).store


def _told_of(store: CohortStore) -> None:
    """What was left out of the table, and what cannot be shown without what it lacks."""
    if store.bad_rows:
        st.warning(f"{store.bad_rows:,} rows at fault were left out, as you chose.", icon=":material/rule:")
    if store.left_out:
        st.text(f"Left out, without one usable value: {', '.join(store.left_out)}.")
    unknown = [n for n in store.ignored if n != "provenance"]
    if unknown:
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        st.text(f"Not counted or filtered by on this page, which knows the built-in fields: {', '.join(unknown[:8])}{more}.")
    for what, columns in NEEDS.items():
        absent = [c for c in columns if c not in store.columns]
        if absent:
            missing(what, f"this table has no {' and no '.join(absent)}, so it cannot be shown.")


def _filtered(store: CohortStore) -> Filters:
    """Filters, which stand in the address bar."""
    now = state.read_filters()
    chosen: dict[str, object] = {"region": now.region}
    with st.expander("Filters", icon=":material/filter_alt:", expanded=bool(now.used())):
        columns = st.columns(4)
        names = [n for n in CATEGORIES if n in store.options]
        for i, name in enumerate(names):
            options = sorted(store.options[name])
            default = [v for v in getattr(now, name) if v in options]
            picked = columns[i % 4].multiselect(FIELD[name].label, options, default=default, key=f"filter-{name}")
            chosen[name] = tuple(picked)
        for i, (name, column) in enumerate(RANGES.items(), start=len(names)):
            if column in store.ranges:
                chosen[name] = _range(columns[i % 4], name, store.ranges[column], getattr(now, name))
    filters = store.usable(Filters(**chosen))  # type: ignore[arg-type]
    state.write_filters(filters)
    return filters


def _range(
    place: DeltaGenerator, name: str, there: tuple[float, float], now: tuple[float, float] | None
) -> tuple[float, float] | None:
    """A slider over the values that are there; None where it leaves nothing out."""
    field, step = FIELD[RANGES[name]], STEPS[name]
    # An end that is open lies on a step, so that moving the other one alone keeps to what is counted beforehand.
    low, high = step * math.floor(there[0] / step), step * math.ceil(there[1] / step)
    if low >= high:
        return None
    start, end = now or (low, high)
    start = low if start <= field.low else start
    picked = place.slider(
        field.label_with_unit,
        low,
        high,
        (round(min(max(start, low), high)), round(max(min(end, high), low))),
        key=f"filter-{name}",
    )
    return None if picked == (low, high) else picked


main()
