"""A case of one's own: pictures, report and fields from a form; any of them may be missing but one picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard.case import outline
from dashboard.parts import problem
from model.errors import ProblemError
from model.ingest.cases import case_from_form
from model.ingest.dicom import decode_dicom, is_dicom
from model.ingest.images import DecodedImage, decode_image
from model.ingest.messages import list_faults, told
from model.schema import FIELDS, VIEWS, Case, Field, View, category_values

FILE_TYPES = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "dcm", "dicom"]
CASE_ID = "own case"
TYPED = [f for f in FIELDS if f.role in ("input", "comparator")]
"""What the form asks for: what is known before surgery and not measured on the picture."""


def form() -> Case | None:
    """The form, and the case it last made; a faulty entry is told and leaves everything as it was."""
    st.caption(
        "What you give stays in the memory of this session and is not stored. Remove names burnt into pictures; what "
        "looks like an identifier in the report is blanked. Leave empty what you do not know."
    )
    files: dict[View, Any] = {}
    spacings: dict[View, str] = {}
    made: tuple[Case, tuple[str, ...]] | None = st.session_state.get("own-made")
    # Once there is an answer, it comes first.
    with st.expander("Pictures, report and fields", expanded=made is None, icon=":material/edit_note:"), st.form("own-case"):
        for column, view in zip(st.columns(2), VIEWS, strict=True):
            files[view] = column.file_uploader(f"{view.capitalize()} picture", FILE_TYPES, key=f"own-{view}")
            spacings[view] = column.text_input(
                f"Pixel spacing, {view} (mm per pixel)", key=f"own-spacing-{view}", placeholder="unknown",
                persist_state="session",
                help="Height and width of one pixel of the file, from the machine's scale. Leave empty if unknown: "
                "distances are then given in % of gland depth.",
            )  # fmt: skip
        report = st.text_area("Ultrasound report (English)", key="own-report", height=110, persist_state="session")
        st.markdown("**Fields**")
        values: dict[str, object] = {}
        for at in range(0, len(TYPED), 4):  # by rows, so that the order stays on a narrow screen
            for column, field in zip(st.columns(4), TYPED[at : at + 4], strict=False):
                values[field.name] = _entry(column, field)
        submitted = st.form_submit_button("Predict", type="primary", icon=":material/play_arrow:")
    if submitted:
        try:
            made = read(files, spacings, values, report)
        except ProblemError as error:
            problem(error)
            if made is not None:
                st.info("What follows is still the case before this change.")
        else:
            first = "own-made" not in st.session_state
            st.session_state["own-made"] = made
            outline.forget(CASE_ID)
            if first:
                st.rerun()  # so that the form folds away
    if made is None:
        return None
    for notice in made[1]:
        st.info(notice, icon=":material/info:")
    return made[0]


def read(
    files: Mapping[View, Any], spacings: Mapping[View, str], values: Mapping[str, object], report: str
) -> tuple[Case, tuple[str, ...]]:
    """Decode and validate what the form holds.

    Parameters
    ----------
    files : by view, something with `name` and `getvalue()`, or None.
    spacings : by view, mm per pixel as typed; a decimal comma is read too. Empty, a DICOM file's own calibration is taken.
    values : raw values by field name; empty ones are missing.

    Raises
    ------
    CaseError
        Once, for everything that is wrong with any picture, field or the report.
    """
    images: dict[View, DecodedImage] = {}
    calibrated: dict[View, tuple[float, float] | None] = {}
    faults: list[ProblemError] = []
    for view, file in files.items():
        if file is not None:
            try:
                images[view], calibrated[view] = _decoded(file.getvalue(), f"{view} picture {file.name}")
            except ProblemError as error:
                faults.append(error)
    if images or not faults:  # else a faulty picture would be told twice, as none
        typed = {view: spacings.get(view, "").strip().replace(",", ".") for view in images}
        spacing: dict[View, Any] = {view: typed[view] or calibrated[view] for view in images}
        try:
            made = case_from_form(CASE_ID, images, spacing, values, report)
        except ProblemError as error:
            faults.append(error)
    if not faults:
        return made
    raise faults[0] if len(faults) == 1 else list_faults([told(e) for e in faults], where="form")


def _decoded(data: bytes, name: str) -> tuple[DecodedImage, tuple[float, float] | None]:
    """A picture, and the pixel spacing that a DICOM file gives; its tags stay behind."""
    if is_dicom(data[:132]):
        found = decode_dicom(data, name=name)
        return found.image, found.spacing_mm
    return decode_image(data, name=name), None


def _entry(column: st.delta_generator.DeltaGenerator, field: Field) -> object:
    """A widget that accepts anything for numbers, so that nonsense gets the schema's own message."""
    label = field.label_with_unit
    key = f"own-{field.name}"
    if field.kind == "number":
        return column.text_input(label, key=key, help=f"{field.help} Allowed: {field.allowed()}.", persist_state="session")
    options = ["", *category_values(field)]
    return column.selectbox(label, options, key=key, help=field.help, persist_state="session")
