"""Random network inputs for the tests of the networks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from model.nets.config import NetConfig
from model.nets.llnm_net import NetworkInputs
from model.schema import DEFAULT, MAPS, VIEWS, category_values


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def random_inputs() -> Callable[..., NetworkInputs]:
    """`random_inputs(config, cases, seed)`: valid inputs, here and there something missing, every view present."""

    def make(config: NetConfig, cases: int, seed: int = 0) -> NetworkInputs:
        g = torch.Generator().manual_seed(seed)
        v, n, m, s = len(VIEWS), len(MAPS), config.text_tokens, config.map_size
        length = torch.randint(1, m + 1, (cases, 1), generator=g)
        present = (torch.arange(m) < length) & ((torch.rand(cases, m, generator=g) < 0.9) | (torch.arange(m) == 0))
        sizes = torch.tensor([1 + len(category_values(f)) for f in DEFAULT.categories])
        width = config.text_feature_width
        return NetworkInputs(
            maps=torch.rand(cases, v, n, s, s, generator=g),
            map_present=torch.rand(cases, v, n, generator=g) < 0.8,
            view_present=torch.ones(cases, v, dtype=torch.bool),
            numeric=torch.randn(cases, len(DEFAULT.numbers), generator=g),
            numeric_present=torch.rand(cases, len(DEFAULT.numbers), generator=g) < 0.8,
            categorical=(torch.rand(cases, len(sizes), generator=g) * sizes).long(),
            word_ids=torch.randint(2, config.vocab_size, (cases, m), generator=g) * (torch.arange(m) < length),
            word_present=present,
            word_features=None if width is None else torch.randn(cases, m, width, generator=g),
        )

    return make
