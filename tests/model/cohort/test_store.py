"""The cohort store against pandas on the same rows: counts, faults by row, hostile tables."""

from __future__ import annotations

import json
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model.cohort.calibration import calibration_bins
from model.cohort.curves import risk_by_bins
from model.cohort.faults import RowsError
from model.cohort.position import PositionRisk, risk_by_position
from model.cohort.scores import ScoredCases
from model.cohort.selection import CATEGORIES, RANGES, Filters, Region
from model.cohort.source import NoLabelError
from model.cohort.store import CohortStore
from model.errors import StatisticsError

SHIPPED = Path(__file__).parents[3] / "data_samples" / "cohort.parquet"
VALUES = {
    "centre": ("A", "B", "Ç"), "sex": ("female", "male"), "histology": ("PTC", "FTC", "MTC"),
    "side": ("left", "right", "isthmus"), "third": ("upper", "middle", "lower"), "tirads": ("3", "4A", "5"),
}  # fmt: skip


def made(n: int = 3000, seed: int = 0) -> pd.DataFrame:
    """Rows with missing cells, and distances, ages, sizes and probabilities that fall on edges on purpose."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"case_id": [f"c{i}" for i in range(n)]})
    for name, values in VALUES.items():
        table[name] = rng.choice(np.array([*values, None], dtype=object), n)
    table["age_years"] = np.where(rng.random(n) < 0.05, np.nan, rng.integers(18, 90, n))
    table["size_mm"] = np.where(rng.random(n) < 0.05, np.nan, rng.choice([5.0, 10.0, 10.1, 9.9, 40.0], n))
    on_edge = rng.integers(0, 60, n) / 10
    near = np.nextafter(on_edge, rng.choice([-1, 9], n))
    kinds = [on_edge, near.clip(0), rng.gamma(2, 1.1, n), np.full(n, np.nan)]
    table["capsule_distance_mm"] = np.choose(rng.integers(4, size=n), kinds)
    table["probability"] = np.choose(rng.integers(2, size=n), [rng.random(n), rng.integers(0, 21, n) / 20])
    table["llnm"] = rng.integers(0, 2, n)
    return table


def passing(table: pd.DataFrame, filters: Filters) -> pd.DataFrame:
    """The same filters in pandas."""
    keep = pd.Series(True, index=table.index)
    for name in filters.used():
        value = getattr(filters, name)
        keep &= table[RANGES[name]].between(*value) if name in RANGES else table[name].isin(value)
    if filters.region is not None:
        keep &= filters.region.contains(table["capsule_distance_mm"].to_numpy(), table["probability"].to_numpy())
    return table[keep]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def store(folder: Path) -> CohortStore:
    made().to_parquet(folder / "made.parquet")
    return CohortStore.open(folder / "made.parquet", cache=folder / "cache")


def opened(folder: Path, text: str, name: str = "t.csv", **options: Any) -> CohortStore:
    (folder / name).write_text(text, encoding="utf-8")
    return CohortStore.open(folder / name, cache=folder / "cache", **options)


some = st.fixed_dictionaries(
    {n: st.lists(st.sampled_from([*v, "nowhere"]), max_size=2, unique=True).map(tuple) for n, v in VALUES.items()}
)
ages = st.none() | st.tuples(st.integers(18, 60), st.integers(0, 30)).map(lambda p: (p[0], p[0] + p[1]))
coarse = st.none() | st.tuples(st.integers(3, 12), st.integers(0, 8)).map(lambda p: (5 * p[0], 5 * (p[0] + p[1])))
sizes = st.none() | st.sampled_from([(5, 10), (10, 10), (10, 40), (0, 5), (5, 9), (9.9, 10.1)])
corner = st.tuples(st.floats(-1, 8), st.floats(-0.2, 1.2))
regions = st.none() | st.lists(corner, min_size=3, max_size=40).map(lambda c: Region.drawn(*np.array(c).T))


@pytest.fixture
def both(store: CohortStore):  # type: ignore[no-untyped-def]
    """Store and rows, behind a function since hypothesis prints what it is given."""
    table = made()
    return lambda: (store, table)


def counted(places: tuple[PositionRisk, ...]) -> list[tuple[int, int]]:
    return [(p.observed.numerator, p.observed.denominator) for p in places]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some, coarse | ages, sizes, regions)
def test_every_count_is_that_of_pandas_on_the_rows(both, values, age, size, region) -> None:  # type: ignore[no-untyped-def]
    store, table = both()
    filters = Filters(**values, age=age, size=size, region=region)
    part = passing(table, filters)
    found = store.aggregate(filters)
    assert found.from_cube == filters.on_steps()
    assert (found.cases, found.positives) == (len(part), part["llnm"].sum())
    known = part.dropna(subset=["capsule_distance_mm"])
    assert found.with_distance == len(known)
    for width in (1, 5):
        edges = np.arange(0, 400, width) / 10
        by_rows = risk_by_bins(*(known[c].to_numpy() for c in ("capsule_distance_mm", "llnm", "probability")), edges)
        bins = found.distance_bins(width)
        assert [(b.low, b.high, b.observed) for b in bins] == [(b.low, b.high, b.observed) for b in by_rows]
        assert [b.predicted for b in bins] == pytest.approx([b.predicted for b in by_rows])
    assert counted(found.positions()) == counted(risk_by_position(part))
    assert [p.predicted for p in found.positions()] == pytest.approx(
        [p.predicted for p in risk_by_position(part)], nan_ok=True
    )
    if len(part):
        by_rows = calibration_bins(ScoredCases.from_arrays(part["probability"], part["llnm"]))
        assert [b.observed for b in found.calibration()] == [b.observed for b in by_rows]
        assert [b.predicted for b in found.calibration()] == pytest.approx([b.predicted for b in by_rows])
    rows = store.rows(filters, ["case_id", "probability", "llnm"])
    assert rows["case_id"].tolist() == part["case_id"].tolist()
    assert rows["probability"].tolist() == part["probability"].tolist()


def test_prepared_cube_gives_the_same_counts(store: CohortStore, folder: Path) -> None:
    prepared = CohortStore.open(folder / "made.parquet", cache=folder / "cache")
    prepared.prepare()
    prepared.prepare_ranges()
    by_range = Filters(sex=("male",), age=(30, 60)), Filters(age=(40, 50), size=(5, 10))
    for filters in (Filters(), Filters(sex=("male",)), Filters(centre=("Ç",), third=("upper", "lower")), *by_range):
        ours, theirs = prepared.aggregate(filters), store.aggregate(filters)
        np.testing.assert_array_equal(ours.steps[:, :2], theirs.steps[:, :2])
        np.testing.assert_array_equal(ours.places[:, :2], theirs.places[:, :2])


def test_a_filter_change_is_much_faster_than_pandas(folder: Path) -> None:
    """Interleaved, a hundred thousand rows; the benchmark shows a million and ten."""
    table = made(100_000, 1)
    table.to_parquet(folder / "many.parquet")
    many = CohortStore.open(folder / "many.parquet", cache=folder / "cache")
    many.aggregate(Filters(sex=("male",), third=("upper",)))
    ours, theirs = 0.0, 0.0
    for third in VALUES["third"] * 2:
        filters = Filters(sex=("male",), third=(third,))
        begin = time.perf_counter()
        found = many.aggregate(filters)
        middle = time.perf_counter()
        part = passing(table, filters)
        part.groupby(np.floor(part["capsule_distance_mm"] * 2))["llnm"].agg(["size", "sum"])
        end = time.perf_counter()
        ours, theirs = ours + middle - begin, theirs + end - middle
        assert found.cases == len(part)
    assert theirs > 5 * ours


def test_order_and_columns_of_rows(store: CohortStore) -> None:
    assert list(store.rows(Filters(), ["llnm", "sex"]).columns) == ["llnm", "sex"]
    with pytest.raises(StatisticsError, match="no such column"):
        store.rows(Filters(), ['llnm"; DROP TABLE cohort; --'])


def test_sample_is_small_and_the_same_every_time(store: CohortStore) -> None:
    first, second = store.sample(count=50), store.sample(count=50)
    assert len(first) == 50
    pd.testing.assert_frame_equal(first, second)
    assert store.density().sum() == store.aggregate().with_distance


def test_same_content_opens_from_the_cache_and_a_broken_run_leaves_nothing(folder: Path) -> None:
    cache = folder / "other"
    done: list[int] = []
    first = CohortStore.open(SHIPPED, cache=cache, progress=done.append)
    again = CohortStore.open(SHIPPED, cache=cache, progress=done.append)
    assert done == [2000]
    assert first == again
    (folder / "broken.parquet").write_bytes(b"PAR1 no table PAR1")
    with pytest.raises(StatisticsError, match=r"broken\.parquet: cannot be read"):
        CohortStore.open(folder / "broken.parquet", cache=cache)
    assert len(list(cache.iterdir())) == 1


def forged(table: pd.DataFrame, wrong: float, file: Path) -> Path:
    """A table whose statistics say 0.5 where the wrong number is."""
    table.to_parquet(file, compression=None, use_dictionary=False)
    held, told = struct.pack("<d", wrong), struct.pack("<d", 0.5)
    content = file.read_bytes()
    footer = len(content) - 8 - struct.unpack("<I", content[-8:-4])[0]
    file.write_bytes(content[:footer] + content[footer:].replace(held, told))
    return file


def test_numbers_that_nothing_counts_by_stay_in_the_table_and_are_the_same(folder: Path) -> None:
    table = made(500, 3)
    rng = np.random.default_rng(0)
    table["logit"] = np.where(rng.random(500) < 0.1, np.nan, rng.normal(size=500))
    table["Height_mm "] = rng.random(500).astype(np.float32) * 20 + 1
    file = folder / "apart.parquet"
    table.to_parquet(file, row_group_size=200)
    store = CohortStore.open(file, cache=folder / "cache")
    assert "logit" not in pq.read_schema(store.file).names
    assert set(store.columns) == {n.strip().lower() for n in table.columns}
    assert store.ranges["logit"] == (table["logit"].min(), table["logit"].max())
    filters = Filters(sex=("male",))
    found = store.rows(filters, ["logit", "case_id", "height_mm"])
    expected = passing(table, filters).rename(columns={"Height_mm ": "height_mm"})
    pd.testing.assert_frame_equal(
        found, expected[["logit", "case_id", "height_mm"]].reset_index(drop=True), check_dtype=False
    )
    assert store.rows(columns=["logit"])["logit"].equals(table["logit"])
    one = store.case("c321")
    assert tuple(one.columns) == store.columns
    assert one["height_mm"].item() == table["Height_mm "][321]
    assert store.case("nobody").empty


def test_a_number_out_of_range_is_refused_on_opening_wherever_it_lies(folder: Path) -> None:
    table = made(500, 3).assign(logit=0.1)
    table.loc[321, "logit"] = 5000.0
    table.to_parquet(folder / "far.parquet", row_group_size=200)
    with pytest.raises(RowsError, match=r"logit: outside -1000 to 1000 in 1 row \(322\)"):
        CohortStore.open(folder / "far.parquet", cache=folder / "cache")
    good = CohortStore.open(folder / "far.parquet", cache=folder / "cache", good_rows_only=True)
    assert good.rows(columns=["logit"])["logit"].tolist() == [0.1] * 499


@pytest.mark.parametrize(
    ("told", "refused"),
    [
        ({"age_years": [10, 110], "width_mm": [0, 300]}, False),
        ({"age_years": [10, 110]}, True),  # the width is out of range still
        ({"age_years": [10, 1e9], "width_mm": [0, 300]}, True),
        ({"age_years": ["10", 110], "width_mm": [0, 300]}, True),
        ({"probability": [0, 100]}, True),
        ("wide", True),
        (None, True),
    ],
)
def test_ranges_of_the_cohort_s_card_go_with_the_table(folder: Path, told: object, refused: bool) -> None:
    rows = made(300, 4).assign(width_mm=5.0)
    rows.loc[7, "age_years"], rows.loc[8, "width_mm"] = 12.0, 200.0
    table = pa.Table.from_pandas(rows, preserve_index=False)
    file = folder / "card.parquet"
    pq.write_table(table.replace_schema_metadata({b"llnm_scored": json.dumps({"ranges": told})}), file)
    if refused:
        with pytest.raises(RowsError, match=r"width_mm: outside 0\.1 to 150 in 1 row|age_years: outside 18 to 110 in 1 row"):
            CohortStore.open(file, cache=folder / "cache")
        return
    store = CohortStore.open(file, cache=folder / "cache")
    assert store.rows(columns=["age_years"])["age_years"].min() == 12
    assert store.rows(columns=["width_mm"])["width_mm"].max() == 200  # it stayed in the table
    assert store.aggregate(Filters(age=(10, 15))).cases == 1


def test_statistics_that_lie_are_found_out_when_a_figure_first_asks(folder: Path) -> None:
    table = made(500, 3).assign(logit=0.1)
    table.loc[321, "logit"] = 5000.0
    store = CohortStore.open(forged(table, 5000.0, folder / "forged.parquet"), cache=folder / "cache")
    with pytest.raises(StatisticsError, match=r"logit: outside -1000 to 1000 in 1 row \(322\)"):
        store.rows(Filters(sex=("male",)), ["logit"])
    with pytest.raises(StatisticsError, match=r"forged\.parquet: .*\n.* in 1 row \(322\)"):
        store.case("c321")
    assert len(store.rows(columns=["probability"])) == 500


def test_a_table_that_changed_or_went_after_it_was_opened_is_told(folder: Path) -> None:
    file = folder / "moving.parquet"
    made(50, 3).assign(logit=0.1).to_parquet(file)
    store = CohortStore.open(file, cache=folder / "cache")
    made(50, 4).assign(logit=0.2).to_parquet(file)
    with pytest.raises(StatisticsError, match=r"moving\.parquet: no longer as it was"):
        store.rows(columns=["logit"])
    file.unlink()
    with pytest.raises(StatisticsError, match="Open the table again"):
        store.rows(columns=["logit"])
    assert len(store.rows(columns=["probability"])) == 50


def test_just_probability_and_label(folder: Path) -> None:
    bare = opened(folder, "prediction;label\n0.2;0\n0,9;1\n".replace("0,9", "0.9"))
    assert bare.columns == ("probability", "llnm")
    found = bare.aggregate(Filters(sex=("male",), age=(20, 30)))  # there is no sex to filter by
    assert (found.cases, found.positives, found.with_distance, found.distance_bins()) == (2, 1, 0, ())
    assert bare.rows()["llnm"].tolist() == [0, 1]


BAD = (
    ("probability,llnm\n0.2,0\n1.7,1\n-1,1\n0.4,1\n", "outside 0 to 1 in 2 rows (2, 3)", 2),
    ("probability,llnm\n0.2,0\n,1\nNaN,1\n0.3,0\n", "missing in 2 rows (2, 3)", 2),
    ("probability,llnm\n0.2,0\ninf,1\n", "outside 0 to 1 in 1 row (2)", 1),
    ("probability,llnm\n0.2,0\nhigh,1\n", "not a number in 1 row (2)", 1),
    ('probability;llnm\n0.2;0\n"0,7";1\n', "decimals with a point", 1),
    ("probability,llnm\n0.2,0\n0.3,2\n0.3,maybe\n0.1,\n", "neither 0 nor 1 in 3 rows (2, 3, 4)", 1),
    ("case_id,probability,llnm\na,0.2,0\nb,0.3,1\na,0.4,1\n", "seen in an earlier row in 1 row (3)", 2),
    ("sex,probability,llnm\nmale,0.2,0\ndragon,0.3,1\nF,0.4,1\n", "sex: not an allowed value in 1 row (2)", 2),
    ("age_years,probability,llnm\n40,0.2,0\n17,0.3,1\n", "outside 18 to 110 in 1 row (2)", 1),
    (f"sex,probability,llnm\nmale,0.2,0\n{'x' * 50_000},0.3,1\n", "not an allowed value in 1 row (2)", 1),
    (f"case_id,probability,llnm\na,0.2,0\n{'x' * 50_000},0.3,1\n", "longer than 200 characters in 1 row (2)", 1),
    (f"centre,probability,llnm\nA,0.2,0\n{'x' * 50_000},0.3,1\n", "longer than 200 characters in 1 row (2)", 1),
)


@pytest.mark.parametrize(("text", "told", "good"), BAD)
def test_faults_name_rows_and_fix_and_good_rows_go_on_only_when_asked(folder: Path, text: str, told: str, good: int) -> None:
    with pytest.raises(RowsError) as caught:
        opened(folder, text)
    assert told in str(caught.value)
    assert caught.value.good == good
    assert f"go on with the {good} good rows" in caught.value.fix
    assert len(str(caught.value)) < 2000
    assert opened(folder, text, good_rows_only=True).cases == good
    assert opened(folder, text, good_rows_only=True).bad_rows == caught.value.rows - good


def test_a_label_of_another_name_is_told_and_the_columns_that_could_be_it_are_named(folder: Path) -> None:
    text = "score,N1b ,sex,multifocal,dose,empty,Name\n0.2,0,male,yes,0,,a\n0.9,1,female,,2,,b\n0.4,1,male,no,1,,c\n"
    for name in ("unnamed.csv", "unnamed.parquet"):
        (folder / "unnamed.csv").write_text(text, encoding="utf-8")
        pd.read_csv(folder / "unnamed.csv").to_parquet(folder / "unnamed.parquet")
        with pytest.raises(NoLabelError, match="Say which column it is, or name it llnm; the table has") as caught:
            CohortStore.open(folder / name, cache=folder / "cache")
        assert caught.value.candidates == ("N1b ", "multifocal")
        found = CohortStore.open(folder / name, cache=folder / "cache", label="N1b ")
        assert (found.outcome, found.positives, found.cases) == ("N1b", 2, 3)
        assert found.rows(columns=["llnm"])["llnm"].tolist() == [0, 1, 1]
        assert "multifocal" in found.columns
    with pytest.raises(RowsError, match=r"dose: neither 0 nor 1 in 1 row \(2\)"):
        CohortStore.open(folder / name, cache=folder / "cache", label="dose")
    with pytest.raises(StatisticsError, match="no column 'N1c'"):
        CohortStore.open(folder / name, cache=folder / "cache", label="N1c")
    with pytest.raises(StatisticsError, match="the column 'score' is the probability too"):
        CohortStore.open(folder / name, cache=folder / "cache", label="score")


def test_the_column_of_the_probability_may_be_told(folder: Path) -> None:
    found = opened(folder, "label,A,B\n0,0.1,0.9\n1,0.8,0.3\n", probability="B")
    assert found.rows(columns=["probability"])["probability"].tolist() == [0.9, 0.3]
    assert opened(folder, "label,A,B\n0,0.1,0.9\n1,0.8,0.3\n", probability="A").rows()["probability"].tolist() == [0.1, 0.8]


def test_a_column_of_the_wrong_type_is_left_out_rather_than_every_row(folder: Path) -> None:
    text = "age_years,sex,probability,llnm\nold,male,0.2,0\nyoung,female,0.3,1\n"
    with pytest.raises(RowsError, match="without the column age_years"):
        opened(folder, text)
    kept = opened(folder, text, good_rows_only=True)
    assert (kept.cases, kept.left_out) == (2, ("age_years",))
    assert "age_years" not in kept.columns


@pytest.mark.parametrize("text", [
    "", "probability,llnm\n", "llnm\n1\n", "probability\n0.3\n", "probability,llnm\n0.2,0\n0.3\n",
    "probability,probability,llnm\n0.1,0.2,1\n", "probability,llnm\nx,y\n",
])  # fmt: skip
def test_tables_that_cannot_be_used_end_in_one_message(folder: Path, text: str) -> None:
    with pytest.raises(StatisticsError):
        opened(folder, text)
    with pytest.raises(StatisticsError):
        opened(folder, text, good_rows_only=True)


def test_names_and_values_that_read_like_sql_are_only_text(folder: Path) -> None:
    name = 'x"; DROP TABLE cohort; --'
    centres = ["'; DELETE", "A' OR '1'='1", "A"]
    table = pd.DataFrame({name: [1, 2, 3], "centre": centres, "prediction": [0.1, 0.5, 0.9], "label": [0, 1, 1]})
    table.to_parquet(folder / "sql.parquet")
    found = CohortStore.open(folder / "sql.parquet", cache=folder / "cache")
    assert found.ignored == (name,)
    assert found.aggregate(Filters(centre=("A' OR '1'='1",))).cases == 1
    assert found.rows(Filters(centre=("'; DELETE",)))["centre"].tolist() == ["'; DELETE"]
    assert found.aggregate(Filters(centre=("' OR true --",))).cases == 0


def test_wrong_types_in_parquet(folder: Path) -> None:
    table = pd.DataFrame({"probability": [True, False], "llnm": [1.0, 0.0]})
    table.to_parquet(folder / "types.parquet")
    with pytest.raises(RowsError, match="not a number in 2 rows"):
        CohortStore.open(folder / "types.parquet", cache=folder / "cache")
    with_lists = pd.DataFrame({"probability": [0.1, 0.2], "llnm": [1, 0], "sex": [["male"], ["female"]]})
    with_lists.to_parquet(folder / "lists.parquet")
    with pytest.raises(StatisticsError):
        CohortStore.open(folder / "lists.parquet", cache=folder / "cache")


def test_region_is_kept_short_and_a_box_is_four_corners() -> None:
    angle = np.linspace(0, 2 * np.pi, 500)
    lasso = Region.drawn(3 + 2 * np.cos(angle), 0.5 + 0.4 * np.sin(angle))
    assert lasso is not None
    assert len(lasso.corners) == 24
    rng = np.random.default_rng(0)
    x, y = rng.random(2000) * 6, rng.random(2000)
    inside = ((x - 3) / 2) ** 2 + ((y - 0.5) / 0.4) ** 2 < 1
    assert (lasso.contains(x, y) == inside).mean() > 0.99
    box = Region.drawn([1, 2], [0.2, 0.8])
    assert box is not None
    assert (box.contains(x, y) == ((x > 1) & (x < 2) & (y > 0.2) & (y < 0.8))).all()
    assert Region.drawn([1, 1], [0.2, 0.8]) is None
    assert Region.drawn([], []) is None
    assert not box.contains(np.array([np.nan, 1.5]), np.array([0.5, np.nan])).any()


def test_categories_of_the_filters_are_those_of_the_schema() -> None:
    assert set(VALUES) == set(CATEGORIES)
