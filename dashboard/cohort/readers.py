"""Against the doctors, on the Cohort page: any reader table, loaded by the user."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.cohort.part import written
from dashboard.figures import quality
from dashboard.figures import readers as draw
from dashboard.parts import Method, asked, figure, missing, problem
from model.cohort.discrimination import Estimate, OperatingPoint, RocCurve, operating_point, roc_curve
from model.cohort.readers import ReaderCases, ReaderPoint, below_curve, compare, group_means, read_readers
from model.cohort.scores import ScoredCases, read_table
from model.errors import StatisticsError


@st.fragment
def section() -> None:
    """Reader tables beside the model; nothing is shipped, so it asks for files."""
    st.subheader("Against the doctors")
    if not asked("Compare with readers", "readers"):
        return
    files = st.file_uploader("Reader tables (CSV)", ["csv"], accept_multiple_files=True, key="readers-file")
    st.caption(
        "One row a case: label (0/1), model (probability, if there is one), and one column a reader (0/1 or a score from 0 "
        "to 1) or doctor_mean. Or one row a reader: sensitivity, specificity (or false_positive_rate) and, if you like, a group."
    )
    tables: list[tuple[str, str, ReaderCases]] = []
    points: list[ReaderPoint] = []
    of_points: list[str] = []
    for file in files:
        try:
            found = read_readers(_read(file.name, file.getvalue()))
        except StatisticsError as error:
            problem(error)
            continue
        if isinstance(found, ReaderCases):
            tables.append((file.file_id, file.name, found))
        else:
            points += found
            of_points.append(file.name)
    for key, name, cases in tables:
        try:
            _cases(cases, points, key, (name, *of_points))
        except StatisticsError as error:
            problem(error)
    if points and not tables:
        _plane(points, None, "readers", tuple(of_points))
        _groups(points)
        missing("Curve of the model", "load the table of the cases that these doctors read as well.")


@st.cache_data(show_spinner="Reading the table …", max_entries=4)
def _read(name: str, data: bytes) -> pd.DataFrame:
    with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
        file.write(data)
        file.flush()
        return read_table(file.name)


def _read_in_code(files: Sequence[str], cases: bool) -> str:
    """Code that reads the tables: `cases` from the first, if that is one, and `points` from all."""
    lines = ["from model.cohort.readers import read_readers", "from model.cohort.scores import read_table"]
    if cases:
        lines.append(f"cases = read_readers(read_table({files[0]!r}))")
    rest = [f"*read_readers(read_table({name!r}))" for name in (files[1:] if cases else files)]
    return "\n".join([*lines, f"points = [{', '.join((['*cases.points'] if cases else []) + rest)}]"])


def _plane_method(files: Sequence[str], curves: Sequence[str], readers: int) -> Method:
    """The paragraph and the code of the ROC plane."""
    text = f"Reader tables: {', '.join(files)}. " + (
        f"{readers:,} readers are shown by sensitivity and false positive rate. " if readers else ""
    )
    lines = ["from dashboard.figures.readers import plane, plane_table", _read_in_code(files, bool(curves))]
    if curves:
        text += (
            f"ROC curves of {' and '.join(curves)} (doctors: the mean score over readers); diamonds mark the cut-off 0.5 "
            "with 95 % Wilson "
            "intervals."
        )
        lines += [
            "from dashboard.figures.quality import roc_table",
            "from model.cohort.discrimination import operating_point, roc_curve",
            "from model.cohort.scores import ScoredCases",
            'scored = {"doctors": cases.doctors}',
            *(['scored["model"] = ScoredCases(cases.model, cases.doctors.label)'] if "model" in curves else []),
            "curves = {name: (roc_curve(s), operating_point(s)) for name, s in scored.items()}",
        ]
    drawn = ", **curves" if curves else ""
    shown = "plane_table(points)" if readers else 'roc_table(curves["doctors"][0])'
    return written(text, "\n".join([*lines, f"table = {shown}", f"figure = plane(points{drawn})"]))


def _plane(points: Sequence[ReaderPoint], cases: ReaderCases | None, key: str, files: Sequence[str]) -> None:
    """Readers in the ROC plane over the curves of the cases, and the means in words."""
    curves: dict[str, tuple[RocCurve, OperatingPoint]] = {}
    if cases is not None:
        scored = {"doctors": cases.doctors}
        if cases.model is not None:
            scored["model"] = ScoredCases(cases.model, cases.doctors.label)
        curves = {name: (roc_curve(s), operating_point(s)) for name, s in scored.items()}
    below = ""
    if points and "model" in curves:
        n = below_curve(tuple(points), curves["model"][0])
        below = f" {n} of {len(points)} readers lie below the model's curve: at their false positive rate it is more sensitive."
    said = "Dots: single readers; cross: mean of a group. " if points else ""
    lines = "Lines: ROC curves; diamonds: at 0.5, with 95 % Wilson intervals." if curves else ""
    figure(
        draw.plane(points, **curves), said + lines + below, key=f"readers-plane-{key}",
        data=draw.plane_table(points) if points else quality.roc_table(curves["doctors"][0]),
        method=_plane_method(files, list(curves), len(points)),
    )  # fmt: skip


def _groups(points: Sequence[ReaderPoint]) -> None:
    """Means of the readers."""
    if points:
        st.dataframe(_means(tuple(points)), hide_index=True)
        st.caption(
            "Means over readers with 95 % intervals (Student's t). Balanced accuracy: mean of sensitivity and specificity."
        )


def _means(points: tuple[ReaderPoint, ...]) -> pd.DataFrame:
    """Means by group in words."""
    table = group_means(points)

    def told(name: str) -> list[str]:
        columns = table[[name, f"{name}_low", f"{name}_high"]].to_numpy(float)
        return [f"{v:.3f}" + ("" if np.isnan(low) else f" ({low:.3f}–{high:.3f})") for v, low, high in columns]

    return pd.DataFrame(
        {
            "Group": table["group"], "Readers": table["readers"], "Sensitivity": told("sensitivity"),
            "Specificity": told("specificity"), "Balanced accuracy": told("balanced_accuracy"),
        }
    )  # fmt: skip


def _cases(cases: ReaderCases, points: Sequence[ReaderPoint], key: str, files: Sequence[str]) -> None:
    n, ill = len(cases.doctors), cases.doctors.positives
    if not 0 < ill < n:
        missing("Comparison", f"{ill} of {n} cases have the outcome; both outcomes are needed.")
        return
    st.markdown(f"**{n:,} cases that doctors read**, {ill:,} with the outcome")
    left, right = st.columns(2)
    with left:
        _plane([*cases.points, *points], cases, key, files)
    with right:
        figure(
            draw.raincloud(cases),
            "Every case's score by the doctors (mean over readers)" + (" and the model" if cases.model is not None else "")
            + ", by outcome (paler: without it): density, box (median and quartiles) and the single cases.",
            key=f"readers-raincloud-{key}", data=draw.cases_table(cases),
            method=written(
                f"Scores of the {n:,} cases of {files[0]} ({ill:,} with the outcome) are shown by outcome: density, median and "
                "quartiles, cases.",
                "from dashboard.figures.readers import cases_table, raincloud\n"
                f"{_read_in_code(files[:1], True)}\ntable = cases_table(cases)\nfigure = raincloud(cases)",
            ),
        )  # fmt: skip
    _groups([*cases.points, *points])
    if cases.model is None:
        missing("Comparison with the model", "the reader table has no column model.")
        return
    found = compare(cases.doctors, cases.model)
    rows = []
    for who, point, area in (
        ("Model", found.model, found.model_auroc),
        ("Doctors, mean score", found.doctors, found.doctors_auroc),
    ):
        rates = {"Accuracy": point.accuracy, "Sensitivity": point.sensitivity, "Specificity": point.specificity}
        rows.append(
            {"": who, "AUROC (95 % DeLong)": quality.told(area)}
            | {
                f"{name} at 0.5 (95 % Wilson)": f"{quality.told(r)}, {r.numerator} of {r.denominator}"
                for name, r in rates.items()
            }
        )
    st.dataframe(pd.DataFrame(rows), hide_index=True)
    gap, accuracy = found.auroc_difference, found.accuracy_difference
    st.markdown(
        f"On the same {n:,} cases the model's AUROC {_more(gap)} the doctors' (difference {gap.value:+.3f}, 95 % {gap.low:+.3f} to "
        f"{gap.high:+.3f}; paired DeLong test, {_p(found.auroc_p)}), and its accuracy at 0.5 {_more(accuracy)} theirs (difference "
        f"{accuracy.value:+.3f}, 95 % {accuracy.low:+.3f} to {accuracy.high:+.3f}; exact McNemar test, {_p(found.mcnemar_p)}: only "
        f"the model was right in {found.only_model_right}, only the doctors in {found.only_doctors_right})."
    )


def _more(difference: Estimate) -> str:
    """Whether a difference is one, in words."""
    return "is higher than" if difference.low > 0 else "is lower than" if difference.high < 0 else "cannot be told from"


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
