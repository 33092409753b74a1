"""Outline nodule and gland by hand: a lasso on the picture, or a mask picture; kept for the session."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import streamlit as st

from dashboard.figures.case_image import picture, polygon_mask, with_grid
from dashboard.parts import figure, problem
from model.errors import ProblemError
from model.ingest.images import decode_mask
from model.schema import Case, Mask, View, ViewImage
from model.segment import Segmentation

Target = Literal["nodule", "gland"]
SMALLEST = 30
"""Pixels; a smaller outline is a slip of the hand."""


def applied(case: Case) -> Case:
    """The case with the outlines that were drawn in this session."""
    drawn = _drawn(case.case_id)
    images = {
        view: replace(image, **{f"{target}_mask": mask for (v, target), mask in drawn.items() if v == view})
        for view, image in case.images.items()
    }
    return replace(case, images=images)


def editor(case: Case, view: View, image: ViewImage, found: Segmentation) -> None:
    """Draw on one view; what is drawn replaces the network's outline, and everything on the page follows."""
    drawn = _drawn(case.case_id)
    target: Target = st.radio(  # type: ignore[assignment]
        "What to outline", ["nodule", "gland"], horizontal=True, key=f"target-{view}", format_func=str.capitalize
    )
    shown = with_grid(picture(image.pixels, nodule=found.nodule, gland=found.gland, height=420), image.pixels.shape)
    event = figure(
        shown, f"Draw around the {target} with the lasso, then take it over.", key=f"lasso-{case.case_id}-{view}",
        on_select="rerun", selection_mode="lasso",
    )  # fmt: skip
    mask = _lasso(event, image)
    use, undo = st.columns(2)
    if use.button(f"Use as {target}", key=f"use-{view}", type="primary", disabled=mask is None, width="stretch"):
        drawn[view, target] = mask  # type: ignore[assignment]
        st.rerun()
    mine = [key for key in drawn if key[0] == view]
    if undo.button("Back to automatic", key=f"undo-{view}", disabled=not mine, width="stretch"):
        for key in mine:
            del drawn[key]
        st.rerun()
    file = st.file_uploader(f"Or a mask picture of the {target} (white on black)", ["png", "jpg"], key=f"mask-{view}-{target}")
    if file is not None and st.button(f"Use this mask as {target}", key=f"usemask-{view}"):
        try:
            drawn[view, target] = decode_mask(file.getvalue(), name=file.name, shape=image.pixels.shape)
        except ProblemError as error:
            problem(error)
        else:
            st.rerun()


def _drawn(case_id: str) -> dict[tuple[View, Target], Mask]:
    """Outlines drawn in this session for a case."""
    result: dict[tuple[View, Target], Mask] = st.session_state.setdefault(f"outlines-{case_id}", {})
    return result


def _lasso(event: dict[str, dict[str, list[dict[str, list[float]]]]], image: ViewImage) -> Mask | None:
    """Mask of the lasso's own path, None while there is none."""
    paths = event["selection"].get("lasso") if event else None
    if not paths:
        return None
    mask = polygon_mask(paths[-1]["x"], paths[-1]["y"], (image.pixels.shape[0], image.pixels.shape[1]))
    return mask if mask.sum() >= SMALLEST else None
