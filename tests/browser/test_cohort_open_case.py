"""A point of a figure is clicked: its case opens, and the way back leads to the same view. Pictures are saved as chosen."""

from __future__ import annotations

import re
from contextlib import suppress

from playwright.sync_api import TimeoutError

from tests.browser.test_case_page import settled


def query(url: str) -> list[str]:
    return sorted(url.split("?")[1].split("&"))


def test_a_clicked_point_opens_its_case_and_the_way_back_keeps_the_view(page, address: str) -> None:  # type: ignore[no-untyped-def]
    page.goto(address + "cohort?cohort=samples&select=1&age=30-90")
    point = page.locator(".js-plotly-plot .scatterlayer .point").first
    point.wait_for()
    page.get_by_role("radio", name="Open a case").click()
    settled(page)
    view, cases = page.url, page.get_by_text(re.compile(r"of 40 cases")).inner_text()
    for patience_ms in (10_000, 10_000, 40_000):  # figures above may still move it: then one clicks again
        page.mouse.move(1, 1)
        box = point.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.locator(".js-plotly-plot .hoverlayer .hovertext").first.wait_for()  # a point is clicked once it is hovered
        page.mouse.down()
        page.mouse.up()
        with suppress(TimeoutError):
            page.wait_for_url(re.compile(r"case=syn-"), timeout=patience_ms)
            break
    page.get_by_text("Lateral node metastasis: one case").wait_for()
    name = re.search(r"case=([\w-]+)", page.url).group(1)  # type: ignore[union-attr]
    page.get_by_text(name).first.wait_for()
    settled(page)  # else what the page still writes into its address follows to the next one
    page.get_by_text("Back to the cohort").click()
    page.get_by_text("Risk factors in a cohort").wait_for()
    page.wait_for_url(lambda url: query(url) == query(view))
    settled(page)
    assert page.get_by_text(re.compile(r"of 40 cases")).inner_text() == cases


def test_a_figure_is_saved_as_png_or_svg(page, address: str) -> None:  # type: ignore[no-untyped-def]
    page.goto(address + "cohort")
    settled(page)
    for chosen, begin in (("PNG", b"\x89PNG"), ("SVG", b"<svg")):
        page.get_by_role("radio", name=chosen).click()
        settled(page)
        figure = page.locator(".js-plotly-plot").first
        figure.hover()
        with page.expect_download() as saved:
            figure.locator(".modebar-btn[data-title*=ownload]").click()
        assert saved.value.suggested_filename == f"distance-curve.{chosen.lower()}"
        assert saved.value.path().read_bytes().lstrip().startswith(begin)
