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


def picture(page):  # type: ignore[no-untyped-def]
    return page.locator("[class*=st-key-if-nodule-]")


def slider(page, label: str) -> float:  # type: ignore[no-untyped-def]
    return float(page.get_by_role("slider", name=label).get_attribute("aria-valuetext"))


def dragged(page, right: int, down: int) -> None:  # type: ignore[no-untyped-def]
    """Drag the nodule by so many screen pixels, and look at nothing before it is let go."""
    picture(page).scroll_into_view_if_needed()
    box = picture(page).locator(".now").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    for step in range(1, 6):
        page.mouse.move(x + step * right / 5, y + step * down / 5)
    page.mouse.up()


def test_a_slider_moves_the_nodule_on_the_picture(changes) -> None:
    lines = picture(changes)
    outline = lines.locator(".now").get_attribute("d")
    assert lines.locator(".before").is_hidden()
    assert lines.get_by_role("button", name="Put it back").is_disabled()
    thumb = changes.get_by_role("slider", name="Along the capsule")
    thumb.focus()
    for _ in range(30):
        thumb.press("ArrowRight")
    lines.locator(".before").wait_for()  # its outline before the move is drawn only where it differs
    assert lines.locator(".before").get_attribute("d") == outline
    assert lines.locator(".now").get_attribute("d") != outline


@pytest.mark.parametrize("wide", [1440, 390])
def test_the_nodule_dragged_to_the_capsule_moves_the_risk_and_the_sliders_and_can_be_put_back(changes, wide: int) -> None:
    changes.set_viewport_size({"width": wide, "height": 1100})
    settled(changes)
    before, outline = answer(changes).inner_text(), picture(changes).locator(".now").get_attribute("d")
    dragged(changes, 0, 60)  # beyond the capsule at the back, which it lies near
    assert until_other(changes, before) != before
    assert slider(changes, "Towards the capsule") > 0.5
    assert picture(changes).locator(".distance").inner_text() in ("0.0 mm", "0.1 mm", "0.2 mm")
    picture(changes).get_by_role("button", name="Put it back").click()
    answer(changes).filter(has_text=before).wait_for()
    settled(changes)
    assert slider(changes, "Towards the capsule") == slider(changes, "Along the capsule") == 0
    assert picture(changes).locator(".now").get_attribute("d") == outline


def test_the_risk_moves_while_the_nodule_is_still_held(changes) -> None:
    before = answer(changes).inner_text()
    picture(changes).scroll_into_view_if_needed()
    box = picture(changes).locator(".now").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    changes.mouse.move(x, y)
    changes.mouse.down()
    seen = [before]
    for step in (8, 16, 24):
        changes.mouse.move(x + step, y - step)  # up and to the side of the gland
        seen.append(until_other(changes, seen[-1]))
    assert len(set(seen)) == 4
    changes.mouse.up()


def test_arrow_keys_move_the_nodule_and_the_sliders_follow(changes) -> None:
    before = answer(changes).inner_text()
    nodule = picture(changes).get_by_role("application", name=re.compile("Nodule"))
    nodule.focus()
    for _ in range(6):
        nodule.press("ArrowRight")
    assert until_other(changes, before) != before
    assert slider(changes, "Along the capsule") != 0


def test_words_clicked_away_leave_the_report_and_move_the_risk(changes) -> None:
    before = answer(changes).inner_text()
    words = changes.locator("[class*=st-key-if-words-] button")
    for word in ("irregular", "lobulated", "margin."):
        words.filter(has_text=re.compile(f"^{re.escape(word)}$")).first.click()
        settled(changes)
    changes.get_by_text(re.compile(r"3 of \d+ words taken out")).wait_for()
    assert until_other(changes, before) != before
