"""How far to trust the explanations: what the checks of the shipped model say, beside each method and as one panel."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard import resources
from dashboard.figures.trust import (
    bars,
    cascade_curves,
    check_table,
    heat,
    order_curves,
    rank_dots,
    rank_table,
)  # fmt: skip
from dashboard.parts import figure, missing
from model.explain.trust import CHECKS, Verdict, verdicts


def verdict(method: str) -> Verdict | None:
    """What the checks say of a method, by its key; None where nobody ran them for this model."""
    trust = resources.trust()
    return None if trust is None else verdicts(trust).get(method)


def label(method: str, name: str) -> str:
    """A method's name for a control, with a mark where it fails a check."""
    found = verdict(method)
    return name if found is None or not found.failed else f"{name} ⚠"


def verdict_line(method: str, of: str = "") -> None:
    """One line beside a method: what it passes, or what it must not be relied on for.

    Parameters
    ----------
    of : what was checked, where it is not all that is shown.
    """
    found = verdict(method)
    if found is None:
        st.caption("Not yet checked for this model: `llnm trust` does it.")
    elif found.failed:
        st.caption(f":material/warning: **{of}{found.sentence}**")
    else:
        st.caption(f":material/verified: {of}{found.sentence}")


@st.fragment
def section(where: str = "trust") -> None:
    """The checks of every method, one table and a figure for each kind of check.

    Parameters
    ----------
    where : start of the keys, unique on the page.
    """
    trust = resources.trust()
    if trust is None:
        missing("Checks", "there are none for this model; `llnm trust` runs them in a few minutes.")
        return
    st.text(_told(trust))
    figure(
        heat(trust),
        "✓ passes, ✗ fails, – does not apply; the number is what was measured. A method passes where the whole 95 % interval "
        "(bootstrap over cases) lies on the right side of the threshold. Thresholds were set before the figures were seen.",
        key=f"{where}-checks", data=check_table(trust),
    )  # fmt: skip
    with st.expander("What each check measures, and its rule", icon=":material/rule:"):
        for check in CHECKS:
            st.text(f"{check.label}. {check.rule}")
    left, right = st.columns(2, gap="large")
    with left:
        figure(
            cascade_curves(trust),
            f"Parameter randomisation: likeness to the real explanation as weights are shuffled from output to pixels, "
            f"median of {_cases(trust, 'randomisation')} cases. Below the dotted line at the right end: it depends on what "
            "was learned.",
            key=f"{where}-cascade",
        )  # fmt: skip
    with right:
        figure(
            bars(trust, "inside"),
            f"How much more of the relevance lies in the true nodule than by area alone, in percentage points; mean of "
            f"{_cases(trust, 'inside')} cases with 95 % interval. Outlines are the network's.",
            key=f"{where}-inside",
        )  # fmt: skip
    kinds = {"pixels": "blocks of the pictures", "groups": "feature groups"}
    for column, (kind, what) in zip(st.columns(2, gap="large"), kinds.items(), strict=True):
        with column:
            figure(
                order_curves(trust, kind),
                f"Mean calibrated probability over {_cases(trust, 'deletion')} cases as {what} are taken away (solid; lower is "
                "better) or put in (dashed; higher is better), most important first. Grey: random orders.",
                key=f"{where}-{kind}",
            )  # fmt: skip
    figure(
        rank_dots(trust),
        "Rank agreement with the true contributions of the simulation. Pixels: over cases, one mark a map (the same findings "
        "also reach the model as fields and words, so a map need not carry them). Groups: one mark a case.",
        key=f"{where}-rank", data=rank_table(trust),
    )  # fmt: skip


def _cases(trust: dict[str, Any], check: str) -> int:
    return max(m["checks"][check]["cases"] for m in trust["methods"].values() if check in m["checks"])


def _told(trust: dict[str, Any]) -> str:
    left_out = f", {trust['left_out']} left out without outlines" if trust["left_out"] else ""
    whole = [v.label for v in verdicts(trust).values() if not v.failed]
    return (
        f"{trust['cases']} synthetic cases whose truth is known{left_out}; {_cases(trust, 'stability')} of them for what takes "
        f"many explanations. Model {trust['model']}, LLNM Explorer {trust['explorer']}. "
        f"All checks passed by: {', '.join(whole) if whole else 'no method'}."
    )
