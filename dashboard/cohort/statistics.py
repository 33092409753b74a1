"""Statistics on the Cohort page: Table 1, odds ratios, ablation; each as CSV, LaTeX and Word."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import resources
from dashboard.cohort.part import Part, by_content, panel, written
from dashboard.figures.quality import told
from dashboard.parts import Method, asked, literal, methods, missing, problem
from model.cohort.discrimination import Estimate
from model.cohort.fields import SPLIT
from model.cohort.regression import VARIABLES, Regression, as_table, odds_ratios
from model.cohort.table_one import table_one, to_latex, to_word
from model.errors import StatisticsError
from model.schema import FIELD

ABLATION = resources.SAMPLES / "ablation.csv"
DEFAULT = ("age_years", "sex", "size_mm", "multifocal", "capsule_distance_mm", "histology")
P_VALUES = (
    "p: how often a difference at least this large would be seen if there were none in truth; not how likely or how large a "
    "difference is. Not adjusted for testing {n} {what}: of {n} without a difference, {chance:.2g} would fall below 0.05 by chance."
)


@panel
def section(part: Part) -> None:
    """Tables of the cases that pass the filters; computed when asked for."""
    st.subheader("Statistics")
    if not asked("Show statistics", "statistics"):
        return
    there = [v for v in VARIABLES if v in part]
    if not there:
        missing("Table 1 and odds ratios", "the table has none of the fields known before surgery.")
    else:
        chosen = st.multiselect(
            "Variables",
            there,
            default=[v for v in DEFAULT if v in there] or there[:6],
            key="statistics-variables",
            format_func=lambda v: FIELD[v].label_with_unit,
        )
        _characteristics(part, tuple(chosen))
        _odds(part, tuple(chosen))
    if part.is_llnm and ABLATION.exists():
        _ablation()


def _characteristics(part: Part, chosen: tuple[str, ...]) -> None:
    splits = [s for s in ("llnm", SPLIT.name, "centre", "sex", "histology") if s in part]
    by = st.selectbox("Table 1 by", splits, key="table-one-by", width=320, format_func=_split_label)
    try:
        described = _table_one(part, chosen, by)
    except StatisticsError as error:
        problem(error)
        return
    n = len(set(described["variable"]) - {"", "n"})
    caption = (
        f"Characteristics of the cases by {_split_label(by).lower()}: mean (standard deviation), median [quartiles] where "
        "skewed, or "
        "count (share of the known). Missing values are counted. SMD: standardised mean difference, which does not grow with n. "
        + P_VALUES.format(n=n, what="variables", chance=0.05 * n)
    )
    _table(
        described, caption, "table-one",
        part.method(
            f"Characteristics are given by {_split_label(by).lower()}: numbers as mean (standard deviation), or median "
            "[quartiles] where "
            "the absolute skewness is at least 1, and categories as counts with their share of the known values. Groups "
            "were compared by "
            "Welch's t-test or one-way analysis of variance, Kruskal and Wallis's test for skewed numbers, and the "
            "chi-squared test for "
            "categories (Fisher's exact test for two by two with expected counts below 5), not adjusted for testing "
            "several variables.",
            f"""
from model.cohort.table_one import table_one
cases = cohort.rows(filters, {[*chosen, *([by] if by not in chosen else [])]!r})
table = table_one(cases, {list(chosen)!r}, by={by!r}, outcome=cohort.outcome)
""",
        ),
    )  # fmt: skip


def _split_label(name: str) -> str:
    return "Outcome" if name == "llnm" else SPLIT.label if name == SPLIT.name else FIELD[name].label


def _odds(part: Part, chosen: tuple[str, ...]) -> None:
    try:
        found = _regression(part, chosen)
    except StatisticsError as error:
        problem(error)
        return
    unsure = " Fewer than 10 outcomes for each term: unsure." if found.unsure else ""
    unfit = f" No fit of all together: {found.problem}." if found.problem else ""
    n = len(found.terms)
    _table(
        as_table(found, outcome=part.outcome),
        f"Odds ratios of {part.outcome} with 95 % Wald intervals: each variable alone, and adjusted for the others in the "
        f"{found.cases:,} of {found.total:,} cases that have every variable ({found.positives:,} with {part.outcome}). "
        f"Associations, not causes. "
        f"VIF (variance inflation factor) above 5: collinear.{unsure}{unfit} {P_VALUES.format(n=n, what='terms', chance=0.05 * n)}",
        "odds-ratios",
        part.method(
            f"Odds ratios of {part.outcome} are from logistic regression (maximum likelihood, 95 % Wald intervals): of each "
            "variable alone in the cases "
            f"that have it, and of all together in the {found.cases:,} of {found.total:,} cases that have every one "
            f"({found.positives:,} with "
            f"{part.outcome}). Numbers enter linearly per the step told; categories against their first level. Collinearity is "
            "told by the generalised "
            f"variance inflation factor (Fox and Monette 1992). Not adjusted for testing {n} terms.{unsure}{unfit}",
            f"""
