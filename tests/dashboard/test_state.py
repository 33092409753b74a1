"""The address bar: what is written comes back, what is not allowed does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from dashboard.state import Filters, _range


def script() -> None:
    import streamlit

    from dashboard import state

    if "filters" in streamlit.session_state:
        state.write_filters(streamlit.session_state["filters"])
    streamlit.session_state["read"] = state.read_filters()


def test_filters_survive_the_address_bar() -> None:
    wanted = Filters(sex=("male",), third=("upper", "lower"), age=(30.0, 60.0), centre=("C",))
    app = AppTest.from_function(script)
    app.session_state["filters"] = wanted
    app.run()
    assert not app.exception
    assert app.session_state["read"] == wanted


def test_values_that_the_schema_does_not_know_are_dropped() -> None:
    app = AppTest.from_function(script)
    app.query_params["sex"] = "male,dragon"
    app.query_params["size"] = "5-1e99"
    app.run()
    assert app.session_state["read"] == Filters(sex=("male",), size=(5.0, 150.0))


@given(st.text(max_size=12))
def test_a_range_is_within_the_schema_or_nothing(raw: str) -> None:
    found = _range(raw, "age_years")
    assert found is None or 18 <= found[0] <= found[1] <= 110
