"""What must be asked before a cohort trains: does a field give the outcome away?"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from model.encode import encode_fields
from model.errors import CaseError
from model.ingest.cases import Cohort
from model.ingest.table import present_values
from model.schema import Schema

LEAK = 0.995
"""AUROC of a single field from which it is questioned; no finding before surgery is that good."""
FEWEST = 20
"""Cases below which a field may be that good by chance."""


def refuse_leaks(cohort: Cohort, label: npt.NDArray[np.bool_], schema: Schema, allowed: Collection[str]) -> None:
    """Question fields that alone predict the outcome all but perfectly, or whose absence does.

    Raises
    ------
    CaseError
        If there are such fields that are not allowed by name, or a name that is no field is.
    """
    unknown = sorted(set(allowed) - set(schema.tokens))
    if unknown:
        raise CaseError(f"{', '.join(unknown)}: no such field", where="--allow", fix=f"Name one of {', '.join(schema.tokens)}.")
    if len(label) < FEWEST:
        return
    found = {name: area for name, area in single_aurocs(cohort, label, schema).items() if area >= LEAK and name not in allowed}
    if found:
        told = ", ".join(f"{name} (AUROC {area:.3f})" for name, area in found.items())
        raise CaseError(
            f"predicts {schema.endpoint.short} all but perfectly by itself: {told}", where=str(cohort.root),
            fix="Leave it out where it is known only afterwards or was made from the outcome; where it truly is known before "
            "surgery, allow it: " + " ".join(f"--allow {name}" for name in found) + ".",
        )  # fmt: skip


def single_aurocs(cohort: Cohort, label: npt.NDArray[np.bool_], schema: Schema) -> dict[str, float]:
    """AUROC (0.5…1) of each field alone: of a number either way round, of a category by each value's share of outcomes.

    The greater of that among the cases that have the field, and that of having it or not.
    """
    rows = [
        encode_fields(present_values({str(k): v for k, v in row.items()}, cohort.schema), schema)
        for row in cohort.table.to_dict("records")
    ]
    numbers, present = np.array([r[0] for r in rows]), np.array([r[1] for r in rows], bool)
    codes = np.array([r[2] for r in rows], np.int64)
    columns = [(f.name, numbers[:, i], present[:, i], True) for i, f in enumerate(schema.numbers)]
    columns += [(f.name, codes[:, i], codes[:, i] > 0, False) for i, f in enumerate(schema.categories)]
    return {
        name: max(_area(values, known, label, number), _area(known.astype(float), np.ones_like(known), label, True))
        for name, values, known, number in columns
    }


def _area(values: npt.NDArray[np.float64], known: npt.NDArray[np.bool_], label: npt.NDArray[np.bool_], number: bool) -> float:
    x, y = values[known], label[known]
    if len(y) < FEWEST or y.all() or not y.any():
        return 0.5
    if not number:
        shares = {code: y[x == code].mean() for code in np.unique(x)}
        x = np.array([shares[code] for code in x])
    area = float(roc_auc_score(y, x))
    return max(area, 1 - area)
