"""What if, by hand: a slider moves the risk, and so do words that are clicked away."""

from __future__ import annotations

import re

import pytest
from test_case_page import settled


@pytest.fixture
def changes(page, address: str):  # type: ignore[no-untyped-def]
    """The page with What if open and everything on it computed."""
    page.goto(address + "?whatif=1&attention=0")
    settled(page)
    page.get_by_text("Knowing nothing").first.wait_for()
    settled(page)
    return page


def answer(page):  # type: ignore[no-untyped-def]
    return page.get_by_test_id("stMetric").filter(has_text="after the change").get_by_test_id("stMetricValue")


def until_other(page, before: str) -> str:  # type: ignore[no-untyped-def]
    """The answer once it is no longer `before`."""
    page.wait_for_function(
        """(old) => [...document.querySelectorAll('[data-testid=stMetric]')].some(m =>
        m.textContent.includes('after the change') && !m.textContent.includes(old))""",
        arg=before,
    )
    settled(page)
    return str(answer(page).inner_text())


@pytest.mark.parametrize("label", ["Age (years)", "Towards the capsule"])
def test_a_slider_moves_the_risk_and_back(changes, label: str) -> None:
    before = answer(changes).inner_text()
    thumb = changes.get_by_role("slider", name=label)
    thumb.focus()
    for _ in range(8):
        thumb.press("ArrowLeft")
    assert until_other(changes, before) != before
    for _ in range(8):
        thumb.press("ArrowRight")
    answer(changes).filter(has_text=before).wait_for()


def test_the_nodule_moves_along_the_capsule_on_the_picture(changes) -> None:
    thumb = changes.get_by_role("slider", name="Along the capsule")
    thumb.focus()
    for _ in range(30):
        thumb.press("ArrowRight")
    # Its outline before the move is drawn only where it differs.
    changes.locator(".st-key-if-picture path.js-line[style*='stroke-dasharray']").first.wait_for()


def test_words_clicked_away_leave_the_report_and_move_the_risk(changes) -> None:
    before = answer(changes).inner_text()
    words = changes.locator("[class*=st-key-if-words-] button")
    for word in ("irregular", "lobulated", "margin."):
        words.filter(has_text=re.compile(f"^{re.escape(word)}$")).first.click()
        settled(changes)
    changes.get_by_text(re.compile(r"3 of \d+ words taken out")).wait_for()
    assert until_other(changes, before) != before
