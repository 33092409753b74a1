"""Quality and statistics of a cohort on its page."""

from __future__ import annotations

from tests.dashboard.test_pages import opened, words


def test_quality_and_statistics_open_from_the_address() -> None:
    app = opened("cohort", quality="1", statistics="1")
    assert not app.exception
    said = words(app)
    assert "Calibration slope" in said
    assert "Cochran's Q" in said
    assert "Odds ratios of LLNM" in said
    assert "Ablation of the shipped model" in said


def test_few_cases_are_said_in_words() -> None:
    app = opened("cohort", quality="1", statistics="1", histology="MTC", side="isthmus")
    assert not app.exception


def test_reader_table_is_compared_and_a_faulty_one_is_told() -> None:
    app = opened("cohort", readers="1")
    good = "label,model,dr a,dr b\n" + "".join(f"{i % 2},{0.2 + 0.5 * (i % 2)},{(i // 2) % 2},{i % 2}\n" for i in range(20))
    app.file_uploader(key="readers-file").upload("r.csv", good.encode(), "text/csv").run()
    assert not app.exception
    assert "exact McNemar" in words(app)
    app = opened("cohort", readers="1")
    app.file_uploader(key="readers-file").upload("r.csv", b"label,a\n1,7\n0,0\n", "text/csv").run()
    assert not app.exception
    assert "outside 0 to 1 in 1 rows (2)" in words(app) or "outside 0 to 1 in 1 rows (1)" in words(app)
