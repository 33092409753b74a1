"""The published configuration on the features of a BERT in a local folder; the BERT of the tests is tiny and random."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from typer.testing import CliRunner

pytest.importorskip("transformers", reason="the optional library transformers (extra `bert`) is not installed")

from model.cli import app
from model.encode import encode
from model.errors import CheckpointError
from model.nets.bert import FOLDER, BertReports, read_reports
from model.nets.config import paper_config
from model.nets.llnm_net import LlnmNet
from model.predict import Predictor
from model.train import loop
from model.train.checkpoint import load_checkpoint

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "left",
    "right",
    "lobe",
    "upper",
    "middle",
    "lower",
    "third",
    "nodule",
    "solid",
    "hypo",
    "##echoic",
    "irregular",
    "margin",
    "mm",
    "with",
    "micro",
    "##calcification",
    "##s",
    ".",
    ",",
    ":",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "0",
    "the",
    "a",
    "of",
    "and",
    "in",
    "is",
    "thyroid",
    "taller",
    "than",
    "wide",
]


def tiny(folder: Path, width: int, seed: int = 0) -> Path:
    """A BERT of one layer with random weights, in the layout of Hugging Face."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(WORDS), hidden_size=width, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": True, "tokenizer_class": "BertTokenizer"})
    )
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("bert"), 16)


