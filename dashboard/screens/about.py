"""The Model page: what the model is, how good, what it must not be used for."""

from __future__ import annotations

import json

import pandas as pd
import streamlit as st

from dashboard import resources
from dashboard.about import checkpoints, documents
from dashboard.case import trust
from dashboard.parts import asked, literal, problem
from model.cohort.evaluate import LABELS, PUBLISHED_EXTERNAL
from model.errors import CheckpointError, ProblemError


def main() -> None:
    """The card of the checkpoint of the pages, in words."""
    st.title("About the model")
    try:
        folder = resources.chosen_folder()
    except ProblemError as error:
        problem(error)
        checkpoints.section()
        st.stop()
    try:
        card = json.loads((folder / "card.json").read_text("utf-8"))
    except (OSError, ValueError):
        problem(CheckpointError("no card.json there", where=str(folder), fix="Restore it, or train one with `llnm train`."))
        checkpoints.section()
        st.stop()
    if card.get("training_data") == "synthetic":
        trained = (
            "This one was trained on **synthetic** patients, whose risk follows the published statistics and whose ground truth is "
            "known. Its figures say nothing about patients."
        )
    elif card.get("training_data"):
        trained = "This one was trained on a cohort of the user's own and is valid at best for patients like those."
    else:
        trained = "What this one was trained on is not on its card."
    st.markdown(
        "**Research and teaching only; not a medical device.** The model follows LLNM-Net (Shen et al., *Nature Communications* "
        f"16, 7052, 2025), whose weights and data were not published. {trained}"
    )
    if card.get("purpose"):
        st.text(str(card["purpose"]))
    cells = st.columns(4)
    cells[0].metric("Training cases", _count(card.get("training_cases")))
    cells[1].metric("Validation cases", _count(card.get("validation_cases")))
    cells[2].metric("Parameters", _count(card.get("parameters")))
    device = literal(f"On {card.get('device', 'a device that is not on the card')}.")
    cells[3].metric("Training time", _minutes(card.get("training_seconds")), help=device)
    external = card.get("external")
    if isinstance(external, dict) and external:
        st.subheader("On the held-out centres")
        kind = "synthetic cases" if card.get("training_data") == "synthetic" else "cases"
        st.caption(
            f"{_count(external.get('n'))} {kind} of centres that took no part in training, {_count(external.get('positives'))} "
            "with the outcome; pictures as a user gives them (predicted masks). Published: LLNM-Net, real patients, another cohort."
        )
        st.dataframe(_figures(external), hide_index=True)
    checkpoints.section()
    documents.section(resources.predictor())
    st.subheader("How far to trust its explanations")
    if asked("Show what the checks of each method say", "trust"):
        trust.section()
    st.subheader("Limits")
    limits = card.get("limits")
    for limit in limits if isinstance(limits, list) else ():
        st.markdown(f"- {literal(str(limit))}")
    with st.expander("The whole card"):
        st.json({k: v for k, v in card.items() if k not in ("sha256", "history")})


def _count(value: object) -> str:
    """A number of the card, which others may have written."""
    return f"{value:,}" if isinstance(value, int) else "not known"


def _minutes(seconds: object) -> str:
    parts = list(seconds.values()) if isinstance(seconds, dict) else []
    if not parts or not all(isinstance(part, int | float) for part in parts):
        return "not known"
    return f"{sum(parts) / 60:.0f} min"


def _figures(external: dict[str, object]) -> pd.DataFrame:
    rows = []
    for name, value in external.items():
        if name not in LABELS or not isinstance(value, int | float):
            continue
        interval = external.get(f"{name}_ci")
        rows.append(
            {
                "figure": LABELS[name],
                "value": f"{value:.3f}",
                "95 % interval": f"{interval[0]:.3f}–{interval[1]:.3f}" if isinstance(interval, list) else "",
                "published (real patients)": f"{PUBLISHED_EXTERNAL[name]:.3f}" if name in PUBLISHED_EXTERNAL else "",
            }
        )
    return pd.DataFrame(rows)


main()
