"""The card of a checkpoint: read, held against this version's schema and the files' hashes, without torch.

A registry of checkpoints can so be listed, and a page opened, before anything heavy loads.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.errors import CheckpointError, ProblemError
from model.ingest.card import card_of, schema_of
from model.schema import DEFAULT, MAPS, VIEWS, Schema, category_values

CARD = "card.json"
NET, VALIDATION, SEGMENTATION, TOKENIZER, REFERENCE = (
    "llnm_net.safetensors", "validation.safetensors", "segmentation.safetensors", "tokenizer.json", "reference.safetensors",
)  # fmt: skip
FORMAT = 3
"""2 added `REFERENCE`, 3 models of other endpoints, fields and kinds of input; earlier folders are read as they are."""


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


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a checkpoint folder.

    Raises
    ------
    CheckpointError
        If it is missing, cannot be read, of another format, or lacks what every card has.
    """
    where = str(folder)
    try:
        card = json.loads((folder / CARD).read_text("utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"no {CARD} there", where=where, fix="Name a folder that `llnm train` wrote.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{CARD} cannot be read ({error})", where=where, fix="Restore it.") from None
    if not isinstance(card, dict):
        raise CheckpointError(f"{CARD} is no object", where=where, fix="Restore it.")
    if card.get("format") not in range(1, FORMAT + 1):
        raise CheckpointError(
            f"format {card.get('format')!r}, this version reads 1 to {FORMAT}", where=where, fix="Train it again."
        )
    kinds = {"name": str, "sha256": dict, "schema": dict, "temperature": float | int}
    faulty = [key for key, kind in kinds.items() if not isinstance(card.get(key), kind)]
    if faulty or not 0 < card["temperature"] < float("inf"):
        what = ", ".join(faulty) or "temperature"
        raise CheckpointError(f"{CARD} has no proper {what}", where=where, fix="Restore it.")
    return card


def read_files(card: Mapping[str, Any], schema: Schema, folder: Path) -> dict[str, bytes]:
    """The files of a checkpoint by name; raises `CheckpointError` where one is missing or does not match its hash."""
    wanted = [NET, VALIDATION]
    wanted += [SEGMENTATION] * schema.has_images + [TOKENIZER] * schema.has_report
    wanted += [REFERENCE] * (REFERENCE in card["sha256"])
    data: dict[str, bytes] = {}
    for name in wanted:
        try:
            data[name] = (folder / name).read_bytes()
        except OSError:
            raise CheckpointError(f"{name} is missing", where=str(folder), fix="Restore the whole folder.") from None
        found, stated = hashlib.sha256(data[name]).hexdigest(), str(card["sha256"].get(name))
        if found != stated:
            raise CheckpointError(
                f"{name} does not match its card (SHA-256 {found[:10]}…, the card says {stated[:10]}…)", where=str(folder),
                fix="Restore the whole folder.",
            )  # fmt: skip
    return data


def identity(card: Mapping[str, Any]) -> str:
    """Name and short hash of files and temperature: what a report or a cache key quotes."""
    content = {"sha256": card["sha256"], "temperature": float(card["temperature"])}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"{card['name']}@{digest[:10]}"


def schema_of_card(card: Mapping[str, Any], folder: Path) -> Schema:
    """The schema of a card; raises `CheckpointError` with the difference where this version has another."""
    description, where = card["schema"], str(folder)
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
        keys = sorted(k for k in here.keys() | there.keys() if here.get(k) != there.get(k))
        odd = [_difference(k, here.get(k), there.get(k)) for k in keys]
    elif isinstance(here, list) and isinstance(there, list):
        odd = [f"{x!r}" for x in there if x not in here] + [f"no {x!r}" for x in here if x not in there]
    else:
        odd = []
    return f"{key} ({', '.join(odd[:5])})" if odd else key
