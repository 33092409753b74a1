"""Tables for a paper: "Table 1" of a cohort by outcome or another split, and any table as LaTeX or Word.

Table 1 gives the numbers of the library `tableone` (Pollard et al. 2018; a test holds both to each other), counted on codes
instead of words: a million cases in a second, where the library looks at every cell and takes 25.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from model.cohort.scores import FloatArray, IntArray
from model.errors import StatisticsError
from model.schema import FIELD, LLNM

SKEWED = 1.0
"""Absolute skewness from which a number is told by median and quartiles instead of mean and standard deviation."""

MOST_GROUPS = 10
_COLUMNS = ("variable", "level", "missing", "all", "p", "test")  # a group may be called so as well
_FEW = 5  # expected cases in a cell below which the chi-squared test is told to be unsure, or Fisher's is made


@dataclass(frozen=True)
class _Levels:
    """Different values in their order, and which of them each case has (−1 where missing)."""

    names: tuple[str, ...]
    code: npt.NDArray[np.int64]

    def counts(self, groups: _Levels) -> IntArray:
        """Cases (levels, groups) of those that have both."""
        known = (self.code >= 0) & (groups.code >= 0)
        shape = len(self.names), len(groups.names)
        flat = self.code[known] * shape[1] + groups.code[known]
        return np.bincount(flat, minlength=shape[0] * shape[1]).reshape(shape)


def table_one(
    frame: pd.DataFrame, variables: Sequence[str], *, by: str, outcome: str = LLNM.short
) -> pd.DataFrame:
    """Characteristics of the cases, all and by group.

    Numbers by mean (standard deviation), or median [quartiles] where they are skewed, compared by Welch's t-test, one-way
    analysis of variance or Kruskal and Wallis's test; categories by counts (%), compared by the chi-squared test, or Fisher's
    for two by two with few cases. SMD: standardised mean difference (for categories Yang and Dalton 2012).

    Parameters
    ----------
    frame : columns of schema names; missing values are counted, and shares are of the known ones.
    variables : what to describe; those that are absent or wholly empty are left out.
    by : column that splits the cases; at most ten groups.
    outcome : what the column `llnm` is of: its groups are named so.

    Returns
    -------
    One row a number or level, all text: variable (with its unit and what is told), level, missing, all, one column a
    group, SMD (of each pair where there are more groups), p and test.

    Raises
    ------
    StatisticsError
        If nothing is left to describe, or `by` has fewer than two or more than ten groups, or a group has one case only.
    """
    groups = _levels(frame[by], by, outcome) if by in frame else _Levels((), np.empty(0, np.int64))
    groups = replace(groups, names=tuple(f"group {n}" if n in _COLUMNS else n for n in groups.names))
    chosen = [v for v in variables if v in frame and v != by and frame[v].notna().any()]
    if not chosen or not 2 <= len(groups.names) <= MOST_GROUPS:
        raise StatisticsError(
            f"{len(chosen)} variables, {len(groups.names)} groups", where="Table 1",
            fix="Choose a variable that is there, and a split of two to ten groups.",
        )  # fmt: skip
    sizes = np.bincount(groups.code[groups.code >= 0], minlength=len(groups.names))
    few = [f"{name} (n = {n})" for name, n in zip(groups.names, sizes, strict=True) if n < 2]
    if few:
        raise StatisticsError(
            f"too few: {', '.join(few)}", where="Table 1", fix="Widen the filters or choose another split."
        )
    rows = [{"variable": "n", "all": str(sizes.sum())} | dict(zip(groups.names, map(str, sizes), strict=True))]
    for name in chosen:
        rows += (_number if pd.api.types.is_float_dtype(frame[name]) else _category)(frame[name], name, groups)
    pairs = [_pair(a, b) for a, b in combinations(groups.names, 2)]
    columns = [*_COLUMNS[:4], *groups.names, *pairs, *_COLUMNS[4:]]
    return pd.DataFrame(rows, columns=columns).fillna("")


def _number(values: pd.Series, name: str, groups: _Levels) -> list[dict[str, str]]:
    """The row of a number."""
    x = values.to_numpy(float)
    inside = groups.code >= 0
    known = inside & ~np.isnan(x)
    parts = [x[known & (groups.code == g)] for g in range(len(groups.names))]
    skewed = abs(float(stats.skew(x[known], bias=False))) >= SKEWED
    if min(map(len, parts)) < 2:
        test, p = "Not tested", float("nan")
    elif skewed:
        test, p = "Kruskal–Wallis", float(stats.kruskal(*parts).pvalue)
    elif len(parts) == 2:
        test, p = "Welch's t-test", float(stats.ttest_ind(*parts, equal_var=False).pvalue)
    else:
        test, p = "One-way ANOVA", float(stats.f_oneway(*parts).pvalue)

    def told(part: FloatArray) -> str:
        if not len(part):
            return "–"
        if skewed:
            low, middle, high = np.percentile(part, [25, 50, 75])
            return f"{middle:.1f} [{low:.1f}, {high:.1f}]"
        return f"{part.mean():.1f} ({part.std(ddof=1) if len(part) > 1 else 0:.1f})"

    row = {"variable": f"{_label(name)}, {'median [Q1, Q3]' if skewed else 'mean (SD)'}", "all": told(x[known])}
    row |= {"missing": str(int((inside & np.isnan(x)).sum())), "p": _p(p), "test": test}
    row |= dict(zip(groups.names, map(told, parts), strict=True))
    spread = [(float(part.mean()), float(part.std(ddof=1))) if len(part) > 1 else (np.nan, np.nan) for part in parts]
    for (a, (mean_a, sd_a)), (b, (mean_b, sd_b)) in combinations(zip(groups.names, spread, strict=True), 2):
        pooled = np.sqrt((sd_a**2 + sd_b**2) / 2)
        row[_pair(a, b)] = _smd((mean_b - mean_a) / pooled if pooled else np.nan)
    return [row]


def _category(values: pd.Series, name: str, groups: _Levels) -> list[dict[str, str]]:
    """The rows of a category, one a level."""
    levels = _levels(values, name)
    counts = levels.counts(groups)
    there = counts.sum(1) > 0
    counts, names = counts[there], [n for n, held in zip(levels.names, there, strict=True) if held]
    totals = counts.sum(0)
    test, p = _test(counts)

    def told(n: int, of: int) -> str:
        return f"{n} ({100 * n / of:.1f})" if of else "–"

    rows = [
        {"level": level, "all": told(row.sum(), totals.sum())}
        | {group: told(n, of) for group, n, of in zip(groups.names, row, totals, strict=True)}
        for level, row in zip(names, counts, strict=True)
    ]
    shares = counts / np.maximum(totals, 1)
    first = {"variable": f"{_label(name)}, n (%)", "p": _p(p), "test": test}
    first["missing"] = str(int(((groups.code >= 0) & (levels.code < 0)).sum()))
    for i, j in combinations(range(len(groups.names)), 2):
        first[_pair(groups.names[i], groups.names[j])] = _smd(_apart(shares[:, i], shares[:, j]))
    rows[0] = rows[0] | first
    return rows


def _test(counts: IntArray) -> tuple[str, float]:
    """Whether the groups (columns) differ in their levels: the test's name, and its p-value."""
    if counts.sum(0).min() == 0 or len(counts) < 2:
        return "Not tested", float("nan")
    found = stats.chi2_contingency(counts)
    if found.expected_freq.min() >= _FEW and counts.sum(0).min() >= _FEW:
        return "Chi-squared", float(found.pvalue)
    if counts.shape == (2, 2):
        return "Fisher's exact", float(stats.fisher_exact(counts).pvalue)
    return f"Chi-squared (unsure: expected count < {_FEW})", float(found.pvalue)


