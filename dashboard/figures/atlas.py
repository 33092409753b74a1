"""3-D risk atlas: the template coloured by smoothed risk, cut open by a plane, with one case marked."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from dashboard.figures.style import MARKED, RISK, styled
from model.cohort.atlas import AXES, HALF_HEIGHT, MIN_SUPPORT, Atlas, Axis, Mesh, section, template, trachea

FloatArray = npt.NDArray[np.float64]

GREY = "#9aa3a8"
_LIGHT = {"ambient": 0.75, "diffuse": 0.45, "specular": 0.05, "roughness": 0.9}
# Where the plane looks at the reader; the half in front of it is taken away.
_VIEWS: dict[Axis | None, dict[str, float]] = {
    None: {"x": 0.28, "y": -1.95, "z": 0.5},
    "left–right": {"x": 1.75, "y": -0.8, "z": 0.35},
    "front–back": {"x": 0.1, "y": -1.85, "z": 0.25},
    "height": {"x": 0.1, "y": -1.15, "z": 1.45},
}
_TAKEN: dict[Axis, float] = {"left–right": 1.0, "front–back": -1.0, "height": 1.0}
"""Sign of the side of the plane that is taken away."""


def atlas_figure(
    atlas: Atlas, *, axis: Axis | None = None, position: float = 0.0, mark: FloatArray | None = None, mark_name: str = ""
) -> go.Figure:
    """The thyroid from the front, turnable; grey where fewer than `MIN_SUPPORT` cases support a risk.

    Parameters
    ----------
    atlas : smoothed risk.
    axis, position : cut plane (mm); the part in front of it is taken away. None leaves the gland whole.
    mark : (3,) mm, the place of one case.
    mark_name : what stands beside it.
    """
    figure = go.Figure()
    mesh = template()
    if axis is not None:
        centre = mesh.vertices[mesh.faces].mean(1)[:, AXES.index(axis)]
        mesh = Mesh(mesh.vertices, mesh.faces[_TAKEN[axis] * (centre - position) <= 0])
    _surface(figure, atlas, mesh)
    if axis is not None:
        _section(figure, atlas, axis, position)
    pipe = trachea()
    figure.add_mesh3d(
        **_triangles(pipe), color=GREY, opacity=0.18, hoverinfo="skip", name="trachea", showscale=False
    )  # fmt: skip
    _words(figure)
    if mark is not None:
        _pin(figure, mark, mark_name)
    return _scene(figure, axis)


def atlas_table(atlas: Atlas, *, axis: Axis | None = None, position: float = 0.0) -> pd.DataFrame:
    """What is drawn: points of the surface, or of the cut plane where there is one (mm), with risk, interval and cases."""
    points = template().vertices
    if axis is not None:
        plane = section(axis, position).reshape(-1, 3)
        points = plane[np.isfinite(plane[:, 2])]
    found = atlas.at(points)
    return pd.DataFrame(
        {
            "left_mm": points[:, 0], "back_mm": points[:, 1], "up_mm": points[:, 2], "risk": found.risk, "low": found.low,
            "high": found.high, "cases": found.cases,
        }
    ).round(4)  # fmt: skip


def _surface(figure: go.Figure, atlas: Atlas, mesh: Mesh) -> None:
    """Faces with a risk at every corner in colour, the others grey."""
    found = atlas.at(mesh.vertices)
    known = ~np.isnan(found.risk)[mesh.faces].any(1)
    figure.add_mesh3d(
        **_triangles(Mesh(mesh.vertices, mesh.faces[known])), intensity=_small(np.nan_to_num(found.risk)), colorscale=RISK, cmin=0,
        cmax=1, colorbar={"title": {"text": "risk", "side": "top"}, "tickformat": ".0%", "thickness": 10, "len": 0.6,
                         "orientation": "h", "y": 0, "yanchor": "bottom"},
        customdata=_small(np.stack([found.low, found.high, found.cases], -1)), lighting=_LIGHT, name="risk",
        hovertemplate="%{intensity:.0%} (95 % %{customdata[0]:.0%}–%{customdata[1]:.0%})<br>%{customdata[2]:.0f} cases around"
                      "<extra></extra>",
    )  # fmt: skip
    if not known.all():
        figure.add_mesh3d(
            **_triangles(Mesh(mesh.vertices, mesh.faces[~known])), color=GREY, lighting=_LIGHT, name="too few",
            hovertemplate=f"fewer than {MIN_SUPPORT:.0f} cases around<extra></extra>",
        )  # fmt: skip


def _section(figure: go.Figure, atlas: Atlas, axis: Axis, position: float) -> None:
    """The cut plane: risk in colour, grey where there are too few."""
    plane = section(axis, position)
    if not np.isfinite(plane[..., 2]).any():
        return
    found = atlas.at(np.nan_to_num(plane).reshape(-1, 3))
    risk = np.where(np.isfinite(plane[..., 2]), found.risk.reshape(plane.shape[:2]), np.nan)
    cases = found.cases.reshape(plane.shape[:2])
    for wanted, colours, name in ((~np.isnan(risk), RISK, "cut"), (np.isnan(risk), [[0, GREY], [1, GREY]], "too few")):
        if not (wanted & np.isfinite(plane[..., 2])).any():
            continue
        figure.add_surface(
            x=_small(plane[..., 0]), y=_small(plane[..., 1]), z=_small(np.where(wanted, plane[..., 2], np.nan)),
            surfacecolor=_small(np.nan_to_num(risk)), colorscale=colours, cmin=0, cmax=1, showscale=False, name=name,
            customdata=_small(cases), lighting={"ambient": 1.0, "diffuse": 0.0, "specular": 0.0},
            hovertemplate="%{surfacecolor:.0%}, %{customdata:.0f} cases around<extra></extra>" if name == "cut"
            else f"fewer than {MIN_SUPPORT:.0f} cases around<extra></extra>",
        )  # fmt: skip


def _pin(figure: go.Figure, mark: FloatArray, name: str) -> None:
    """A case inside the gland, which is opaque: a pin from its place to the reader's side, named at its head."""
    x, y, z = ([float(v), float(v)] for v in mark)
    y[1] = float(template().vertices[:, 1].min()) - 5
    figure.add_scatter3d(
        x=x, y=y, z=z, mode="lines+markers+text", name=name or "this case", text=["", name], textposition="top center",
        textfont={"color": MARKED, "size": 14}, line={"color": MARKED, "width": 6},
        marker={"size": [8, 5], "color": MARKED, "symbol": ["diamond", "circle"], "line": {"color": "#ffffff", "width": 1}},
        hovertemplate=f"{name}<extra></extra>",
    )  # fmt: skip


