"""Dragging the nodule of What if: from a place on the picture to the sliders, and what the picture is given to draw."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from dashboard.case import nodule
from dashboard.case.whatif import Move
from dashboard.figures import style
from model.explain.counterfactual import CapsulePath, capsule_path, placed

ROOT = Path(__file__).resolve().parents[2]


def move(unit: str = "mm") -> Move:
    """A nodule below a capsule that runs straight across the picture, 1.3 from it; a pixel is 0.2 wide."""
    along = np.linspace(-4.96, 4.96, 63)
    offset = np.stack([0 * along, along / 0.2], 1)
    path = CapsulePath(along, offset, np.tile([5.0, 0.0], (63, 1)), np.full(63, 9.0), (0.2, 0.2), unit)
    return Move("case", "transverse", path, 5.0, 1.3)


@pytest.mark.parametrize(
    ("shift", "sliders"),
    [
        ((0, 0), (0, 0)),
        ((0, 10), (2, 0)),  # the nearest place that the path names, to a step
        ((-4, 0), (0, 0.8)),
        ((4, -10), (-2, -0.8)),
        ((-400, 3000), (4.9, 1.3)),  # as far as the sliders go
        ((400, -3000), (-4.9, -5)),
    ],
)
def test_place_on_the_picture_becomes_the_sliders_values(shift, sliders) -> None:
    assert move().reached(shift) == pytest.approx(sliders, abs=0.16)
    low, high = np.transpose(move().ends)
    assert (low <= move().reached(shift)).all()
    assert (move().reached(shift) <= high).all()


def test_sliders_values_are_whole_steps() -> None:
    assert all(way == round(way, 1) for way in move().reached((-3, 11)))
    assert all(way == round(way) for way in move("pixels").reached((-3, 11)))


def test_where_there_is_no_other_place_along_nothing_is_spanned() -> None:
    path = CapsulePath(np.zeros(1), np.zeros((1, 2)), np.array([[5.0, 0]]), np.full(1, 9.0), (0.2, 0.2), "mm")
    still = Move("case", "transverse", path, 5, 1)
    assert still.ends[0] == (0, 0)
    assert still.reached((2.5, 30)) == (0, -0.5)


@pytest.mark.parametrize("told", [None, 3, [], {}, {"down": 1}, {"down": "x", "right": 1}, {"down": float("nan"), "right": 1}])
def test_a_wish_that_is_no_place_is_passed_over(told) -> None:
    def script(told: object) -> None:
        import streamlit as st

        from dashboard.case import nodule

        st.session_state["n"] = {"wish": told}
        st.text(nodule.wish("n"))

    app = AppTest.from_function(script, args=(told,)).run()
    assert not app.exception
    assert app.text[0].value == "None"


def test_scene_holds_lines_within_the_picture_and_follows_the_nodule(measured) -> None:
    for case in measured:
        for view in case.features:
            still = nodule.scene(case, case, view, (0, 0))
            rows, columns = case.case.images[view].pixels.shape
            assert still["size"] == [rows, columns]
            assert still["now"] == still["before"]
            for line in (still["gland"], still["now"]):
                x, y = np.array(re.findall(r"([\d.]+) ([\d.]+)", line), float).T
                assert (x >= 0).all()
                assert (x <= columns).all()
                assert (y >= 0).all()
                assert (y <= rows).all()
            there = placed(case, view, capsule_path(case, view), towards=-1.0)
            moved = nodule.scene(case, there, view, (1, 0))
            assert moved["before"] == still["now"] != moved["now"]
            assert moved["image"] == still["image"]
            assert moved["distance"]["text"].endswith("mm")


def test_colours_on_the_picture_are_those_of_the_other_pictures() -> None:
    css = (ROOT / "dashboard" / "case" / "nodule.css").read_text("utf-8")
    for colour in (style.NODULE, style.GLAND, style.CAPSULE):
        assert colour in css


def test_what_the_browser_gets_asks_for_nothing_elsewhere_and_writes_no_html() -> None:
    for name in ("nodule.js", "nodule.css"):
        text = (ROOT / "dashboard" / "case" / name).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|import |fetch\(|innerHTML|insertAdjacent|eval\(", text)
