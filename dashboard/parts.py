"""Small parts that every page uses: the mark, a figure with its caption and data, a problem told plainly."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from dashboard import state
from model.errors import ProblemError

MARK = "Trained on synthetic data · research and teaching only · not a medical device"
MARK_OTHER = "Research and teaching only · not a medical device"

# A constant of ours, no user text: Streamlit has no fixed bar of its own. The colours of what lies over the page as it is
# scrolled are those of dashboard/.streamlit/config.toml; the camera of a figure comes at a tap, since it covers numbers on a phone.
_MARK_STYLE = """
<style>
.llnm-mark {position: fixed; left: 0; right: 0; bottom: 0; z-index: 999; padding: 4px 12px; text-align: center;
  font-size: 13px; font-weight: 600; background: #7a4b00; color: #fff;}
.block-container {padding-top: 3.2rem; padding-bottom: 4rem; max-width: 1240px;}
.stPlotlyChart {overflow: hidden;}
div:has(> .st-key-if-answer) {position: sticky; top: 3.6rem; z-index: 9; padding-bottom: 4px;
  background: light-dark(#ffffff, #10181d);}
.st-key-if-answer {gap: 0.2rem;}
@media (hover: none) {.stPlotlyChart:not(:hover) .modebar:not(:has([data-val=lasso], [data-val=select])) {opacity: 0 !important;}}
h1 {font-size: clamp(1.6rem, 5vw, 2.4rem) !important;} h2, h3 {font-size: clamp(1.2rem, 4vw, 1.6rem) !important;}
@media (max-width: 640px) {.block-container {padding-left: 0.8rem; padding-right: 0.8rem;} .llnm-mark {font-size: 11px;}}
</style>
"""


def banner(training_data: str) -> None:
    """The mark at the foot of every page, on screen and in print.

    Parameters
    ----------
    training_data : what the model was trained on, as its card says.
    """
    st.html(_MARK_STYLE + f'<div class="llnm-mark" role="note">{mark(training_data)}</div>')


def mark(training_data: str) -> str:
    """The words of the mark."""
    return MARK if training_data == "synthetic" else MARK_OTHER


@dataclass(frozen=True)
class Method:
    """How a figure came about: a paragraph for a paper, and Python that makes it again."""

    text: str
    code: str


def figure(
    drawn: go.Figure, caption: str, *, key: str, data: pd.DataFrame | None = None, alt: str = "",
    method: Method | None = None, **options: Any,
) -> Any:  # fmt: skip
    """A figure with a caption in plain words, its data as a download and alternative text.

    Parameters
    ----------
    drawn : the figure.
    caption : what is seen, in a sentence or two.
    key : unique on the page.
    data : what is drawn, for the download; None where the page offers it elsewhere.
    alt : for screen readers; the caption where empty.
    method : what stands under "Methods and code".
    options : passed to `st.plotly_chart` (`on_select`, `selection_mode`).

    Returns
    -------
    What `st.plotly_chart` returns: the selection where one was asked for.
    """
    buttons = {"lasso": "lasso2d", "box": "select2d"}
    modes = options.get("selection_mode", ())
    drawing = [buttons[m] for m in ((modes,) if isinstance(modes, str) else modes) if m in buttons]
    config = {
        # Where points are clicked, the bar would lie over them.
        "displayModeBar": True if drawing else False if modes == "points" else "hover",
        "modeBarButtons": [[*drawing, "toImage"]],
        "toImageButtonOptions": {"format": picture_format(), "filename": key, "scale": 2},
        "displaylogo": False,
        "scrollZoom": False,
    }
    event = st.plotly_chart(drawn, key=key, config=config, theme="streamlit", alt=alt or caption, **options)
    if data is None:
        st.caption(caption)
        return event
    words, button = st.columns([5, 1], vertical_alignment="center")
    words.caption(caption)
    with button:
        data_button(data, key)
    if method is not None:
        methods(method)
    return event


def methods(method: Method) -> None:
    """The paragraph and the code of a figure or table, each with a button that copies it."""
    with st.expander("Methods and code", icon=":material/code:"):
        st.code(method.text, language=None, wrap_lines=True)
        st.code(method.code, language="python")


FORMATS = ("png", "svg")
"""Of pictures that figures are saved as."""


def picture_format() -> str:
    """What the camera button of a figure saves, as chosen in `choose_picture_format`."""
    chosen: str = st.session_state.get("picture-format") or FORMATS[0]
    return chosen


def choose_picture_format() -> None:
    """For all figures of a page; stands above the first of them."""
    st.segmented_control(
        "Figures are saved as", FORMATS, default=FORMATS[0], key="picture-format", format_func=str.upper, required=True,
        help="The camera button at a figure's corner saves it: PNG for slides, SVG for print.",
    )  # fmt: skip


def data_button(data: pd.DataFrame, key: str) -> None:
    """The numbers behind a figure, or several, as CSV."""
    st.download_button(
        "Data", data.to_csv(index=False), f"{key}.csv", "text/csv", key=f"{key}-data", type="tertiary",
        icon=":material/download:", help="The numbers behind this figure, as CSV",
    )  # fmt: skip


def asked(label: str, name: str) -> bool:
    """A switch for what is only computed on request; its state stands in the address bar under `name`."""
    on = st.toggle(label, value=state.read(name) == "1", key=f"{name}-on")
    state.write(**{name: "1" if on else None})
    return on


def problem(error: ProblemError) -> None:
    """What is wrong, where, and how to fix it; as text, never as HTML or Markdown."""
    with st.container(border=True):
        st.error("This could not be used.", icon=":material/error:")
        what = error.what.strip()
        st.text(f"{error.where}: {what}{'' if what.endswith('.') else '.'}\n{error.fix}")


def literal(text: str) -> str:
    """Text for a label that Streamlit would read as Markdown, with every sign of Markdown taken at its face."""
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:^=])", r"\\\1", text)


def case_link(case_id: str) -> None:
    """A link to a sample case, which leads back to the cohort as it is now."""
    st.page_link(
        "screens/case.py", label=f"Open case {literal(case_id)}", icon=":material/open_in_new:",
        query_params={"case": case_id, "back": address()},
    )  # fmt: skip


def address() -> str:
    """The cohort's view as it is now, for the way back from a case."""
    return urlencode(st.query_params.to_dict()) or "cohort="


def back_link() -> None:
    """A link back to the cohort from which this case was opened."""
    if back := state.read("back"):
        st.page_link(
            "screens/cohort.py", label="Back to the cohort", icon=":material/arrow_back:",
            query_params=dict(parse_qsl(back[:4000])),
        )  # fmt: skip


def missing(what: str, why: str) -> None:
    """A panel that the data cannot fill."""
    st.caption(f"{what}: {why}")
