"""The report of a case, as a user downloads it."""

from __future__ import annotations

from pathlib import Path

from pypdf import PdfReader
from test_case_page import risk, settled


def test_pdf_of_the_case_holds_the_number_on_the_page(page, address: str) -> None:
    page.goto(address + "?attention=0")
    settled(page)
    page.get_by_text("Knowing nothing").first.wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="This case as one page (PDF)").click()
    assert download.value.suggested_filename == "syn-40-00027.pdf"
    pages = PdfReader(Path(download.value.path())).pages
    assert len(pages) == 1
    text = " ".join(pages[0].extract_text().split())
    assert risk(page) in text
    assert "not a medical device" in text
    assert "llnm-compact@" in text
