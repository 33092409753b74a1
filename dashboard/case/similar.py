"""Similar cases on the Case page: the nearest samples in the model's own space, with their outcome and what differs."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import resources
from dashboard.figures.case_image import picture
from dashboard.figures.style import percent, words
from dashboard.parts import figure, literal
from model.encode import MeasuredCase
from model.explain.similar import differences, embeddings, nearest
from model.schema import Field, Schema, Value

SHOWN = 3


def section(model: str, measured: MeasuredCase) -> None:
    """The nearest samples side by side; the case itself is left out."""
    space = resources.sample_space(model)
    query = embeddings(resources.loaded(model), [measured])[0]
    found = [
        (i, likeness) for i, likeness in nearest(query, space.embeddings, SHOWN + 1)
        if space.measured[i].case.case_id != measured.case.case_id
    ][:SHOWN]  # fmt: skip
    st.caption(
        f"The nearest of {len(space.measured)} cases, by the cosine of what the model makes of them. "
        "Alike for the model, not necessarily for a doctor."
    )
    for column, (i, likeness) in zip(st.columns(SHOWN), found, strict=False):
        with column:
            _neighbour(measured, space.measured[i], space.probabilities[i], likeness, resources.loaded(model).schema)


def _neighbour(here: MeasuredCase, there: MeasuredCase, probability: float, likeness: float, schema: Schema) -> None:
    case, endpoint = there.case, schema.endpoint
    outcome = "outcome unknown"
    if endpoint.name in case.labels:
        outcome = endpoint.short if case.labels[endpoint.name] else f"no {endpoint.short}"
    st.markdown(f"**{literal(case.case_id)}** · {literal(outcome)}")
    said = f"Predicted {percent(probability, 1)}; likeness {likeness:.2f}."
    view = next(iter(there.features), next(iter(there.segmentations), None))
    if view is None:
        st.caption(said)
    else:
        image, found = case.images[view], there.segmentations[view]
        figure(
            picture(image.pixels, spacing_mm=image.pixel_spacing_mm, nodule=found.nodule, gland=found.gland, height=240),
            f"{said} {view.capitalize()} view.", key=f"similar-{case.case_id}",
        )  # fmt: skip
    st.page_link("screens/case.py", label="Open this case", query_params={"case": case.case_id}, icon=":material/open_in_new:")
    if here.case.provenance == "synthetic":
        pair = {"a": here.case.case_id, "b": case.case_id}
        st.page_link("screens/compare.py", label="Compare side by side", query_params=pair, icon=":material/compare_arrows:")
    table = difference_table(here, there, ("this case", "that case"), schema)
    with st.expander(f"{len(table)} fields differ"):
        show_differences(table)


def show_differences(table: pd.DataFrame) -> None:
    """A table of `difference_table`, whose long labels are wrapped in a narrow column instead of cut."""
    st.table(table.map(literal), hide_index=True)


def difference_table(here: MeasuredCase, there: MeasuredCase, names: tuple[str, str], schema: Schema) -> pd.DataFrame:
    """Fields that differ notably, in words: field, and a column a case under its name."""

    def told(field: Field, value: Value | None) -> str:
        return "not given" if value is None else words(field, value)

    found = [(schema.by_name[d.name], d) for d in differences(here, there, schema)]
    rows = [(field.label, told(field, d.here), told(field, d.there)) for field, d in found]
    return pd.DataFrame(rows, columns=["field", *names])
