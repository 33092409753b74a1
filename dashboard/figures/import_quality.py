"""How full the fields of a cohort are, centre by centre."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.style import styled
from model.importing.quality import Quality


def filled_table(quality: Quality) -> pd.DataFrame:
    """One row a field: label with unit, cases filled and missing, range and mean of a number, commonest values of others."""
    rows = []
    for f in quality.fields:
        name = f"{f.label} ({f.unit})" if f.unit else f.label
        is_number = f.low is not None
        values = (
            f"{f.low:g} to {f.high:g}, mean {f.mean:.3g}"
            if is_number
            else ", ".join(f"{v}: {n:,}" for v, n in list(f.counts.items())[:6])
        )
        rows.append(
            {
                "Field": name,
                "Filled": f.filled,
                "Missing": f.missing,
                "Missing (%)": 100 * f.missing / quality.cases,
                "Values": values,
            }
        )
    return pd.DataFrame(rows, columns=["Field", "Filled", "Missing", "Missing (%)", "Values"])


def centre_table(quality: Quality) -> pd.DataFrame:
    """One row a centre: cases, outcomes known, positive, and their share with its 95 % interval."""
    rows = [
        {
            "Centre": c.centre,
            "Cases": c.cases,
            "Outcome known": c.known,
            "Positive": c.positive,
            "Share (%)": None if c.share is None else 100 * c.share,
            "95 % from": None if c.low is None else 100 * c.low,
            "95 % to": None if c.high is None else 100 * c.high,
        }
        for c in quality.centres
    ]
    return pd.DataFrame(rows)


def missing_map(quality: Quality) -> go.Figure:
    """Share of cases in which each field is missing (rows), by centre (columns)."""
    centres = [c.centre for c in quality.centres]
    fields = quality.fields[::-1]
    share = [[100 * (1 - f.by_centre.get(c, 0.0)) for c in centres] for f in fields]
    words = [[f"{s:.0f} %" for s in row] for row in share]
    drawn = go.Figure(
        go.Heatmap(
            z=share,
            x=[f"{c.centre} ({c.cases:,})" for c in quality.centres],
            y=[f.label for f in fields],
            text=words,
            texttemplate="%{text}",
            zmin=0,
            zmax=100,
            colorscale="Blues",
            colorbar={"title": "missing (%)", "thickness": 12},
            xgap=1,
            ygap=1,
            hovertemplate="%{y}, %{x}: %{text} missing<extra></extra>",
        )
    )
    return styled(drawn, height=60 + 26 * len(fields))