def test_features_are_those_of_the_library_and_no_other_report_changes_them(folder: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    reports = BertReports.load(folder, 12)
    texts = [
        "Left lobe: solid hypoechoic nodule of 12 mm, taller than wide and irregular.",
        "nodule",
        "",
        "甲 zzz nodule",
    ]
    encoded = [reports.encode(text) for text in texts]
    found = reports.features(encoded)
    assert found.shape == (4, 12, 16)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    network = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    for text, row, one in zip(texts, found, encoded, strict=True):
        n = len(one.word_spans)
        inputs = tokenizer(text, return_tensors="pt", truncation=True, max_length=14)
        with torch.no_grad():
            true = network(**inputs).last_hidden_state[0, 1:-1]
        assert inputs["input_ids"][0, 1:-1].tolist() == one.ids[:n].tolist()
        torch.testing.assert_close(row[:n], true, atol=1e-5, rtol=1e-4)
        assert not row[n:].any()
    assert encoded[0].cut > 0
    assert texts[0][slice(*encoded[0].word_spans[0])] == "Left"
    assert encoded[3].unknown_share == pytest.approx(2 / 3)


def test_the_published_network_trains_a_step_on_them_on_the_cpu(cohort, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """All 150 million weights, as published, on one view of one case."""
    reports = BertReports.load(tiny(tmp_path / "b", 768), 50)
    config = paper_config()
    assert config.text_feature_width == reports.width == 768
    case = cohort.case(cohort.case_ids[0])
    case = replace(case, images={"transverse": case.images["transverse"]})
    segmentation = load_checkpoint().segmentation
    from model.encode import measure
    from model.segment import segment

    masks = dict(
        zip(case.images, segment(segmentation, list(case.images.values()), device=torch.device("cpu")), strict=True)
    )
    inputs = encode([measure(case, masks, map_size=config.map_size)], reports, config)
    one = {name: getattr(inputs, name)[:, :1] for name in ("maps", "map_present", "view_present")}
    inputs = replace(inputs, **one)
    torch.set_num_threads(2)  # the folder's fixture puts it back
    torch.manual_seed(0)
    net = LlnmNet(config).train()
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3)
    before = net.words.weight.detach().clone()
    output = net(inputs)
    loss = F.binary_cross_entropy_with_logits(output.logit, torch.ones(1))
    torch.autograd.backward(loss)
    optimiser.step()
    assert torch.isfinite(loss)
    assert (net.words.weight != before).any()
    assert all(torch.isfinite(p).all() for p in net.words.parameters())


@pytest.fixture(scope="module")
def trained(folder: Path, cohort_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `llnm train --config paper --bert FOLDER` writes, with the published network made small."""
    out = tmp_path_factory.mktemp("trained") / "paper"
    small = replace(
        paper_config(), width=24, heads=2, mlp_width=32, self_layers=1, fusion_layers=1, map_size=32, text_tokens=12
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "paper_config", lambda: small)
        words = [
            "train", cohort_folder, "--config", "paper", "--bert", folder, "--out", out, "--epochs", 1, "--segmentation-epochs", 1,
            "--name", "paper", "--device", "cpu",
        ]  # fmt: skip
        result = CliRunner().invoke(app, [str(w) for w in words])
    assert result.exit_code == 0, result.output
    return out


def test_a_trained_checkpoint_predicts_with_its_bert_and_keeps_none_of_its_weights(trained: Path, cohort) -> None:  # type: ignore[no-untyped-def]
    predictor = Predictor.load(trained, device="cpu")
    assert predictor.net.config.text_feature_width == 16
    assert isinstance(predictor.checkpoint.tokenizer, BertReports)
    case = cohort.case(cohort.case_ids[0])
    told = predictor.predict(case)
    assert 0 < told.probability < 1
    other = predictor.predict(replace(case, report_text="Right lobe, lower third: solid nodule of 9 mm."))
    assert other.logit != told.logit
    assert predictor.checkpoint.card["settings"]["learning_rate"] == 3e-5
    settled = {p.name for p in trained.iterdir()}
    assert settled == {
        "card.json", "llnm_net.safetensors", "validation.safetensors", "segmentation.safetensors", "tokenizer.json",
        "reference.safetensors",
    }  # fmt: skip


def test_another_bert_is_refused_with_the_difference_and_one_that_moved_is_found(
    trained: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER, str(tiny(tmp_path / "other", 16, seed=1)))
    with pytest.raises(CheckpointError, match=r"another BERT .*model\.safetensors differ"):
        load_checkpoint(trained)
    monkeypatch.setenv(FOLDER, str(shutil.copytree(folder, tmp_path / "moved")))
    assert load_checkpoint(trained).tokenizer.folder == tmp_path / "moved"
    monkeypatch.setenv(FOLDER, str(tmp_path / "nowhere"))
    with pytest.raises(CheckpointError, match="no such folder"):
        load_checkpoint(trained)


def test_what_is_no_bert_is_told(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(name: str) -> Path:
        return shutil.copytree(folder, tmp_path / name)

    (spoilt("weights") / "model.safetensors").rename(tmp_path / "weights" / "pytorch_model.bin")
    (spoilt("words") / "vocab.txt").unlink()
    (spoilt("kind") / "config.json").write_text('{"model_type": "gpt2"}')
    (spoilt("damaged") / "model.safetensors").write_bytes(b"x" * 50)
    weights = load_file(spoilt("partly") / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "attention.self.query" not in k}, tmp_path / "partly" / "model.safetensors"
    )
    for name, why in (
        ("weights", "Pickles are not read"), ("words", "tokenizer.json or vocab.txt"), ("kind", "'gpt2'"),
        ("damaged", "cannot be read"), ("partly", "weights missing or of another shape: encoder"), ("nowhere", "no such folder"),
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match=why):
            BertReports.load(tmp_path / name, 12)
    with pytest.raises(CheckpointError, match="63 report tokens, it reads 62"):
        BertReports.load(folder, 63)
    for broken in ("{", "[]", '{"bert": {}}', '{"bert": {"folder": "x", "sha256": 1}, "max_tokens": 2}'):
        with pytest.raises(CheckpointError):
            read_reports(broken)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(CheckpointError, match=r"llnm-explorer\[bert\]"):
        BertReports.load(folder, 12)


def test_the_command_says_what_it_needs(cohort_folder: Path, tmp_path: Path) -> None:
    def llnm(*words: object) -> str:
        result = CliRunner().invoke(app, ["train", str(cohort_folder), "--out", str(tmp_path / "o"), *map(str, words)])
        assert result.exit_code == 1
        assert "Traceback" not in result.output
        return result.output

    assert "--bert" in llnm("--config", "paper")
    assert "compact or paper" in llnm("--config", "large")
    assert "no such folder" in llnm("--config", "paper", "--bert", tmp_path / "nowhere")
    assert not (tmp_path / "o").exists()


def test_word_features_travel_in_half_precision_and_come_back_as_floats(folder: Path, cohort, predictor) -> None:  # type: ignore[no-untyped-def]
    from model.train.data import build_dataset

    config = replace(predictor.net.config, text_tokens=12, text_feature_width=16)
    reports = BertReports.load(folder, 12)
    dataset = build_dataset(cohort, predictor.segmentation, reports, config, device=torch.device("cpu"))
    assert dataset.inputs.word_features.dtype == torch.float16
    batch = dataset.batch(torch.arange(3)).word_features
    true = reports.features([reports.encode(cohort.case(c).report_text) for c in cohort.case_ids[:3]])
    np.testing.assert_allclose(batch.numpy(), true.numpy(), atol=2e-3)
