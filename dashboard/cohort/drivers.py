"""What drives it on the Cohort page: shares, beeswarm, dependence, sub-phenotypes, and what the model gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import resources, state
from dashboard.cohort import explaining
from dashboard.cohort.part import Part, panel
from dashboard.figures import drivers as draw
from dashboard.figures.drivers import field_label
from dashboard.figures.style import percent
from dashboard.parts import Method, asked, case_link, figure, literal, missing
from model.cohort.drivers import (
    FEW_IN_LEVEL,
    FEWEST,
    Clusters,
    Dependence,
    ErrorLevel,
    Share,
    Swarm,
    clusters,
    dependence,
    error_levels,
    interaction_strength,
    log_loss,
    shares,
    swarms,
    worst,
)
from model.cohort.explained import BASE, SHAP, Explanations, explanations
from model.cohort.fields import SCORES
from model.cohort.scores import FloatArray
from model.errors import StatisticsError
from model.schema import DEFAULT, FIELD

WORST = 10
UNREAD = ("interval_low", "interval_high", "nodule_iou", "gland_iou")
ENOUGH = 200
"""Cases below which no colour is proposed: what it tells may be chance."""
COLOUR_CASES = 5_000
"""Cases on which colours are tried, at most."""
NOT_A_FIELD = frozenset(
    {"case_id", "report_text", "probability", BASE, *(f.name for f in SCORES), *(f.name for f in DEFAULT.labels)}
)
DESCRIBED = ("capsule_distance_mm", "size_mm", "age_years", "sex", "histology", "calcification", "margin")
"""Fields that describe a sub-phenotype or a case that was got wrong."""
PAPER = {
    "location": (("location",), 48.8), "morphology": (("internal", "margin", "echogenicity", "shape"), 29.9),
    "report": (("report",), 19.7), "demographics": (("sex", "age"), 1.6),
}  # fmt: skip
"""Groups of Fig. 6a of Shen et al. 2025, what they hold here, and the published share in %."""
HONEST = (
    "Shapley values tell what the **model** leans on, not what causes metastasis; where fields go together, the model may lean on "
    "either. Trained on synthetic data: nothing here speaks of patients."
)


@dataclass(frozen=True)
class _Explained:
    """Explained cases that pass the filters.

    Parameters
    ----------
    part : of the page.
    key : what results are kept by.
    frame, matrix : the cases, and their (n, G) contributions.
    told : how they were explained.
    stored : whether the contributions are in the table, so that code can read them.
    """

    part: Part
    key: str
    frame: pd.DataFrame
    matrix: FloatArray
    told: Explanations
    stored: bool

    def method(self, text: str, code: str) -> Method | None:
        """What stands under a figure; None where its contributions were computed on the page."""
        if not self.stored:
            return None
        told = self.told
        words = (
            f"Each prediction was attributed to {len(told.columns)} feature groups ({told.method}; "
            f"baseline: {told.baseline}; "
            f"model {told.model}); {len(self.frame):,} cases have an attribution. {text} "
            "Attributions describe the model, not causes."
        )
        return self.part.method(words, _HEAD + code)


_HEAD = """
from model.cohort.explained import explanations
told = explanations(cohort.columns, cohort.described)
cases = cohort.rows(filters)
cases = cases[cases[list(told.columns)].notna().all(axis=1)].reset_index(drop=True)
values = cases[list(told.columns)].to_numpy(float)
"""


def section(part: Part) -> None:
    """What drives the predictions of the cases that pass the filters; shown when asked for."""
    st.subheader("What drives it")
    if asked("Show what drives the model", "drivers"):
        _opened(part)


def _opened(part: Part) -> None:
    store = part.store
    frame = part.rows(*(c for c in store.columns if c not in UNREAD and not c.startswith(SHAP)))
    told = explanations(store.columns, store.described)
    if told is not None:
        _shown(part, part.identity, frame, part.rows(*told.columns), told, stored=True)
        return
    computed = explaining.offered(store)
    if computed is None:
        _mistakes(part, part.identity, frame, None, None)
    else:
        found, told = computed
        values = found.loc[frame["case_id"]].reset_index(drop=True)
        _shown(part, f"{part.identity} computed", frame, values, told, stored=False)


def _shown(part: Part, key: str, frame: pd.DataFrame, values: pd.DataFrame, told: Explanations, *, stored: bool) -> None:
    known = values[list(told.columns)].notna().all(axis=1).to_numpy()
    frame, matrix = frame[known].reset_index(drop=True), values.loc[known, list(told.columns)].to_numpy(float)
    without = int((~known).sum())
    gaps = f" {without:,} cases without an explanation are left out." if without else ""
    st.caption(
        f"{HONEST}\n\n{len(frame):,} explained cases; {literal(told.method)}; baseline: {literal(told.baseline)}; "
        f"model {literal(told.model)}.{gaps}"
    )
    if not len(frame) or not np.abs(matrix).any():
        missing("What drives it", "none of these cases has an explanation.")
        return
    cases = _Explained(part, key, frame, matrix, told, stored)
    _overview(cases)
    _dependence(cases)
    _mistakes(part, key, frame, _sub_phenotypes(cases), cases)


def _overview(cases: _Explained) -> None:
    """Shares of the groups and the beeswarm."""
    frame, matrix, told = cases.frame, cases.matrix, cases.told
    found, swarmed = _shares(cases.key, matrix, told.labels), _swarms(cases.key, matrix)
    order = [told.labels.index(s.group) for s in found]
    drawn = swarmed[0].rows
    left, right = st.columns([2, 3])
    with left:
        figure(
            draw.share_bars(found),
            f"Share of each group in what moves the predictions: mean |contribution| ÷ the sum over groups, with 95 % bootstrap "
            f"intervals over {len(frame):,} cases.{_beside_the_paper(found, told) if cases.part.is_llnm else ''}",
            key="driver-shares", data=draw.share_table(found),
            method=cases.method(
                "A group's share is the mean of its absolute contributions divided by the sum over groups, with percentile "
                "bootstrap intervals over cases (1,000 resamples).",
                """
