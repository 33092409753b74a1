"""Checkpoints: a folder of safetensors with a card; never pickle.

`card.json` says what the model is, what it was trained on, how good it was and what it must not be used for, and holds
the hash of every other file: a damaged or mixed-up checkpoint is refused with the difference named.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from model.errors import CheckpointError
from model.ingest.files import atomic_write_bytes, atomic_write_text
from model.nets.bert import read_reports
from model.nets.config import NetConfig
from model.nets.llnm_net import LlnmNet
from model.nets.segmentation import SegmentationNet
from model.nets.tokenizer import ReportTokenizer
from model.schema import DEFAULT, Schema
from model.train.card import (
    CARD,
    FORMAT,
    NET,
    REFERENCE,
    SEGMENTATION,
    TOKENIZER,
    VALIDATION,
    identity,
    read_card,
    read_files,
    schema_description,
    schema_of_card,
)
from model.train.folders import SHIPPED
from model.uncertainty.novelty import Reference


@dataclass(frozen=True)
class Checkpoint:
    """A trained model with all it takes to use it.

    Parameters
    ----------
    net : the network, in evaluation mode.
    segmentation : likewise; None where the model reads no pictures.
    tokenizer : of the reports; None where it reads none.
    temperature : logit ÷ temperature is the calibrated logit (Guo et al. 2017).
    validation_logits, validation_labels : (n,) calibrated logits and outcomes of the validation cases.
    card : the model card.
    reference : what tells a case unlike the training cases; None in a checkpoint of before format 2, to which
        `llnm calibrate` adds it.
    schema : what the model reads and what it predicts.
    """

    net: LlnmNet
    segmentation: SegmentationNet | None
    tokenizer: ReportTokenizer | None
    temperature: float
    validation_logits: npt.NDArray[np.float32]
    validation_labels: npt.NDArray[np.bool_]
    card: Mapping[str, Any]
    reference: Reference | None = None
    schema: Schema = DEFAULT

    @property
    def identity(self) -> str:
        """Name and short hash of files and temperature: what a report or a cache key quotes."""
        return identity({**self.card, "temperature": self.temperature})


def save_checkpoint(checkpoint: Checkpoint, folder: Path | str) -> None:
    """Write a checkpoint; the card goes last, so that a folder with a card is whole."""
    folder = Path(folder)
    tensors = {
        "validation_logits": torch.from_numpy(checkpoint.validation_logits.astype(np.float32)),
        "validation_labels": torch.from_numpy(checkpoint.validation_labels.astype(np.uint8)),
    }
    contents = {
        NET: save_tensors(plain_tensors(checkpoint.net.state_dict())),
        VALIDATION: save_tensors(tensors),
    }
    if checkpoint.segmentation is not None:
        contents[SEGMENTATION] = save_tensors(plain_tensors(checkpoint.segmentation.state_dict()))
    if checkpoint.tokenizer is not None:
        contents[TOKENIZER] = checkpoint.tokenizer.to_json().encode("utf-8")
    if checkpoint.reference is not None:
        contents[REFERENCE] = save_tensors(checkpoint.reference.to_tensors())
    card = {
        "date": datetime.now(UTC).date().isoformat(),  # of the first writing: the card of a later one has it already
        **checkpoint.card,
        "format": FORMAT,
        "temperature": checkpoint.temperature,
        "network": checkpoint.net.config.to_dict(),
        "segmentation": None if checkpoint.segmentation is None else {"base": checkpoint.segmentation.base},
        "schema": schema_description(checkpoint.schema),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    }
    for name, data in contents.items():
        atomic_write_bytes(folder / name, data)
    atomic_write_text(folder / CARD, json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def load_checkpoint(folder: Path | str = SHIPPED) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, or made for another schema or format; the message names the difference.
    """
    folder = Path(folder)
    card = read_card(folder)
    schema = schema_of_card(card, folder)
    data = read_files(card, schema, folder)
    try:
        net = LlnmNet(NetConfig.from_dict(card["network"]), schema)
        net.load_state_dict(load_tensors(data[NET]))
        segmentation = None
        if SEGMENTATION in data:
            segmentation = SegmentationNet(base=int(card["segmentation"]["base"])).eval()
            segmentation.load_state_dict(load_tensors(data[SEGMENTATION]))
        validation = load_tensors(data[VALIDATION])
        reference = None
        if REFERENCE in data:
            reference = Reference.from_tensors(load_tensors(data[REFERENCE]), schema)
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the weights do not fit ({error})", where=str(folder), fix="Restore the folder."
        ) from None
    return Checkpoint(
        net=net.eval(),
        segmentation=segmentation,
        tokenizer=read_reports(data[TOKENIZER].decode("utf-8")) if TOKENIZER in data else None,
        temperature=float(card["temperature"]),
        validation_logits=validation["validation_logits"].numpy(),
        validation_labels=validation["validation_labels"].numpy().astype(bool),
        card=card,
        reference=reference,
        schema=schema,
    )


def plain_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU, as safetensors wants them."""
    return {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
