"""From a case that the model gets wrong to its page in one click, and back to the same view."""

from __future__ import annotations

import re

from tests.browser.test_case_page import settled


def test_open_a_worst_case_and_come_back(page, address: str) -> None:  # type: ignore[no-untyped-def]
    page.goto(address + "cohort?cohort=samples&drivers=1&age=30-90&driver=Age&over=size_mm")
    link = page.get_by_role("link", name=re.compile("Open case")).first
    link.wait_for()
    settled(page)
    view, first = page.url, link.inner_text()
    link.click()
    case = first.split()[-1]
    page.wait_for_url(re.compile(f"case={case}"))
    page.get_by_text("Back to the cohort").click()
    page.get_by_text("What the model gets wrong").wait_for()
    settled(page)
    assert page.get_by_role("link", name=re.compile("Open case")).first.inner_text() == first
    assert sorted(page.url.split("?")[1].split("&")) == sorted(view.split("?")[1].split("&"))
