"""A small cohort of a table alone, whose outcome follows from two of its fields."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

CARD = {
    "name": "Small table",
    "endpoint": {"name": "malignant", "label": "Malignancy", "short": "malignancy", "help": "Cancer in the specimen."},
    "fields": [
        {"name": "neck", "label": "Neck examination", "kind": "category", "values": ["none", "left", "right"]},
        {"name": "tsh", "label": "TSH", "kind": "number", "unit": "mIU/L", "low": 0, "high": 200},
        {"name": "firm", "label": "Firm nodule", "kind": "flag"},
    ],
}
Make = Callable[..., Path]


def table_of(cases: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    neck, tsh, age = rng.integers(0, 3, cases), rng.gamma(2, 2, cases), rng.integers(20, 80, cases)
    logit = -1.2 + 1.6 * (neck > 0) + 0.25 * (tsh - 4)
    return pd.DataFrame(
        {
            "case_id": [f"t-{i:03d}" for i in range(cases)],
            "centre": np.array(["A", "B", "C"])[rng.integers(0, 3, cases)],
            "age_years": age,
            "neck": np.array(["none", "left", "right"])[neck],
            "tsh": tsh.round(2),
            "firm": np.where(rng.random(cases) < 0.1, "", np.where(rng.random(cases) < 0.5, "yes", "no")),
            "malignant": np.where(rng.random(cases) < 1 / (1 + np.exp(-logit)), "yes", "no"),
        }
    )


@pytest.fixture(scope="session")
def table_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort folder of 120 cases."""
    folder = tmp_path_factory.mktemp("t")
    table_of(120).to_csv(folder / "cases.csv", index=False)
    (folder / "cohort.json").write_text(json.dumps(CARD), "utf-8")
    return folder


@pytest.fixture
def make_table(tmp_path: Path) -> Make:
    """Write a cohort folder: `make_table(cases, name, **columns)`; columns replace or add."""

    def make(cases: int = 90, name: str = "table", card: dict[str, object] = CARD, **columns: object) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        table_of(cases).assign(**columns).to_csv(folder / "cases.csv", index=False)
        (folder / "cohort.json").write_text(json.dumps(card), "utf-8")
        return folder

    return make
