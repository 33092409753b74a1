"""Documents about a model, generated from its run: the model card and the performance report, as HTML and PDF."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model.reporting.document import Document


def writers() -> Mapping[str, Callable[[Document], bytes]]:
    """What turns a document into a file, by the file's ending."""

    def html(document: Document) -> bytes:
        from model.reporting.html import as_html

        return as_html(document).encode("utf-8")

    def pdf(document: Document) -> bytes:
        from model.reporting.pdf import as_pdf

        return as_pdf(document)

    return {".html": html, ".pdf": pdf}
