"""Shared fixtures: a small synthetic cohort and an untrained model, both made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# The same examples every time: a suite that passed must pass again.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


@pytest.fixture(scope="session")
def cohort_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty-four synthetic cases with pictures, masks and truth."""
    from model.simulate.cohort import simulate

    return simulate(24, 7, tmp_path_factory.mktemp("cohort") / "c", workers=1)


@pytest.fixture(scope="session")
def cohort(cohort_folder: Path):  # type: ignore[no-untyped-def]
    from model.ingest.cases import read_cohort

    return read_cohort(cohort_folder)


@pytest.fixture(scope="session")
def untrained(cohort):  # type: ignore[no-untyped-def]
    """A checkpoint with random weights; every mechanism works on it, no figure means anything."""
    from dataclasses import replace

    import torch

    from model.nets.config import compact_config
    from model.nets.llnm_net import LlnmNet
    from model.nets.segmentation import SegmentationNet
    from model.nets.tokenizer import ReportTokenizer
    from model.train.checkpoint import Checkpoint

    torch.manual_seed(0)
    reports = [str(t) for t in cohort.table["report_text"]]
    # Small, so that thousands of coalitions are quick.
    config = replace(compact_config(), width=32, mlp_width=64, fusion_layers=2, self_layers=1)
    tokenizer = ReportTokenizer.train(reports, vocab_size=400, max_tokens=config.text_tokens)
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, 400).astype(np.float32)
    return Checkpoint(
        net=LlnmNet(replace(config, vocab_size=tokenizer.vocab_size)).eval(),
        segmentation=SegmentationNet().eval(),
        tokenizer=tokenizer,
        temperature=1.5,
        validation_logits=logits,
        validation_labels=rng.random(400) < 1 / (1 + np.exp(-logits)),
        card={"name": "untrained", "training_data": "synthetic", "sha256": {}},
    )


@pytest.fixture(scope="session")
def predictor(untrained):  # type: ignore[no-untyped-def]
    from model.predict import Predictor

    return Predictor(untrained, device="cpu")


@pytest.fixture(scope="session")
def measured(cohort_folder: Path, predictor):  # type: ignore[no-untyped-def]
    """Eight cases measured on their true masks, since an untrained segmentation finds nothing."""
    from model.ingest.cases import read_cohort

    cases = read_cohort(cohort_folder, use_masks=True)
    return predictor.measure(cases.case(c) for c in cases.case_ids[:8])