from model.cohort.drivers import shares
from dashboard.figures.drivers import share_bars, share_table
found = shares(values, told.labels)
table, figure = share_table(found), share_bars(found)
""",
            ),
        )  # fmt: skip
    with right:
        part = f"{len(drawn):,} cases drawn at random of {len(frame):,}, the same in every row"
        figure(
            draw.beeswarm(swarmed, told.labels, order, *draw.swarm_values(frame, told, drawn), outcome=cases.part.outcome),
            f"{part if len(drawn) < len(frame) else 'Every case'}; a row is as wide as all cases there are dense. Right "
            "of 0 raises the predicted risk. Colour: the group's first field, from its lowest value to its highest (or first "
            "to last in its list); grey: not known, or no field.",
            key="driver-swarm", data=draw.swarm_table(swarmed, told.labels),
            method=cases.method(
                "All cases were counted by contribution in 60 bins; at most 400 of them, drawn at random, are shown.",
                """
from model.cohort.drivers import shares, swarms
from dashboard.figures.drivers import beeswarm, swarm_table, swarm_values
found = swarms(values)
order = [told.labels.index(share.group) for share in shares(values, told.labels)]
table = swarm_table(found, told.labels)
figure = beeswarm(found, told.labels, order, *swarm_values(cases, told, found[0].rows), outcome=cohort.outcome)
""",
            ),
        )  # fmt: skip


def _beside_the_paper(found: Sequence[Share], told: Explanations) -> str:
    """The shares added up as in Fig. 6a of the paper, where the groups are the paper's."""
    of = {column.removeprefix(SHAP): label for column, label in zip(told.columns, told.labels, strict=True)}
    by_label = {s.group: s.share.value for s in found}
    if not all(name in of for names, _ in PAPER.values() for name in names):
        return ""
    sums = {group: sum(by_label[of[name]] for name in names) for group, (names, _) in PAPER.items()}
    listed = ", ".join(f"{group} {percent(sums[group])} ({published:.1f} %)" for group, (_, published) in PAPER.items())
    return (
        f" As the paper groups them (in brackets its shares, of real patients: Fig. 6a): {listed}; the rest, "
        f"{percent(1 - sum(sums.values()))}, is what the paper's model is not given."
    )


