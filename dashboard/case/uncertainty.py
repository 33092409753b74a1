"""How sure, on the Case page: conformal sets with their achieved coverage, likeness to training, what missing fields could do."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import resources
from dashboard.figures.case_uncertainty import (
    coverage_dots,
    coverage_table,
    missing_ranges,
    missing_table,
    novelty_strips,
    novelty_table,
)
from dashboard.figures.style import percent
from dashboard.parts import figure, missing
from model.cohort.coverage import CentreCoverage, Coverage
from model.encode import MeasuredCase
from model.predict import Prediction
from model.uncertainty.conformal import LEVELS, STATED
from model.uncertainty.novelty import LEVEL


@st.fragment
def section(key: str, model: str, measured: MeasuredCase, prediction: Prediction) -> None:
    """Sets and coverage, then distance from the training cases, then missing fields."""
    sets(model, measured, prediction)
    likeness(model, prediction)
    unknown(key, model, measured)


def sets(model: str, measured: MeasuredCase, prediction: Prediction) -> None:
    """The sets of every level, and what coverage they achieve in centres that the model was not trained on."""
    st.markdown("**Which outcomes are left**")
    limits, known = resources.loaded(model).thresholds[STATED], resources.loaded(model).schema.endpoint.short
    st.dataframe(
        pd.DataFrame([{"stated coverage": percent(s.level), "set": s.words} for s in prediction.conformal]),
        hide_index=True,
    )
    st.caption(
        f"Split conformal sets by label, from {limits.positives + limits.negatives:,} validation cases ({limits.positives:,} "
        f"with {known}, {limits.negatives:,} without). The stated coverage is an average over cases like those, in each of the two "
        "groups; it says nothing of one patient, and need not hold where patients or machines differ."
    )
    if not resources.is_shipped(model):
        missing("Coverage by centre", "only the shipped model has a scored external cohort.")
        return
    level = st.segmented_control(
        "Stated coverage", LEVELS, default=STATED, key="sure-level", format_func=percent, required=True
    )
    rows = resources.centre_coverage(model, level)
    if not rows:
        missing("Coverage by centre", "the scored external cohort is not there.")
        return
    figure(
        coverage_dots(rows, level),
        f"Achieved coverage in the five synthetic external centres (filled; bars: 95 % Wilson intervals) beside the stated "
        f"{percent(level)} (dashed). Open: thresholds from the centre's own labelled cases, each case judged by thresholds "
        "that it had no part in.",
        key="sure-coverage", data=coverage_table(rows, level),
    )  # fmt: skip
    st.markdown(_here(rows, measured.case.centre, prediction.logit, level))


def _here(rows: tuple[CentreCoverage, ...], centre: str, logit: float, level: float) -> str:
    """What is known of the case's own centre, in words."""
    found = next((r for r in rows if r.centre == centre), None)
    if found is None:
        return (
            "No held-out labelled cases of this case's centre are known, so neither the coverage achieved there nor "
            "thresholds of its own can be told."
        )
    told = f"At this case's centre, {found.centre}, the checkpoint's sets achieve {_rates(found.shipped)}. "
    if found.own is None or found.own_thresholds is None:
        return f"{told}No thresholds of its own: {found.why_not}."
    own = found.own_thresholds.of(logit)
    return (
        f"{told}By thresholds from its own cases ({found.own_thresholds.positives} with LLNM, "
        f"{found.own_thresholds.negatives} without; they achieve {_rates(found.own)}) this case's {percent(level)} set is: "
        f"**{own.words}**."
    )


def _rates(coverage: Coverage) -> str:
    with_llnm, without = coverage.llnm, coverage.no_llnm
    return (
        f"{percent(with_llnm.value, 1)} among cases with LLNM ({with_llnm.numerator} of {with_llnm.denominator}) and "
        f"{percent(without.value, 1)} among those without ({without.numerator} of {without.denominator})"
    )


def likeness(model: str, prediction: Prediction) -> None:
    """How far each part lies from the training cases, under the validation cases' distances."""
    st.markdown("**Unlike anything seen in training?**")
    reference = resources.loaded(model).checkpoint.reference
    if reference is None:
        missing("Distance from the training cases", "this checkpoint does not hold them; `llnm calibrate` adds them.")
        return
    for score in prediction.novelty:
        st.text(score.words)
    how = (
        "Pictures: Mahalanobis distance of what the outlining network sees in the whole picture. "
        if resources.loaded(model).schema.has_images
        else ""
    )
    parts = [(s, reference.validation(s.part)) for s in prediction.novelty if s.distance is not None]
    if parts:
        figure(
            novelty_strips(parts),
            f"Distances of the validation cases (bars), the threshold that {percent(LEVEL)} of cases like them do not "
            f"exceed (dashed), this case (red); what lies beyond an axis stands at its end. {how}"
            "Fields: normal score of the numbers given. Near does not mean "
            f"right. In centres whose patients or machines differ from the training centres', more than {percent(1 - LEVEL)} of "
            "ordinary cases are called unlike: there the flag asks for a second look and says less.",
            key="sure-novelty", data=novelty_table(prediction.novelty),
        )  # fmt: skip


def unknown(key: str, model: str, measured: MeasuredCase) -> None:
    """The range of the probability over the values of each field that the case lacks."""
    st.markdown("**If what is missing were known**")
    found = resources.missing_fields(key, model, measured)
    if not found:
        st.text("Nothing is missing: the model was given all that it reads.")
        return
    most = found[0]
    st.text(
        f"{most.label} matters most: the probability is {percent(most.now, 1)} without it and would lie between "
        f"{percent(most.low, 1)} and {percent(most.high, 1)}."
    )
    figure(
        missing_ranges(found, resources.loaded(model).schema.endpoint.short),
        "Calibrated probability for each value that a missing field could have, one field at a time, all else as it is (red: now). "
        "Numbers: 5th, 50th and 95th percentile of the training cases. A report is tried with a sentence on the nodes alone. "
        "How the model would read it; no value is said to be likely.",
        key="sure-missing", data=missing_table(found),
    )  # fmt: skip
    with st.expander(f"The values tried for {len(found)} missing field{'s' if len(found) > 1 else ''}"):
        shown = missing_table(found)
        for column in ("probability", "as it is"):
            shown[column] = [percent(v, 1) for v in shown[column]]
        shown["width"] = [f"{100 * v:.1f} pp" for v in shown["width"]]
        st.dataframe(shown, hide_index=True)
