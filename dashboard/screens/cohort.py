"""The Cohort page: risk against capsule distance and lobe position, for any filter."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import resources, state
<<<<<<< HEAD
from dashboard.cohort import atlas, distance, position
from dashboard.figures import quality
from dashboard.figures.style import percent
from dashboard.parts import asked, figure, missing, problem
from model.cohort.calibration import calibration_bins
from model.cohort.discrimination import operating_point, roc_curve, wilson
from model.cohort.evaluate import evaluate
=======
from dashboard.cohort import quality, readers, statistics
from dashboard.figures.lobe_map import lobe_map, position_table
from dashboard.figures.risk_curve import (
    PUBLISHED_DISTANCE_MM,
    PUBLISHED_RISK,
    curve_table,
    distance_curve,
    subgroup_curves,
)
from dashboard.figures.style import percent
from dashboard.parts import figure, missing, problem
from model.cohort.curves import RiskCurve, risk_by_bins, risk_curve, value_at_level
from model.cohort.discrimination import wilson
from model.cohort.position import risk_by_position
>>>>>>> c2
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
<<<<<<< HEAD
    distance.section(part)
    position.section(part)
    atlas.section(part)
    quality_section(part)
=======
    distance_section(part)
    position_section(part)
    quality.section(part)
    statistics.section(part)
    readers.section(part)
>>>>>>> c2


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
        if name in PLACE_COLUMNS:
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


<<<<<<< HEAD
def quality_section(part: pd.DataFrame) -> None:
    """Discrimination and calibration of the predictions; computed when asked for."""
    st.subheader("How good are the predictions?")
    if not asked("Show model quality", "quality"):
        return
    scores = ScoredCases.from_arrays(part["probability"].to_numpy(), part["llnm"].to_numpy())
    with st.spinner("Resampling for the intervals …"):
        result = evaluate(scores)
    cells = st.columns(4)
    figures = {
        "AUROC": result.auroc,
        "Accuracy": result.accuracy,
        "Calibration error (ECE)": result.ece,
        "Brier": result.brier,
    }
    for cell, (name, value) in zip(cells, figures.items(), strict=True):
        cell.metric(name, "–" if value is None else f"{value.value:.3f}")
        cell.caption(
            "one outcome only" if value is None else f"95 % {value.low:.3f}–{value.high:.3f}, n = {len(scores):,}"
        )
    left, right = st.columns(2)
    with left:
        figure(
            quality.calibration(calibration_bins(scores)),
            "Observed rate against mean prediction in ten bins, 95 % Wilson intervals.", key="calibration",
        )  # fmt: skip
    with right:
        if result.auroc is None:
            missing("ROC curve", "only one outcome is there.")
        else:
            figure(
                quality.roc(roc_curve(scores), operating_point(scores)),
                "ROC curve; the cross is the cut-off 0.5.",
                key="roc",
            )
=======
def distance_section(part: pd.DataFrame) -> None:
    """Risk against capsule distance."""
    st.subheader("Risk against capsule distance")
    if "capsule_distance_mm" not in part:
        missing("Capsule distance", "the table has no column capsule_distance_mm.")
        return
    known = part[part["capsule_distance_mm"].notna()]
    x, y, p = (known[c].to_numpy() for c in ("capsule_distance_mm", "llnm", "probability"))
    if not len(x):
        missing("Capsule distance", "none of these cases has one.")
        return
    edges = np.arange(0, max(2.0, math.ceil(np.quantile(x, 0.99))) + 0.5, 0.5)
    inside = x <= edges[-1]
    bins = risk_by_bins(x[inside], y[inside], p[inside], edges)
    grid = np.linspace(float(np.quantile(x, 0.01)), float(np.quantile(x, 0.99)), 80)
    observed, predicted = _curve(x, y, grid), _curve(x, p, grid)
    figure(
        distance_curve(bins, observed, predicted),
        f"{len(known):,} cases with a measured distance ({len(part) - len(known):,} without). Points: observed rate in bins of "
        "0.5 mm with 95 % Wilson intervals; line: restricted cubic spline with a 95 % band; beneath: cases in each bin.",
        key="distance-curve",
        data=curve_table(bins),
    )
    near = x < PUBLISHED_DISTANCE_MM
    rate = wilson(int(y[near].sum()), int(near.sum()))
    if near.any():
        st.markdown(
            f"Below {PUBLISHED_DISTANCE_MM} mm: **{percent(rate.value)}** had LLNM ({rate.numerator:,} of {rate.denominator:,}; "
            f"95 % {percent(rate.low)}–{percent(rate.high)}). Published, on real patients: above {percent(PUBLISHED_RISK)}."
        )
    if observed is None:
        st.info("Too few cases for a smooth curve; the bins are shown.", icon=":material/info:")
    else:
        at = value_at_level(observed, PUBLISHED_RISK)
        st.markdown(
            f"The observed curve falls through {percent(PUBLISHED_RISK)} at **{at:.1f} mm**." if at is not None
            else f"The observed curve does not fall through {percent(PUBLISHED_RISK)} within these distances."
        )  # fmt: skip
    options = [n for n, column in SUBGROUPS.items() if column is None or column in known]
    by = (
        st.segmented_control("Split by", options, default=state.chosen("split", options) or "none", key="split")
        or "none"
    )
    state.write(split=None if by == "none" else by)
    column = SUBGROUPS[by]
    if column is not None:
        _split(known, column, grid)


def _split(known: pd.DataFrame, column: str, grid: np.ndarray) -> None:  # type: ignore[type-arg]
    """One curve a subgroup; those too small for one are named."""
    curves: dict[str, RiskCurve] = {}
    few = []
    for name, group in known.groupby(column, observed=True):
        curve = _curve(group["capsule_distance_mm"].to_numpy(), group["llnm"].to_numpy(), grid)
        if curve is None:
            few.append(f"{name} (n = {len(group)})")
        else:
            curves[str(name)] = curve
    note = f" Too few for a curve: {', '.join(few)}." if few else ""
    if curves:
        data = pd.concat([pd.DataFrame({"group": n, "mm": c.x, "risk": c.risk, "low": c.low, "high": c.high})
                          for n, c in curves.items()])  # fmt: skip
        figure(
            subgroup_curves(curves), f"Observed risk by {FIELD[column].label.lower()}, with 95 % bands.{note}", key="split-curve",
            data=data,
        )  # fmt: skip
    else:
        st.info(f"No subgroup is large enough.{note}")


def _curve(x: np.ndarray, y: np.ndarray, grid: np.ndarray) -> RiskCurve | None:  # type: ignore[type-arg]
    """A smooth curve, or None where there are too few cases."""
    try:
        return risk_curve(x, y, grid)
    except StatisticsError:
        return None


def position_section(part: pd.DataFrame) -> None:
    """Risk by place in the gland."""
    st.subheader("Risk by lobe position")
    if "side" not in part or "third" not in part:
        missing("Lobe position", "the table has no columns side and third.")
        return
    shown = st.segmented_control("Colour by", ["observed", "predicted"], default="observed", key="lobe-colour")
    placed = part[part["side"].notna() & (part["third"].notna() | (part["side"] == "isthmus"))]
    risks = risk_by_position(placed)
    left, right = st.columns([3, 2], vertical_alignment="center")
    with left:
        figure(
            lobe_map(risks, predicted=shown == "predicted"),
            f"Front view; {len(placed):,} of {len(part):,} cases with a known place. Hover for counts and 95 % intervals. "
            "Places with fewer than 10 cases are left grey.",
            key="lobe-map",
            data=position_table(risks),
        )
    with right:
        st.dataframe(position_table(risks), hide_index=True)
>>>>>>> c2


main()
