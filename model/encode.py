"""From measured cases to what the network reads: the only place where fields, words and maps become tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from model.errors import CaseError
from model.features.extract import ViewFeatures, extract_view
from model.nets.config import NetConfig
from model.nets.llnm_net import NetworkInputs
from model.nets.tokenizer import ReportTokenizer
from model.schema import DEFAULT, MAPS, VIEWS, Case, Field, Schema, Value, View, category_values
from model.segment import Segmentation


@dataclass(frozen=True)
class MeasuredCase:
    """A case with its masks and what was measured on them.

    Parameters
    ----------
    case : as given.
    segmentations : masks by view; none where the model reads no pictures.
    features : measurements and maps by view; a view whose nodule or gland was not found is absent.
    fields : the fields the model reads: typed ones, and measured ones where nobody typed them.
    """

    case: Case
    segmentations: Mapping[View, Segmentation]
    features: Mapping[View, ViewFeatures]
    fields: Mapping[str, Value]


def measure(case: Case, segmentations: Mapping[View, Segmentation], *, map_size: int) -> MeasuredCase:
    """Measure a case on its masks; a typed value goes before a measured one."""
    features = {
        view: extract_view(replace(image, nodule_mask=found.nodule, gland_mask=found.gland), map_size=map_size)
        for view, image in case.images.items()
        if (found := segmentations.get(view)) is not None and found.found
    }
    return MeasuredCase(case, segmentations, features, {**measured_fields(features), **case.fields})


def measured_fields(features: Mapping[View, ViewFeatures]) -> dict[str, Value]:
    """Case-level measurements: shortest capsule distance over the views, mean echo difference, transverse shape."""
    result: dict[str, Value] = {}
    if not features:
        return result
    distances = [f.capsule.distance for f in features.values() if f.capsule.distance is not None]
    if distances:
        result["capsule_distance_mm"] = float(min(distances))
    result["capsule_distance_fraction"] = float(min(f.capsule.fraction for f in features.values()))
    result["echo_difference"] = float(np.mean([f.echo_difference for f in features.values()]))
    transverse = features.get("transverse")
    if transverse is not None and transverse.height_mm is not None and transverse.width_mm is not None:
        result["height_mm"] = float(transverse.height_mm)
        result["width_mm"] = float(transverse.width_mm)
    return result


def encode_fields(
    fields: Mapping[str, Value], schema: Schema = DEFAULT
) -> tuple[list[float], list[bool], list[int]]:
    """Numeric tokens (scaled), whether each is present, and category tokens (0 where missing).

    Raises
    ------
    CaseError
        If a value is none that the schema knows: the case was read by another one.
    """
    numeric = [_scaled(f, fields[f.name]) if f.name in fields else 0.0 for f in schema.numbers]
    present = [f.name in fields for f in schema.numbers]
    categories = []
    for f in schema.categories:
        value = fields.get(f.name)
        word = ("yes" if value else "no") if f.kind == "flag" else value
        categories.append(0 if value is None else 1 + _place(f, str(word)))
    return numeric, present, categories


def _scaled(field: Field, value: Value) -> float:
    if isinstance(value, str):
        raise _another(field, value)
    return (float(value) - field.mean) / field.spread


def _place(field: Field, word: str) -> int:
    values = category_values(field)
    if word not in values:
        raise _another(field, word)
    return values.index(word)


def _another(field: Field, value: str) -> CaseError:
    return CaseError(
        f"{value!r} where the model knows {field.allowed()}", where=field.name,
        fix="Name a checkpoint that was trained on cases with these fields.",
    )  # fmt: skip


def encode(
    cases: Sequence[MeasuredCase], tokenizer: ReportTokenizer | None, config: NetConfig, schema: Schema = DEFAULT
) -> NetworkInputs:
    """One batch of network inputs; what the network does not read is left out.

    Parameters
    ----------
    cases : B measured cases.
    tokenizer : None for a network that reads no report.
    schema : of the network.

    Raises
    ------
    CaseError
        If a value is none that the schema knows.
    """
    size = config.map_size if config.images else 0
    maps = np.zeros((len(cases), len(VIEWS), len(MAPS), size, size), np.float32)
    view_present = np.zeros((len(cases), len(VIEWS)), bool)
    for i, case in enumerate(cases):
        for v, view in enumerate(VIEWS):
            if config.images and view in case.features:
                maps[i, v] = case.features[view].maps
                view_present[i, v] = True
    rows = [encode_fields(case.fields, schema) for case in cases]
    words = np.zeros((2, len(cases), config.text_tokens), np.int64)
    features = None
    if tokenizer is not None and config.text_tokens:
        reports = [tokenizer.encode(case.case.report_text) for case in cases]
        words = np.array([[r.ids for r in reports], [r.present for r in reports]])
        features = tokenizer.features(reports)
    present = torch.from_numpy(view_present)
    return NetworkInputs(
        maps=torch.from_numpy(maps),
        map_present=present[:, :, None].expand(-1, -1, len(MAPS)).clone(),
        view_present=present,
        numeric=torch.tensor([r[0] for r in rows], dtype=torch.float32),
        numeric_present=torch.tensor([r[1] for r in rows], dtype=torch.bool),
        categorical=torch.tensor([r[2] for r in rows], dtype=torch.long),
        word_ids=torch.from_numpy(words[0].astype(np.int64)),
        word_present=torch.from_numpy(words[1].astype(bool)),
        word_features=features,
    )


def drop_groups(inputs: NetworkInputs, keep: Tensor, schema: Schema = DEFAULT) -> NetworkInputs:
    """Hide feature groups: what a group holds becomes the learned "missing" token.

    Parameters
    ----------
    inputs : B cases.
    keep : (B, G) bool, in the order of the schema's groups; False hides the group.
    """
    map_present, numeric_present = inputs.map_present.clone(), inputs.numeric_present.clone()
    categorical, word_present = inputs.categorical.clone(), inputs.word_present.clone()
    numeric_names = [f.name for f in schema.numbers]
    category_names = [f.name for f in schema.categories]
    for g, group in enumerate(schema.groups):
        kept = keep[:, g, None]
        for map_name in group.maps:
            map_present[:, :, MAPS.index(map_name)] &= kept
        for name in group.fields:
            if name in numeric_names:
                numeric_present[:, numeric_names.index(name)] &= kept[:, 0]
            else:
                categorical[:, category_names.index(name)] *= kept[:, 0]
        if group.report:
            word_present &= kept
    return replace(
        inputs,
        map_present=map_present,
        numeric_present=numeric_present,
        categorical=categorical,
        word_present=word_present,
    )


def nothing_known(inputs: NetworkInputs, schema: Schema = DEFAULT) -> NetworkInputs:
    """The same B cases with every feature group hidden."""
    keep = torch.zeros(len(inputs), len(schema.groups), dtype=torch.bool, device=inputs.numeric.device)
    return drop_groups(inputs, keep, schema)
