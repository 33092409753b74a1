"""What if: the risk of one case over its capsule distance, under the cohort's curve."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.style import MARKED, MUTED, OBSERVED, PREDICTED, styled
from model.cohort.curves import RiskCurve
from model.explain.counterfactual import DistanceCurve


def distance_table(curve: DistanceCurve) -> pd.DataFrame:
    """One row a place: distance (mm, or share of gland depth), probability, whether it is the case as it is."""
    name = "capsule_distance_mm" if curve.unit else "capsule_distance_fraction"
    rows = pd.DataFrame({name: curve.distance, "probability": curve.probability})
    rows["as_it_is"] = [i == curve.here for i in range(len(rows))]
    return rows


def individual_curve(curve: DistanceCurve, cohort: RiskCurve | None, threshold: float) -> go.Figure:
    """This case's curve with the case marked; the cohort's observed curve behind it, where distances are in mm."""
    figure = go.Figure()
    if cohort is not None and curve.unit:
        figure.add_scatter(
            x=cohort.x, y=cohort.risk, mode="lines", line={"color": OBSERVED, "width": 2, "dash": "dot"},
            name="Cohort, observed", hovertemplate="%{x:.1f} mm: %{y:.0%}<extra>cohort</extra>",
        )  # fmt: skip
    unit, scale = (" mm", 1.0) if curve.unit else (" %", 100.0)
    figure.add_scatter(
        x=scale * curve.distance, y=curve.probability, mode="lines+markers", line={"color": PREDICTED, "width": 3},
        marker={"size": 5}, name="This case, moved", hovertemplate=f"%{{x:.1f}}{unit}: %{{y:.1%}}<extra>this case</extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[scale * curve.distance[curve.here]], y=[curve.probability[curve.here]], mode="markers", name="As it is",
        marker={"size": 13, "color": MARKED, "symbol": "diamond"}, hovertemplate="as it is: %{y:.1%}<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=threshold, line={"color": MUTED, "width": 1.5, "dash": "dash"})
    styled(figure, height=330, legend=True)
    figure.update_layout(margin={"t": 48})
    figure.update_xaxes(title="capsule distance (mm)" if curve.unit else "capsule distance (% of gland depth)", fixedrange=True)
    figure.update_yaxes(title="probability of LLNM", tickformat=".0%", range=[0, 1.03], fixedrange=True)
    return figure
