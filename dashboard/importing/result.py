"""What an import did: rows, quality, and what to do next."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.case import outline
from dashboard.case.upload import CASE_ID
from dashboard.figures.import_quality import centre_table, filled_table, missing_map
from dashboard.parts import figure, problem
from model.errors import ProblemError
from model.importing.quality import Quality, quality_from
from model.importing.run import QUALITY_NAME, Imported
from model.ingest.cases import read_cohort
from model.schema import DEFAULT

_MOST = 500


def rows(done: Imported) -> None:
    """What would be, or was, taken, changed and dropped."""
    found = done.survey
    first, *others = st.columns(4)
    first.metric("Rows taken", f"{done.taken:,} of {found.rows:,}")
    for column, (name, value) in zip(
        others,
        (("Dropped", done.dropped), ("Patients", found.patients), ("Positive outcomes", found.positives)),
        strict=True,
    ):
        column.metric(
            name, f"{value:,}" if name != "Positive outcomes" else f"{value:,} of {found.positives + found.negatives:,}"
        )
    for notice in found.notices:
        st.info(notice, icon=":material/info:")
    if done.told:
        table = pd.DataFrame(done.told)[["effect", "column", "what", "rows", "first_row"]]
        table.columns = ["Effect", "Column", "What", "Rows", "First row"]
        st.dataframe(table, hide_index=True)
        st.caption("Rows count as in a spreadsheet: the header is row 1. No cell is repeated here.")
    if done.rows_file is not None and done.rows_file.is_file():
        st.download_button(
            "Every row",
            done.rows_file.read_bytes(),
            "rows.csv",
            "text/csv",
            icon=":material/download:",
            key="import-rows",
            type="tertiary",
        )
    if done.near:
        st.warning(f"{len(done.near)} pairs of rows have near-identical pictures.", icon=":material/content_copy:")
        st.text("\n".join(f"rows {p['rows'][0]} and {p['rows'][1]}" for p in done.near[:20]))


def quality_section(out: Path) -> None:
    """The data-quality section of a cohort that was imported."""
    try:
        quality = quality_from(json.loads((out / QUALITY_NAME).read_text("utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        st.caption("Data quality: this cohort has no readable quality.json.")
        return
    st.subheader("Data quality")
    for notice in quality.notices:
        st.info(notice, icon=":material/info:")
    table = filled_table(quality)
    st.dataframe(table, hide_index=True, column_config={"Missing (%)": st.column_config.NumberColumn(format="%.1f")})
    figure(
        missing_map(quality),
        "Share of cases (%) in which a field is missing, by centre (cases in brackets).",
        key="import-missing",
        data=table,
        alt=f"Missing values of {len(quality.fields)} fields in {len(quality.centres)} centres.",
    )
    _centres(quality)


def _centres(quality: Quality) -> None:
    st.markdown(
        f"**Centres**, with the share that is positive for {quality.endpoint.lower()} and its 95 % interval (Wilson)"
    )
    numbers = {c: st.column_config.NumberColumn(format="%.1f") for c in ("Share (%)", "95 % from", "95 % to")}
    st.dataframe(centre_table(quality), hide_index=True, column_config=numbers)
    if quality.differences:
        listed = pd.DataFrame([(d.centre, d.label, d.of, d.standardised) for d in quality.differences[:_MOST]])
        listed.columns = ["Centre", "Field", "In", "Standardised difference"]
        st.dataframe(
            listed,
            hide_index=True,
            column_config={"Standardised difference": st.column_config.NumberColumn(format="%.2f")},
        )
        st.caption(
            "Centre against all others; 0.5 is a medium, 0.8 a large difference (Cohen). Differences below 0.5 are not listed."
        )
    elif len(quality.centres) > 1:
        st.caption(
            "No centre differs from the others by a standardised difference of 0.5 or more, as far as 10 cases on each side allow."
        )


def next_steps(out: Path) -> None:
    """Commands that go on from here, and a case to look at."""
    st.subheader("What next")
    st.code(
        f'llnm predict "{out}" --out "{out}.parquet"   # scores, to open on the Cohort page\n'
        f'llnm train "{out}" --out "{out}-model"       # a model of your own',
        language="bash",
    )
    try:
        cohort = read_cohort(out)
    except ProblemError as error:
        problem(error)
        return
    with_pictures = cohort.table.loc[
        (cohort.table[["image_transverse", "image_longitudinal"]] != "").any(axis=1), "case_id"
    ]
    if with_pictures.empty:
        st.caption("The model that ships reads pictures, and this cohort has none: train a model of your own on it.")
        return
    chosen = st.selectbox("A case to open", list(with_pictures[:_MOST]), key="import-open")
    if st.button("Open it on the Case page", icon=":material/open_in_new:", key="import-open-go"):
        try:
            case = cohort.case(str(chosen))
        except ProblemError as error:
            problem(error)
            return
        built_in = {name: value for name, value in case.fields.items() if name in DEFAULT.by_name}
        # As a case of one's own: read by the schema of the model that ships, which knows nothing of the cohort's own fields.
        shown = replace(case, case_id=CASE_ID, fields=built_in, labels={}, schema=DEFAULT)
        st.session_state["own-made"] = (shown, (f"Case {chosen} of the cohort {out.name}.",))
        outline.forget(CASE_ID)
        st.switch_page("screens/case.py", query_params={"source": "own"})
