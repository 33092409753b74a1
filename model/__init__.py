"""LLNM Explorer: explainable prediction of lateral lymph node metastasis. Research and teaching only.

>>> from model import Predictor, read_case
>>> predictor = Predictor.load()
>>> predictor.predict(read_case("case.json")).probability
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.ingest.cases import Cohort, read_case, read_cohort
    from model.predict import Prediction, Predictor
    from model.schema import Case

__all__ = ["Case", "Cohort", "Prediction", "Predictor", "read_case", "read_cohort"]

_HOMES = {
    "Case": "model.schema", "Cohort": "model.ingest.cases", "Prediction": "model.predict", "Predictor": "model.predict",
    "read_case": "model.ingest.cases", "read_cohort": "model.ingest.cases",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """The public names, imported when first asked for: `llnm --help` must not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
