"""What the address bar holds, so that a view can be sent to a colleague: one place that reads and writes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import streamlit as st

from model.cohort.selection import CATEGORIES, RANGES, Filters, Region
from model.schema import FIELD


def read(name: str, default: str = "") -> str:
    """One value of the address bar."""
    value: str = st.query_params.get(name, default)
    return value


def write(**values: str | None) -> None:
    """Set values of the address bar; None or "" takes one away. The rest stays."""
    for name, value in values.items():
        if value:
            if st.query_params.get(name) != value:
                st.query_params[name] = value
        elif name in st.query_params:
            del st.query_params[name]


def read_filters() -> Filters:
    """Filters of the address bar; what is not allowed there is passed over."""
    found: dict[str, object] = {"region": _region(read("region"))}
    for name in CATEGORIES:
        allowed = FIELD[name].values
        found[name] = tuple(v for v in read(name).split(",") if v and (not allowed or v in allowed))
    for name, column in RANGES.items():
        found[name] = _range(read(name), column)
    return Filters(**found)  # type: ignore[arg-type]


def write_filters(filters: Filters) -> None:
    """Put filters in the address bar."""
    ranges = {n: getattr(filters, n) for n in RANGES}
    corners = () if filters.region is None else filters.region.corners
    write(
        **{n: ",".join(getattr(filters, n)) for n in CATEGORIES},
        **{n: None if pair is None else f"{pair[0]:g}-{pair[1]:g}" for n, pair in ranges.items()},
        region="_".join(f"{x:g}_{y:g}" for x, y in corners),
    )


def _region(raw: str) -> Region | None:
    """x and y of each corner in turn, joined by underscores."""
    try:
        numbers = np.array([float(part) for part in raw[:1000].split("_")])
    except ValueError:
        return None
    return Region.drawn(numbers[::2], numbers[1::2]) if len(numbers) % 2 == 0 else None


def _range(raw: str, name: str) -> tuple[float, float] | None:
    try:
        low, high = (float(part) for part in raw.split("-"))
    except ValueError:
        return None
    field = FIELD[name]
    low, high = max(low, field.low), min(high, field.high)
    return (low, high) if low <= high else None


def chosen(name: str, options: Sequence[str]) -> str | None:
    """A value of the address bar if it is one of `options`."""
    value = read(name)
    return value if value in options else None