@panel
def _dependence(cases: _Explained) -> None:
    """A group's contribution over a field, apart by another."""
    frame, matrix, told = cases.frame, cases.matrix, cases.told
    st.markdown("##### How it depends on a field")
    usable = [
        c
        for c in frame.columns
        if c not in NOT_A_FIELD and not str(c).endswith("_normalised") and frame[c].nunique() > 1
    ]
    if not usable:
        missing("Dependence", "the table has no field that varies.")
        return
    with st.container(horizontal=True):
        start = state.chosen("driver", told.labels) or told.labels[0]
        group = st.selectbox(
            "Contribution of", told.labels, index=told.labels.index(start), key="driver-group", width=300
        )
        column = told.columns[told.labels.index(group)]
        own = [f for f in told.fields.get(column, ()) if f in usable]
        over = [*own, *(f for f in usable if f not in own)]
        first = state.chosen("over", over) or over[0]
        name = st.selectbox(
            "Over", over, index=over.index(first), key=f"driver-over-{group}", format_func=field_label, width=300
        )
        values = matrix[:, told.labels.index(group)]
        strength = _strengths(cases.key, column, name, values, frame, tuple(f for f in usable if f != name))
        colours = ["none", *sorted(strength, key=lambda f: -strength[f])]
        now = state.chosen("tint", colours) or (
            colours[1] if len(colours) > 1 and strength[colours[1]] >= 0.02 and len(frame) >= ENOUGH else "none"
        )
        colour = st.selectbox(
            "Apart by", colours, index=colours.index(now), key=f"driver-tint-{group}-{name}", width=340,
            format_func=lambda f: "nothing" if f == "none" else f"{field_label(f)} (tells {100 * strength[f]:.0f} % of the rest)",
            help="What the field leaves open of the contribution, and another field tells within its bins: a sign of interaction.",
        )  # fmt: skip
    state.write(
        driver=group if group != told.labels[0] else None,
        over=name if name != over[0] else None,
        tint=colour if colour != now or state.read("tint") else None,
    )
    try:
        found = _depends(cases.key, column, name, colour, values, frame)
    except StatisticsError as error:
        missing("Dependence", f"{error.what}. {error.fix}")
        return
    few = (
        f"; points: {len(found.rows):,} of these cases, drawn at random"
        if len(found.rows) < len(frame) - found.without
        else ""
    )
    apart = "" if colour == "none" else f", apart by {field_label(colour).lower()}"
    figure(
        draw.dependence_figure(found, values, frame[name], group, None if colour == "none" else field_label(colour)),
        f"Median and quartiles of the contribution of “{group}” by {field_label(name).lower()}{apart}, in bins of at least 10 of "
        f"{len(frame) - found.without:,} cases ({found.without:,} with a gap left out){few}. It describes the model.",
        key="driver-dependence", data=draw.dependence_table(found),
        method=cases.method(
            f"The contribution of “{group}” is given by {field_label(name).lower()}{apart}: median and quartiles in bins.",
            f"""
from model.cohort.drivers import dependence
from dashboard.figures.drivers import dependence_figure, dependence_table
of_group = values[:, {told.labels.index(group)}]
found = dependence(of_group, cases[{name!r}], {"None" if colour == "none" else f"cases[{colour!r}]"})
table = dependence_table(found)
figure = dependence_figure(found, of_group, cases[{name!r}], {group!r}, {None if colour == "none" else field_label(colour)!r})
""",
        ),
    )  # fmt: skip


