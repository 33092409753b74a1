"""The cases that the Cohort page shows, and how what is shown of them is told and done again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from importlib.metadata import version
from operator import attrgetter
from typing import ParamSpec

import pandas as pd
import streamlit as st

from dashboard import resources
from dashboard.figures.style import percent
from dashboard.parts import Method, problem
from model.cohort.cube import Aggregate
from model.cohort.discrimination import wilson
from model.cohort.selection import CATEGORIES, RANGES, Filters
from model.cohort.store import CohortStore
from model.errors import StatisticsError
from model.schema import FIELD, LLNM

P = ParamSpec("P")


@dataclass(frozen=True)
class Part:
    """The cases of a cohort that pass the filters; columns are fetched as figures ask for them.

    Parameters
    ----------
    store : of the whole cohort.
    filters : those of the page.
    file : the table, as code that is run by the reader would open it.
    name : what cohort it is, in words.
    """

    store: CohortStore
    filters: Filters
    file: str
    name: str

    def __contains__(self, column: str) -> bool:
        """Whether the table has a column."""
        return column in self.store.columns

    @property
    def identity(self) -> str:
        """The same for the same cases: what results are kept by."""
        return f"{self.store.key} {self.filters!r}"

    @property
    def outcome(self) -> str:
        """What the labels are of, in few words and plain text: `literal` stands between it and Markdown."""
        return self.store.outcome

    @property
    def is_llnm(self) -> bool:
        """Whether the outcome is the paper's: its figures and the risk stages belong to no other one."""
        return self.outcome == LLNM.short

    @property
    def counts(self) -> Aggregate:
        """Counts of every aggregate figure."""
        return resources.cohort_counts(self.store.key, self.filters, self.store)

    def rows(self, *columns: str) -> pd.DataFrame:
        """The cases with those of the columns that are there; kept, and not to be changed."""
        there = tuple(c for c in dict.fromkeys(columns) if c in self)
        return resources.cohort_rows(self.store.key, self.filters, there, self.store)

    def method(self, text: str, code: str) -> Method:
        """How a figure came about.

        Parameters
        ----------
        text : of the analysis, in whole sentences; what the cases are and what computed it is added.
        code : lines that go on from `cohort` and `filters`, imports among them, and end with `table` and `figure`.
        """
        drawn = ", Region" if self.filters.region is not None else ""
        label = "" if self.store.label is None else f", label={self.store.label!r}"
        good = ", good_rows_only=True" if self.store.bad_rows else ""
        head = f"""
from model.cohort.selection import Filters{drawn}
from model.cohort.store import CohortStore
cohort = CohortStore.open({self.file!r}{label}{good})
filters = {filters_as_code(self.filters)}
"""
        return written(f"{self._cases_in_words()} {text}", head + code)

    def _cases_in_words(self) -> str:
        counts, store = self.counts, self.store
        rate = wilson(counts.positives, counts.cases)
        taken = filters_in_words(self.filters)
        left_out = f" after {store.bad_rows:,} rows at fault were left out" if store.bad_rows else ""
        which = f"those with {taken}" if taken else "all of them"
        return (
            f"Of the {store.cases:,} cases of {self.file} ({self.name}; SHA-256 {store.key[:16]}…){left_out}, "
            f"{counts.cases:,} were "
            f"analysed: {which}. {counts.positives:,} of {counts.cases:,} had {self.outcome} ({percent(rate.value, 1)}, "
            f"95 % Wilson interval {percent(rate.low, 1)} to {percent(rate.high, 1)})."
        )


def panel(shown: Callable[P, None]) -> Callable[P, None]:
    """A part of the page that runs anew on its own; what is wrong with the table is told in its place."""
    return st.fragment(safe(shown))


def safe(shown: Callable[P, None]) -> Callable[P, None]:
    """The same, for what runs anew with the page."""

    @wraps(shown)
    def safely(*args: P.args, **options: P.kwargs) -> None:
        try:
            shown(*args, **options)
        except StatisticsError as error:
            problem(error)

    return safely


def written(text: str, code: str) -> Method:
    """A paragraph that says what computed it, and code with its imports at the head."""
    lines = [line for line in code.splitlines() if line]
    imports = sorted({line for line in lines if line.startswith(("from ", "import "))}, key=lambda n: (n[0] == "f", n))
    told = "# Run where the tables lie. It ends with the figure (plotly) and its numbers (pandas)."
    return Method(f"{text} {_SOFTWARE}", "\n".join([told, *imports, "", *(n for n in lines if n not in imports)]))


by_content = {Part: attrgetter("identity")}
"""For Streamlit's caches: a part stands for the content of its table and its filters."""

_SOFTWARE = f"Computed with LLNM Explorer {version('llnm-explorer')} (research use only)."


def filters_as_code(filters: Filters) -> str:
    """A call that makes the same filters."""
    used = [(f.name, getattr(filters, f.name)) for f in fields(Filters)]
    return f"Filters({', '.join(f'{name}={value!r}' for name, value in used if value not in ((), None))})"


def filters_in_words(filters: Filters) -> str:
    """What the filters let pass; empty where that is everything."""
    parts = [f"{FIELD[n].label.lower()} {' or '.join(getattr(filters, n))}" for n in CATEGORIES if getattr(filters, n)]
    for name, column in RANGES.items():
        if getattr(filters, name) is not None:
            low, high = getattr(filters, name)
            parts.append(f"{FIELD[column].label.lower()} from {low:g} to {high:g} {FIELD[column].unit}")
    if filters.region is not None:
        corners = ", ".join(f"{x:g} mm / {y:g}" for x, y in filters.region.corners)
        parts.append(f"capsule distance and predicted probability inside the polygon {corners}")
    return "; ".join(parts)
