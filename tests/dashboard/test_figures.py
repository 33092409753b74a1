"""Figures are data drawn: what they hold must be what they were given."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dashboard.figures.case_attention import LINE_CHARACTERS, region_table, shaded_tokens, token_bars, token_table
from dashboard.figures.case_image import outlines, picture, polygon_mask, window_of, with_regions
from dashboard.figures.case_prediction import basis, prediction_table, risk_bar, stage_bars, truth_bars, truth_table
from dashboard.figures.case_shapley import agreement_bars, agreement_table, shapley_table, waterfall
from dashboard.figures.case_uncertainty import novelty_strips
from dashboard.figures.lobe_map import lobe_map, position_table
from dashboard.figures.risk_curve import curve_table, distance_curve
from model.cohort.curves import risk_by_bins
from model.cohort.position import risk_by_position
from model.explain.shapley import group_shapley
from model.explain.truth import Agreement
from model.features.cpdt import capsule_distance
from model.predict import Interval
from model.uncertainty.novelty import NoveltyScore

ROWS, COLUMNS = 60, 80
INTERVAL = Interval(0.61, 0.74, 136, 200)


@pytest.fixture
def discs():  # type: ignore[no-untyped-def]
    y, x = np.mgrid[:ROWS, :COLUMNS]
    return np.hypot(x - 40, y - 30) <= 8, np.hypot(x - 40, y - 30) <= 25


def decoded(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))).convert("RGB"))


def test_picture_keeps_its_own_pixels_and_proportions(discs) -> None:
    nodule, gland = discs
    pixels = np.random.default_rng(0).random((ROWS, COLUMNS)).astype(np.float32)
    drawn = picture(pixels, spacing_mm=(0.2, 0.1), nodule=nodule, gland=gland, capsule=capsule_distance(gland, nodule, (0.2, 0.1)))
    shown = decoded(drawn.layout.images[0].source)
    assert shown.shape == (ROWS, COLUMNS, 3)
    assert np.abs(shown[..., 0] / 255 - pixels).max() <= 0.5 / 255 + 1e-6
    assert drawn.layout.yaxis.scaleratio == pytest.approx(2.0)
    assert {t.name for t in drawn.data} == {"Gland", "Nodule", "Capsule distance"}
    said = [a.text for a in drawn.layout.annotations]
    assert any(t.endswith(" mm") for t in said)


@pytest.mark.parametrize("direction", [0, 45, 90, 135, 180, 225, 270, 315])
@pytest.mark.parametrize("width", [350, 530])
def test_the_distance_s_label_leaves_the_nodule_in_sight(direction: float, width: int) -> None:
    y, x = np.mgrid[:256, :340]
    gland = np.hypot(x - 170, y - 128) <= 112  # reaches nearly to the picture's upper and lower edge
    at = 170 + 88 * np.cos(np.radians(direction)), 128 + 88 * np.sin(np.radians(direction))
    nodule = np.hypot(x - at[0], y - at[1]) <= 20
    drawn = picture(
        np.zeros(gland.shape, np.float32), spacing_mm=(0.1, 0.1), nodule=nodule, gland=gland,
        capsule=capsule_distance(gland, nodule, (0.1, 0.1)),
    )  # fmt: skip
    (label,) = [a for a in drawn.layout.annotations if a.text.startswith("0.")]
    scale = min(width / 340, drawn.layout.height / 256)
    column, row = label.x + label.ax / scale, label.y + label.ay / scale
    covered = (np.abs(x - column) < 26 / scale) & (np.abs(y - row) < 13 / scale)  # the box is 52 × 26 screen pixels
    assert not (covered & nodule).any()
    assert column - 26 / scale >= 0
    assert column + 26 / scale <= 340
    assert row - 13 / scale >= 0
    assert row + 13 / scale <= 256
    assert np.hypot(label.ax, label.ay) < 70


def test_distance_without_spacing_is_in_percent_never_in_mm(discs) -> None:
    nodule, gland = discs
    drawn = picture(np.zeros((ROWS, COLUMNS), np.float32), capsule=capsule_distance(gland, nodule, None))
    said = " ".join(a.text for a in drawn.layout.annotations)
    assert "% of gland depth" in said
    assert "mm" not in said


def test_heat_changes_pixels_only_where_it_is_given() -> None:
    pixels = np.full((ROWS, COLUMNS), 0.5, np.float32)
    heat = np.full((ROWS, COLUMNS), np.nan, np.float32)
    heat[10:20, 30:50] = np.linspace(0, 1, 20)
    shown = decoded(picture(pixels, heat=heat, heat_title="share").layout.images[0].source).astype(int)
    changed = np.abs(shown - 128).max(-1) > 3
    assert changed[10:20, 30:50].all()
    assert not changed[np.isnan(heat)].any()


def test_colour_bar_tells_the_heat_s_own_range() -> None:
    heat = np.full((ROWS, COLUMNS), np.nan, np.float32)
    heat[5:9, 5:9] = 0.25
    heat[6, 6] = 1.75
    bar = next(t for t in picture(np.zeros((ROWS, COLUMNS), np.float32), heat=heat).data if t.name == "heat")
    assert (bar.marker.cmin, bar.marker.cmax) == (0.25, 1.75)


def test_outline_and_polygon_are_each_other_s_inverse(discs) -> None:
    nodule, _ = discs
    line = outlines(nodule)[0]
    again = polygon_mask(line[:, 1], line[:, 0], nodule.shape)
    assert (again & nodule).sum() / (again | nodule).sum() > 0.93


def test_polygon_of_fewer_than_three_points_is_empty() -> None:
    assert not polygon_mask([1, 5], [1, 5], (10, 10)).any()


def test_window_shows_a_small_box_large_and_a_large_box_whole() -> None:
    assert window_of((20, 30, 40, 50), (100, 120)) == (15, 35, 35, 55)
    assert window_of((0, 90, 0, 110), (100, 120)) is None


def test_every_region_has_a_marker_that_names_it() -> None:
    drawn = with_regions(picture(np.zeros((ROWS, COLUMNS), np.float32)), (10, 50, 20, 60), 4, "margin", (1, 2))
    marks = next(t for t in drawn.data if t.name == "Regions")
    assert len(marks.x) == 16
    at = [tuple(c[1:3]) for c in marks.customdata].index((1, 2))
    assert (marks.x[at], marks.y[at]) == (45, 25)
    chosen = drawn.layout.shapes[-1]
    assert (chosen.x0, chosen.x1, chosen.y0, chosen.y1) == (40, 50, 20, 30)


def test_risk_bar_marks_probability_and_interval() -> None:
    drawn = risk_bar(0.68, INTERVAL)
    band = next(s for s in drawn.layout.shapes if s.type == "rect")
    line = next(s for s in drawn.layout.shapes if s.type == "line")
    assert (band.x0, band.x1, line.x0) == (0.61, 0.74, 0.68)
    assert "136 of the 200" in basis(INTERVAL)


def test_prediction_table_holds_the_whole_answer(predictor, measured) -> None:
    prediction = predictor.predict_measured(measured[:1])[0]
    row = prediction_table(prediction).iloc[0]
    assert row["probability"] == prediction.probability
    assert row[["stage_1", "stage_2", "stage_3"]].sum() == pytest.approx(1, abs=1e-5)


def test_stage_bars_show_the_three_probabilities() -> None:
    assert list(stage_bars((0.2, 0.5, 0.3)).data[0].x) == [0.2, 0.5, 0.3]


def test_truth_is_sorted_by_size_and_keeps_signs() -> None:
    row = pd.Series({"contribution_age": -2.0, "contribution_sex": 0.0, "contribution_braf": 1.0, "llnm": True})
    table = truth_table(row)
    assert table["cause"].tolist() == ["age", "BRAF V600E"]
    assert list(truth_bars(table).data[0].x) == [-2.0, 1.0]


@pytest.mark.parametrize("scale", ["probability", "logit"])
def test_waterfall_ends_at_the_prediction(predictor, measured, scale: str) -> None:
    result = group_shapley(predictor, measured[0])
    drawn = waterfall(result, scale=scale).data[0]
    end = 1 / (1 + np.exp(-result.logit)) if scale == "probability" else result.logit
    assert sum(drawn.x) == pytest.approx(end, abs=1e-4)
    assert list(drawn.measure) == ["absolute", *["relative"] * (len(drawn.x) - 2), "total"]
    table = shapley_table(result)
    given = table[table["given"]]["logit"].abs().tolist()
    assert given == sorted(given, reverse=True)


def test_token_bars_tell_twins_apart_and_keep_markup_as_text() -> None:
    table = token_table(["no", "<b>x</b>", "no", "Age"], 3, np.array([0.4, 0.3, 0.2, 0.1], np.float32))
    bars = token_bars(table).data[0]
    assert len(set(bars.y)) == 4
    assert not any("<b>" in name for name in bars.y)


def brightness(colour: str) -> float:
    """Relative luminance (WCAG 2) of a colour written rgb(r, g, b) or #rrggbb."""
    parts = colour[4:-1].split(",") if colour.startswith("rgb") else [str(int(colour[i : i + 2], 16)) for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (float(p) / 255 for p in parts)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_letters_are_readable_on_a_ground_of_any_darkness() -> None:
    tokens = [f"w{i:02d}" for i in range(60)]
    drawn = shaded_tokens(tokens, 60, np.linspace(0, 1, 60).astype(np.float32))
    grounds = {(s.x0 + 0.5, s.y0 + 0.44): brightness(s.fillcolor) for s in drawn.layout.shapes}
    seen = 0
    for trace in (t for t in drawn.data if t.mode == "text"):
        for place in zip(trace.x, trace.y, strict=True):
            ground = next((v for (x, y), v in grounds.items() if (x, y) == pytest.approx(place)), None)
            if ground is not None:
                low, high = sorted((ground, brightness(trace.textfont.color)))
                assert (high + 0.05) / (low + 0.05) >= 4
                seen += 1
    assert seen == len(grounds) == 58


def test_every_character_of_a_word_leads_to_it_in_reading_order_within_the_line() -> None:
    tokens = [*["hypoechoic", "nodule"] * 12, "Age"]
    drawn = shaded_tokens(tokens, 24, np.linspace(0, 1, 25).astype(np.float32), chosen=3)
    spots = next(t for t in drawn.data if t.name == "Places")
    order = list(zip(spots.y, spots.x, strict=True))
    assert order == sorted(order)
    named = [c[0] for c in spots.customdata]
    assert [named.count(i) for i in range(25)] == [len(t) for t in tokens]
    assert max(s.x1 for s in drawn.layout.shapes) <= LINE_CHARACTERS + 1
    shades = [s.fillcolor for s in drawn.layout.shapes if s.name != "chosen"]
    assert len(set(shades)) == len(shades) == 24
    assert shades == sorted(shades, key=brightness, reverse=True)
    assert sum(s.name == "chosen" for s in drawn.layout.shapes) == 1


@pytest.mark.parametrize(("distance", "at_end"), [(1.0, False), (4.0, False), (90.0, True)])
def test_strip_shows_the_case_and_counts_every_validation_case(distance: float, at_end: bool) -> None:
    validation = np.linspace(0, 3, 400) ** 2  # from 0 to 9, the threshold far within
    score = NoveltyScore("fields", distance, 3.0, 0.5)
    drawn = novelty_strips([(score, validation)])
    low, high = drawn.layout.xaxis.range
    marks = [s.x0 for s in drawn.layout.shapes]
    assert sum(drawn.data[0].y) == 400
    assert marks[0] == 3.0
    assert marks[1] == (high if at_end else distance)
    assert low <= min(marks) <= max(marks) <= high
    assert any("beyond" in a.text for a in drawn.layout.annotations) == at_end


def test_region_table_counts_from_one() -> None:
    table = region_table("margin", np.arange(16, dtype=np.float32).reshape(4, 4))
    assert table.loc[table["weight"] == 6, ["row", "column"]].iloc[0].tolist() == [2, 3]


@pytest.fixture(scope="module")
def scored() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = 600
    return pd.DataFrame(
        {
            "side": rng.choice(["left", "right", "isthmus"], n, p=[0.48, 0.48, 0.04]),
            "third": rng.choice(["upper", "middle", "lower"], n),
            "capsule_distance_mm": rng.gamma(2, 1.2, n),
            "probability": rng.random(n),
            "llnm": rng.integers(0, 2, n),
        }
    )


def test_lobe_map_colours_all_seven_places_and_mirrors_the_sides(scored: pd.DataFrame) -> None:
    risks = risk_by_position(scored)
    drawn = lobe_map(risks)
    places = {t.name: t for t in drawn.data if t.name}
    assert len(places) == 7
    assert np.mean(places["middle left lobe"].x) > 0 > np.mean(places["middle right lobe"].x)
    cases = position_table(risks)["with LLNM"].str.split(" of ").str[1].astype(int)
    assert cases.sum() == len(scored)


def test_distance_curve_draws_each_bin_with_its_count(scored: pd.DataFrame) -> None:
    x, y, p = (scored[c].to_numpy() for c in ("capsule_distance_mm", "llnm", "probability"))
    bins = risk_by_bins(x, y, p, np.arange(0, 12, 1.0))
    drawn = distance_curve(bins, None, None)
    points = next(t for t in drawn.data if t.name.startswith("Observed by bin"))
    assert [c[1] for c in points.customdata] == [b.observed.denominator for b in bins]
    assert sum(curve_table(bins)["cases"]) == int((x <= 11).sum())


def test_figures_are_plain_json(scored: pd.DataFrame) -> None:
    json.loads(lobe_map(risk_by_position(scored)).to_json())


def test_agreement_puts_truth_and_explanation_side_by_side_largest_truth_first(predictor, measured) -> None:
    result = group_shapley(predictor, measured[0])
    true = np.linspace(-2, 1, len(result.groups))
    table = agreement_table(result, Agreement(true, np.asarray(result.values), 0.5))
    assert table["true"].abs().is_monotonic_decreasing
    bars = agreement_bars(table)
    assert list(bars.data[0].x) == table["true"].tolist()
    assert list(bars.data[1].x) == table["explained"].tolist()
