"""Against the doctors, on the Cohort page: any reader table, loaded by the user."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.figures import quality
from dashboard.parts import asked, figure, missing, problem
from model.cohort.discrimination import operating_point, roc_curve
from model.cohort.readers import ReaderCases, ReaderPoint, compare, group_means, read_readers
from model.cohort.scores import ScoredCases, read_table
from model.errors import StatisticsError


@st.fragment
def section(part: pd.DataFrame) -> None:  # noqa: ARG001
    """Reader tables beside the model; nothing is shipped, so it asks for files."""
    st.subheader("Against the doctors")
    if not asked("Compare with readers", "readers"):
        return
    files = st.file_uploader("Reader tables (CSV)", ["csv"], accept_multiple_files=True, key="readers-file")
    st.caption(
        "One row a case: label (0/1), model (probability, if there is one), and one column a reader (0/1 or a score from 0 "
        "to 1) or doctor_mean. Or one row a reader: sensitivity, and specificity or false_positive_rate; group if there are any."
    )
    for file in files:
        try:
            found = read_readers(_read(file.name, file.getvalue()))
            if isinstance(found, ReaderCases):
                _cases(found, file.file_id)
            else:
                _points(found)
        except StatisticsError as error:
            problem(error)


@st.cache_data(show_spinner="Reading the table …", max_entries=4)
def _read(name: str, data: bytes) -> pd.DataFrame:
    with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
        file.write(data)
        file.flush()
        return read_table(file.name)


def _points(points: tuple[ReaderPoint, ...]) -> None:
    st.dataframe(group_means(points).round(3), hide_index=True)
    st.caption(
        "Means over readers with 95 % intervals (Student's t). Balanced accuracy: mean of sensitivity and specificity."
    )


def _cases(cases: ReaderCases, key: str) -> None:
    if cases.points:
        _points(cases.points)
    if cases.model is None:
        missing("Comparison with the model", "the reader table has no column model.")
        return
    found = compare(cases.doctors, cases.model)
    scored = ScoredCases(cases.model, cases.doctors.label)
    for name, point, area in (
        ("Model", found.model, found.model_auroc),
        ("Doctors, mean", found.doctors, found.doctors_auroc),
    ):
        st.markdown(
            f"**{name}**: AUROC {area.value:.3f} (95 % {area.low:.3f}–{area.high:.3f}); at 0.5 accuracy {point.accuracy.value:.3f} "
            f"({point.accuracy.numerator} of {point.accuracy.denominator}), sensitivity {point.sensitivity.value:.3f} "
            f"({point.sensitivity.numerator} of {point.sensitivity.denominator}), specificity {point.specificity.value:.3f} "
            f"({point.specificity.numerator} of {point.specificity.denominator})."
        )
    gap, accuracy = found.auroc_difference, found.accuracy_difference
    st.markdown(
        f"Model − doctors: AUROC {gap.value:+.3f} (95 % {gap.low:+.3f} to {gap.high:+.3f}, paired DeLong "
        f"p = {found.auroc_p:.2g}); accuracy {accuracy.value:+.3f} (95 % {accuracy.low:+.3f} to {accuracy.high:+.3f}, "
        f"exact McNemar p = {found.mcnemar_p:.2g}; "
        f"only the model right in {found.only_model_right}, only the doctors in {found.only_doctors_right})."
    )
    figure(
        quality.roc(roc_curve(scored), operating_point(scored)),
        "ROC curve of the model on these cases.",
        key=f"readers-roc-{key}",
    )
