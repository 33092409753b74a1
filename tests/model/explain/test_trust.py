"""Checks of the checks: methods whose verdict is known beforehand, and a file that only speaks of its own model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from typer.testing import CliRunner

from model.cli import app
from model.explain import sanity
from model.explain import trust as trust_module
from model.explain.evidence import Subject
from model.explain.sanity import METHODS, Explained, Method, area, cascade, curves, gap, inside, pixel_game, similarity
from model.explain.trust import CHECKS, NAME, estimate, measure_trust, read_trust, verdicts, write_trust
from model.schema import MAPS
from model.train.checkpoint import load_checkpoint
from model.train.folders import SHIPPED

CHECK = {check.key: check for check in CHECKS}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """The model replaced by a linear function of the middle of the internal map."""
    weights = torch.zeros(3, 64, 64)
    weights[MAPS.index("internal"), 24:40, 24:40] = -0.02
    monkeypatch.setattr(Subject, "logits", lambda _, maps: (maps * weights).sum((1, 2, 3, 4)))
    return weights


def edges(_, case) -> Explained:  # type: ignore[no-untyped-def]
    """An edge detector: it looks at the picture and never at the model."""
    maps = np.stack([f.maps for f in case.features.values()]).astype(float)
    return Explained(np.abs(np.gradient(maps, axis=-1)) + np.abs(np.gradient(maps, axis=-2)))


def test_an_edge_detector_fails_the_randomisation_test_and_gradients_pass(predictor, measured) -> None:
    case = measured[0]
    shown = sanity.shown(Subject.of(predictor, case))
    *_, last = cascade(predictor, 1)
    likeness = {}
    for name, explain in {"edges": edges, "gradients": METHODS[0].explain}.items():
        likeness[name] = similarity(explain(predictor, case).values[shown], explain(last, case).values[shown])
    assert likeness["edges"] == 1
    assert likeness["gradients"] < CHECK["randomisation"].threshold


def test_shuffling_leaves_the_shared_model_as_it_was_and_changes_every_stage(predictor) -> None:
    before = {name: value.clone() for name, value in predictor.net.state_dict().items()}
    stages = [other.net.state_dict() for other in cascade(predictor, 3)]
    assert all(torch.equal(value, before[name]) for name, value in predictor.net.state_dict().items())
    assert len(stages) == len(sanity.STAGES)
    for earlier, later in zip([before, *stages], stages, strict=False):
        assert any(not torch.equal(earlier[name], later[name]) for name in before)
    again = [other.net.state_dict() for other in cascade(predictor, 3)]
    assert all(torch.equal(stages[-1][name], again[-1][name]) for name in before)


def test_the_terms_of_a_linear_model_pass_deletion_and_insertion_and_have_no_gap(planted, predictor, measured) -> None:
    subject = Subject.of(predictor, measured[0])
    game = pixel_game(subject)
    perfect = (planted * (subject.maps - subject.baseline)).double().numpy()
    rng = np.random.default_rng(0)
    orders = [np.argsort(-game.gather(perfect), kind="stable"), *(rng.permutation(game.players) for _ in range(20))]
    areas = area(curves(game, orders))
    assert areas[0, 0] < areas[1:, 0].min()
    assert areas[0, 1] > areas[1:, 1].max()
    found = METHODS[0].explain(predictor, measured[0])
    assert gap(found) < 1e-3
    assert gap(replace(found, residual=0.5 * found.change)) == pytest.approx(0.5)


def test_every_curve_runs_between_the_whole_case_and_nothing(predictor, measured) -> None:
    subject = Subject.of(predictor, measured[0])
    game = pixel_game(subject)
    whole, nothing = (1 / (1 + np.exp(-end)) for end in subject.ends())
    taken, put = curves(game, [np.arange(game.players)])[0]
    assert taken[[0, -1]] == pytest.approx([whole, nothing], abs=1e-4)
    assert put[[0, -1]] == pytest.approx([nothing, whole], abs=1e-4)


@pytest.mark.usefixtures("planted")
def test_random_values_fail_deletion_and_the_place_of_the_nodule(predictor, measured) -> None:
    rng = np.random.default_rng(0)
    gained, placed = [], []
    for case in measured:
        subject = Subject.of(predictor, case)
        game = pixel_game(subject)
        noise = rng.random(tuple(subject.maps.shape))
        orders = [np.argsort(-game.gather(noise - 0.5)), *(rng.permutation(game.players) for _ in range(5))]
        areas = area(curves(game, orders))[:, 0]
        gained.append(areas[0] - areas[1:].mean())
        true = {view: found.nodule for view, found in case.segmentations.items()}
        placed.append(inside(noise, case, subject, true))
    assert not CHECK["deletion"].passed(estimate(np.array(gained), np.mean, 0))
    assert not CHECK["inside"].passed(estimate(np.array(placed), np.mean, 0))


def test_relevance_in_the_nodule_s_middle_lies_in_the_nodule(predictor, measured) -> None:
    case = measured[0]
    subject = Subject.of(predictor, case)
    values = np.zeros(tuple(subject.maps.shape))
    values[:, MAPS.index("internal"), 28:36, 28:36] = 1
    true = {view: found.nodule for view, found in case.segmentations.items()}
    assert inside(values, case, subject, true) > 0
    assert np.isnan(inside(0 * values, case, subject, true))
    for share in ((1, 1, 1), (5, 1, 0)):  # spread evenly over each map, it lies in the nodule by area alone
        even = np.ones_like(values) * np.array(share)[:, None, None]
        assert inside(even, case, subject, true) == pytest.approx(0, abs=1e-6)


def test_stability_is_the_change_as_a_share_of_the_norm(predictor, measured) -> None:
    """An explanation that is the picture itself moves by the noise and no more; a constant one does not move."""
    case = measured[0]
    maps = np.stack([f.maps for f in case.features.values()]).astype(float)
    most = sanity.NOISE * np.sqrt((maps > 0).sum()) / np.linalg.norm(maps)
    picture = Method("p", "p", "pixels", lambda _, c: Explained(np.stack([f.maps for f in c.features.values()]).astype(float)))
    assert 0.3 * most < sanity.stability(picture, predictor, case, picture.explain(predictor, case).values, 1) <= most
    constant = Method("c", "c", "pixels", lambda *_: Explained(np.ones((1, 3, 64, 64))))
    assert sanity.stability(constant, predictor, case, np.ones((1, 3, 64, 64)), 1) == 0


def test_similarity_of_constants() -> None:
    x = np.arange(5.0)
    assert similarity(x, -x) == pytest.approx(-1)
    assert similarity(x, 0 * x) == 0
    assert similarity(0 * x, 0 * x) == 1


def test_ranks_of_the_maps_are_spearman_s_with_ties_and_zero_where_nothing_varies() -> None:
    rows = np.random.default_rng(0).integers(0, 5, (12, 6)).astype(float)
    expected = [spearmanr(rows[:, m], rows[:, m + 3]).statistic for m in range(3)]
    assert trust_module.map_ranks(rows) == pytest.approx(expected)
    rows[:, 0] = 1
    assert trust_module.map_ranks(rows)[0] == 0


@pytest.fixture(scope="module")
def checked(predictor, cohort_folder: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Two cases, two cheap methods: what `llnm trust` writes, and where it kept what was done."""
    from model.ingest.cases import read_cohort

    kept = tmp_path_factory.mktemp("trust") / "kept"
    methods = (Method("edges", "Edge detector", "pixels", edges), METHODS[1])
    cohort = read_cohort(cohort_folder, use_masks=True)  # an untrained segmentation outlines nothing
    return lambda: measure_trust(predictor, cohort, cases=2, partial=kept, methods=methods), kept


