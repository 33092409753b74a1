"""The Import page: an export becomes a cohort that holds nothing identifying."""

from __future__ import annotations

import streamlit as st

from dashboard.importing import columns, given, result, running
from dashboard.parts import problem
from model.errors import ProblemError


def main() -> None:
    """Upload, map, try, import, look."""
    st.title("Import a cohort")
    st.caption(
        "Your table and files stay in the memory of this session. What is written holds nothing that leads to a person: pixels "
        "without text or tags, pseudonyms, reports and fields that were searched for names, dates and numbers. For more than a "
        "few thousand files use `llnm import MANIFEST --out COHORT` with the mapping from this page."
    )
    try:
        export = given.upload()
    except ProblemError as error:
        problem(error)
        st.stop()
    if export is None:
        st.stop()
    st.markdown(f"**{export.rows:,} rows, {len(export.manifest.header)} columns, {len(export.files.files):,} files**")
    agreed = columns.edited(export)
    found = running.section(export, agreed)
    if found is None:
        st.stop()
    out, done = found
    st.subheader("Dry run: what an import would do" if done.dry else "Imported")
    if done.unchanged:
        st.success(
            f"This cohort was there already, with {done.taken:,} cases; nothing was done.", icon=":material/check:"
        )
    else:
        result.rows(done)
    running.questions(export, agreed, done.survey.questions)
    if not done.dry:
        result.quality_section(out)
        result.next_steps(out)


main()
