"""The dry run and the import as buttons, with progress that can be cancelled."""

from __future__ import annotations

import json
from pathlib import Path

import streamlit as st

from dashboard.importing.given import Given, cohort_path
from dashboard.parts import literal, problem
from model.errors import CaseError, ProblemError
from model.importing.keys import key_beside
from model.importing.mapping import Agreed, to_dict
from model.importing.run import Imported, import_cohort
from model.importing.survey import OpenQuestionsError, Question


def section(given: Given, agreed: Agreed) -> tuple[Path, Imported] | None:
    """Name, buttons, and the last result that is still of this mapping."""
    st.subheader("Try it, then import")
    text = json.dumps(to_dict(agreed), ensure_ascii=False, indent=1)
    name = st.text_input("Name of the cohort", "my-cohort", key="import-name", max_chars=60)
    with st.container(horizontal=True):
        dry = st.button("Dry run", icon=":material/rule:", key="import-dry")
        real = st.button("Import", type="primary", icon=":material/download_done:", key="import-run")
        st.download_button(
            "Mapping", text, "mapping.json", "application/json", icon=":material/download:", key="import-mapping-save"
        )
    state = f"{text}|{name}|{sorted((n, len(b)) for n, b in given.files.files.items())}"
    try:
        out = cohort_path(name)
    except ProblemError as error:
        problem(error)
        return None
    st.caption(
        f"Written to {literal(str(out))}; the key of its pseudonyms beside it ({literal(key_beside(out).name)}), "
        "which you keep for yourself."
    )
    if dry or real:
        st.session_state.pop("import-done", None)
        st.session_state.pop("import-asked", None)
        try:
            done = _run(given, agreed, out, dry=dry)
        except OpenQuestionsError as error:
            st.session_state["import-asked"] = (state, error.questions)
        except ProblemError as error:
            problem(error)
            return None
        else:
            st.session_state["import-done"] = (state, out, done)
    asked = st.session_state.get("import-asked")
    if asked is not None and asked[0] == state:
        questions(given, agreed, asked[1])
        return None
    kept = st.session_state.get("import-done")
    if kept is None or kept[0] != state:
        return None
    return kept[1], kept[2]


def _run(given: Given, agreed: Agreed, out: Path, *, dry: bool) -> Imported:
    if agreed.endpoint and not agreed.endpoint["label"]:
        fix = "Name it above, or turn the switch off."
        raise CaseError("it is another than lateral node metastasis, but has no name", where="outcome", fix=fix)
    place = st.empty()
    with place.container():
        bar = st.progress(0.0, "Reading the table …")
        # A click interrupts this run at its next step; what is done stays, and the next import goes on with it.
        st.button("Cancel", icon=":material/stop_circle:", key="import-cancel")

    def progress(what: str, done: int, total: int) -> None:
        bar.progress(min(1.0, done / max(total, 1)), f"{what.capitalize()}: {done:,} of {total:,}")

    try:
        return import_cohort(
            given.manifest, agreed, given.files, out, key_file=key_beside(out), dry=dry, workers=1, progress=progress
        )
    finally:
        place.empty()


def questions(given: Given, agreed: Agreed, asked: tuple[Question, ...]) -> None:
    """What must be answered before the import."""
    if not asked:
        return
    many = "1 question" if len(asked) == 1 else f"{len(asked)} questions"
    st.warning(f"{many} must be answered before the import.", icon=":material/help:")
    # One button for all that is asked of a column: the answer is one.
    for column in dict.fromkeys(question.column for question in asked):
        told = [question for question in asked if question.column == column]
        for question in told:
            st.text(f"{column}: {question.what}. {_on_page(question.answer)}")
        if any("confirmed" in question.answer for question in told) and st.button(
            f"{literal(column)} is right as it is", key=f"import-confirm-{column}"
        ):
            st.session_state[f"import-confirmed-{given.key}"] = agreed.confirmed | {column}
            st.rerun()


def _on_page(answer: str) -> str:
    """An answer in the words of the page, which has buttons and lists where a mapping file has names."""
    return answer.replace("name it under “confirmed”", "press the button below").replace(
        "Give it “dates”: “dmy” or “mdy”.", "Choose the order of day and month beside it."
    )
