"""Quality, statistics and readers of a cohort: the figures hold what was computed, and the page says what it cannot."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dashboard.figures import quality as draw
from dashboard.figures import readers as draw_readers
from model.cohort.benefit import net_benefit
from model.cohort.discrimination import Estimate, operating_point, precision_curve, roc_curve
from model.cohort.readers import ReaderPoint, read_readers
from model.cohort.scores import ScoredCases
from model.cohort.subgroups import Subgroup, by_group, gaps, heterogeneity
from model.cohort.table_one import escaped
from tests.dashboard.test_pages import opened, words


@pytest.fixture(scope="module")
def scores() -> ScoredCases:
    rng = np.random.default_rng(4)
    risk = rng.beta(0.8, 0.8, 300)
    return ScoredCases(risk, (rng.random(300) < risk).astype(np.int64))


def traces(figure):  # type: ignore[no-untyped-def]
    return {t.name: t for t in figure.data if t.name}


def test_marks_lie_at_the_operating_point(scores) -> None:  # type: ignore[no-untyped-def]
    point = operating_point(scores, 0.3)
    mark = traces(draw.roc(roc_curve(scores), point))["cut-off 30%"]
    assert mark.x[0] == pytest.approx(1 - point.specificity.value)
    # The interval of the false positive rate is that of the specificity, turned round.
    assert mark.x[0] + mark.error_x.array[0] == pytest.approx(1 - point.specificity.low)
    assert mark.x[0] - mark.error_x.arrayminus[0] == pytest.approx(1 - point.specificity.high)
    mark = traces(draw.precision_recall(precision_curve(scores), point, 0.5))["cut-off 30%"]
    assert (mark.x[0], mark.y[0]) == (point.sensitivity.value, point.positive_predictive_value.value)


def test_rates_are_named_in_words_and_f1_is_no_share_of_cases(scores) -> None:  # type: ignore[no-untyped-def]
    table = draw.rates_table(operating_point(scores)).set_index("Figure")
    assert table.loc["F1 score", "Cases"] == "–"
    assert table.loc["Accuracy", "Cases"].endswith(" of 300")
    assert "Positive predictive value" in table.index
    assert draw.rates_table(operating_point(ScoredCases(np.array([0.9]), np.array([1])))).iloc[2, 1] == "too few"


def test_interval_over_zero_is_told_with_to() -> None:
    assert draw.told(Estimate(0.1, -0.05, 0.25)) == "0.100 (−0.050 to 0.250)"


def test_forest_keeps_the_row_of_a_group_that_is_too_small(scores) -> None:  # type: ignore[no-untyped-def]
    names = pd.Series(["a"] * 150 + ["b"] * 147 + ["c"] * 3, dtype="category")
    found = by_group(scores, names)
    figure = draw.forest(found, heterogeneity(found))
    assert list(figure.data[0].x) == [g.auroc.value for g in found[:2] if g.auroc]
    assert any(t.text and t.text[0] == "too few" for t in figure.data)
    assert len(figure.layout.yaxis.categoryarray) == 4
    draw.forest((Subgroup("alone", 3, 1, None),), None)  # no interval at all: still drawn
    apart = gaps(scores, names, reference="a")
    assert set(draw.gaps_table(apart)["group"]) == {"b"}
    assert draw.gap_dots(apart).layout.yaxis.categoryarray == ("c", "b")


def test_decision_curve_and_impact_hold_the_benefit(scores) -> None:  # type: ignore[no-untyped-def]
    benefit = net_benefit(scores, np.arange(10, 51) / 100)
    drawn = traces(draw.decision_curve(benefit))
    assert np.allclose(drawn["treat by the model"].y, benefit.model)
    assert np.all(np.asarray(drawn["treat none"].y) == 0)
    impact = traces(draw.clinical_impact(benefit))
    assert np.all(np.asarray(impact["of them with LLNM"].y) <= np.asarray(impact["called positive"].y))
    assert max(impact["called positive"].y) <= 1000


def test_confusion_says_counts_and_shares_of_the_row() -> None:
    said = [a.text for a in draw.confusion(np.array([[3, 1], [0, 0]]), ["x", "y"]).layout.annotations]
    assert said == ["<b>3</b><br>75%", "<b>1</b><br>25%", "<b>0</b><br>0%", "<b>0</b><br>0%"]


def test_readers_lie_in_the_plane_with_their_group_s_mean() -> None:
    points = [
        ReaderPoint("a", "senior", 0.8, 0.6),
        ReaderPoint("b", "senior", 0.6, 0.8),
        ReaderPoint("c", "", 0.5, 0.5),
    ]
    drawn = traces(draw_readers.plane(points))
    assert drawn["mean of senior"].x[0] == pytest.approx(0.3)
    assert drawn["mean of senior"].y[0] == pytest.approx(0.7)
    assert drawn["readers (1)"].x[0] == 0.5
    assert len(draw_readers.plane_table(points)) == 3


def test_raincloud_divides_the_cases_by_outcome() -> None:
    table = pd.DataFrame({"label": [0, 1, 1], "model": [0.1, 0.7, 0.8], "doctor_mean": [0.4, 0.6, 0.5]})
    cases = read_readers(table)
    drawn = traces(draw_readers.raincloud(cases))  # type: ignore[arg-type]
    assert list(drawn["model, with outcome"].x) == [0.7, 0.8]
    assert list(drawn["doctors, without outcome"].x) == [0.4]
    assert draw_readers.cases_table(cases).shape == (3, 4)  # type: ignore[arg-type]


def test_latex_signs_are_escaped() -> None:
    assert escaped(r"5 % & \x{_} ≥ −2") == r"5 \% \& \textbackslash{}x\{\_\} $\geq$ $-$2"


def test_quality_and_statistics_open_from_the_address() -> None:
    app = opened("cohort", quality="1", statistics="1", cutoff="30", thresholds="5-60", by="sex")
    assert not app.exception
    said = words(app)
    assert "Calibration slope" in said
    assert "Cochran's Q" in said
    assert "AUROC by sex" in said
    assert "At the cut-off 30 %" in said
    assert "of the three stages" in said
    assert "Odds ratios of LLNM" in said
    assert "Ablation of the shipped model" in said
    app.slider(key="quality-cutoff").set_value(70).run()
    app.slider(key="quality-thresholds").set_value((20, 20)).run()
    assert not app.exception
    assert app.query_params["cutoff"] in ("70", ["70"])
    assert app.query_params["thresholds"] in ("20-21", ["20-21"], "19-20", ["19-20"])


def test_nonsense_in_the_address_is_passed_over() -> None:
    app = opened("cohort", quality="1", cutoff="x", thresholds="90-3-1", by="<b>")
    assert not app.exception
    assert app.slider(key="quality-cutoff").value == 50
    assert app.slider(key="quality-thresholds").value == (1, 99)


def test_few_cases_are_said_in_words() -> None:
    app = opened("cohort", quality="1", statistics="1", histology="MTC", side="isthmus")
    assert not app.exception


def own(table: pd.DataFrame):  # type: ignore[no-untyped-def]
    app = opened("cohort", cohort="own", quality="1", statistics="1")
    app.file_uploader(key="cohort-file").upload("t.csv", table.to_csv(index=False).encode(), "text/csv").run()
    return app


def test_probability_and_label_alone_give_what_they_can(scores) -> None:  # type: ignore[no-untyped-def]
    app = own(pd.DataFrame({"probability": scores.probability, "label": scores.label}))
    assert not app.exception
    said = words(app)
    assert "ROC curve with a pointwise 95 %" in said
    assert "Stages: the table has no columns" in said
    assert "Subgroups by centre: the table has no such column" in said
    assert "none of the fields known before surgery" in said


@pytest.mark.parametrize("cases", [1, 12])
def test_one_outcome_is_told(cases: int) -> None:
    app = own(pd.DataFrame({"probability": np.linspace(0.1, 0.9, cases), "label": 1, "sex": "female"}))
    assert not app.exception
    said = words(app)
    assert f"only one outcome is there (n = {cases})" in said
    assert "cannot be estimated" in said


def test_reader_table_is_compared_and_a_faulty_one_is_told() -> None:
    app = opened("cohort", readers="1")
    good = "label,model,dr a,dr b\n" + "".join(
        f"{i % 2},{0.2 + 0.5 * (i % 2)},{(i // 2) % 2},{i % 2}\n" for i in range(20)
    )
    app.file_uploader(key="readers-file").upload("r.csv", good.encode(), "text/csv").run()
    assert not app.exception
    assert "exact McNemar" in words(app)
    assert "of 2 readers lie below" in words(app)
    app = opened("cohort", readers="1")
    app.file_uploader(key="readers-file").upload("r.csv", b"label,a\n1,7\n0,0\n", "text/csv").run()
    assert not app.exception
    assert "outside 0 to 1 in 1 row (1)" in words(app)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (b"label,model,doctor_mean\n1,0.7,0.6\n1,0.8,0.5\n", "both outcomes are needed"),
        (b"label,doctor_mean\n1,0.6\n0,0.5\n", "no column model"),
        (b"reader,sensitivity,specificity\na,0.7,0.6\n", "Curve of the model"),
    ],
)
def test_what_a_reader_table_lacks_is_told(table: bytes, told: str) -> None:
    app = opened("cohort", readers="1")
    app.file_uploader(key="readers-file").upload("r.csv", table, "text/csv").run()
    assert not app.exception
    assert told in words(app)
