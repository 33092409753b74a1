"""Outline nodule and gland by hand: a lasso on the picture, or a mask picture; kept for the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from dashboard.figures.case_image import picture, polygon_mask, with_grid
from dashboard.parts import figure, problem
from model.errors import ProblemError
from model.ingest.images import decode_mask
from model.ingest.parts import TARGETS, Target
from model.schema import Case, Mask, View, ViewImage
from model.segment import Segmentation

SMALLEST = 30
"""Pixels; a smaller outline is a slip of the hand."""


@dataclass(frozen=True, eq=False)
class Step:
    """One outline drawn by a person; the last one of a view and target counts."""

    view: View
    target: Target
    mask: Mask


def applied(case: Case) -> Case:
    """The case with the outlines that were drawn in this session."""
    return with_steps(case, _steps(case.case_id))


def with_steps(case: Case, steps: Sequence[Step]) -> Case:
    """The case with outlines laid on in their order; those of a view that it lacks are passed over."""
    images = dict(case.images)
    for step in steps:
        if step.view in images:
            images[step.view] = replace(images[step.view], **{f"{step.target}_mask": step.mask})
    return replace(case, images=images)


def without(steps: Sequence[Step], view: View) -> list[Step]:
    """The steps before the last one on a view: undo."""
    at = max((i for i, step in enumerate(steps) if step.view == view), default=None)
    return [step for i, step in enumerate(steps) if i != at]


def take_back(case_id: str) -> bool:
    """Take back the last outline of a case; False where there is none."""
    steps = _steps(case_id)
    if steps:
        steps.pop()
        return True
    return False


def forget(case_id: str) -> None:
    """Drop every outline of a case."""
    _steps(case_id).clear()


def doubt(found: Segmentation) -> str | None:
    """What looks wrong with a pair of outlines, for the person who draws them."""
    if not found.nodule.any() or not found.gland.any():
        return None
    share = float((found.nodule & found.gland).sum() / found.nodule.sum())
    if share < 0.5:
        return f"Only {share:.0%} of the nodule lies within the gland outline. Check both: the capsule distance rests on them."
    return None


def editor(case: Case, view: View, image: ViewImage, found: Segmentation) -> None:
    """Draw on one view; what is drawn replaces the network's outline, and everything on the page follows.

    Parameters
    ----------
    case, image : the case as it is now, with the outlines drawn so far.
    """
    steps = _steps(case.case_id)
    target: Target = st.radio(  # type: ignore[assignment]
        "What to outline", TARGETS, horizontal=True, key=f"target-{case.case_id}-{view}",
        format_func=str.capitalize,
    )  # fmt: skip
    shown = with_grid(picture(image.pixels, nodule=found.nodule, gland=found.gland, height=420), image.pixels.shape)
    # A new name after each step: a path that was used is not offered again.
    event = figure(
        shown, f"Drag around the {target}, then use the outline. Yellow: nodule; blue: gland.",
        key=f"lasso-{case.case_id}-{view}-{len(steps)}", on_select="rerun", selection_mode="lasso",
    )  # fmt: skip
    mask = lasso_mask(event, image.pixels.shape)
    mine = [step for step in steps if step.view == view]
    with st.container(horizontal=True):
        if st.button(f"Use as {target}", key=f"use-{view}", type="primary", disabled=mask is None) and mask is not None:
            _add(steps, Step(view, target, mask))
        if st.button("Undo", key=f"undo-{view}", icon=":material/undo:", disabled=not mine):
            _set(case.case_id, without(steps, view))
        if st.button("Back to automatic", key=f"automatic-{view}", disabled=not mine):
            _set(case.case_id, [step for step in steps if step.view != view])
    file = st.file_uploader(
        f"Or give a mask picture of the {target} (white on black)", ["png", "jpg", "jpeg"],
        key=f"mask-{case.case_id}-{view}-{target}",
    )  # fmt: skip
    if file is not None and st.button(f"Use this picture as {target}", key=f"use-mask-{view}"):
        try:
            mask = decode_mask(file.getvalue(), name=file.name, shape=(image.pixels.shape[0], image.pixels.shape[1]))
        except ProblemError as error:
            problem(error)
        else:
            _add(steps, Step(view, target, mask))


def lasso_mask(event: Mapping[str, Any] | None, shape: tuple[int, ...]) -> Mask | None:
    """Mask of the lasso's own path in a selection event; None where there is none, or too small a one."""
    paths = event["selection"].get("lasso") if event else None
    if not paths:
        return None
    mask = polygon_mask(paths[-1]["x"], paths[-1]["y"], (shape[0], shape[1]))
    return mask if mask.sum() >= SMALLEST else None


def _steps(case_id: str) -> list[Step]:
    steps: list[Step] = st.session_state.setdefault(f"outlines-{case_id}", [])
    return steps


def _set(case_id: str, steps: list[Step]) -> None:
    st.session_state[f"outlines-{case_id}"] = steps
    st.rerun()


def _add(steps: list[Step], step: Step) -> None:
    steps.append(step)
    st.rerun()