def test_figures_go_on_where_they_stopped_and_are_the_same_again(checked) -> None:
    run, kept = checked
    first = run()
    lines = kept.read_text("utf-8").split("\n")
    kept.write_text("\n".join(lines[:2]) + "\n" + lines[2][:40], "utf-8")  # cut off while the second case was written
    assert run() == first
    edge = first["methods"]["edges"]["checks"]
    assert not edge["randomisation"]["passed"]
    assert edge["randomisation"]["value"] == 1
    assert "gap" not in edge
    told = verdicts(first)["edges"]
    assert "hardly changes" in told.sentence
    assert "do not rely on it" in told.sentence
    assert told.passed + len(told.failed) == told.total == len(edge)


def test_a_file_of_another_model_or_format_is_not_read(checked, tmp_path: Path) -> None:
    trust = checked[0]()
    path = tmp_path / "trust.json"
    assert read_trust(path, "untrained@x") is None
    write_trust(trust, path)
    assert read_trust(path, trust["model"]) == json.loads(json.dumps(trust))
    assert read_trust(path, "llnm-compact@other") is None
    path.write_text(json.dumps({**trust, "format": 0}))
    assert read_trust(path, trust["model"]) is None
    path.write_text("{")
    assert read_trust(path, trust["model"]) is None


def test_the_command_checks_the_shipped_model_and_says_what_passes(
    cohort_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On outlines as the shipped network draws them; two quick methods."""
    monkeypatch.setattr(sanity, "METHODS", tuple(m for m in METHODS if m.key in ("cam", "weighted")))
    monkeypatch.setattr(sanity, "RANDOM_ORDERS", 1)
    monkeypatch.setattr(trust_module, "ROUNDS", 50)
    out = tmp_path / "new" / NAME
    words = ["trust", "--cohort", str(cohort_folder), "--cases", "2", "--out", str(out), "--device", "cpu"]
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    assert [p.name for p in out.parent.iterdir()] == [NAME]  # nothing unfinished is left
    trust = read_trust(out, load_checkpoint(SHIPPED).identity)
    assert trust is not None
    assert (trust["cases"], trust["left_out"]) == (2, 0)
    told = verdicts(trust)
    assert list(told) == ["cam", "weighted"]
    for found in told.values():
        assert f"{found.label}: {found.sentence}" in ran.output
    assert {"randomisation", "deletion", "insertion", "stability", "inside", "rank"} == set(trust["methods"]["cam"]["checks"])


def test_the_command_says_what_is_wrong_with_a_cohort_without_truth(cohort_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(cohort_folder, tmp_path / "c", ignore=shutil.ignore_patterns("truth.csv"))
    ran = CliRunner().invoke(app, ["trust", "--cohort", str(copy), "--out", str(tmp_path / NAME)])
    assert ran.exit_code == 1
    assert "no truth.csv" in ran.output
    assert not (tmp_path / NAME).exists()


def test_the_shipped_figures_are_of_the_shipped_model_every_method_and_the_samples() -> None:
    trust = read_trust(SHIPPED / NAME, load_checkpoint(SHIPPED).identity)
    assert trust is not None, "the weights changed: run `llnm trust`"
    assert list(trust["methods"]) == [m.key for m in METHODS]
    assert [rule["rule"] for rule in trust["checks"]] == [c.rule for c in CHECKS], "the rules changed: run `llnm trust`"
    assert trust["cases"] == 40
    # Deciding again from the stored intervals gives the stored verdicts.
    for method in trust["methods"].values():
        for key, found in method["checks"].items():
            rule = CHECK[key]
            assert found["low"] <= found["value"] <= found["high"]
            assert found["passed"] == (found["low"] > rule.threshold if rule.above else found["high"] < rule.threshold)
