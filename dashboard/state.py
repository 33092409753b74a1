"""What the address bar holds, so that a view can be sent to a colleague: one place that reads and writes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import streamlit as st

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


@dataclass(frozen=True)
class Filters:
    """Which cases of a cohort are looked at; empty means all.

    Parameters
    ----------
    centre, sex, histology, side, third, tirads : allowed values.
    age, size : (low, high) inclusive, in years and mm.
    """

    centre: tuple[str, ...] = ()
    sex: tuple[str, ...] = ()
    histology: tuple[str, ...] = ()
    side: tuple[str, ...] = ()
    third: tuple[str, ...] = ()
    tirads: tuple[str, ...] = ()
    age: tuple[float, float] | None = None
    size: tuple[float, float] | None = None


RANGES = {"age": "age_years", "size": "size_mm"}


def read_filters() -> Filters:
    """Filters of the address bar; what is not allowed there is passed over."""
    found: dict[str, object] = {}
    for f in fields(Filters):
        raw = read(f.name)
        if not raw:
            continue
        if f.name in RANGES:
            found[f.name] = _range(raw, RANGES[f.name])
        else:
            allowed = FIELD[f.name].values
            found[f.name] = tuple(v for v in raw.split(",") if not allowed or v in allowed)
    return Filters(**found)  # type: ignore[arg-type]


def write_filters(filters: Filters) -> None:
    """Put filters in the address bar."""
    values = {}
    for f in fields(Filters):
        value = getattr(filters, f.name)
        if f.name in RANGES:
            values[f.name] = None if value is None else f"{value[0]:g}-{value[1]:g}"
        else:
            values[f.name] = ",".join(value)
    write(**values)


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
