"""Navigation, theme and the mark that is always seen; nothing else."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from dashboard.parts import banner
from dashboard.resources import settle, training_data

HERE = Path(__file__).resolve().parent
# The folder must not be called "pages": Streamlit opens what lies there by itself, past this file and its mark.

# The icon is a file of ours: browsers fetch a named one from Google.
st.set_page_config(page_title="LLNM Explorer", page_icon=str(HERE / "icon.svg"), layout="wide")
page = st.navigation(
    [
        st.Page(HERE / "screens" / "case.py", title="Case", icon=":material/person_search:", default=True),
        st.Page(HERE / "screens" / "compare.py", title="Compare", icon=":material/compare_arrows:"),
        st.Page(HERE / "screens" / "cohort.py", title="Cohort", icon=":material/groups:"),
        st.Page(HERE / "screens" / "import_cohort.py", title="Import", icon=":material/upload_file:"),
        st.Page(HERE / "screens" / "training.py", title="Training", icon=":material/model_training:"),
        st.Page(HERE / "screens" / "about.py", title="Model", icon=":material/info:"),
    ],
    position="top",
)
banner(training_data())
page.run()
settle(page.title)
