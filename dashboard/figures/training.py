"""The curves of a training: loss and AUROC over the epochs."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboard.figures.style import OBSERVED, PREDICTED, REFERENCE, styled


def curve_table(history: Sequence[dict[str, float]]) -> pd.DataFrame:
    """One row an epoch: epoch, and of loss, validation_loss and auroc what was recorded; from 0 where the start was judged."""
    table = pd.DataFrame(history)
    first = 0 if "loss" not in table else 1
    table.insert(0, "epoch", range(first, first + len(table)))
    return table


def curves(table: pd.DataFrame) -> go.Figure:
    """Losses above, AUROC below, over the epochs of `curve_table`."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08, row_heights=[0.55, 0.45])
    for column, name, colour in (("loss", "Training loss", REFERENCE), ("validation_loss", "Validation loss", OBSERVED)):
        if column in table:
            figure.add_scatter(
                x=table["epoch"], y=table[column], mode="lines+markers", name=name, line={"color": colour, "width": 2},
                hovertemplate="epoch %{x}: %{y:.4f}<extra>" + name + "</extra>", row=1, col=1,
            )  # fmt: skip
    if "auroc" in table:
        figure.add_scatter(
            x=table["epoch"], y=table["auroc"], mode="lines+markers", name="Validation AUROC",
            line={"color": PREDICTED, "width": 2}, hovertemplate="epoch %{x}: %{y:.4f}<extra>AUROC</extra>", row=2, col=1,
        )  # fmt: skip
    styled(figure, height=430, legend=True)
    figure.update_layout(margin={"t": 60})  # the legend takes two rows on a narrow screen
    figure.update_yaxes(title="log loss", fixedrange=True, row=1, col=1)
    figure.update_yaxes(title="AUROC", fixedrange=True, row=2, col=1)
    figure.update_xaxes(fixedrange=True)
    figure.update_xaxes(title="epoch", row=2, col=1)
    return figure