from model.cohort.regression import as_table, odds_ratios
cases = cohort.rows(filters, {[*chosen, "llnm"]!r})
table = as_table(odds_ratios(cases, {list(chosen)!r}), outcome=cohort.outcome)
""",
        ),
    )


@st.cache_data(max_entries=32, show_spinner="Describing the cases …", hash_funcs=by_content)
def _table_one(part: Part, chosen: tuple[str, ...], by: str) -> pd.DataFrame:
    return table_one(part.rows(*chosen, by), chosen, by=by, outcome=part.outcome)


@st.cache_data(max_entries=32, show_spinner="Fitting …", hash_funcs=by_content)
def _regression(part: Part, chosen: tuple[str, ...]) -> Regression:
    return odds_ratios(part.rows(*chosen, "llnm"), chosen)


def _ablation() -> None:
    measured = pd.read_csv(ABLATION)
    n = int((measured["p"] < 1).sum())
    made = " ".join(f"{part.capitalize()}: {how}." for part, how in measured.groupby("part", sort=False)["how"].first().items())
    _table(
        _in_words(measured),
        f"Ablation of the shipped model on synthetic external cases, whatever the filters. {made} Fusion variants are other "
        "networks, compare with each other, and show what learns soonest. 95 % DeLong intervals, paired DeLong test. Published: "
        "networks trained on their own inputs, real patients. "
        + P_VALUES.format(n=n, what="variants", chance=0.05 * n),
        "ablation",
        written(
            f"On synthetic external cases: {made} Each variant's AUROC was compared with that of the first of its kind by DeLong's "
            "paired test, not adjusted for testing several. Made by `llnm ablate COHORT`.",
            f"""
import pandas as pd
table = pd.read_csv("{ABLATION.parent.name}/{ABLATION.name}")
""",
        ),
        measured,
    )


def _in_words(ablation: pd.DataFrame) -> pd.DataFrame:
    """The ablation table with figures and intervals in one cell each."""
    rows = []
    for r in ablation.itertuples():
        first = r.difference == 0 and r.p == 1
        rows.append(
            {
                "Model": f"fusion: {r.variant}" if r.part == "fusion" else str(r.variant),
                "LLNM / cases": f"{r.positives:,} / {r.cases:,}",
                "AUROC (95 %)": told(Estimate(r.auroc, r.low, r.high)),
                "Difference (95 %)": "–" if first else told(Estimate(r.difference, r.difference_low, r.difference_high)),
                "p": "–" if first else "<0.001" if r.p < 0.001 else f"{r.p:.3f}",
                "Published AUROC": "–" if pd.isna(r.published) else f"{r.published:.3f}",
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _table(table: pd.DataFrame, caption: str, key: str, method: Method, data: pd.DataFrame | None = None) -> None:
    """A table with its caption and downloads; `data` is what goes into the CSV where it is not the table itself."""
    names = {c: st.column_config.Column(width=290) for c in ("variable",) if c in table and "level" in table}
    st.dataframe(table, hide_index=True, height="content", column_config=names)
    st.caption(literal(caption))
    word = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    with st.container(horizontal=True):
        for label, ending, kind, made in (
            ("CSV", "csv", "text/csv", (table if data is None else data).to_csv(index=False)),
            ("LaTeX", "tex", "text/plain", to_latex(table, caption)),
            ("Word", "docx", word, lambda: to_word(table, caption)),  # made when it is asked for
        ):
            st.download_button(
                label, made, f"{key}.{ending}", kind, key=f"{key}-{ending}", type="tertiary", icon=":material/download:",
                on_click="ignore",
            )  # fmt: skip
    methods(method)
