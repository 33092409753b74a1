"""The report of a case to take away: PDF to print, HTML to keep."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from typing import Any

import streamlit as st

from dashboard.report.content import CaseContent, case_content
from model.encode import MeasuredCase
from model.explain.shapley import ShapleyResult
from model.predict import Prediction
from model.schema import Schema


def buttons(
    measured: MeasuredCase, prediction: Prediction, shapley: ShapleyResult, card: Mapping[str, Any], schema: Schema
) -> None:
    """Two buttons; a page is made when its button is clicked."""

    def content() -> CaseContent:
        return case_content(
            measured, prediction, shapley, card, version=version("llnm-explorer"), date=date.today().isoformat(),
            schema=schema,
        )  # fmt: skip

    def as_pdf() -> bytes:
        from dashboard.report import pdf

        return pdf.as_pdf(content())

    def as_html() -> str:
        from dashboard.report import html

        return html.as_html(content())

    name = re.sub(r"[^\w.-]+", "-", measured.case.case_id)
    with st.container(horizontal=True):
        st.download_button(
            "This case as one page (PDF)", as_pdf, f"{name}.pdf", "application/pdf", icon=":material/picture_as_pdf:",
            help="Pictures, numbers and reasons on one A4 page, to print.",
        )  # fmt: skip
        st.download_button(
            "This case as one page (HTML)", as_html, f"{name}.html", "text/html", icon=":material/description:",
            help="The same with the report in full; it needs nothing else.",
        )  # fmt: skip
