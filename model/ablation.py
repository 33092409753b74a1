"""What each kind of input and the fusion bring: `ablate`. One row a variant, paired with the whole model by DeLong.

Inputs are hidden from the trained model, which then uses its "missing" tokens; it is not trained again without them, as
the paper's networks were, so the figures say what this model draws from each kind. Fusion is part of the network, so its
variants are trained, briefly and all alike.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from model.cohort.discrimination import auroc, delong_test
from model.cohort.scores import FloatArray, IntArray
from model.errors import CaseError, StatisticsError
from model.explain.shapley import coalition_logits
from model.ingest.cases import Cohort, read_cohort
from model.ingest.files import atomic_write_text
from model.nets.config import Cross, NetConfig, compact_config
from model.nets.llnm_net import NetworkInputs
from model.predict import Predictor
from model.schema import DEFAULT, Schema
from model.train.checkpoint import load_checkpoint
from model.train.loop import train
from model.train.settings import Settings
from model.train.split import split_cases

Step = Callable[[str, int, int], None]

MODALITIES: dict[str, tuple[str, ...]] = {
    "location": ("location",),
    "morphology": ("internal", "margin", "echogenicity", "shape"),
    "report": ("report",),
    "demographics": ("sex", "age"),
    "further fields": ("position", "size", "pathology"),
}
"""Kinds of input by built-in feature groups; the further fields are those that the paper's model lacks, own ones too."""

FUSIONS: dict[str, Cross] = {
    "bidirectional": "both", "text to image": "text_to_image", "image to text": "image_to_text", "none": "none",
}  # fmt: skip
"""Fusion variants by name; the first is what the others are compared with."""

PUBLISHED: dict[str, float] = {
    "all inputs": 0.948, "without location": 0.729, "without morphology": 0.824, "without report": 0.860,
    "without demographics": 0.939, "location alone": 0.797, "morphology alone": 0.692, "report alone": 0.646,
    "demographics alone": 0.617, "location and morphology": 0.825, "bidirectional": 0.948, "text to image": 0.843,
    "none": 0.799,
}  # fmt: skip
"""Validation AUC of the networks of Shen et al. 2025, each trained on its own inputs ("none": no fusion layer)."""


def ablate(
    predictor: Predictor,
    cohort: Cohort,
    *,
    training: Path | None = None,
    work: Path | None = None,
    settings: Settings = Settings(),
    config: NetConfig | None = None,
    log: Callable[[str], None] = lambda _: None,
    step: Step = lambda _what, _done, _total: None,
) -> pd.DataFrame:
    """The ablation table of a labelled cohort.

    Parameters
    ----------
    predictor : whose inputs are hidden.
    cohort : to measure on; both outcomes must be there.
    training : cohort to train the fusion variants on. Without one `cohort` itself is used, and the variants are measured
        on the fifth of it that training holds back; that fifth also chooses the epoch, for every variant alike.
    work : folder for the fusion variants, one checkpoint each; those that are there are not trained again. None leaves
        the fusion out.
    settings, config : of the fusion variants; `config.cross` is what is varied.

    Returns
    -------
    Columns part ("inputs" or "fusion"), variant, cases, positives, auroc, low, high (95 %, DeLong), difference,
    difference_low, difference_high, p (against the first row of the part, paired DeLong; not adjusted for testing several),
    published, how (what was done, in words).
    """
    table = _inputs(predictor, cohort, step)
    if work is not None:
        fused = _fusion(cohort, training, work, settings, config or compact_config(), predictor.device.type, log, step)
        table = pd.concat([table, fused], ignore_index=True)
    return table


def write_ablation(table: pd.DataFrame, file: Path) -> None:
    """Write the table as CSV, whole or not at all."""
    text = io.StringIO()
    table.round(6).to_csv(text, index=False)
    atomic_write_text(file, text.getvalue())


def variants(schema: Schema = DEFAULT) -> dict[str, tuple[str, ...]]:
    """Groups kept by each variant of the inputs, the whole model first; kinds that the schema lacks are left out."""
    everything = tuple(g.name for g in schema.groups)
    known = {name for names in MODALITIES.values() for name in names}
    own = tuple(name for name in everything if name not in known)
    kinds = {m: tuple(n for n in names if n in everything) for m, names in MODALITIES.items()}
    kinds = {m: names for m, names in {**kinds, "further fields": kinds["further fields"] + own}.items() if names}
    result = {"all inputs": everything}
    result |= {f"without {m}": tuple(g for g in everything if g not in hidden) for m, hidden in kinds.items()}
    result |= {f"{m} alone": kept for m, kept in kinds.items()}
    if "location" in kinds and "morphology" in kinds:
        result["location and morphology"] = kinds["location"] + kinds["morphology"]
    return {name: kept for name, kept in result.items() if kept}


