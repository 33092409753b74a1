"""Model quality on the Cohort page: discrimination, cut-off, calibration, net benefit, subgroups."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.figures import quality
from dashboard.parts import asked, figure, missing, problem
from model.cohort.benefit import net_benefit
from model.cohort.calibration import calibration_bins, calibration_line
from model.cohort.discrimination import Estimate, Rate, operating_point, precision_curve, roc_curve
from model.cohort.evaluate import evaluate
from model.cohort.scores import ScoredCases
from model.cohort.subgroups import DIVISIONS, by_group, division, gaps, heterogeneity
from model.errors import StatisticsError


@st.fragment
def section(part: pd.DataFrame) -> None:
    """Quality of the predictions of the cases that pass the filters; computed when asked for."""
    st.subheader("How good are the predictions?")
    if not asked("Show model quality", "quality"):
        return
    try:
        scores = ScoredCases.from_arrays(part["probability"].to_numpy(), part["llnm"].to_numpy())
    except StatisticsError as error:
        problem(error)
        return
    with st.spinner("Resampling for the intervals …"):
        result = evaluate(scores)
    named = {
        "AUROC": result.auroc,
        "Accuracy": result.accuracy,
        "Calibration error (ECE)": result.ece,
        "Brier": result.brier,
    }
    for cell, (name, value) in zip(st.columns(4), named.items(), strict=True):
        cell.metric(name, "–" if value is None else f"{value.value:.3f}")
        cell.caption(
            "one outcome only" if value is None else f"95 % {value.low:.3f}–{value.high:.3f}, n = {len(scores):,}"
        )
    cutoff = st.slider("Cut-off", 0.01, 0.99, 0.5, 0.01, key="quality-cutoff")
    point = operating_point(scores, cutoff)
    st.dataframe(_rates(point.__dict__), hide_index=True)
    left, right = st.columns(2)
    with left:
        figure(
            quality.calibration(calibration_bins(scores)),
            "Observed rate against mean prediction in ten bins, 95 % Wilson intervals.",
            key="calibration",
        )
    with right:
        if result.auroc is None:
            missing("ROC curve", f"only one outcome is there (n = {len(scores):,}).")
            return
        figure(quality.roc(roc_curve(scores), point), f"ROC curve; the cross is the cut-off {cutoff:g}.", key="roc")
    try:
        line = calibration_line(scores)
        st.caption(
            f"Calibration slope {_told(line.slope)} (perfect: 1), intercept {_told(line.intercept)} (perfect: 0). "
            f"Average precision {precision_curve(scores).average:.3f} (chance: {scores.positives / len(scores):.3f})."
        )
    except StatisticsError as error:
        missing("Calibration slope", error.what)
    benefit = net_benefit(scores, np.arange(1, 100) / 100)
    table = pd.DataFrame(
        {
            "threshold": benefit.threshold,
            "model": benefit.model,
            "low": benefit.low,
            "high": benefit.high,
            "treat_all": benefit.treat_all,
            "called_per_1000": 1000 * benefit.called / benefit.cases,
            "hits_per_1000": 1000 * benefit.hits / benefit.cases,
        }
    )
    figure(
        quality.decision_curve(benefit),
        "Net benefit of treating by the model, everyone, or nobody (0), with a pointwise 95 % band.",
        key="decision",
        data=table,
    )
    by = st.selectbox("AUROC by", DIVISIONS, key="quality-by")
    groups = division(part, by)
    if groups is None:
        missing(f"AUROC by {by}", "the table has no such column.")
        return
    found = by_group(scores, groups)
    st.dataframe(
        pd.DataFrame(
            [
                {
                    "group": g.name,
                    "LLNM / cases": f"{g.positives:,} / {g.cases:,}",
                    "AUROC (95 % DeLong)": g.too_few if g.auroc is None else _told(g.auroc),
                }
                for g in found
            ]
        ),
        hide_index=True,
    )
    try:
        spread = heterogeneity(found)
        st.caption(
            f"Random-effects mean {_told(spread.pooled)}; Cochran's Q = {spread.q:.1f} on {spread.degrees} degrees of freedom, "
            f"p = {spread.p:.3f}; I² = {spread.i_squared:.0%}."
        )
    except StatisticsError as error:
        missing("Heterogeneity", error.what)
    reference = max(found, key=lambda g: g.cases).name
    apart = [
        {"group": g.group, "cases": g.cases}
        | {
            name: "too few" if gap is None else _told(gap)
            for name, gap in (
                ("sensitivity", g.sensitivity),
                ("specificity", g.specificity),
                ("AUROC", g.auroc),
                ("calibration in the large (logit)", g.calibration),
            )
        }
        for g in gaps(scores, groups, reference=reference, cutoff=cutoff)
    ]
    if apart:
        st.dataframe(pd.DataFrame(apart), hide_index=True)
        st.caption(f"Gaps: each group minus the largest, {reference}; 95 % intervals, not adjusted for several groups.")


def _rates(figures: dict[str, Rate | Estimate | float]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "figure": name.replace("_", " "),
                "value (95 %)": _told(f),
                "of": f"{f.numerator:,} / {f.denominator:,}" if isinstance(f, Rate) else "",
            }
            for name, f in figures.items()
            if isinstance(f, Rate | Estimate)
        ]
    )


def _told(value: Rate | Estimate) -> str:
    return "too few" if np.isnan(value.value) else f"{value.value:.3f} ({value.low:.3f}–{value.high:.3f})"