def _words(figure: go.Figure) -> None:
    """Which side is which, however the gland is turned."""
    places = {"patient's right": (-22, 4, -HALF_HEIGHT - 10), "patient's left": (22, 4, -HALF_HEIGHT - 10), "head": (0, 10, 33)}
    x, y, z = zip(*places.values(), strict=True)
    figure.add_scatter3d(
        x=x, y=y, z=z, mode="text", text=list(places), textfont={"size": 13, "color": "#7d868b"}, hoverinfo="skip", name="sides"
    )  # fmt: skip


def _scene(figure: go.Figure, axis: Axis | None) -> go.Figure:
    styled(figure, height=520)
    hidden = {"visible": False, "showspikes": False}
    figure.update_layout(
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        scene={
            "xaxis": hidden | {"range": [-36, 36]}, "yaxis": hidden | {"range": [-18, 30]}, "zaxis": hidden | {"range": [-36, 36]},
            "aspectmode": "data", "dragmode": "turntable", "camera": {"eye": _VIEWS[axis], "up": {"x": 0, "y": 0, "z": 1}},
            "uirevision": axis or "whole", "bgcolor": "rgba(0,0,0,0)",
        },
        hovermode="closest",
    )  # fmt: skip
    return figure


def _triangles(mesh: Mesh) -> dict[str, Any]:
    x, y, z = _small(mesh.vertices.T)
    i, j, k = mesh.faces.T.astype(np.int32)
    return {"x": x, "y": y, "z": z, "i": i, "j": j, "k": k}


def _small(values: FloatArray) -> npt.NDArray[np.float32]:
    """Single precision: half of what goes to the browser."""
    return np.asarray(values, np.float32)
