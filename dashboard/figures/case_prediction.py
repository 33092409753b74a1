"""The answer of a case as small figures: risk with interval, stages, and the synthetic truth."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.style import LOWERS, MARKED, MUTED, OBSERVED, RAISES, RISK, percent, styled
from model.predict import Interval, Prediction


def risk_bar(probability: float, interval: Interval) -> go.Figure:
    """A strip from 0 to 100 % coloured by risk, the interval as a band, the probability as a line."""
    steps = 100
    figure = go.Figure(
        go.Heatmap(
            z=[[i / (steps - 1) for i in range(steps)]], x=[(i + 0.5) / steps for i in range(steps)], y=[0],
            colorscale=RISK, zmin=0, zmax=1, showscale=False, hoverinfo="skip",
        )
    )  # fmt: skip
    figure.add_shape(
        type="rect", x0=interval.low, x1=interval.high, y0=-0.5, y1=0.5, line={"color": "#ffffff", "width": 2},
        fillcolor="rgba(255,255,255,0.30)",
    )  # fmt: skip
    figure.add_shape(
        type="line", x0=probability, x1=probability, y0=-0.75, y1=0.75, line={"color": MARKED, "width": 4}
    )
    styled(figure, height=92)
    figure.update_xaxes(
        range=[0, 1], tickvals=[0, 0.25, 0.5, 0.75, 1], tickformat=".0%", fixedrange=True, showgrid=False
    )
    figure.update_yaxes(visible=False, range=[-0.8, 0.8], fixedrange=True)
    figure.update_layout(margin={"l": 18, "r": 18, "t": 2, "b": 32})  # too low a figure for automatic margins
    return figure


def basis(interval: Interval, endpoint: str = "LLNM") -> str:
    """What the interval rests on, with its numerator and denominator."""
    return (
        f"95 % interval {percent(interval.low)}–{percent(interval.high)}: {interval.positives} of the {interval.count} "
        f"validation cases that scored nearest had {endpoint} (Wilson)"
    )


def prediction_table(prediction: Prediction) -> pd.DataFrame:
    """The answer as one row: probability, calibrated logit, interval and what it rests on, stages."""
    interval = prediction.interval
    stages = {f"stage_{i + 1}": p for i, p in enumerate(prediction.stage_probabilities or ())}
    row = {
        "case_id": prediction.case_id, "probability": prediction.probability, "logit": prediction.logit,
        "low": interval.low, "high": interval.high, "positives": interval.positives, "count": interval.count,
        **stages, "model": prediction.model,
    }  # fmt: skip
    return pd.DataFrame([row])


def stage_bars(probabilities: tuple[float, float, float]) -> go.Figure:
    """Probabilities of the three risk stages, given that there is LLNM."""
    names = ["1 low", "2 medium", "3 high"]
    figure = go.Figure(
        go.Bar(
            x=list(probabilities), y=names, orientation="h", marker={"color": OBSERVED},
            text=[percent(p) for p in probabilities], textposition="outside", cliponaxis=False,
            hovertemplate="stage %{y}: %{x:.1%}<extra></extra>",
        )
    )  # fmt: skip
    styled(figure, height=112)
    figure.update_xaxes(range=[0, 1.15], visible=False, fixedrange=True)
    figure.update_yaxes(autorange="reversed", fixedrange=True, showgrid=False)
    figure.update_layout(margin={"t": 2, "b": 2})
    return figure


def truth_table(row: pd.Series) -> pd.DataFrame:
    """True contributions of a synthetic case, largest first: columns cause, logit."""
    parts = row.filter(like="contribution_")
    names = [str(n).removeprefix("contribution_") for n in parts.index]
    table = pd.DataFrame(
        {
            "cause": ["BRAF V600E" if n == "braf" else n.replace("_", " ") for n in names],
            "logit": parts.astype(float),
        }
    )
    table = table[table["logit"].abs() > 1e-9]
    return table.reindex(table["logit"].abs().sort_values(ascending=False).index).reset_index(drop=True)


def truth_bars(table: pd.DataFrame) -> go.Figure:
    """The true causes of a synthetic case, in logits of the known risk equation."""
    figure = go.Figure(
        go.Bar(
            x=table["logit"], y=table["cause"], orientation="h",
            marker={"color": [RAISES if v > 0 else LOWERS for v in table["logit"]]},
            text=[f"{v:+.2f}" for v in table["logit"]], textposition="outside", cliponaxis=False,
            hovertemplate="%{y}: %{x:+.2f} logit<extra></extra>",
        )
    )  # fmt: skip
    styled(figure, height=60 + 24 * len(table))
    figure.update_yaxes(autorange="reversed", showgrid=False, fixedrange=True)
    low, high = min(0.0, table["logit"].min()), max(0.0, table["logit"].max())
    pad = 0.15 * (high - low or 1)
    figure.update_xaxes(
        title="true contribution to the logit of LLNM", fixedrange=True, range=[low - (pad if low < 0 else 0), high + pad]
    )
    figure.add_vline(x=0, line={"color": MUTED, "width": 1})
    return figure
