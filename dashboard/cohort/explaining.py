"""Explanations for a small cohort whose table has none: computed beside the page, with progress, and cancelled at will."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pandas as pd
import streamlit as st

from dashboard import resources
from dashboard.parts import problem
from model.cohort.explained import SHAP, Explanations
from model.cohort.store import CohortStore
from model.errors import CaseError, ProblemError

MOST = 200
"""Cases that are explained from a page, at most."""
COMMAND = "llnm score COHORT --out scored.parquet --explain shap"


@dataclass
class _Run:
    """A run in a thread of its own: what is done, and whether it shall stop."""

    ids: tuple[str, ...]
    rows: dict[str, dict[str, float]] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)
    failed: ProblemError | None = None
    thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether its thread still works."""
        return self.thread is not None and self.thread.is_alive()


def offered(store: CohortStore) -> tuple[pd.DataFrame, Explanations] | None:
    """Say that there are no explanations and how to get them; those that were computed here, by case, once they are whole."""
    run = _runs().get(store.key)
    if run is not None and len(run.rows) == len(run.ids):
        return _whole(run)
    st.info(
        "This table has no explanations, so what drives the model cannot be shown. Compute them once, with the scores:"
    )
    st.code(COMMAND, language="bash")
    ids = _with_pictures(store)
    if ids:
        _computing(store.key, ids)
    else:
        st.caption(
            f"They cannot be computed here: that takes the pictures of every case, and at most {MOST} cases. The command is "
            "resumable and uses all cores, or a Ray cluster with --engine ray."
        )
    return None


@st.fragment(run_every=1.0)
def _computing(key: str, ids: tuple[str, ...]) -> None:
    """A button to begin, a bar and a button to stop."""
    run = _runs().get(key)
    if run is not None and len(run.rows) == len(run.ids):
        st.rerun()
    if run is not None and run.failed is not None:
        problem(run.failed)
    if run is None or not run.running:
        done = f" ({len(run.rows)} of {len(ids)} are done)" if run is not None and run.rows else ""
        st.button(
            f"Explain these {len(ids)} cases now{done}",
            icon=":material/play_arrow:",
            key="explain-now",
            on_click=_begin,
            args=(key, ids),
        )
        return
    st.progress(len(run.rows) / len(ids), f"{len(run.rows)} of {len(ids)} cases explained")
    st.button(
        "Stop",
        icon=":material/stop:",
        key="explain-stop",
        on_click=run.stopped.set,
        help="After this case; what is done is kept.",
    )


def _runs() -> dict[str, _Run]:
    """Runs of this session, by cohort."""
    found: dict[str, _Run] = st.session_state.setdefault("explaining", {})
    return found


def _begin(key: str, ids: tuple[str, ...]) -> None:
    run = _runs().get(key) or _Run(ids)
    run.stopped.clear()
    run.failed = None
    predictor, cohort = resources.predictor(), resources.sample_cohort()

    def work() -> None:
        from model.scale.shard import attributed

        try:
            for case_id in ids:
                if run.stopped.is_set():
                    return
                if case_id not in run.rows:
                    measured = predictor.measure([cohort.case(case_id)])[0]
                    run.rows[case_id] = attributed(predictor, measured)
        except ProblemError as error:
            run.failed = error
        except Exception as error:  # a thread has no page to tell it on
            run.failed = CaseError(f"{type(error).__name__}: {error}", where=case_id, fix="Use the command instead.")

    run.thread = threading.Thread(target=work, daemon=True)
    _runs()[key] = run
    run.thread.start()


def _with_pictures(store: CohortStore) -> tuple[str, ...]:
    """All cases of a small cohort, if the pictures of all are there."""
    if "case_id" not in store.columns or store.cases > MOST:
        return ()
    ids = tuple(map(str, store.rows(columns=("case_id",))["case_id"]))
    return ids if set(ids) <= set(resources.sample_cohort().case_ids) else ()


def _whole(run: _Run) -> tuple[pd.DataFrame, Explanations]:
    from model.scale.score import described_explanation

    table = pd.DataFrame.from_dict(run.rows, orient="index")
    predictor = resources.predictor()
    groups = predictor.schema.groups
    told = described_explanation(groups, exact=False)
    columns = tuple(SHAP + g.name for g in groups)
    return table, Explanations(
        model=predictor.checkpoint.identity, method=told["method"], baseline=told["baseline"], columns=columns,
        labels=tuple(g.label for g in groups), fields={SHAP + g.name: g.fields for g in groups},
    )  # fmt: skip
