"""Cases that the model finds alike: neighbours in the space that its heads read, and what differs between two cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from model.encode import MeasuredCase
from model.predict import Predictor
from model.schema import DEFAULT, Schema, Value

FloatArray = npt.NDArray[np.float32]

NOTABLE_SPREADS = 0.5
"""Numbers that lie further apart than this many of the field's spreads are told as different."""


@dataclass(frozen=True)
class Difference:
    """A field that two cases do not share; None where one lacks it."""

    name: str
    here: Value | None
    there: Value | None


def embeddings(predictor: Predictor, cases: Sequence[MeasuredCase]) -> FloatArray:
    """(n, W): each case as the model's heads read it; of a wide network (n, fields), what each field adds to the logit.

    A wide network's cases are few, and may have taught its tokens nothing.
    """
    if not cases:
        return np.zeros((0, predictor.net.config.width), np.float32)
    if predictor.net.config.wide:
        with torch.inference_mode():
            tokens = predictor.net.embed(predictor.encode(cases)).clinical
        count = len(predictor.net.config.fields)
        return np.asarray(tokens[:, -count:, -1].float().cpu().numpy(), dtype=np.float32)
    output = predictor.run(predictor.encode(cases))
    return np.asarray(output.embedding.float().cpu().numpy(), dtype=np.float32)


def nearest(query: FloatArray, pool: FloatArray, count: int) -> list[tuple[int, float]]:
    """Places in the pool of the most similar rows, with their cosine similarity (−1…1), most similar first.

    Parameters
    ----------
    query : (W,).
    pool : (n, W); its mean is taken away from both, since all cases share a large common part.
    """
    centre = pool.mean(0)
    a, b = query - centre, pool - centre
    cosine = b @ a / np.maximum(np.linalg.norm(a) * np.linalg.norm(b, axis=1), 1e-12)
    order = np.argsort(-cosine, kind="stable")[:count]
    return [(int(i), float(cosine[i])) for i in order]


def differences(here: MeasuredCase, there: MeasuredCase, schema: Schema = DEFAULT) -> tuple[Difference, ...]:
    """Fields that the model reads in which two cases differ notably, in the schema's order."""
    found = []
    for field in schema.fields:
        if not field.is_token:
            continue
        a, b = here.fields.get(field.name), there.fields.get(field.name)
        if a is None and b is None:
            continue
        if field.kind == "number" and a is not None and b is not None:
            differs = abs(float(a) - float(b)) > NOTABLE_SPREADS * field.spread
        else:
            differs = a != b
        if differs:
            found.append(Difference(field.name, a, b))
    return tuple(found)
