"""The figures of a performance report, drawn with matplotlib: data → PNG. No state is shared, so any thread may draw."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model.cohort.benefit import Benefit
from model.cohort.calibration import CalibrationBin
from model.cohort.curves import RiskCurve
from model.cohort.discrimination import Estimate, OperatingPoint, RocCurve
from model.cohort.scores import FloatArray

_MODEL, _MARK, _QUIET = "#1f6f8b", "#d7263d", "#8a8f94"
_DPI = 200


def roc_plot(curve: RocCurve, area: Estimate, point: OperatingPoint, n: int) -> bytes:
    """ROC curve with its area, and the operating point with its intervals."""
    figure, axes = _square("1 − specificity", "sensitivity")
    axes.plot([0, 1], [0, 1], color=_QUIET, linewidth=0.8, linestyle="--")
    axes.plot(curve.false_positive_rate, curve.sensitivity, color=_MODEL, linewidth=1.8)
    x, y = 1 - point.specificity.value, point.sensitivity.value
    axes.errorbar(
        [x], [y], xerr=[[x - (1 - point.specificity.high)], [1 - point.specificity.low - x]],
        yerr=[[y - point.sensitivity.low], [point.sensitivity.high - y]], fmt="o", markersize=4, color=_MARK, elinewidth=1,
    )  # fmt: skip
    axes.text(
        0.98, 0.03, f"AUROC {area.value:.3f}\n({area.low:.3f}–{area.high:.3f}), n = {n:,}",
        ha="right", va="bottom", fontsize=8,
    )  # fmt: skip
    return _png(figure)


def calibration_plot(bins: tuple[CalibrationBin, ...], curve: RiskCurve | None, probability: FloatArray) -> bytes:
    """Observed share over predicted probability: bins with intervals, the smooth curve with its band, and where cases lie."""
    figure, axes = _square("predicted probability", "observed share")
    axes.plot([0, 1], [0, 1], color=_QUIET, linewidth=0.8, linestyle="--")
    if curve is not None:
        axes.fill_between(curve.x, curve.low, curve.high, color=_MODEL, alpha=0.2, linewidth=0)
        axes.plot(curve.x, curve.risk, color=_MODEL, linewidth=1.6)
    x = np.array([b.predicted for b in bins])
    y, low, high = (np.array([getattr(b.observed, name) for b in bins]) for name in ("value", "low", "high"))
    axes.errorbar(x, y, yerr=[y - low, high - y], fmt="o", markersize=3.5, color="black", elinewidth=0.8)
    counts, edges = np.histogram(probability, np.linspace(0, 1, 41))
    axes.bar(edges[:-1], 0.12 * counts / max(counts.max(), 1), width=0.025, align="edge", color=_QUIET, alpha=0.6)
    return _png(figure)


def benefit_plot(benefit: Benefit) -> bytes:
    """Decision curve: the model with its band, treating all, treating none."""
    figure, axes = _axes("threshold probability", "net benefit")
    axes.axhline(0, color=_QUIET, linewidth=0.8)
    axes.fill_between(benefit.threshold, benefit.low, benefit.high, color=_MODEL, alpha=0.2, linewidth=0)
    axes.plot(benefit.threshold, benefit.model, color=_MODEL, linewidth=1.8, label="model")
    axes.plot(benefit.threshold, benefit.treat_all, color=_MARK, linewidth=1, linestyle="--", label="treat all")
    top = float(max(benefit.high.max(), benefit.positives / benefit.cases))
    axes.set_ylim(-0.25 * top, 1.05 * top)
    axes.set_xlim(0, 1)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    axes.text(0.02, -0.04 * top, "treat none", fontsize=8, color=_QUIET, va="top")
    return _png(figure)


def _axes(x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.0, 2.9), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _square(x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = _axes(x, y)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    return figure, axes


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
