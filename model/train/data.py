"""A cohort made ready for training: measured once, then only arrays.

Pictures are segmented and measured as a user's would be (predicted masks, not true ones), so the model is trained on
what it will be given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from model.encode import drop_groups, encode, measure
from model.errors import CaseError
from model.ingest.cases import Cohort
from model.nets.config import NetConfig
from model.nets.llnm_net import LlnmNet, NetworkInputs
from model.nets.segmentation import SegmentationNet
from model.nets.tokenizer import ReportTokenizer
from model.schema import DEFAULT, MAPS, VIEWS, Schema
from model.segment import segment


@dataclass(frozen=True)
class Dataset:
    """Inputs and outcomes of n cases.

    Parameters
    ----------
    inputs : network inputs with the maps kept as uint8 (0…255) and word features as half precision, to save memory; `batch`
        gives floats.
    outcome : (n,) float, 0 or 1.
    stage : (n,) long, 0…2 for stages 1…3, −1 where unknown.
    features : (n, V, F) what the segmentation network's encoder saw in each view's picture; NaN where there is none.
    case_ids : (n,) names.
    """

    inputs: NetworkInputs
    outcome: Tensor
    stage: Tensor
    features: Tensor
    case_ids: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.case_ids)

    def rows(self, index: Tensor) -> Dataset:
        """Some cases only."""
        names = tuple(self.case_ids[i] for i in index.tolist())
        return Dataset(self.inputs.rows(index), self.outcome[index], self.stage[index], self.features[index], names)

    def batch(self, index: Tensor) -> NetworkInputs:
        """Network inputs of some cases, maps as floats in 0…1."""
        picked = self.inputs.rows(index)
        features = None if picked.word_features is None else picked.word_features.float()
        return replace(picked, maps=picked.maps.float() / 255, word_features=features)


def build_dataset(
    cohort: Cohort,
    segmentation: SegmentationNet | None,
    tokenizer: ReportTokenizer | None,
    config: NetConfig,
    *,
    device: torch.device,
    schema: Schema = DEFAULT,
    progress: Callable[[int], None] = lambda _: None,
) -> Dataset:
    """Segment, measure and encode every labelled case of a cohort, in the table's order.

    Parameters
    ----------
    segmentation, tokenizer : None for a network without images, or without reports.
    schema : what the network reads; its endpoint is the outcome.

    Raises
    ------
    CaseError
        If a case has no outcome, or a value that the schema does not know.
    """
    parts: list[NetworkInputs] = []
    names = [str(c) for c in cohort.table["case_id"]]
    endpoint = schema.endpoint.name
    unlabelled = [n for n, v in zip(names, cohort.table[endpoint], strict=True) if v is None or v != v]
    if unlabelled:
        raise CaseError(
            f"{len(unlabelled)} cases without `{endpoint}`, the first {unlabelled[0]}",
            where=str(cohort.root),
            fix="Training needs an outcome for every case: fill it in or leave the case out.",
        )
    outcome, stage = [], []
    count = 0 if segmentation is None else segmentation.feature_count
    features = np.full((len(names), len(VIEWS), count), np.nan, np.float32)
    for k in range(0, len(names), 32):
        cases = [cohort.case(name) for name in names[k : k + 32]]
        places = [(i, view) for i, case in enumerate(cases) for view in case.images if segmentation is not None]
        masks = {}
        if segmentation is not None:
            found = segment(segmentation, [cases[i].images[view] for i, view in places], device=device)
            masks = dict(zip(places, found, strict=True))
        for (i, view), seen in masks.items():
            features[k + i, VIEWS.index(view)] = seen.features
        measured = [
            measure(case, {view: masks[i, view] for view in case.images if (i, view) in masks}, map_size=config.map_size)
            for i, case in enumerate(cases)
        ]
        inputs = encode(measured, tokenizer, config, schema)
        words = None if inputs.word_features is None else inputs.word_features.half()
        parts.append(replace(inputs, maps=(inputs.maps * 255 + 0.5).to(torch.uint8), word_features=words))
        for case in cases:
            outcome.append(float(bool(case.labels[endpoint])))
            known = schema.has_stages and "stage" in case.labels and case.labels[endpoint]
            stage.append(int(str(case.labels["stage"])) - 1 if known else -1)
        progress(len(cases))
    return Dataset(
        NetworkInputs.cat(parts), torch.tensor(outcome), torch.tensor(stage), torch.from_numpy(features), tuple(names)
    )


@torch.inference_mode()
def dataset_logits(net: LlnmNet, dataset: Dataset, device: torch.device) -> Tensor:
    """Uncalibrated logits (n,) on the CPU."""
    net.eval()
    index = torch.arange(len(dataset))
    return torch.cat([net(dataset.batch(rows).to(device)).logit.float().cpu() for rows in torch.split(index, 128)])


def augment(inputs: NetworkInputs, generator: torch.Generator, schema: Schema = DEFAULT) -> NetworkInputs:
    """Training noise that respects anatomy: mirrored texture and margin, small shifts, lost groups, views and words.

    The location map is never mirrored: that would exchange the lobes on one view and the poles on the other, while side,
    third and report say what they said. The nodule cut out for the other two maps has neither.

    Losing whole groups at random teaches the "missing" tokens, on which both missing fields and Shapley coalitions
    depend: half of the cases are whole, a quarter lose a few groups, a quarter lose a random share of all.
    """
    b = len(inputs.numeric)

    def chance(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    maps = torch.where(chance(b, 1, 1, 1, 1) < 0.5, inputs.maps.flip(-1), inputs.maps)
    at = MAPS.index("location")
    maps[:, :, at] = inputs.maps[:, :, at]
    down, right = (int(v) for v in torch.randint(-2, 3, (2,), generator=generator))
    maps = torch.roll(maps, (down, right), (-2, -1))
    regime = chance(b, 1)
    keep_share = torch.where(regime < 0.5, 1.0, torch.where(regime < 0.75, 0.85, chance(b, 1)))
    keep = chance(b, len(schema.groups)) < keep_share
    lost_view = chance(b, inputs.view_present.shape[1]) < 0.08
    view_present = inputs.view_present & ~lost_view
    view_present = torch.where(view_present.any(1, keepdim=True), view_present, inputs.view_present)
    words = inputs.word_present & (chance(*inputs.word_present.shape) >= 0.05)
    jitter = 0.04 * torch.randn(inputs.numeric.shape, generator=generator)
    noisy = replace(inputs, maps=maps, view_present=view_present, word_present=words, numeric=inputs.numeric + jitter)
    return drop_groups(noisy, keep, schema)
