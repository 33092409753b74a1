"""What drives a model over a cohort, from stored Shapley values: shares, swarm, dependence, sub-phenotypes, mistakes.

All of it describes the model. Whether what it leans on also causes the outcome, no attribution can tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import fisher_exact

from model.cohort.discrimination import Estimate, Rate, newcombe, wilson
from model.cohort.scores import FloatArray, IntArray
from model.errors import StatisticsError
from model.schema import FIELD

ROUNDS = 1000
"""Bootstrap resamples."""
RESAMPLED = 5000
"""Cases up to which they are redrawn one by one; beyond, the means are as good as normal."""
FEWEST = 50
"""Cases below which no sub-phenotypes are looked for."""
FITTED, JUDGED = 5_000, 1_500
"""Cases that clusters are fitted on, and that the silhouette is measured on, at most."""
MOST_CLUSTERS = 6
FEW_IN_BIN, BINS = 10, 10
"""Cases below which a bin is not shown, and bins of a number."""
FEW_IN_LEVEL = 20
"""Cases below which a level is not asked whether it is got wrong more often."""
MOST_LEVELS = 12

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Share:
    """A group's share of what moves the predictions: its mean |contribution| ÷ the sum over groups, and the mean itself."""

    group: str
    share: Estimate
    mean: float


