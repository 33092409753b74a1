"""The registry on the Model page: the checkpoints of the folder, choosing one for every page, and the way back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from dashboard import resources
from dashboard.parts import literal, missing, problem
from model.errors import ProblemError
from model.train.folders import MAIN

if TYPE_CHECKING:
    from model.registry import Choice

_TOLD = "registry-told"


def section() -> None:
    """What lies in the folder, which is in use, and what can be done."""
    st.subheader("Checkpoints")
    root = resources.registry_folder()
    if root is None:
        missing("Other checkpoints", "start the dashboard with `llnm serve --checkpoints FOLDER` to list, choose and roll back.")
        return
    if told := st.session_state.pop(_TOLD, ""):
        st.success(literal(told), icon=":material/check:")
    from model import registry  # half a second to load

    try:
        rows, choices = resources.registry_rows(root), registry.history(root)
    except ProblemError as error:
        problem(error)
        return
    if named := os.environ.get(MAIN):
        here = [name for name, folder in registry.folders(root).items() if folder.resolve() == Path(named).resolve()]
        rows = [{**row, "in use": "yes" if row["checkpoint"] in here else ""} for row in rows]
    table = pd.DataFrame(rows)
    st.dataframe(table, hide_index=True, height="content")
    st.caption(
        "AUROC with its 95 % interval: of held-out cases where the card has them, else of the checkpoint's own validation cases. "
        "The cases differ between checkpoints, so these figures do not rank them; compare two on one case, or with "
        "`llnm evaluate --checkpoint` on one cohort. Refused: what does not fit this version or its own card."
    )
    for row in rows:
        if row["refused"]:
            st.text(f"{row['checkpoint']} is refused: {row['refused']}.")
    if named:
        st.info("The dashboard was started with `--checkpoint`, which goes before a choice here.", icon=":material/info:")
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        changes = _choose(root, rows), _back(registry.standing(choices), root)
    for change in changes:
        if change is not None:
            _do(change)  # below the buttons, where a refusal has the page's width
    if choices:
        with st.expander("Every choice"):
            st.dataframe(pd.DataFrame([vars(c) for c in reversed(choices)]), hide_index=True)


def _back(stack: list[Choice], root: Path) -> Callable[[], str] | None:
    """The way back, where it is asked for."""
    from model import registry

    if not stack:
        return None
    before = stack[-2].name if len(stack) > 1 else registry.SHIPPED_NAME
    if st.button(f"Roll back to {literal(before)}", icon=":material/undo:", help="For everybody who uses this dashboard."):
        return lambda: f"Rolled back to {registry.roll_back(root).name}."
    return None


def _choose(root: Path, rows: list[dict[str, str]]) -> Callable[[], str] | None:
    """The use of another one, where it is asked for; and a link that compares it with the one in use."""
    from model import registry

    used = next((row["checkpoint"] for row in rows if row["in use"]), "")
    others = [row["checkpoint"] for row in rows if row["checkpoint"] != used]
    if not others:
        return None
    refused = {row["checkpoint"] for row in rows if row["refused"]}
    others.sort(key=lambda name: name in refused)  # one that can be used is offered first
    name = st.selectbox(
        "Another checkpoint", others, key="registry-name", format_func=lambda n: f"{n} (refused)" if n in refused else n
    )
    asked = st.button("Use it on every page", icon=":material/swap_horiz:", help="For everybody who uses this dashboard.")
    folders = {n: folder.name for n, folder in registry.folders(root).items()}
    st.page_link(
        "screens/compare.py", label="Compare it with the one in use", icon=":material/compare_arrows:",
        query_params={"by": "checkpoints", "first": folders.get(used, used), "second": folders[name]},
    )  # fmt: skip
    return (lambda: f"{registry.use(root, name).identity} is now in use.") if asked else None


def _do(change: Callable[[], str]) -> None:
    """Make a choice and show the page as it is then; what is refused is told, and nothing changed."""
    try:
        with st.spinner("Checking the checkpoint …"):
            told = change()
    except ProblemError as error:
        problem(error)
        return
    st.session_state[_TOLD] = told
    st.rerun()
