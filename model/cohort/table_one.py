"""Tables for a paper: "Table 1" of a cohort by outcome or another split, and any table as LaTeX."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pandas as pd
from scipy.stats import skew

from model.errors import StatisticsError
from model.schema import FIELD

SKEWED = 1.0
"""Absolute skewness from which a number is told by median and quartiles instead of mean and standard deviation."""


def table_one(frame: pd.DataFrame, variables: Sequence[str], *, by: str) -> pd.DataFrame:
    """Characteristics of the cases, all and by group (library `tableone`, Pollard et al. 2018).

    Parameters
    ----------
    frame : columns of schema names; missing values are counted, and shares are of the known ones.
    variables : what to describe; those that are absent or wholly empty are left out.
    by : column that splits the cases; at most ten groups.

    Returns
    -------
    One row a number or level, all text: variable (with its unit and what is told), level, missing, all, one column a
    group, SMD (standardised mean difference; of each pair where there are more groups), p and test.

    Raises
    ------
    StatisticsError
        If nothing is left to describe, or `by` has fewer than two or more than ten groups.
    """
    from tableone import TableOne  # half a second to load

    groups = frame[by].nunique() if by in frame else 0
    chosen = [v for v in variables if v in frame and v != by and frame[v].notna().any()]
    if not chosen or not 2 <= groups <= 10:
        raise StatisticsError(
            f"{len(chosen)} variables, {groups} groups", where="Table 1",
            fix="Choose a variable that is there, and a split of two to ten groups.",
        )  # fmt: skip
    known = frame[frame[by].notna()]
    numbers = [v for v in chosen if pd.api.types.is_float_dtype(known[v])]
    data = pd.DataFrame({v: known[v] if v in numbers else _words(known[v], v) for v in chosen})
    data[by] = _words(known[by], by)
    few = [f"{name} (n = {n})" for name, n in data[by].value_counts().items() if n < 2]
    if few:
        raise StatisticsError(
            f"too few: {', '.join(few)}", where="Table 1", fix="Widen the filters or choose another split."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of small groups and old defaults; what is told stands in the table
        made = TableOne(
            data, columns=chosen, categorical=[v for v in chosen if v not in numbers], continuous=numbers, groupby=by,
            nonnormal=[v for v in numbers if abs(float(skew(known[v].dropna(), bias=False))) >= SKEWED],
            pval=True, smd=True, htest_name=True,
            include_null=False, rename={v: FIELD[v].label_with_unit for v in chosen if v in FIELD},
        ).tableone  # fmt: skip
    made.columns = [str(c[-1]) for c in made.columns]
    table = made.reset_index(names=["variable", "level"]).rename(
        columns={"Missing": "missing", "Overall": "all", "P-Value": "p", "Test": "test"}
    )
    repeated = table["variable"].eq(table["variable"].shift())
    table.loc[repeated, "variable"] = ""
    last = [c for c in table.columns if c.startswith("SMD")] + ["p", "test"]
    result: pd.DataFrame = table[[c for c in table.columns if c not in last] + last].astype(str)
    return result


def to_latex(table: pd.DataFrame, caption: str) -> str:
    """A LaTeX table (package booktabs) with every cell, column name and the caption escaped."""
    named = (
        table.rename(columns=lambda c: escaped(str(c)))
        .astype(object)
        .map(lambda v: "–" if pd.isna(v) else escaped(str(v)))
    )
    return str(named.to_latex(index=False, escape=False, caption=escaped(caption)))


_LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
       ">": r"\textgreater{}", "≤": r"$\leq$", "≥": r"$\geq$", "−": "$-$", "×": r"$\times$", "²": "$^2$", "\n": " "}
)  # fmt: skip


def escaped(text: str) -> str:
    """Text that LaTeX prints as it stands: its own signs escaped, and the mathematical ones of our tables spelled out."""
    return text.translate(_LATEX)


def _words(values: pd.Series, name: str) -> pd.Series:
    """Levels as text; missing stays missing."""
    flag = name == "llnm" or (name in FIELD and FIELD[name].kind == "flag")
    if not flag:
        return values.astype(object).where(values.notna(), None)
    yes, no = ("LLNM", "no LLNM") if name == "llnm" else ("yes", "no")
    return values.astype(object).map({True: yes, False: no})
