"""Checkpoints: a folder of safetensors with a card; never pickle.

`card.json` says what the model is, what it was trained on, how good it was and what it must not be used for, and holds
the hash of every other file: a damaged or mixed-up checkpoint is refused with the difference named.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from model.errors import CheckpointError, ProblemError
from model.ingest.card import card_of, schema_of
from model.ingest.files import atomic_write_bytes, atomic_write_text
from model.nets.config import NetConfig
from model.nets.llnm_net import LlnmNet
from model.nets.segmentation import SegmentationNet
from model.nets.tokenizer import ReportTokenizer
from model.schema import DEFAULT, MAPS, VIEWS, Schema, category_values
from model.train.folders import SHIPPED
from model.uncertainty.novelty import Reference

_NET, _VALIDATION, _SEGMENTATION, _TOKENIZER = (
    "llnm_net.safetensors", "validation.safetensors", "segmentation.safetensors", "tokenizer.json",
)  # fmt: skip
REFERENCE_FILE = "reference.safetensors"
FORMAT = 3
"""2 added `REFERENCE_FILE`, 3 models of other endpoints, fields and kinds of input; earlier folders are read as they are."""


def schema_description(schema: Schema = DEFAULT) -> dict[str, Any]:
    """What a checkpoint was trained to read and to predict; one that this version reads otherwise is refused."""
    return {
        "views": list(VIEWS) if schema.has_images else [],
        "maps": list(MAPS) if schema.has_images else [],
        "report": schema.has_report,
        "numeric": [f.name for f in schema.numbers],
        "numeric_scale": [[f.mean, f.spread] for f in schema.numbers],
        "categories": {f.name: list(category_values(f)) for f in schema.categories},
        **card_of(schema),
    }


def _schema(description: Mapping[str, Any], where: str) -> Schema:
    """The schema of a card; raises `CheckpointError` with the difference where this version has another."""
    try:
        whole = schema_of({k: v for k, v in description.items() if k in ("endpoint", "fields")}, where=where)
    except ProblemError as error:
        raise CheckpointError(f"its schema cannot be read: {error.what}", where=where, fix="Restore it.") from None
    names = [*description.get("numeric", ()), *description.get("categories", ())]
    schema = whole
    if set(names) != set(whole.tokens) or not description.get("maps") or not description.get("report", True):
        schema = whole.restricted(
            names, images=bool(description.get("maps")), report=bool(description.get("report", True))
        )
    expected, found = schema_description(schema), {"report": True, **description}
    different = [_difference(key, expected[key], found.get(key)) for key in expected if found.get(key) != expected[key]]
    if different:
        raise CheckpointError(
            f"made for other {'; '.join(different)}", where=where, fix="Train again with this version's schema."
        )
    return schema


def _difference(key: str, here: Any, there: Any) -> str:
    """A part of the schema in which a card differs, and how."""
    if isinstance(here, dict) and isinstance(there, dict):
        odd = sorted(k for k in here.keys() | there.keys() if here.get(k) != there.get(k))
    elif isinstance(here, list) and isinstance(there, list):
        odd = [f"{x!r}" for x in there if x not in here] + [f"no {x!r}" for x in here if x not in there]
    else:
        odd = []
    return f"{key} ({', '.join(odd[:5])})" if odd else key


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
        content = {"sha256": self.card["sha256"], "temperature": self.temperature}
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
        return f"{self.card['name']}@{digest[:10]}"


def save_checkpoint(checkpoint: Checkpoint, folder: Path | str) -> None:
    """Write a checkpoint; the card goes last, so that a folder with a card is whole."""
    folder = Path(folder)
    tensors = {
        "validation_logits": torch.from_numpy(checkpoint.validation_logits.astype(np.float32)),
        "validation_labels": torch.from_numpy(checkpoint.validation_labels.astype(np.uint8)),
    }
    contents = {
        _NET: save_tensors(plain_tensors(checkpoint.net.state_dict())),
        _VALIDATION: save_tensors(tensors),
    }
    if checkpoint.segmentation is not None:
        contents[_SEGMENTATION] = save_tensors(plain_tensors(checkpoint.segmentation.state_dict()))
    if checkpoint.tokenizer is not None:
        contents[_TOKENIZER] = checkpoint.tokenizer.to_json().encode("utf-8")
    if checkpoint.reference is not None:
        contents[REFERENCE_FILE] = save_tensors(checkpoint.reference.to_tensors())
    card = {
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
    atomic_write_text(folder / "card.json", json.dumps(card, indent=1, ensure_ascii=False) + "\n")


def load_checkpoint(folder: Path | str = SHIPPED) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, or made for another schema or format; the message names the difference.
    """
    folder = Path(folder)
    try:
        card = json.loads((folder / "card.json").read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            "no card.json there", where=str(folder), fix="Name a folder that `llnm train` wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"card.json cannot be read ({error})", where=str(folder), fix="Restore it.") from None
    if not isinstance(card, dict):
        raise CheckpointError("card.json is no object", where=str(folder), fix="Restore it.")
    if card.get("format") not in range(1, FORMAT + 1):
        raise CheckpointError(
            f"format {card.get('format')!r}, this version reads 1 to {FORMAT}", where=str(folder), fix="Train it again."
        )
    kinds = {"name": str, "sha256": dict, "schema": dict, "temperature": float | int}
    faulty = [key for key, kind in kinds.items() if not isinstance(card.get(key), kind)]
    if faulty or not 0 < card["temperature"] < float("inf"):
        what = ", ".join(faulty) or "temperature"
        raise CheckpointError(f"card.json has no proper {what}", where=str(folder), fix="Restore it.")
    schema = _schema(card["schema"], str(folder))
    wanted = [_NET, _VALIDATION]
    wanted += [_SEGMENTATION] * schema.has_images + [_TOKENIZER] * schema.has_report
    wanted += [REFERENCE_FILE] * (REFERENCE_FILE in card["sha256"])
    data: dict[str, bytes] = {}
    for name in wanted:
        try:
            data[name] = (folder / name).read_bytes()
        except OSError:
            raise CheckpointError(f"{name} is missing", where=str(folder), fix="Restore the whole folder.") from None
        if hashlib.sha256(data[name]).hexdigest() != card["sha256"].get(name):
            raise CheckpointError(f"{name} does not match its card", where=str(folder), fix="Restore the whole folder.")
    try:
        net = LlnmNet(NetConfig.from_dict(card["network"]), schema)
        net.load_state_dict(load_tensors(data[_NET]))
        segmentation = None
        if _SEGMENTATION in data:
            segmentation = SegmentationNet(base=int(card["segmentation"]["base"])).eval()
            segmentation.load_state_dict(load_tensors(data[_SEGMENTATION]))
        validation = load_tensors(data[_VALIDATION])
        reference = None
        if REFERENCE_FILE in data:
            reference = Reference.from_tensors(load_tensors(data[REFERENCE_FILE]), schema)
    except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the weights do not fit ({error})", where=str(folder), fix="Restore the folder."
        ) from None
    return Checkpoint(
        net=net.eval(),
        segmentation=segmentation,
        tokenizer=ReportTokenizer.from_json(data[_TOKENIZER].decode("utf-8")) if _TOKENIZER in data else None,
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
