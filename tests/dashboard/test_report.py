"""One case as one page: whole, self-contained, and deaf to markup that people wrote."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from dashboard.report import case_report
from model.explain.shapley import group_shapley


@pytest.fixture(scope="module")
def parts(predictor, measured):  # type: ignore[no-untyped-def]
    case = measured[0]
    return case, predictor.predict_measured([case])[0], group_shapley(predictor, case)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_page_holds_the_answer_its_basis_and_the_mark(parts) -> None:
    case, prediction, shapley = parts
    page = case_report(case, prediction, shapley, version="9.9")
    assert f"{100 * prediction.probability:.1f} %" in page
    assert f"of the {prediction.interval.count} validation cases" in page
    assert "not a medical device" in page
    assert "9.9" in page
    for group in shapley.groups:
        assert group.label in page


def test_page_needs_nothing_from_elsewhere_and_has_no_script(parts) -> None:
    page = Tags()
    page.feed(case_report(*parts, version="1"))
    assert not [t for t, _ in page.tags if t in ("script", "link", "iframe")]
    sources = [a["src"] for t, a in page.tags if t == "img"]
    assert len(sources) == len(parts[0].case.images)
    assert all(s is not None and s.startswith("data:image/png;base64,") for s in sources)


def test_what_people_wrote_is_text(parts) -> None:
    case, prediction, shapley = parts
    nasty = replace(case, case=replace(case.case, report_text="<script>alert(1)</script><img src=x>", case_id="<b>x</b>"))
    page = Tags()
    text = case_report(nasty, prediction, shapley, version="1")
    page.feed(text)
    assert not [t for t, _ in page.tags if t in ("script", "b")]
    assert "&lt;script&gt;" in text