def _apart(first: FloatArray, second: FloatArray) -> float:
    """Standardised difference of the shares of a category's levels (Yang and Dalton 2012)."""
    a, b = first[1:], second[1:]
    spread = sum(np.diag(p) - np.outer(p, p) for p in (a, b)) / 2
    try:
        return float(np.sqrt((b - a) @ np.linalg.inv(spread) @ (b - a))) if len(a) else float("nan")
    except np.linalg.LinAlgError:
        return float("nan")


def _levels(values: pd.Series, name: str, outcome: str = LLNM.short) -> _Levels:
    """Values of a column in the schema's order, other words by name; yes and no for flags."""
    field = FIELD.get(name)
    if isinstance(values.dtype, pd.CategoricalDtype):
        code, found = values.cat.codes.to_numpy(np.int64), list(values.cat.categories)
    else:
        codes, uniques = pd.factorize(values, sort=False)
        code, found = np.asarray(codes, np.int64), list(uniques)
    if name == "llnm":
        order = [outcome, f"no {outcome}"]
        words = [order[0] if v else order[1] for v in found]
    elif field is not None and field.kind == "flag":
        words, order = ["yes" if v else "no" for v in found], ["no", "yes"]
    else:
        words = [str(v) for v in found]
        order = [v for v in (field.values if field is not None else ()) if v in words]
        order += sorted(set(words) - set(order))
    used = np.bincount(code[code >= 0], minlength=len(found)) > 0
    there = {w for w, held in zip(words, used, strict=True) if held}
    names = tuple(v for v in order if v in there)
    place = np.array([names.index(w) if w in names else -1 for w in words] or [-1])
    return _Levels(names, np.where(code >= 0, place[code], -1))


def _label(name: str) -> str:
    return FIELD[name].label_with_unit if name in FIELD else name


def _pair(a: str, b: str) -> str:
    return f"SMD ({a}, {b})"


def _p(value: float) -> str:
    return "" if np.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def _smd(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


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


def to_word(table: pd.DataFrame, caption: str) -> bytes:
    """A Word document (.docx) on a page in landscape: the caption, then the table in the style of a paper."""
    from docx import Document  # loaded where it is wanted
    from docx.enum.section import WD_ORIENT
    from docx.shared import Pt

    document = Document()
    page = document.sections[0]
    page.orientation, page.page_width, page.page_height = WD_ORIENT.LANDSCAPE, page.page_height, page.page_width
    document.add_paragraph(_printable(caption))
    made = document.add_table(rows=1, cols=len(table.columns), style="Light List")
    for row in (table.columns, *table.astype(object).to_numpy()):
        cells = made.rows[0].cells if row is table.columns else made.add_row().cells
        for cell, value in zip(cells, row, strict=True):
            cell.text = "–" if pd.isna(value) else _printable(str(value))
            for run in cell.paragraphs[0].runs:
                run.font.size = Pt(8)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _printable(text: str) -> str:
    """Text without signs that XML cannot hold."""
    return "".join(c if c.isprintable() or c in "\n\t" else " " for c in text)
