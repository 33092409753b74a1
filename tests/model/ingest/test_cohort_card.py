"""A cohort's card: endpoint and own fields become the schema of its cases, or everything wrong is told at once."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from model.errors import CaseError
from model.ingest.card import card_of, known_afterwards, schema_of
from model.ingest.cases import read_cohort
from model.schema import DEFAULT

CARD = {
    "endpoint": {"name": "malignant", "label": "Malignancy", "help": "Cancer in the specimen."},
    "fields": [
        {"name": "adenopathy", "label": "Adenopathy", "kind": "category", "values": ["none", "left", "both"], "group": "neck"},
        {"name": "neck_pain", "label": "Neck pain", "kind": "flag", "group": "neck"},
        {"name": "tsh", "label": "TSH", "kind": "number", "unit": "mIU/L", "low": 0, "high": 200},
        {"name": "firm", "label": "Firm nodule", "kind": "flag", "group": "margin"},
        {"name": "age_years", "low": 10, "high": 100},
    ],
}


def test_without_endpoint_and_fields_it_is_the_built_in_schema():
    assert schema_of({"name": "x", "seed": 3}, where="card") is DEFAULT
    assert card_of(DEFAULT) == {}


def test_own_fields_become_tokens_and_groups():
    schema = schema_of(CARD, where="card")
    assert schema.endpoint.short == "Malignancy"
    assert schema.endpoint.phrase == "malignancy"
    assert [f.name for f in schema.own] == ["adenopathy", "neck_pain", "tsh", "firm"]
    assert schema.tokens.index("tsh") < schema.tokens.index("adenopathy")  # numbers first
    members = {g.name: g.fields for g in schema.groups}
    assert members["neck"] == ("adenopathy", "neck_pain")
    assert members["tsh"] == ("tsh",)
    assert members["margin"] == ("margin", "firm")
    assert sorted(name for fields in members.values() for name in fields) == sorted(schema.tokens)
    assert (schema.by_name["age_years"].low, schema.by_name["age_years"].mean) == (10, DEFAULT.by_name["age_years"].mean)
    assert {f.name for f in schema.labels} >= {"malignant", "llnm"}
    assert not schema.has_stages


def test_a_field_that_is_called_like_a_built_in_group_is_a_group_by_itself():
    schema = schema_of({"fields": [{"name": "pathology", "label": "Needle", "kind": "flag"}]}, where="card")
    last = schema.groups[-1]
    assert (last.name, last.label, last.fields) == ("pathology_own", "Needle", ("pathology",))
    assert schema.groups[:-1] == DEFAULT.groups
    assert schema_of(card_of(schema), where="card") == schema


def test_a_schema_comes_back_from_its_card_and_from_a_pickle():
    schema = schema_of(CARD, where="card")
    assert schema_of(json.loads(json.dumps(card_of(schema))), where="card") == schema
    assert pickle.loads(pickle.dumps(schema)) == schema


def test_a_restricted_schema_keeps_only_what_a_network_reads():
    schema = schema_of(CARD, where="card").restricted(["age_years", "adenopathy"], images=False, report=False)
    assert schema.tokens == ("age_years", "adenopathy")
    assert [g.name for g in schema.groups] == ["age", "neck"]
    assert not schema.has_images
    assert not schema.has_report
    assert schema.labels == schema_of(CARD, where="card").labels


@pytest.mark.parametrize(
    ("card", "told"),
    [
        ({"fields": [{"name": "recurred", "kind": "flag"}]}, "known only after surgery"),
        ({"fields": [{"name": "x", "label": "pN", "kind": "flag"}]}, "known only after surgery"),
        ({"fields": [{"name": "Big", "kind": "flag"}]}, "small letters"),
        ({"fields": [{"name": "x", "kind": "date"}]}, "give one of number, category, flag"),
        ({"fields": [{"name": "x", "kind": "category", "values": ["a", "A"]}]}, "different texts"),
        ({"fields": [{"name": "x", "kind": "number", "low": 3, "high": 3}]}, "low 3 is not below high 3"),
        ({"fields": [{"name": "x", "kind": "flag"}, {"name": "x", "kind": "flag"}]}, "given twice"),
        ({"fields": [{"name": "sex", "values": ["a", "b"]}]}, "is built in"),
        ({"fields": [{"name": "provenance", "kind": "flag"}]}, "used for something else"),
        ({"fields": [{"name": "x", "kind": "flag", "unti": "mm"}]}, "did you mean unit"),
        ({"fields": {"name": "x"}}, "not a list"),
        ({"endpoint": {"name": "age_years"}}, "is a field"),
        ({"endpoint": {"name": "stage"}}, "no yes or no"),
        ({"endpoint": "malignant"}, "not an object"),
        ({"endpoint": {"name": "m", "label": "<b>\n"}}, "one line of text"),
    ],
)
def test_what_is_wrong_is_told(card: dict[str, object], told: str):
    with pytest.raises(CaseError, match=told):
        schema_of(card, where="cohort.json")


def test_names_of_what_is_known_afterwards():
    after = ["Recurred", "Response", "Stage", "N", "M", "pN", "Risk", "positive_nodes", "llnm", "AJCC stage", "Final pathology"]
    after += ["pT stage", "Tg post-op", "LN ratio", "Number of positive LN", "Extranodal extension", "Lateral neck dissection"]
    after += ["RAI dose", "Lymph nodes examined", "Lymphovascular invasion", "DFS months", "Pathologic ETE"]
    before = ["T", "Age", "Adenopathy", "Pathology", "Focality", "Smoking", "Thyroid Function", "Physical Examination", "size_mm"]
    before += ["Clinical stage", "US suspicious lymph nodes", "Number of nodules", "Hx Radiothreapy", "Node calcification"]
    assert [n for n in after if not known_afterwards(n)] == []
    assert [n for n in before if known_afterwards(n)] == []


def test_a_cohort_of_its_own_fields_is_read_by_its_card(tmp_path: Path):
    (tmp_path / "cohort.json").write_text(json.dumps(CARD), "utf-8")
    (tmp_path / "cases.csv").write_text(
        "case_id,age_years,adenopathy,tsh,malignant,report_text\nA,12,LEFT,1.5,yes,\nB,,,,no,Solid nodule.\n", "utf-8"
    )
    cohort = read_cohort(tmp_path)
    case = cohort.case("A")
    assert case.fields == {"age_years": 12.0, "adenopathy": "left", "tsh": 1.5}
    assert case.labels == {"malignant": True}
    assert cohort.case("B").report_text == "Solid nodule."
    (tmp_path / "cases.csv").write_text("case_id,adenopathy\nA,behind\n", "utf-8")
    with pytest.raises(CaseError, match="one of none, left, both"):
        read_cohort(tmp_path)
