"""A network's first weights from a trained one: what fits is copied, what does not is named.

Rows of fields, category values and word pieces are matched by name, so another cohort's fields stand where they belong.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from model.nets.config import NetConfig
from model.nets.llnm_net import LlnmNet
from model.nets.tokenizer import ReportTokenizer
from model.schema import Schema, category_values
from model.train.checkpoint import Checkpoint

Rows = list[object]


def warm_config(config: NetConfig, source: NetConfig) -> NetConfig:
    """The configuration in which a source's weights fit: its sizes, with the cohort's fields and kinds of input."""
    return replace(
        source, fields=config.fields, images=config.images, stages=config.stages, wide=False, vocab_size=config.vocab_size,
        text_tokens=source.text_tokens if config.text_tokens else 0,
        fusion_layers=source.fusion_layers if config.images else 0,
    )  # fmt: skip


@torch.no_grad()
def warm_start(
    net: LlnmNet, schema: Schema, tokenizer: ReportTokenizer | None, source: Checkpoint
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Copy what fits into `net`.

    Parameters
    ----------
    net : with its own first weights.
    schema, tokenizer : of `net`.
    source : trained checkpoint.

    Returns
    -------
    Names of the weights that were copied, whole or in part ("… 3 of 5"), and of those that were not.
    """
    theirs, mine = source.net.state_dict(), net.state_dict()
    by_row = _rows(net, schema, tokenizer), _rows(source.net, source.schema, source.tokenizer)
    copied: list[str] = []
    kept: list[str] = []
    for name, value in mine.items():
        if name.startswith(("head.", "stage_head.")) and schema.endpoint != source.schema.endpoint:
            kept.append(f"{name} (another endpoint)")
        elif name in by_row[0] and name in theirs and value.shape[1:] == theirs[name].shape[1:]:
            found = _copy_rows(value, theirs[name], by_row[0][name], by_row[1].get(name, []))
            (copied if found else kept).append(f"{name} ({found} of {len(value)} rows)")
        elif name in theirs and theirs[name].shape == value.shape:
            value.copy_(theirs[name])
            copied.append(name)
        else:
            kept.append(name)
    return tuple(copied), tuple(kept)


def _copy_rows(value: Tensor, other: Tensor, here: Rows, there: Rows) -> int:
    at = {row: i for i, row in enumerate(there)}
    places = [(i, at[row]) for i, row in enumerate(here) if row in at]
    for i, j in places:
        value[i] = other[j]
    return len(places)


def _rows(net: LlnmNet, schema: Schema, tokenizer: ReportTokenizer | None) -> dict[str, Rows]:
    """What each row of the weights that depend on fields and words stands for."""
    numbers: Rows = [schema.numbers[i].name for i in net.numeric_columns]
    values: Rows = [
        (field.name, value)
        for field in (schema.categories[i] for i in net.category_columns)
        for value in (None, *category_values(field))
    ]
    rows: dict[str, Rows] = dict.fromkeys(("number_slope", "number_field", "number_missing"), numbers)
    rows["category_rows.weight"] = values
    if tokenizer is not None and net.config.text_feature_width is None:
        rows["words.weight"] = list(tokenizer.vocabulary)
    return rows
