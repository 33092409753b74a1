"""Similar cases on the Case page: the nearest samples in the model's own space, with their outcome and what differs."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import resources
from dashboard.figures.case_image import picture
from dashboard.figures.style import percent, words
from dashboard.parts import figure
from model.encode import MeasuredCase
from model.explain.similar import differences, embeddings, nearest
from model.schema import FIELD, Field, Value

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
        f"The nearest of {len(space.measured)} synthetic sample cases, by the cosine of what the model's last layer holds of them. "
        "Alike for the model, not necessarily for a doctor."
    )
    for column, (i, likeness) in zip(st.columns(SHOWN), found, strict=False):
        with column:
            _neighbour(measured, space.measured[i], space.probabilities[i], likeness)


def _neighbour(here: MeasuredCase, there: MeasuredCase, probability: float, likeness: float) -> None:
    case = there.case
    view = next(iter(there.features), next(iter(case.images)))
    image, found = case.images[view], there.segmentations[view]
    outcome = {True: "LLNM", False: "no LLNM"}.get(case.labels.get("llnm"), "outcome unknown")  # type: ignore[call-overload]
    st.markdown(f"**{case.case_id}** · {outcome}")
    figure(
        picture(image.pixels, spacing_mm=image.pixel_spacing_mm, nodule=found.nodule, gland=found.gland, height=240),
        f"Predicted {percent(probability, 1)}; likeness {likeness:.2f}. {view.capitalize()} view.", key=f"similar-{case.case_id}",
    )  # fmt: skip
    st.page_link("screens/case.py", label="Open this case", query_params={"case": case.case_id}, icon=":material/open_in_new:")
    if here.case.provenance == "synthetic":
        pair = {"a": here.case.case_id, "b": case.case_id}
        st.page_link("screens/compare.py", label="Compare side by side", query_params=pair, icon=":material/compare_arrows:")
    table = difference_table(here, there, ("this case", "that case"))
    with st.expander(f"{len(table)} fields differ"):
        st.dataframe(table, hide_index=True)


def difference_table(here: MeasuredCase, there: MeasuredCase, names: tuple[str, str]) -> pd.DataFrame:
    """Fields that differ notably, in words: field, and a column a case under its name."""

    def told(field: Field, value: Value | None) -> str:
        return "not given" if value is None else words(field, value)

    found = [(FIELD[d.name], d) for d in differences(here, there)]
    rows = [(field.label, told(field, d.here), told(field, d.there)) for field, d in found]
    return pd.DataFrame(rows, columns=["field", *names])
