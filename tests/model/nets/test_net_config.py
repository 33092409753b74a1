"""Network configurations: validated by name, and the same after a round trip."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from model.errors import CheckpointError
from model.nets.config import ALL_FIELDS, NetConfig, compact_config, paper_config
from model.schema import MAPS, PAPER_FIELDS


def test_the_published_sizes():
    c = paper_config()
    assert (c.width, c.heads, c.width // c.heads, c.mlp_width) == (768, 12, 64, 3072)
    assert (c.fusion_layers, c.self_layers, c.text_tokens, c.alpha) == (4, 12, 50, 1.0)
    assert (c.attention_dropout, c.dropout, c.map_size, c.text_feature_width) == (0.2, 0.3, 224, 768)
    assert set(c.fields) == set(PAPER_FIELDS)
    assert len(c.image_tokens) == 3 * 14 * 14


def test_token_names_of_the_compact_network():
    c = compact_config()
    assert c.fields == ALL_FIELDS
    assert len(c.image_tokens) == 48
    assert c.image_tokens[0] == (MAPS[0], 0, 0)
    assert c.image_tokens[1] == (MAPS[0], 0, 1)
    assert c.image_tokens[-1] == (MAPS[-1], 3, 3)
    assert c.clinical_tokens[:2] == ["word 0", "word 1"]
    assert c.clinical_tokens[64:] == list(ALL_FIELDS)


def test_fields_are_kept_in_schema_order():
    assert NetConfig(fields=("sex", "age_years")).fields == ("age_years", "sex")


@pytest.mark.parametrize("config", [paper_config(), compact_config(), NetConfig(fields=(), cross="none", alpha=0.0)])
def test_round_trip(config: NetConfig):
    assert NetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert NetConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("width", 0),
        ("heads", 5),
        ("heads", 0),
        ("patch", 10),
        ("map_size", 63),
        ("fusion_layers", -1),
        ("dropout", 1.0),
        ("dropout", float("nan")),
        ("attention_dropout", -0.1),
        ("alpha", float("inf")),
        ("alpha", float("nan")),
        ("cross", "sideways"),
        ("stem", "branch"),
        ("fields", ("age_years", "llnm")),
        ("text_feature_width", 0),
        ("text_tokens", 2.5),
        ("vocab_size", "many"),
    ],
)
def test_a_wrong_argument_is_named(name: str, value: object):
    named = {"map_size": "patch"}.get(name, name)  # 63 is a size, but not one that patches of 16 fill
    with pytest.raises(ValueError, match=f"^{named}:"):
        replace(compact_config(), **{name: value})
    with pytest.raises(CheckpointError, match=f"{named}:"):
        NetConfig.from_dict({**compact_config().to_dict(), name: value})


def test_a_conv_stem_needs_a_patch_it_can_halve_to():
    with pytest.raises(ValueError, match="patch: must be a power of two"):
        NetConfig(map_size=60, patch=12)
    assert NetConfig(map_size=60, patch=12, stem="patch").grid == 5


def test_a_card_of_another_version_is_refused():
    data = compact_config().to_dict()
    with pytest.raises(CheckpointError, match="depth missing or unknown"):
        NetConfig.from_dict({**data, "depth": 3})
    del data["alpha"]
    with pytest.raises(CheckpointError, match="alpha missing or unknown"):
        NetConfig.from_dict(data)
    for text in ("", "[1]", "{"):
        with pytest.raises(CheckpointError, match="network configuration"):
            NetConfig.from_json(text)
