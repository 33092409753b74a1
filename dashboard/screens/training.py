"""The Training page: the curves of trainings that run now or were interrupted, and of the checkpoints that came of others."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard import resources, state
from dashboard.figures.training import curve_table, curves
from dashboard.parts import figure
from model.train.folders import HISTORY, MORE, unfinished_runs

# Seconds between two looks at a run's files, and without a new epoch until that is told.
EVERY, QUIET = 2.0, 120.0


def main() -> None:
    """Choose a run, watch it."""
    st.title("Training")
    runs = _runs()
    if not runs:
        st.info(
            "No training is under the folder of further checkpoints. Start the dashboard with `llnm serve --checkpoints FOLDER` "
            "and train into it: `llnm train COHORT --out FOLDER/NAME`.", icon=":material/info:",
        )  # fmt: skip
        st.stop()
    names = list(runs)
    name = st.selectbox("Run", names, index=names.index(state.chosen("run", names) or names[0]), key="training-run")
    state.write(run=name)
    watch(name, runs[name])


@st.fragment(run_every=EVERY)
def watch(name: str, folder: Path) -> None:
    """The curves of one run, read again every other second while it trains."""
    found = _history(folder)
    if found is None:
        st.text(f"{name}: nothing trained yet; pictures are being measured, or the first epoch runs.")
        return
    told, history, age = found
    if not history:
        st.text(f"{name}: {told}; its card holds no history.")
        return
    table = curve_table(history)
    last = history[-1]
    cells = st.columns(3)
    cells[0].metric("Epochs", int(table["epoch"].iloc[-1]))
    if "loss" in last:
        cells[1].metric("Training loss", f"{last['loss']:.4f}")
    if "auroc" in last:
        cells[2].metric("Validation AUROC", f"{last['auroc']:.4f}")
    figure(
        curves(table),
        "Mean loss of the training batches, noise and hidden groups included, and loss and AUROC of the validation cases "
        "(whole, uncalibrated) after each epoch. The epoch with the best AUROC is kept; of a cross-fitted run, that with the "
        "least loss over all parts, where 0 is the start.",
        key="training-curves", data=table,
    )  # fmt: skip
    st.caption(told if age is None or age < QUIET else f"{told}; the last epoch ended {age / 60:.0f} minutes ago.")


def _runs() -> dict[str, Path]:
    """Runs under the folder of further checkpoints, those that train first, then checkpoints with a card."""
    more = os.environ.get(MORE, "")
    roots = [Path(more)] if more else []
    found: dict[str, Path] = {}
    for root in roots:
        found |= unfinished_runs(root)
        found |= {card.parent.name: card.parent for card in sorted(root.glob("*/card.json")) if card.parent.name not in found}
    found.setdefault(resources.main_folder().name, resources.main_folder())
    return found


def _history(folder: Path) -> tuple[str, list[dict[str, float]], float | None] | None:
    """What is going on in words, the epochs so far, and seconds since the last; None before the first."""
    card = folder / "card.json"
    if card.is_file():
        read = _read(card)
        return ("Finished", read.get("history", []), None) if read else None
    files = sorted(folder.rglob(HISTORY), key=lambda f: f.stat().st_mtime)
    if not files or (read := _read(files[-1])) is None:
        return None
    part = "" if files[-1].parent == folder else f" ({files[-1].parent.name.replace('_', ' ')})"
    told = f"In training{part}: epoch {len(read['history'])} of at most {read['epochs']}"
    return told, read["history"], time.time() - files[-1].stat().st_mtime


def _read(file: Path) -> dict[str, Any] | None:
    """A JSON file that another process may just be taking away."""
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


main()
