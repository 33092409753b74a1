"""The Cohort page: risk against capsule distance and lobe position, for any filter."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import resources, state
from dashboard.cohort import atlas, distance, position, quality, readers, statistics
from dashboard.figures.style import percent
from dashboard.parts import problem
from model.cohort.discrimination import wilson
from model.cohort.scores import LABEL_NAMES, PROBABILITY_NAMES, ScoredCases, read_table
from model.errors import CaseError, ProblemError, StatisticsError
from model.features.place import PLACE_COLUMNS
from model.schema import FIELD, parse

SHIPPED, OWN = "Synthetic external cohort", "Your own scored table"


def main() -> None:
    """Choose, filter, show."""
    st.title("Risk factors in a cohort")
    try:
        table, name = _cohort()
    except ProblemError as error:
        problem(error)
        st.stop()
    part = _filtered(table)
    positives = int(part["llnm"].sum())
    rate = wilson(positives, len(part))
    share = f" ({percent(rate.value)}, 95 % {percent(rate.low)}–{percent(rate.high)})" if len(part) else ""
    st.markdown(f"**{len(part):,} of {len(table):,} cases**, {positives:,} with LLNM{share} · {name}")
    if part.empty:
        st.info("No case passes these filters. Widen one of them.", icon=":material/filter_alt_off:")
        st.stop()
    for section in (distance, position, atlas, quality, statistics, readers):
        section.section(part)


def _cohort() -> tuple[pd.DataFrame, str]:
    """The chosen table with columns llnm (0/1) and probability, validated."""
    wanted = OWN if state.read("cohort") == "own" else SHIPPED
    which = st.segmented_control(
        "Cohort", [SHIPPED, OWN], default=wanted, key="cohort-source", label_visibility="collapsed"
    )
    state.write(cohort="own" if which == OWN else None)
    if which != OWN:
        if not resources.EXTERNAL_SCORES.exists():
            raise CaseError(
                "not there", where=str(resources.EXTERNAL_SCORES), fix="Restore data_samples/cohort.parquet."
            )
        return _usable(resources.external_scores()), "synthetic, five external centres"
    file = st.file_uploader(
        "CSV or Parquet with columns probability (or prediction) and llnm (or label), and any of the schema's fields",
        ["csv", "parquet"], key="cohort-file",
    )  # fmt: skip
    st.caption("Kept in this session's memory only. `llnm predict COHORT --out scored.parquet` writes such a table.")
    if file is None:
        st.stop()
    return _usable(_uploaded(file.name, file.getvalue())), "your table"


@st.cache_data(show_spinner="Reading the table …", max_entries=4)
def _uploaded(name: str, data: bytes) -> pd.DataFrame:
    with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
        file.write(data)
        file.flush()
        try:
            return read_table(file.name)
        except StatisticsError as error:
            raise StatisticsError(error.what, where=name, fix=error.fix) from None


@st.cache_data(show_spinner=False, max_entries=8)
def _usable(table: pd.DataFrame) -> pd.DataFrame:
    """Validated: probability and llnm as numbers, schema fields parsed; other columns are left out."""
    scores = ScoredCases.from_frame(table)
    result = pd.DataFrame({"probability": scores.probability, "llnm": scores.label})
    for name in table.columns:
        if name in (*PLACE_COLUMNS, *quality.STAGE_COLUMNS):
            result[str(name)] = pd.to_numeric(table[name], errors="coerce").where(lambda v: v.between(0, 1)).to_numpy()
        spec = FIELD.get(str(name))
        if spec is None or name in (*LABEL_NAMES, *PROBABILITY_NAMES) or spec.name == "report_text":
            continue
        values = [parse(spec, v, where=f"row {i + 1}") for i, v in enumerate(table[name].tolist())]
        result[spec.name] = pd.Series(values, dtype="float64" if spec.kind == "number" else "object")
    return result


def _filtered(table: pd.DataFrame) -> pd.DataFrame:
    """Filters in the address bar and the cases that pass them."""
    now = state.read_filters()
    chosen: dict[str, object] = {}
    with st.expander("Filters", icon=":material/filter_alt:", expanded=now != state.Filters()):
        columns = st.columns(4)
        names = [n for n in ("centre", "sex", "histology", "side", "third", "tirads") if n in table]
        for i, name in enumerate(names):
            options = sorted({str(v) for v in table[name].dropna()})
            default = [v for v in getattr(now, name) if v in options]
            picked = columns[i % 4].multiselect(FIELD[name].label, options, default=default, key=f"filter-{name}")
            chosen[name] = tuple(picked)
        for i, (name, column) in enumerate(state.RANGES.items(), start=len(names)):
            if column not in table or table[column].notna().sum() < 2:
                continue
            low, high = math.floor(table[column].min()), math.ceil(table[column].max())
            if low >= high:
                continue
            start = getattr(now, name) or (low, high)
            start = (int(max(low, min(start[0], high))), int(min(high, max(start[1], low))))
            picked_range = columns[i % 4].slider(FIELD[column].label_with_unit, low, high, start, key=f"filter-{name}")
            chosen[name] = None if picked_range == (low, high) else picked_range
    filters = state.Filters(**chosen)  # type: ignore[arg-type]
    state.write_filters(filters)
    keep = pd.Series(True, index=table.index)
    for name, value in chosen.items():
        if not value:
            continue
        if name in state.RANGES:
            keep &= table[state.RANGES[name]].between(*value)  # type: ignore[misc]
        else:
            keep &= table[name].isin(value)  # type: ignore[arg-type]
    return table[keep]




main()
