"""What a researcher does on the Cohort page: filter, draw, open a case, come back to the same view."""

from __future__ import annotations

import re

from tests.browser.test_case_page import settled


def test_filter_draw_open_a_case_and_come_back(page, address: str) -> None:  # type: ignore[no-untyped-def]
    page.goto(address + "cohort?cohort=samples&select=1&age=30-90")
    page.locator(".js-plotly-plot .scatterlayer").first.wait_for()
    settled(page)
    before = page.get_by_text(re.compile(r"of 40 cases")).inner_text()
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    left, top, wide, high = box["x"], box["y"], box["width"], box["height"]
    page.mouse.move(left + 2, top + 2)
    page.mouse.down()
    for x, y in ((0.5, 0.01), (0.5, 0.6), (0.01, 0.6), (0.01, 0.02)):
        page.mouse.move(left + wide * x, top + high * y, steps=8)
    page.mouse.up()
    page.wait_for_url(re.compile("region="))
    page.get_by_label("Name of this sub-cohort").fill("near and sure")
    page.get_by_label("Name of this sub-cohort").press("Enter")
    page.wait_for_url(re.compile(r"name=near"))
    settled(page)
    inside, view = page.get_by_text(re.compile(r"of 40 cases")).inner_text(), page.url
    assert inside != before
    cases = page.get_by_role("combobox", name="Open one")
    cases.focus()
    cases.press("ArrowDown")  # by keyboard: the list closes when a click scrolls the page
    page.get_by_role("option").first.wait_for()
    cases.press("Enter")
    page.get_by_text("Open case").click()
    page.get_by_text("Back to the cohort").click()
    page.get_by_text("Risk factors in a cohort").wait_for()
    settled(page)
    assert page.get_by_text(re.compile(r"of 40 cases")).inner_text() == inside
    assert sorted(page.url.split("?")[1].split("&")) == sorted(view.split("?")[1].split("&"))