def _sub_phenotypes(cases: _Explained) -> Clusters | None:
    """Clusters by explanation, each described; None where there are too few cases."""
    frame, matrix, told = cases.frame, cases.matrix, cases.told
    st.markdown("##### Sub-phenotypes: cases predicted for like reasons")
    if len(frame) < FEWEST:
        missing("Sub-phenotypes", f"too few cases (n = {len(frame):,}); at least {FEWEST} are needed.")
        return None
    options = ["best", "2", "3", "4", "5", "6"]
    now = state.chosen("clusters", options) or "best"
    picked = st.segmented_control(
        "Number of clusters", options, default=now, key="driver-clusters", required=True,
        format_func=lambda k: "by silhouette" if k == "best" else k,
    )  # fmt: skip
    state.write(clusters=None if picked == "best" else picked)
    try:
        found = _clusters(cases.key, matrix, frame, told.labels, None if picked == "best" else int(picked))
    except StatisticsError as error:
        missing("Sub-phenotypes", f"{error.what}. {error.fix}")
        return None
    order = [told.labels.index(s.group) for s in _shares(cases.key, matrix, told.labels)]
    tried = ", ".join(f"{k}: {v:.2f}" for k, v in found.silhouette.items())
    verdict = "" if found.clear else " Below 0.25: no clear structure, the clusters are slices of a continuum."
    described = [f for f in DESCRIBED if f in frame]
    table = draw.cluster_table(found, frame, described, outcome=cases.part.outcome)
    figure(
        draw.cluster_heat(found, told.labels, order),
        f"Mean contribution (logits) in {len(found.clusters)} clusters of {len(frame):,} cases by k-means on the contributions, "
        f"from the highest mean prediction to the lowest. Mean silhouette by number of clusters: {tried}.{verdict}",
        key="driver-cluster-heat", data=table,
        method=cases.method(
            f"Sub-phenotypes are {len(found.clusters)} clusters of the contributions by k-means"
            + (", their number chosen by the mean silhouette." if picked == "best" else "."),
            f"""
from model.cohort.drivers import clusters, shares
from dashboard.figures.drivers import cluster_heat, cluster_table
probability, label = cases["probability"].to_numpy(float), cases["llnm"].to_numpy("int64")
found = clusters(values, probability, label, told.labels, count={None if picked == "best" else int(picked)})
order = [told.labels.index(share.group) for share in shares(values, told.labels)]
table = cluster_table(found, cases, {described!r}, outcome=cohort.outcome)
figure = cluster_heat(found, told.labels, order)
""",
        ),
    )  # fmt: skip
    st.dataframe(table, hide_index=True)
    st.caption(
        "Observed: Wilson intervals. Fields: mean ± standard deviation, or the most frequent value with its share of the known "
        "ones."
    )
    return found


def _mistakes(part: Part, key: str, frame: pd.DataFrame, found: Clusters | None, cases: _Explained | None) -> None:
    """The worst cases, which open the Case page, and where mistakes gather."""
    st.markdown("##### What the model gets wrong")
    probability, label = frame["probability"].to_numpy(float), frame["llnm"].to_numpy(np.int64)
    cutoff = _cutoff()
    wrong = (probability >= cutoff) != (label == 1)
    if "case_id" in frame:
        _worst(frame, probability, label, part.outcome)
    columns = [
        c
        for c in ("centre", *(f.name for f in FIELD.values() if f.is_token), "tirads")
        if c in frame and frame[c].nunique() > 1
    ]
    levels_found = _errors(key, wrong, frame[columns], None if found is None else found.labels, cutoff)
    if not levels_found:
        missing("Where mistakes gather", f"no level has {FEW_IN_LEVEL} cases in it and as many outside.")
        return
    above = [e for e in levels_found if e.difference.value > 0][:8]
    sure = sum(e.adjusted < 0.05 for e in levels_found if e.difference.value > 0)
    figure(
        draw.error_bars(above),
        f"{int(wrong.sum()):,} of {len(wrong):,} cases are got wrong at a cut-off of {100 * cutoff:.0f} %. Drawn: of "
        f"{len(levels_found)} levels of {len(columns) + (found is not None)} fields with at least {FEW_IN_LEVEL} cases, those with "
        "the largest excess; 95 % Wilson intervals, which know nothing of how many levels were looked at. "
        f"After Holm's correction {sure or 'none'} of them "
        f"{'exceeds' if sure == 1 else 'exceed'} the rest at p < 0.05.",
        key="driver-errors", data=draw.error_table(levels_found),
        method=_method_of_mistakes(part, cases, found, cutoff, columns),
    )  # fmt: skip
    st.dataframe(draw.error_table(above), hide_index=True)


def _method_of_mistakes(
    part: Part, cases: _Explained | None, found: Clusters | None, cutoff: float, columns: list[str]
) -> Method | None:
    text = (
        f"Cases got wrong at a cut-off of {100 * cutoff:.0f} % were counted in every level of "
        f"{len(columns) + (found is not None)} fields (numbers in thirds) and compared with all other cases by Fisher's exact "
        "test, two-sided, with Holm's correction over all levels; intervals are Wilson's and Newcombe's."
    )
    code = f"""
from model.cohort.drivers import error_levels
from dashboard.figures.drivers import error_bars, error_table
probability, label = cases["probability"].to_numpy(float), cases["llnm"].to_numpy("int64")
columns = {{name: cases[name] for name in {columns!r}}}
"""
    if found is not None:
        code += f"""
import pandas as pd
from model.cohort.drivers import clusters
cluster = clusters(values, probability, label, told.labels, count={len(found.clusters)}).labels + 1
columns["sub-phenotype"] = pd.Series(cluster, name="sub-phenotype").astype(str)
"""
    code += f"""
found = error_levels((probability >= {cutoff}) != (label == 1), columns)
table = error_table(found)
figure = error_bars([level for level in found if level.difference.value > 0][:8])
"""
    if cases is not None:
        return cases.method(text, code)
    return part.method(text, f"cases = cohort.rows(filters)\n{code}")