def _inputs(predictor: Predictor, cohort: Cohort, step: Step) -> pd.DataFrame:
    kept = variants(predictor.schema)
    label = _labels(cohort, cohort.case_ids)
    keep = torch.tensor([[g.name in names for g in predictor.schema.groups] for names in kept.values()], device=predictor.device)
    scores: list[FloatArray] = []
    with torch.inference_mode():
        for inputs in _encoded(predictor, cohort, cohort.case_ids, lambda d, t: step("cases with inputs hidden", d, t)):
            # Pictures become tokens once a case; a variant only puts tokens together.
            scores += [
                coalition_logits(predictor, inputs.rows([i]), keep).cpu().numpy().astype(float) for i in range(len(inputs))
            ]
    how = "inputs hidden at prediction, no new training"
    return _table("inputs", dict(zip(kept, np.stack(scores, 1), strict=True)), label, how)


def _fusion(
    cohort: Cohort, training: Path | None, work: Path, settings: Settings, config: NetConfig, device: str,
    log: Callable[[str], None], step: Step,
) -> pd.DataFrame:  # fmt: skip
    names: Sequence[str] = cohort.case_ids
    source = read_cohort(training) if training is not None else cohort
    if training is None:
        names = [cohort.case_ids[i] for i in split_cases(cohort, seed=settings.seed)[1]]
    _labels(cohort, names)  # before hours of training
    scores: dict[str, FloatArray] = {}
    for name, cross in FUSIONS.items():
        folder = work / cross
        if not (folder / "card.json").exists():
            log(f"Training with fusion {name} …")
            train(
                source.root, folder, settings=settings, config=replace(config, cross=cross), device=device,
                shared=work / "measured", name=f"fusion-{cross}", log=log, step=step,
            )  # fmt: skip
        variant = Predictor(load_checkpoint(folder), device)
        if variant.checkpoint.card["settings"]["epochs"] != settings.epochs:
            raise CaseError(
                f"trained for {variant.checkpoint.card['settings']['epochs']} epochs, not {settings.epochs}",
                where=str(folder), fix="Name another --out, or delete it.",
            )  # fmt: skip
        parts = [
            variant.run(inputs).logit.float().cpu().numpy()
            for inputs in _encoded(variant, cohort, names, lambda d, t: step("cases by fusion", d, t))
        ]
        scores[name] = np.concatenate(parts).astype(float)
    how = (
        f"trained for at most {settings.epochs} epochs on {len(source):,} cases of {source.name}; measured on "
        f"{'another cohort' if training is not None else 'the fifth held back, which also chose the epoch'}"
    )
    return _table("fusion", scores, _labels(cohort, names), how)


def _encoded(
    predictor: Predictor, cohort: Cohort, names: Sequence[str], progress: Callable[[int, int], None]
) -> Iterator[NetworkInputs]:
    for k in range(0, len(names), 64):
        block = names[k : k + 64]
        yield predictor.encode(predictor.measure(cohort.case(name) for name in block))
        progress(k + len(block), len(names))


def _labels(cohort: Cohort, names: Sequence[str]) -> IntArray:
    column = cohort.table.set_index(cohort.table["case_id"].astype(str))[cohort.schema.endpoint.name].loc[list(names)]
    if column.isna().any():
        raise StatisticsError(
            f"{int(column.isna().sum()):,} cases without an outcome", where=str(cohort.root), fix="Fill it in or leave them out."
        )
    label: IntArray = column.astype(bool).to_numpy().astype(np.int64)
    if not 0 < label.sum() < len(label):
        raise StatisticsError(
            f"{int(label.sum())} of {len(label)} cases with {cohort.schema.endpoint.short}", where=str(cohort.root),
            fix="Both outcomes are needed.",
        )
    return label


def _table(part: str, scores: dict[str, npt.NDArray[np.float64]], label: IntArray, how: str) -> pd.DataFrame:
    whole = next(iter(scores.values()))
    rows = []
    for name, score in scores.items():
        area, (difference, p) = auroc(score, label), delong_test(score, whole, label)
        rows.append(
            {
                "part": part, "variant": name, "cases": len(label), "positives": int(label.sum()),
                "auroc": area.value, "low": area.low, "high": area.high,
                "difference": difference.value, "difference_low": difference.low, "difference_high": difference.high,
                "p": p, "published": PUBLISHED.get(name), "how": how,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
