"""A case of one's own: pictures, report and fields from a form; any of them may be missing but one picture."""

from __future__ import annotations

import streamlit as st

from dashboard.parts import problem
from model.errors import ProblemError
from model.ingest.cases import case_from_form
from model.ingest.images import DecodedImage, decode_image
from model.schema import FIELDS, VIEWS, Case, Field, View, category_values

FILE_TYPES = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp"]
CASE_ID = "own case"
_INPUTS = [f for f in FIELDS if f.role in ("input", "comparator")]


def form() -> Case | None:
    """The form, and the case it last made; a faulty entry is told and leaves everything as it was."""
    st.caption(
        "Nothing you upload is stored or leaves this server's memory. Remove names and numbers from pictures; "
        "what looks like an identifier in the report is blanked. Leave out what you do not know."
    )
    with st.form("own-case"):
        left, right = st.columns(2)
        files = {
            "transverse": left.file_uploader("Transverse picture", FILE_TYPES, key="own-transverse"),
            "longitudinal": right.file_uploader("Longitudinal picture", FILE_TYPES, key="own-longitudinal"),
        }
        spacing = left.text_input(
            "Pixel spacing (mm per pixel)", key="own-spacing", placeholder="unknown",
            help="Size of a pixel of the file. Unknown: distances are given in % of gland depth.",
        )  # fmt: skip
        report = right.text_area("Ultrasound report (English)", key="own-report", height=110)
        st.markdown("**Fields**")
        columns = st.columns(4)
        values = {f.name: _entry(columns[i % 4], f) for i, f in enumerate(_INPUTS)}
        submitted = st.form_submit_button("Predict", type="primary", icon=":material/play_arrow:")
    if submitted:
        try:
            case, notices = read(files, spacing, values, report)
        except ProblemError as error:
            problem(error)
            if "own-made" in st.session_state:
                st.info("Below is still the case before this change.")
        else:
            st.session_state["own-made"] = (case, notices)
            st.session_state.pop("outlines-" + CASE_ID, None)
    made: tuple[Case, tuple[str, ...]] | None = st.session_state.get("own-made")
    if made is None:
        return None
    for notice in made[1]:
        st.info(notice, icon=":material/info:")
    return made[0]


def read(files: dict[str, object], spacing: str, values: dict[str, object], report: str) -> tuple[Case, tuple[str, ...]]:
    """Decode and validate what the form holds; raises `ProblemError` for whatever the user can mend."""
    images: dict[View, DecodedImage] = {}
    for view in VIEWS:
        file = files.get(view)
        if file is not None:
            images[view] = decode_image(file.getvalue(), name=f"{view} picture {file.name}")  # type: ignore[attr-defined]
    text = spacing.strip().replace(",", ".")
    known: object = None if text.lower() in ("", "unknown") else text
    return case_from_form(CASE_ID, images, known, values, report)  # type: ignore[arg-type]


def _entry(column: st.delta_generator.DeltaGenerator, field: Field) -> object:
    """A widget that accepts anything for numbers, so that nonsense gets the schema's own message."""
    label = field.label + (f" ({field.unit})" if field.unit else "")
    if field.kind == "number":
        return column.text_input(label, key=f"own-{field.name}", help=f"{field.help} Allowed: {field.allowed()}.")
    options = ["", *category_values(field)]
    return column.selectbox(label, options, key=f"own-{field.name}", help=field.help)
