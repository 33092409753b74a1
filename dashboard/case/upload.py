"""A case of one's own: pictures, report and fields from a form, as far as the model reads them; any may be missing."""

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
from model.schema import DEFAULT, VIEWS, Case, Field, Schema, View, category_values

FILE_TYPES = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "webp", "dcm", "dicom"]
CASE_ID = "own case"


def typed(schema: Schema) -> list[Field]:
    """What the form asks for: what is known before surgery and not measured on the picture; TI-RADS beside pictures alone."""
    roles = ("input", "comparator") if schema.has_images else ("input",)
    return [f for f in schema.fields if f.role in roles]


def form(schema: Schema) -> Case | None:
    """The form of a model's schema, and the case it last made; a faulty entry is told and leaves everything as it was."""
    st.caption(
        "What you give stays in the memory of this session and is not stored. Remove names burnt into pictures; what "
        "looks like an identifier in the report is blanked. Leave empty what you do not know."
    )
    files: dict[View, Any] = {}
    spacings: dict[View, str] = {}
    made: tuple[Case, tuple[str, ...]] | None = st.session_state.get("own-made")
    # Once there is an answer, it comes first.
    parts = ["pictures"] * schema.has_images + ["report"] * schema.has_report + ["fields"]
    asked = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])).capitalize()
    with st.expander(asked, expanded=made is None, icon=":material/edit_note:"), st.form("own-case"):
        for column, view in zip(st.columns(2), VIEWS, strict=True) if schema.has_images else ():
            files[view] = column.file_uploader(f"{view.capitalize()} picture", FILE_TYPES, key=f"own-{view}")
            spacings[view] = column.text_input(
                f"Pixel spacing, {view} (mm per pixel)", key=f"own-spacing-{view}", placeholder="unknown",
                persist_state="session",
                help="Height and width of one pixel of the file, from the machine's scale. Leave empty if unknown: "
                "distances are then given in % of gland depth.",
            )  # fmt: skip
        report = ""
        if schema.has_report:
            report = st.text_area("Ultrasound report (English)", key="own-report", height=110, persist_state="session")
        st.markdown("**Fields**")
        values: dict[str, object] = {}
        asked_for = typed(schema)
        for at in range(0, len(asked_for), 4):  # by rows, so that the order stays on a narrow screen
            for column, field in zip(st.columns(4), asked_for[at : at + 4], strict=False):
                values[field.name] = _entry(column, field)
        submitted = st.form_submit_button("Predict", type="primary", icon=":material/play_arrow:")
    if submitted:
        try:
            made = read(files, spacings, values, report, schema)
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
    files: Mapping[View, Any], spacings: Mapping[View, str], values: Mapping[str, object], report: str,
    schema: Schema = DEFAULT,
) -> tuple[Case, tuple[str, ...]]:
    """Decode and validate what the form holds.

    Parameters
    ----------
    files : by view, something with `name` and `getvalue()`, or None.
    spacings : by view, mm per pixel as typed; a decimal comma is read too. Empty, a DICOM file's own calibration is taken.
    values : raw values by field name; empty ones are missing.
    schema : of the model that is to read it.

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
            made = case_from_form(CASE_ID, images, spacing, values, report, schema)
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
