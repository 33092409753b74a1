"""The guided mapping: one line a column, with what it seems to hold, where it goes, and how its cells are read."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import streamlit as st

from dashboard.importing.given import Given
from dashboard.parts import literal
from model.importing.mapping import (
    ALL_TARGETS,
    BORN,
    ENDPOINT,
    IDENTIFYING,
    OWN,
    PATIENT,
    REPORT_FILE,
    SEEN,
    Agreed,
    Column,
    field_name_of,
)
from model.importing.profile import Profile
from model.importing.values import OTHERS, DateOrder, known_units
from model.ingest.table import PATH_COLUMNS
from model.schema import FIELD

_LABELS = {
    "": "— leave out —",
    OWN: "A field of this cohort's own",
    ENDPOINT: "The outcome",
    PATIENT: "Patient number (becomes a pseudonym)",
    IDENTIFYING: "Identifying: leave out, search texts for it",
    REPORT_FILE: "Ultrasound report (file name)",
    BORN: "Date of birth (for the age)",
    SEEN: "Date of examination (for the age)",
    "frame_transverse": "Transverse picture: frame",
    "frame_longitudinal": "Longitudinal picture: frame",
    "pixel_spacing_mm": "Pixel spacing (mm)",
    "pixel_spacing_row_mm": "Pixel spacing, rows (mm)",
    "pixel_spacing_column_mm": "Pixel spacing, columns (mm)",
}
_ORDERS = {"": "year first, or plain", "dmy": "day, month, year", "mdy": "month, day, year"}
_KINDS = ("number", "category", "flag")
_ELSE = "anything else"


def label(target: str) -> str:
    """What a target is called on the page."""
    if target in _LABELS:
        return _LABELS[target]
    if target in PATH_COLUMNS:
        kind, view = target.rsplit("_", 1)
        return f"{view.capitalize()} picture" + ("" if kind == "image" else f": {kind.replace('_', ' ')}")
    return FIELD[target].label_with_unit


def edited(given: Given) -> Agreed:
    """The mapping as it stands in the form."""
    endpoint = _endpoint(given)
    st.subheader("What the columns mean")
    st.caption(
        "Proposed by name and content; correct what is wrong. What leads to a person is never stored; what is known only after "
        "surgery must not become a field."
    )
    columns = [
        _line(i, _proposed(given, name), given.profiles[name], given.key)
        for i, name in enumerate(given.manifest.header)
        if name
    ]
    confirmed = frozenset(st.session_state.get(f"import-confirmed-{given.key}", given.proposal.confirmed))
    return Agreed(tuple(columns), endpoint, confirmed)


def _proposed(given: Given, name: str) -> Column:
    return next((c for c in given.proposal.columns if c.column == name), Column(name, ""))


def _endpoint(given: Given) -> dict[str, str]:
    now = dict(given.proposal.endpoint)
    standard = "Lateral node metastasis (LLNM)"
    other = st.toggle(f"The outcome is another than {standard}", value=bool(now), key=f"import-endpoint-{given.key}")
    if not other:
        return {}
    left, right = st.columns(2)
    full = left.text_input(
        "Outcome, in full", now.get("label", ""), key=f"import-endpoint-label-{given.key}", placeholder="Malignancy"
    ).strip()
    short = right.text_input(
        "In short", now.get("short", ""), key=f"import-endpoint-short-{given.key}", placeholder="malignancy"
    ).strip()
    if not full:
        st.info("Name the outcome.", icon=":material/edit:")
    return {
        "name": now.get("name") or field_name_of(full),
        "label": full,
        "short": short or full,
        "help": now.get("help") or f"{full}.",
    }


def _line(i: int, proposed: Column, seen: Profile, key: str) -> Column:
    """One column: what it holds, where it goes, how it is read."""
    about, goes, how = st.columns([2, 3, 4], vertical_alignment="top", border=False)
    about.markdown(f"**{literal(proposed.column)}**  \n:gray[{literal(holds(seen))}]")
    base = f"import-{key}-{i}"
    to = goes.selectbox(
        f"{proposed.column} goes to",
        ALL_TARGETS,
        ALL_TARGETS.index(proposed.to) if proposed.to in ALL_TARGETS else 0,
        format_func=label,
        key=f"{base}-to",
        label_visibility="collapsed",
    )
    # Of a proposal for something else, only the unit may still be right.
    made = proposed if to == proposed.to else Column(proposed.column, to, unit=proposed.unit)
    if to in ("", IDENTIFYING):
        if made.why:
            how.caption(literal(made.why.capitalize() + "."))
        return replace(made, values={}, unit="", dates="", name="", label="", kind="", low=None, high=None)
    with how:
        return _how(made, seen, base)


def _how(made: Column, seen: Profile, base: str) -> Column:
    """The widgets of a column that goes somewhere."""
    spec = FIELD.get(made.to)
    kind = spec.kind if spec else "flag" if made.to == ENDPOINT else ""
    if made.to == OWN:
        left, right = st.columns([3, 2])
        own_label = left.text_input(
            "Label", made.label or made.column, key=f"{base}-label", label_visibility="collapsed"
        ).strip()
        first = _KINDS.index(made.kind) if made.kind in _KINDS else 0 if seen.mostly_numbers else 1
        kind = right.selectbox("Kind", _KINDS, first, key=f"{base}-kind", label_visibility="collapsed")
        made = replace(made, label=own_label or made.column, kind=kind, name=made.name or field_name_of(made.column))
        if kind == "number":
            unit = st.text_input(
                "Unit", made.unit, key=f"{base}-own-unit", placeholder="unit", label_visibility="collapsed"
            ).strip()
            spread = max(seen.high - seen.low, 1.0) if seen.numbers else 1.0
            low = made.low if made.low is not None else 0.0 if seen.low >= 0 else seen.low - spread
            return replace(
                made, unit=unit, values={}, low=low, high=made.high if made.high is not None else seen.high + spread
            )
        made = replace(made, unit="", low=None, high=None)
    if made.to in (BORN, SEEN):
        options = list(_ORDERS)
        chosen = st.selectbox(
            "Order",
            options,
            options.index(made.dates) if made.dates in options else 0,
            format_func=_ORDERS.__getitem__,
            key=f"{base}-dates",
            label_visibility="collapsed",
        )
        return replace(made, dates=cast(DateOrder, chosen))
    if kind == "number" and spec is not None:
        units = known_units(spec.unit)
        if len(units) > 1:
            now = made.unit or spec.unit
            unit = st.selectbox(
                "Unit", units, units.index(now) if now in units else 0, key=f"{base}-unit", label_visibility="collapsed"
            )
            return replace(made, unit="" if unit == spec.unit else unit)
        return replace(made, unit="")
    if kind in ("category", "flag"):
        made = replace(made, unit="")
        return replace(
            made,
            values=_values(made, seen, base, "yes or no" if kind == "flag" else ", ".join(spec.values) if spec else ""),
        )
    return replace(made, unit="")


def _values(made: Column, seen: Profile, base: str, allowed: str) -> dict[str, str]:
    """The value mapping as lines "cell = value"."""
    if seen.counts is None:
        st.caption("Too many different values to map one by one.")
        return dict(made.values)
    lines = [f"{_ELSE if raw == OTHERS else raw} = {to}" for raw, to in made.values.items()]
    lines += [
        f"{raw} = {raw}" for raw in seen.counts if made.to == OWN and made.kind == "category" and raw not in made.values
    ]
    hint = f"There: {', '.join(seen.counts)}. Give “cell = value”, one a line, for what is not plain by itself" + (
        f"; values: {allowed}." if allowed else "."
    )
    with st.popover(f"Values ({len(lines)} mapped)" if lines else "Values", help=literal(hint)):
        st.caption(literal(hint))
        text = st.text_area(
            "Values", "\n".join(lines), key=f"{base}-values-{made.to}-{made.kind}", label_visibility="collapsed"
        )
    pairs = [line.rsplit("=", 1) for line in text.splitlines() if "=" in line]
    return {OTHERS if raw.strip() == _ELSE else raw.strip(): to.strip() for raw, to in pairs}


def holds(seen: Profile) -> str:
    """What a column holds, without any of it."""
    if not seen.filled:
        return "empty"
    if seen.pictures >= 0.5 * seen.filled:
        return f"{seen.pictures:,} pictures"
    if seen.mostly_dates:
        return f"{seen.filled:,} dates"
    if seen.mostly_numbers:
        return f"{seen.filled:,} numbers, {seen.low:g} to {seen.high:g}"
    if seen.counts is not None:
        return f"{seen.filled:,} cells, {len(seen.counts)} different"
    return f"{seen.filled:,} cells, many different"