def shares(values: FloatArray, groups: Sequence[str], *, seed: int = 0) -> tuple[Share, ...]:
    """Shares of the groups with 95 % percentile bootstrap intervals over cases, largest first.

    Parameters
    ----------
    values : (n, G) contributions, in logits.
    groups : G names.

    Raises
    ------
    StatisticsError
        If there is no case, or nothing is attributed to any group.
    """
    sizes = np.abs(values)
    n = len(sizes)
    if not n or not sizes.any():
        raise StatisticsError("nothing is attributed", where="group shares", fix="Widen the filters.")
    mean, rng = sizes.mean(0), np.random.default_rng(seed)
    if n <= RESAMPLED:
        drawn = np.concatenate([rng.multinomial(n, np.full(n, 1 / n), 100) @ sizes / n for _ in range(ROUNDS // 100)])
    else:
        drawn = np.abs(rng.multivariate_normal(mean, np.cov(sizes.T, ddof=1) / n, ROUNDS))
    low, high = np.percentile(drawn / drawn.sum(1, keepdims=True), [2.5, 97.5], axis=0)
    share = mean / mean.sum()
    order = np.argsort(-share, kind="stable")
    return tuple(Share(groups[g], Estimate(*map(float, (share[g], low[g], high[g]))), float(mean[g])) for g in order)


@dataclass(frozen=True)
class Swarm:
    """One group of a beeswarm.

    Parameters
    ----------
    rows : (p,) which cases are drawn.
    values : (p,) their contributions.
    offset : (p,) from −1 to 1, across: the wider, the more of all cases have such a contribution.
    counts, edges : (b,), (b + 1,) all cases by contribution.
    """

    rows: IntArray
    values: FloatArray
    offset: FloatArray
    counts: IntArray
    edges: FloatArray


def swarms(values: FloatArray, *, most: int = 400, bins: int = 60) -> tuple[Swarm, ...]:
    """A beeswarm of each group whose size does not grow with the cohort.

    All cases are counted by contribution, on one scale for all groups; at most `most` of them, the same for every group and
    every time, are drawn, spread within the width that the counts give.

    Parameters
    ----------
    values : (n, G) contributions.
    """
    n = len(values)
    rows = np.sort(np.random.default_rng(0).permutation(n)[:most])
    low, high = (float(values.min()), float(values.max())) if n else (0.0, 0.0)
    edges = np.linspace(low, high if high > low else low + 1, bins + 1)
    result = []
    for column in values.T:
        counts = np.histogram(column, edges)[0]
        width = np.sqrt(counts / max(int(counts.max(initial=1)), 1))
        x = column[rows]
        middle = (edges[1:] + edges[:-1]) / 2
        # Neighbours in value get far places, as in a sequence of low discrepancy.
        place = np.empty(len(x))
        place[np.argsort(x, kind="stable")] = (np.arange(len(x)) * 0.618034 + 0.5) % 1
        result.append(Swarm(rows, x, (2 * place - 1) * np.interp(x, middle, width), counts, edges))
    return tuple(result)


def levels(column: pd.Series, *, parts: int = 3) -> pd.Series:
    """A column as few levels in their order: a number cut into `parts` of about equally many cases, "yes" and "no", or the
    values of a category (the `MOST_LEVELS` most frequent). What is missing stays missing.

    Parameters
    ----------
    column : named as in the schema, where it is one of its fields.
    """
    if is_number(column):
        known = column[column.notna()].to_numpy(float)
        edges = np.unique(np.quantile(known, np.linspace(0, 1, parts + 1))) if len(known) else np.zeros(0)
        if len(edges) < 3:  # few different values
            edges = np.unique(known)
            return pd.Series(pd.Categorical(column.map(nice), [nice(v) for v in edges]), column.index)
        names = [f"{nice(low)} to {nice(high)}" for low, high in pairwise(edges)]
        told = names if len(set(names)) == len(names) else None
        return pd.Series(pd.cut(column, list(map(float, edges)), labels=told, include_lowest=True), column.index)
    words = column.astype(object)
    if pd.api.types.infer_dtype(words, skipna=True) == "boolean":
        return pd.Series(pd.Categorical(words.map({True: "yes", False: "no"}), ["no", "yes"]), column.index)
    kept = words.value_counts().index[:MOST_LEVELS]
    known_order = FIELD[str(column.name)].values if column.name in FIELD else ()
    order = [v for v in known_order if v in kept] or sorted(kept, key=str)
    return pd.Series(pd.Categorical(words, order), column.index)


def is_number(column: pd.Series) -> bool:
    """Whether a column holds numbers, not words or yes and no."""
    return bool(pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column))


@dataclass(frozen=True)
class Bin:
    """Contributions of the cases in one bin of a field and one level of the colour: median and quartiles."""

    colour: str
    name: str
    x: float
    cases: int
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Dependence:
    """Contribution of a group over a field.

    Parameters
    ----------
    bins : of every colour, in the order of the field.
    rows : cases that are drawn beside, at most so many as asked for.
    colours : level of each of these, "" where it is missing; all "" without a colour.
    order : levels of the colour.
    numeric : whether the field is a number.
    without : cases whose field, or colour, is missing.
    """

    bins: tuple[Bin, ...]
    rows: IntArray
    colours: tuple[str, ...]
    order: tuple[str, ...]
    numeric: bool
    without: int


def dependence(values: FloatArray, field: pd.Series, colour: pd.Series | None = None, *, most: int = 500) -> Dependence:
    """How a group's contribution goes with a field, apart for each level of a colour.

    Parameters
    ----------
    values : (n,) contributions of the group.
    field, colour : of the same cases.
    most : cases drawn beside the bins; bins are of all.

    Raises
    ------
    StatisticsError
        If no bin has `FEW_IN_BIN` cases.
    """
    numeric = is_number(field)
    x = field.to_numpy(float) if numeric else np.full(len(field), np.nan)
    level = pd.Series(pd.Categorical(["all"] * len(field))) if colour is None else levels(colour)
    level = level.reset_index(drop=True)
    place = _bins(field, len(level.cat.categories))
    known = place.notna().to_numpy() & level.notna().to_numpy()
    table = pd.DataFrame({"place": place, "level": level.to_numpy(object), "value": values, "x": x})[known]
    found = []
    steps = [str(c) for c in place.cat.categories]
    for name in level.cat.categories:
        for at, here in table[table["level"] == name].groupby("place", observed=True):
            if len(here) >= FEW_IN_BIN:
                low, middle, high = np.percentile(here["value"], [25, 50, 75])
                centre = float(here["x"].median()) if numeric else float(steps.index(str(at)))
                found.append(Bin(str(name), str(at), centre, len(here), float(middle), float(low), float(high)))
    if not found:
        raise StatisticsError(
            f"fewer than {FEW_IN_BIN} cases in every bin", where="dependence", fix="Widen the filters."
        )
    there = np.flatnonzero(known)
    rows = np.sort(there[np.random.default_rng(0).permutation(len(there))[:most]])
    told = tuple("" if colour is None else str(level.iloc[i]) for i in rows)
    order = () if colour is None else tuple(map(str, level.cat.categories))
    return Dependence(tuple(found), rows, told, order, numeric, int((~known).sum()))


def interaction_strength(values: FloatArray, field: pd.Series, colour: pd.Series) -> float:
    """Share (0…1) of what a field leaves open of a group's contribution that a colour tells, adjusted for its levels.

    Within bins of the field: 1 − mean square about the means of bin and level ÷ mean square about the means of the bin.
    """
    place = _bins(field)
    table = pd.DataFrame(
        {"place": place.to_numpy(object), "level": levels(colour).to_numpy(object), "value": values}
    ).dropna()
    if len(table) < FEW_IN_LEVEL:
        return 0.0
    about = table["value"] - table.groupby("place")["value"].transform("mean")
    within = table["value"] - table.groupby(["place", "level"])["value"].transform("mean")
    left, cells = len(table) - table["place"].nunique(), len(table) - table.groupby(["place", "level"]).ngroups
    if cells <= 0 or not (about**2).sum() > 1e-12:
        return 0.0
    return max(0.0, 1 - float((within**2).sum() / cells) / float((about**2).sum() / left))


def _bins(field: pd.Series, colours: int = 1) -> pd.Series:
    """Bins of about equally many cases of a number, twice as many as are needed for each colour; values of a category."""
    parts = min(max(len(field) // (2 * FEW_IN_BIN * max(colours, 1)), 1), BINS)
    return levels(field, parts=parts).reset_index(drop=True)


@dataclass(frozen=True)
class Cluster:
    """Cases whose predictions are driven alike.

    Parameters
    ----------
    cases : how many.
    observed : share of them with the outcome, Wilson.
    predicted : mean predicted probability.
    drivers : the groups whose mean contribution differs most from that of all cases: (group, difference in logits).
    mean : (G,) mean contributions.
    """

    cases: int
    observed: Rate
    predicted: float
    drivers: tuple[tuple[str, float], ...]
    mean: FloatArray


@dataclass(frozen=True)
class Clusters:
    """Sub-phenotypes by explanation.

    Parameters
    ----------
    labels : (n,) which cluster each case is in, from the highest mean prediction to the lowest.
    clusters : in that order.
    silhouette : mean silhouette (−1…1) of each number of clusters that was tried.
    """

    labels: IntArray
    clusters: tuple[Cluster, ...]
    silhouette: Mapping[int, float]

    @property
    def clear(self) -> bool:
        """Whether the clusters stand apart: a mean silhouette of at least 0.25 (Kaufman and Rousseeuw 1990)."""
        return self.silhouette[len(self.clusters)] >= 0.25


def clusters(
    values: FloatArray,
    probability: FloatArray,
    label: IntArray,
    groups: Sequence[str],
    *,
    count: int | None = None,
    seed: int = 0,
) -> Clusters:
    """k-means on the contributions, which share a unit and are not scaled.

    Parameters
    ----------
    values : (n, G) contributions.
    count : number of clusters; where None, that from 2 to 6 with the largest mean silhouette (Rousseeuw 1987).

    Raises
    ------
    StatisticsError
        If there are fewer than `FEWEST` cases, or no two differ.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    n = len(values)
    if n < FEWEST or len(np.unique(values[:1000].round(6), axis=0)) <= MOST_CLUSTERS:
        raise StatisticsError(
            f"too few different cases (n = {n:,})", where="sub-phenotypes", fix=f"Give at least {FEWEST}."
        )
    order = np.random.default_rng(seed).permutation(n)
    fitted, judged = values[order[:FITTED]], order[:JUDGED]
    models = {k: KMeans(k, n_init=4, random_state=seed).fit(fitted) for k in range(2, MOST_CLUSTERS + 1)}
    apart = {k: float(silhouette_score(values[judged], m.predict(values[judged]))) for k, m in models.items()}
    k = count or max(apart, key=lambda found: apart[found])
    raw = models[k].predict(values)
    rank = np.argsort(np.argsort([-probability[raw == c].mean() for c in range(k)]))
    labels = rank[raw].astype(np.int64)
    overall = values.mean(0)
    described = []
    for c in range(k):
        here = labels == c
        mean = values[here].mean(0)
        away = mean - overall
        top = np.argsort(-np.abs(away), kind="stable")[:3]
        described.append(
            Cluster(
                int(here.sum()), wilson(int(label[here].sum()), int(here.sum())), float(probability[here].mean()),
                tuple((groups[g], float(away[g])) for g in top), mean,
            )
        )  # fmt: skip
    return Clusters(labels, tuple(described), apart)


def log_loss(probability: FloatArray, label: IntArray) -> FloatArray:
    """−log of the probability given to what happened, (n,); finite for probabilities of 0 and 1."""
    p = np.clip(np.where(label == 1, probability, 1 - probability), 1e-15, 1)
    return np.asarray(-np.log(p))


@dataclass(frozen=True)
class ErrorLevel:
    """A level of a field, and whether its cases are got wrong more often than the rest.

    Parameters
    ----------
    field, level : which cases.
    here, rest : share got wrong among them, and among the other cases whose level is known; Wilson.
    difference : of the two, Newcombe's 95 % interval.
    p, adjusted : two-sided p of Fisher's exact test; Holm's for all levels asked.
    """

    field: str
    level: str
    here: Rate
    rest: Rate
    difference: Estimate
    p: float
    adjusted: float


def error_levels(wrong: BoolArray, columns: Mapping[str, pd.Series]) -> tuple[ErrorLevel, ...]:
    """Every level of the columns with `FEW_IN_LEVEL` cases in it and outside, the largest excess of mistakes first.

    Parameters
    ----------
    wrong : (n,) whether the case was got wrong.
    columns : name → (n,) values; numbers are cut into thirds.
    """
    found: list[tuple[str, str, Rate, Rate, float]] = []
    for name, column in columns.items():
        level = levels(column)
        codes = level.cat.codes.to_numpy()
        known = codes >= 0
        cases = np.bincount(codes[known], minlength=len(level.cat.categories))
        errors = np.bincount(codes[known], wrong[known], minlength=len(level.cat.categories)).astype(int)
        for i, told in enumerate(level.cat.categories):
            a, n = int(errors[i]), int(cases[i])
            b, m = int(errors.sum()) - a, int(cases.sum()) - n
            if min(n, m) >= FEW_IN_LEVEL:
                p = float(fisher_exact([[a, n - a], [b, m - b]])[1])
                found.append((name, str(told), wilson(a, n), wilson(b, m), p))
    adjusted = _holm([f[-1] for f in found])
    rows = [
        ErrorLevel(name, level, here, rest, newcombe(here, rest), p, q)
        for (name, level, here, rest, p), q in zip(found, adjusted, strict=True)
    ]
    return tuple(sorted(rows, key=lambda r: (-r.difference.value, r.field, r.level)))


def _holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests

    return [float(q) for q in multipletests(p, method="holm")[1]] if len(p) else []


def worst(probability: FloatArray, label: IntArray, count: int = 10) -> IntArray:
    """Rows of the cases with the largest log loss, the worst first."""
    loss = log_loss(probability, label)
    return np.lexsort((np.arange(len(loss)), -loss))[:count]


def nice(value: float) -> str:
    """A number with three digits, or a dash."""
    return f"{value:.3g}" if math.isfinite(value) else "–"
