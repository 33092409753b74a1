"""The Model page: what the model is, how good, what it must not be used for."""

from __future__ import annotations

import json

import pandas as pd
import streamlit as st

from dashboard import resources
from dashboard.case import trust
from dashboard.parts import asked, problem
from model.cohort.evaluate import LABELS, PUBLISHED_EXTERNAL
from model.errors import CheckpointError


def main() -> None:
    """The card of the checkpoint of the pages, in words."""
    st.title("About the model")
    folder = resources.main_folder()
    try:
        card = json.loads((folder / "card.json").read_text("utf-8"))
    except (OSError, ValueError):
        problem(CheckpointError("no card.json there", where=str(folder), fix="Restore it, or train one with `llnm train`."))
        st.stop()
    trained = (
        "This one was trained on **synthetic** patients, whose risk follows the published statistics and whose ground truth is "
        "known. Its figures say nothing about patients."
        if card["training_data"] == "synthetic"
        else "This one was trained on a cohort of the user's own and is valid at best for patients like those."
    )
    st.markdown(
        "**Research and teaching only; not a medical device.** The model follows LLNM-Net (Shen et al., *Nature Communications* "
        f"16, 7052, 2025), whose weights and data were not published. {trained}"
    )
    st.text(card["purpose"])
    cells = st.columns(4)
    cells[0].metric("Training cases", f"{card['training_cases']:,}")
    cells[1].metric("Validation cases", f"{card['validation_cases']:,}")
    cells[2].metric("Parameters", f"{card['parameters']:,}")
    cells[3].metric(
        "Training time", f"{sum(card['training_seconds'].values()) / 60:.0f} min", help=f"On {card['device']}."
    )
    external = card.get("external")
    if external:
        st.subheader("On the held-out centres")
        st.caption(
            f"{external['n']:,} {card['training_data']} cases of centres that took no part in training, "
            f"{external['positives']:,} with the outcome; pictures as a user gives them (predicted "
            "masks). Published: LLNM-Net on real patients, another cohort."
        )
        st.dataframe(_figures(external), hide_index=True)
    st.subheader("How far to trust its explanations")
    if asked("Show what the checks of each method say", "trust"):
        trust.section()
    st.subheader("Limits")
    for limit in card["limits"]:
        st.markdown(f"- {limit}")
    with st.expander("The whole card"):
        st.json({k: v for k, v in card.items() if k not in ("sha256", "history")})


def _figures(external: dict[str, object]) -> pd.DataFrame:
    rows = []
    for name, value in external.items():
        if name in ("n", "positives") or name.endswith("_ci"):
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
