"""Scores as published, on the Case page: a score per feature, TI-RADS points beside it, words marked in the report."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import resources
from dashboard.figures.case_scores import (
    finding_table,
    marked_report,
    sankey,
    score_bars,
    score_table,
    word_bars,
    word_table,
)
from dashboard.parts import figure
from model.encode import MeasuredCase
from model.features.tirads import FINDINGS, findings, kwak

DRAWN = ("Sankey", "Bars")
MEANING = (
    "Score: the calibrated probability of {} (0 to 1) when the model knows that feature alone. The paper "
    "prints such scores without defining them in full; this is our definition. They do not sum to the prediction."
)


@st.fragment
def section(key: str, model: str, measured: MeasuredCase) -> None:
    """Feature scores beside Kwak TI-RADS, then the words of the report."""
    scores, shapley = resources.scores(key, model, measured), resources.shapley(key, model, measured)
    schema = resources.loaded(model).schema
    meaning = MEANING.format(schema.endpoint.phrase)
    left, right = st.columns([3, 2], gap="large")
    with left:
        drawn = st.segmented_control("Drawn as", DRAWN, default=DRAWN[0], key="scores-drawn", required=True)
        table = score_table(scores, shapley)
        if table["score"].isna().all():
            st.info("The model knows nothing of this case, so no feature has a score.")
        elif drawn == DRAWN[0]:
            figure(
                sankey(scores, shapley),
                f"{meaning} Knowing nothing: {scores.base:.2f}. Width: size of the Shapley value in logits; orange raises the "
                "risk, blue lowers it.",
                key="scores-sankey", data=table,
            )  # fmt: skip
        else:
            figure(
                score_bars(table, scores),
                f"{meaning} Dotted: knowing nothing ({scores.base:.2f}); red: knowing all, the prediction "
                f"({scores.probability:.2f}).",
                key="scores-bars", data=table,
            )  # fmt: skip
        absent = [g.label for g, s in zip(scores.groups, scores.scores, strict=True) if s is None]
        if absent:
            st.caption(f"Without a score, since the case has nothing of it: {', '.join(absent)}.")
    with right:
        if has_findings(measured):
            _points(measured)
    if schema.has_report:
        st.markdown("**Words of the report**")
        _words(key, model, measured)


def has_findings(measured: MeasuredCase) -> bool:
    """Whether a case has anything that TI-RADS counts, or a category as reported."""
    return bool(measured.features) or any(name in measured.case.fields for name in ("tirads", *FINDINGS))


def _points(measured: MeasuredCase) -> None:
    """Kwak's five findings with their points, and the category."""
    given = measured.case.fields
    result = kwak(given)
    st.markdown(f"**Kwak TI-RADS {result.label}**, counted from the findings")
    st.dataframe(
        finding_table(findings(given)), hide_index=True,
        column_config={"finding": "Suspicious finding", "given": "As given", "points": "Points"},
    )  # fmt: skip
    known = len(result.suspicious)
    total = f"{known}" if not result.missing else f"{known} to {known + len(result.missing)}"
    reported = given.get("tirads")
    st.caption(
        f"Sum: {total} of 5 points (Kwak et al. 2011: 0 is category 3, 1 is 4A, 2 is 4B, 3 and 4 are 4C, 5 is 5)."
        + (f" Reported category: {reported}." if reported else "")
        + " TI-RADS grades the risk of cancer of the nodule, not of its nodes; the model is not given it."
    )


def _words(key: str, model: str, measured: MeasuredCase) -> None:
    """The report with its words marked, and the strongest of them."""
    found = resources.word_contributions(key, model, measured)
    if not found.words:
        st.caption("The model read no word of a report.")
        return
    shares = resources.attention(key, model, measured).rollout_clinical[:, : len(found.words)].mean(0)
    table: pd.DataFrame = word_table(found, shares)
    left, right = st.columns([3, 2], gap="large")
    strongest = table["logit"].abs().max()
    with left:
        figure(
            marked_report(found),
            f"Orange: without this word the logit would be lower; blue: higher. Full colour: {strongest:.2f} logit. One word at a "
            "time is left out, so words that say the same cover for each other. Words without ground move little or were not read.",
            key="scores-report",
        )  # fmt: skip
    with right:
        figure(
            word_bars(table),
            "The strongest words with their place in the report: change of the logit, and share of attention rolled out over all "
            "layers (mean of the views). Attention says what was read, not what moved the prediction.",
            key="scores-words", data=table,
        )  # fmt: skip
