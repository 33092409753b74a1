"""The synthetic cohort: published marginals and constraints, known truth, pictures that are speckle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from model.errors import CaseError
from model.schema import FIELD, VIEWS, parse
from model.simulate import risk
from model.simulate.centres import CENTRES
from model.simulate.cohort import Simulation, draw, picture, read_truth, simulate

CASES = 3000


@pytest.fixture(scope="module")
def drawn() -> Simulation:
    return draw(CASES, 11)


def _mean_by(drawn: Simulation, column: str) -> pd.Series:
    return drawn.truth["probability"].groupby(drawn.truth[column]).mean()


def test_marginals_follow_the_published_baseline(drawn: Simulation) -> None:
    truth, cases = drawn.truth, drawn.cases
    assert truth["age_years"].median() == pytest.approx(43, abs=1.5)
    assert truth["age_years"].quantile([0.25, 0.75]).tolist() == pytest.approx([35, 52], abs=2)
    assert (truth["sex"] == "female").mean() == pytest.approx(0.72, abs=0.025)
    assert truth["size_mm"].median() == pytest.approx(6.3, abs=0.5)
    assert (truth["size_mm"] < 10).mean() == pytest.approx(0.74, abs=0.04)
    assert truth["histology"].value_counts(normalize=True)["PTC"] == pytest.approx(0.91, abs=0.02)
    assert truth["llnm"].mean() == pytest.approx(0.52, abs=0.035)
    assert cases["tirads"].dropna().replace({"5": "5–6", "6": "5–6"}).value_counts(normalize=True).to_dict() == (
        pytest.approx({"4A": 0.12, "4B": 0.48, "4C": 0.28, "5–6": 0.12, "3": 0.01}, abs=0.06)
    )
    nodes = pd.cut(truth["positive_nodes"], [-1, 0, 5, 10, 200]).value_counts(normalize=True, sort=False)
    assert nodes.tolist() == pytest.approx([0.48, 0.44, 0.06, 0.03], abs=0.04)


def test_bayes_optimal_auroc_is_as_designed() -> None:
    for seed, part in ((1, "all"), (2, "external"), (3, "training")):
        truth = draw(CASES, seed, part).truth
        assert roc_auc_score(truth["llnm"], truth["probability"]) == pytest.approx(0.965, abs=0.01)


def test_risk_falls_with_capsule_distance_and_exceeds_72_percent_below_a_quarter_centimetre(drawn: Simulation) -> None:
    distance, p = drawn.truth["capsule_distance_mm"], drawn.truth["probability"]
    assert p[distance < 2.5].mean() > 0.72
    by_bin = p.groupby(pd.cut(distance, [-0.01, 1, 2, 3, 4, 5, 10]), observed=True).mean()
    assert (by_bin.diff().dropna() < 0).all()
    # The equation itself is monotone too.
    grid = drawn.truth.iloc[np.zeros(50, int)].assign(capsule_distance_mm=np.linspace(0, 10, 50))
    assert (np.diff(risk.probability(grid)) < 0).all()


def test_lobe_position_order(drawn: Simulation) -> None:
    truth = drawn.truth
    by_place = truth["probability"].groupby(truth["third"].where(truth["side"] != "isthmus", "isthmus")).mean()
    assert by_place["middle"] > by_place["upper"] > by_place["lower"] > by_place["isthmus"]


@pytest.mark.parametrize(
    ("column", "higher", "lower"),
    [
        ("sex", "male", "female"),
        ("margin", "irregular", "smooth"),
        ("calcification", "micro", "none"),
        ("taller_than_wide", True, False),
        ("histology", "MTC", "PTC"),
        ("suspicious_node", True, False),
    ],
)
def test_published_risk_factors_point_the_right_way(
    drawn: Simulation, column: str, higher: object, lower: object
) -> None:
    risks = _mean_by(drawn, column)
    assert risks[higher] > risks[lower]


def test_younger_and_larger_are_at_higher_risk(drawn: Simulation) -> None:
    truth = drawn.truth
    assert truth["probability"].corr(truth["age_years"]) < -0.05
    assert truth["probability"].corr(np.log(truth["size_mm"])) > 0.1


def test_contributions_add_up_to_the_true_logit(drawn: Simulation) -> None:
    truth = drawn.truth
    total = truth.filter(like="contribution_").sum(axis=1) + risk.INTERCEPT
    assert 1 / (1 + np.exp(-total.to_numpy())) == pytest.approx(truth["probability"].to_numpy(), abs=1e-9)


def test_stages_follow_their_definition(drawn: Simulation) -> None:
    truth = drawn.truth
    ill = truth[truth["llnm"]]
    stage, largest = ill["stage"].astype(int).to_numpy(), ill["largest_node_mm"].to_numpy()
    few = ill["positive_nodes"].to_numpy() <= 5
    clear = (np.abs(largest - 30) > 0.1) & (np.abs(largest - 2) > 0.1)  # the table rounds to 0.1 mm
    expected = np.where(largest > 30, 3, np.where(few & (largest < 2), 1, 2))
    assert (stage == expected)[clear].all()
    assert truth.loc[~truth["llnm"], "stage"].isna().all()
    assert set(ill["stage"].unique()) == {1, 2, 3}


def test_causes_are_where_they_are_said_to_be(drawn: Simulation) -> None:
    cases = drawn.cases
    assert "capsule_distance_mm" not in cases.columns  # image only
    text = cases["report_text"].str.lower()
    said = text.str.contains(
        "(?<!no )suspicious lymph node|without fatty hilum|hilum lost|node with microcalcification"
    )
    agreement = (said == drawn.truth["suspicious_node"]).mean()
    assert 0.94 < agreement < 0.995  # in the text, with a few errors and omissions
    assert not text.str.contains("braf").any()


def test_exported_values_are_allowed_by_the_schema(drawn: Simulation) -> None:
    for name in drawn.cases.columns.intersection(list(FIELD)):
        for value in drawn.cases[name].head(200).dropna():
            parse(FIELD[name], value)


def test_centres_differ_in_prevalence_and_wording() -> None:
    drawn = draw(CASES, 5, "external")
    assert set(drawn.truth["centre"]) == {c.name for c in CENTRES if not c.training}
    prevalence = _mean_by(drawn, "centre")
    assert prevalence.max() - prevalence.min() > 0.05
    structured = drawn.cases["report_text"].str.startswith("Site:").groupby(drawn.cases["centre"]).mean()
    assert structured.max() > 0.9
    assert structured.min() == 0


def test_picture_shows_what_the_truth_says() -> None:
    drawn = draw(40, 21)
    for i in range(12):
        for view in VIEWS:
            p = picture(drawn, i, view, 21)
            assert p.pixels.shape == p.gland.shape == p.nodule.shape
            assert p.nodule.any()
            assert p.gland.sum() > p.nodule.sum()
            assert 20 < p.pixels.mean() < 160
            if drawn.truth["echogenicity"][i] == "marked hypoechoic" and drawn.truth["composition"][i] == "solid":
                assert p.pixels[p.nodule].mean() < p.pixels[p.gland & ~p.nodule].mean()


def test_speckle_is_correlated_as_a_point_spread_function_makes_it() -> None:
    drawn = draw(4, 3)
    p = picture(drawn, 0, "longitudinal", 3)
    rows, columns = np.nonzero(p.gland & ~p.nodule)
    patch = p.pixels[rows.min() + 25 : rows.min() + 55, columns.min() + 60 : columns.min() + 140].astype(float)
    patch -= patch.mean()

    def correlation(dr: int, dc: int) -> float:
        a, b = patch[: patch.shape[0] - dr, : patch.shape[1] - dc], patch[dr:, dc:]
        return float((a * b).mean() / (a.std() * b.std()))

    assert correlation(0, 1) > 0.5  # neighbours share a resolution cell
    assert correlation(0, 1) > correlation(1, 0)  # wider across the beam than along it
    assert abs(correlation(0, 25)) < 0.3  # and far ones do not


def _digest(folder: Path) -> str:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return hashlib.sha256(
        b"".join(p.relative_to(folder).as_posix().encode() + p.read_bytes() for p in files)
    ).hexdigest()


def test_same_call_gives_the_same_files_and_resumes(tmp_path: Path) -> None:
    whole = simulate(6, 4, tmp_path / "whole", workers=1)
    # A run that was stopped: card and some pictures, no table.
    stopped = simulate(6, 4, tmp_path / "stopped", workers=1)
    (stopped / "cases.csv").unlink()
    for file in stopped.glob("images/*0003*"):
        file.unlink()
    again = simulate(6, 4, tmp_path / "stopped", workers=2)
    assert _digest(whole) == _digest(again)
    assert len(read_truth(whole)) == 6
    assert json.loads((whole / "cohort.json").read_text())["provenance"] == "synthetic"


def test_a_folder_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CaseError, match="not empty"):
        simulate(3, 1, tmp_path)
    simulate(2, 1, tmp_path / "a", workers=1)
    with pytest.raises(CaseError, match="another cohort"):
        simulate(3, 1, tmp_path / "a", workers=1)
    with pytest.raises(CaseError, match="0 cases"):
        simulate(0, 1, tmp_path / "b")
