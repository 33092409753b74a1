"""Risk by place in the gland: side × third, and the isthmus."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from model.cohort.discrimination import Rate, wilson

PLACES: tuple[tuple[str, str], ...] = (
    *((side, third) for side in ("right", "left") for third in ("upper", "middle", "lower")),
    ("isthmus", ""),
)


@dataclass(frozen=True)
class PositionRisk:
    """Risk of one place; `third` is empty for the isthmus, `predicted` NaN without predictions or cases."""

    side: str
    third: str
    observed: Rate
    predicted: float


def risk_by_position(frame: pd.DataFrame) -> tuple[PositionRisk, ...]:
    """Every place of `PLACES`, empty ones too.

    Parameters
    ----------
    frame : columns side, third, llnm (0/1), and probability if there is one. Cases without a place are left out.
    """
    result = []
    for side, third in PLACES:
        here = frame[(frame["side"] == side) & ((frame["third"] == third) | (side == "isthmus"))]
        predicted = float(here["probability"].mean()) if "probability" in frame and len(here) else float("nan")
        result.append(PositionRisk(side, third, wilson(int(here["llnm"].sum()), len(here)), predicted))
    return tuple(result)