def _worst(frame: pd.DataFrame, probability: FloatArray, label: np.ndarray, outcome: str) -> None:
    rows = worst(probability, label, WORST)
    there = set(resources.sample_cohort().case_ids)
    loss, described = log_loss(probability, label), [f for f in DESCRIBED if f in frame]
    openable = any(frame["case_id"].iloc[i] in there for i in rows)
    st.caption(
        f"The {len(rows)} worst cases by log loss, of {len(frame):,}."
        + ("" if openable else " None can be opened: their pictures are not here (those of the sample cases are).")
    )
    known = f"has {outcome}"
    told = []
    for i in rows:
        row = frame.iloc[i]
        told.append({
            "case": str(row["case_id"]), known: "yes" if label[i] else "no", "predicted": f"{100 * probability[i]:.1f} %",
            "log loss": round(float(loss[i]), 2), **{field_label(f): draw.value_words(f, row[f]) for f in described},
        })  # fmt: skip
    if not openable:
        st.dataframe(pd.DataFrame(told), hide_index=True)
        return
    for one in told:
        link, words = st.columns([1, 3], vertical_alignment="center", gap="small")
        with link:
            if one["case"] in there:
                case_link(one["case"])
            else:
                st.text(one["case"])
        with words:
            st.caption(
                literal(f"predicted {one['predicted']}, {known}: {one[known]}, log loss {one['log loss']:.2f}; ")
                + literal(
                    ", ".join(f"{k}: {v}" for k, v in one.items() if k not in ("case", known, "predicted", "log loss"))
                )
            )


def _cutoff() -> float:
    """The cut-off that was chosen under model quality."""
    raw = state.read("cutoff")
    return min(max(int(raw), 1), 99) / 100 if raw.isdigit() else 0.5


@st.cache_data(max_entries=32, show_spinner="Adding up contributions …")
def _shares(key: str, _matrix: FloatArray, labels: Sequence[str]) -> tuple[Share, ...]:
    return shares(_matrix, labels)


@st.cache_data(max_entries=16, show_spinner=False)
def _swarms(key: str, _matrix: FloatArray) -> tuple[Swarm, ...]:
    return swarms(_matrix)


@st.cache_data(max_entries=64, show_spinner="Looking for interactions …")
def _strengths(
    key: str, column: str, name: str, _values: FloatArray, _frame: pd.DataFrame, fields: tuple[str, ...]
) -> dict[str, float]:
    rows = np.random.default_rng(0).permutation(len(_frame))[:COLOUR_CASES]
    few = _frame.iloc[rows]
    return {f: interaction_strength(_values[rows], few[name], few[f]) for f in fields}


@st.cache_data(max_entries=64, show_spinner=False)
def _depends(
    key: str, column: str, name: str, colour: str, _values: FloatArray, _frame: pd.DataFrame
) -> Dependence:
    return dependence(_values, _frame[name], None if colour == "none" else _frame[colour])


@st.cache_data(max_entries=32, show_spinner="Looking for sub-phenotypes …")
def _clusters(
    key: str, _matrix: FloatArray, _frame: pd.DataFrame, labels: Sequence[str], count: int | None
) -> Clusters:
    return clusters(
        _matrix, _frame["probability"].to_numpy(float), _frame["llnm"].to_numpy(np.int64), labels, count=count
    )


@st.cache_data(max_entries=32, show_spinner="Asking where mistakes gather …")
def _errors(
    key: str, _wrong: np.ndarray, _frame: pd.DataFrame, labels: np.ndarray | None, cutoff: float
) -> tuple[ErrorLevel, ...]:
    columns = {str(name): _frame[name] for name in _frame}
    if labels is not None:
        columns["sub-phenotype"] = pd.Series(labels + 1, name="sub-phenotype").astype(str)
    return error_levels(_wrong, columns)
