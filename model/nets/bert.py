"""Reports read by a pretrained BERT from a local folder: word pieces as `ReportTokenizer` gives them, and a feature for each.

The folder has the layout of Hugging Face (`config.json`, `vocab.txt` or `tokenizer.json`, `model.safetensors`). Nothing is
ever downloaded and no pickle is read. The encoder is that of the library `transformers` (extra `bert`), so that published
weights mean what they were trained to mean; it stays frozen, as in the paper. A checkpoint keeps the hashes of the folder's
files, not its weights, and refuses another BERT.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from model.errors import CheckpointError
from model.nets.tokenizer import UNKNOWN, EncodedReport, ReportTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

FOLDER = "LLNM_BERT"
"""Environment variable that names the folder, where it does not lie where the network was trained."""
CONFIG, WEIGHTS = "config.json", "model.safetensors"
_VOCABULARIES = ("tokenizer.json", "vocab.txt")
_OTHERS = ("tokenizer_config.json", "special_tokens_map.json")


class BertReports(ReportTokenizer):
    """A report tokenizer with features; safe to share between threads, since nothing on it changes after loading.

    Parameters
    ----------
    tokenizer : of the BERT.
    max_tokens : M, word pieces of a report that are read.
    encoder : the BERT, in evaluation mode.
    marks : numbers of [CLS] and [SEP], between which a report stands.
    folder, sha256 : where it was read from, and the hashes of its files by name.
    """

    def __init__(
        self, tokenizer: Tokenizer, max_tokens: int, encoder: nn.Module, marks: tuple[int, int], folder: Path,
        sha256: Mapping[str, str],
    ) -> None:  # fmt: skip
        super().__init__(tokenizer, max_tokens)
        self.encoder, self.marks, self.folder, self.sha256 = encoder, marks, folder, dict(sha256)
        self.width = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]

    @classmethod
    def load(cls, folder: Path | str, max_tokens: int, *, sha256: Mapping[str, str] | None = None) -> BertReports:
        """Read a BERT folder.

        Parameters
        ----------
        max_tokens : M; at most two less than the BERT's positions.
        sha256 : hashes that its files must have; None takes any.

        Raises
        ------
        CheckpointError
            If `transformers` is not installed, or the folder lacks a file, holds another kind of network or other weights.
        """
        folder = Path(folder)
        found = _hashes(folder)
        if sha256 is not None and (different := sorted(n for n in {*found, *sha256} if found.get(n) != sha256.get(n))):
            raise CheckpointError(
                f"another BERT than the network was trained with: {', '.join(different)} differ", where=str(folder),
                fix=f"Name the folder of the right one in the environment variable {FOLDER}.",
            )  # fmt: skip
        tokenizer, encoder, marks = _read(folder)
        most = int(encoder.config.max_position_embeddings) - 2  # type: ignore[union-attr, arg-type]
        if max_tokens > most:
            raise CheckpointError(f"{max_tokens} report tokens, it reads {most}", where=str(folder), fix="Name another BERT.")
        return cls(tokenizer, max_tokens, encoder, marks, folder, found)

    @torch.no_grad()  # not inference mode, whose tensors no gradient could go past
    def features(self, reports: Sequence[EncodedReport]) -> Tensor:
        """(B, M, F) float on the CPU: the last hidden state of each word piece in its report; 0 where there is none."""
        counts = [len(report.word_spans) for report in reports]
        result = torch.zeros(len(reports), self.max_tokens, self.width)
        if not any(counts):
            return result
        length = max(counts) + 2
        ids = torch.zeros(len(reports), length, dtype=torch.long)
        there = torch.zeros(len(reports), length, dtype=torch.long)
        start, end = self.marks
        for i, (report, n) in enumerate(zip(reports, counts, strict=True)):
            ids[i, : n + 2] = torch.tensor([start, *report.ids[:n].tolist(), end])
            there[i, : n + 2] = 1
        device = next(self.encoder.parameters()).device
        hidden = self.encoder(input_ids=ids.to(device), attention_mask=there.to(device)).last_hidden_state.float().cpu()
        for i, n in enumerate(counts):
            result[i, :n] = hidden[i, 1 : n + 1]
        return result

    def to_json(self) -> str:
        """What `read_reports` needs to find the BERT again, as JSON text."""
        return json.dumps({"max_tokens": self.max_tokens, "bert": {"folder": str(self.folder), "sha256": self.sha256}})


def read_reports(text: str) -> ReportTokenizer:
    """The tokenizer, or the BERT, that `to_json` of either wrote.

    Raises
    ------
    CheckpointError
        If the text is neither, or the BERT is missing or another one.
    """
    try:
        bert = json.loads(text).get("bert")
        if bert is None:
            return ReportTokenizer.from_json(text)
        folder, sha256, max_tokens = str(bert["folder"]), dict(bert["sha256"]), int(json.loads(text)["max_tokens"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"cannot be read ({error})", where="report tokenizer", fix="Restore the checkpoint.") from None
    return BertReports.load(os.environ.get(FOLDER) or folder, max_tokens, sha256=sha256)


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that a BERT folder is made of, by name."""
    where = str(folder)
    if not folder.is_dir():
        raise CheckpointError(
            "no such folder", where=where,
            fix=f"Name a folder with {CONFIG}, vocab.txt or tokenizer.json, and {WEIGHTS}, or set {FOLDER}; nothing is downloaded.",
        )  # fmt: skip
    vocabulary = [name for name in _VOCABULARIES if (folder / name).is_file()]
    lacking = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    lacking += [] if vocabulary else [" or ".join(_VOCABULARIES)]
    if lacking:
        fix = "Copy the whole folder there."
        if WEIGHTS in lacking and (folder / "pytorch_model.bin").is_file():
            fix = f"Pickles are not read; save the weights as {WEIGHTS} (`save_pretrained` of transformers does)."
        raise CheckpointError(f"no {', no '.join(lacking)}", where=where, fix=fix)
    result = {}
    for name in (CONFIG, WEIGHTS, *vocabulary, *(n for n in _OTHERS if (folder / n).is_file())):
        with (folder / name).open("rb") as file:
            result[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return result


def _read(folder: Path) -> tuple[Tokenizer, nn.Module, tuple[int, int]]:
    where = str(folder)
    try:
        library: Any = import_module("transformers")  # takes seconds
        logging: Any = import_module("transformers.utils.logging")
    except ImportError as error:
        raise CheckpointError(
            f"the library transformers is needed to read a BERT ({error})", where=where,
            fix="Install it: pip install 'llnm-explorer[bert]'.",
        ) from None  # fmt: skip
    bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    try:
        kind = json.loads((folder / CONFIG).read_text("utf-8")).get("model_type")
        if kind != "bert":
            raise ValueError(f"model_type {kind!r} in {CONFIG}, only bert is read")
        logging.disable_progress_bar()
        logging.set_verbosity_error()  # heads that the file holds beside the encoder are no fault
        tokenizer = library.BertTokenizer.from_pretrained(where, local_files_only=True)
        encoder, found = library.BertModel.from_pretrained(
            where, local_files_only=True, use_safetensors=True, add_pooling_layer=False, attn_implementation="sdpa",
            output_loading_info=True,
        )  # fmt: skip
        if lacking := sorted([*found["missing_keys"], *(str(k) for k in found["mismatched_keys"])]):
            raise ValueError(f"weights missing or of another shape: {', '.join(lacking[:3])}")
    except Exception as error:  # the libraries raise bare Exception among others
        raise CheckpointError(f"cannot be read ({error})"[:500], where=where, fix="Copy the whole folder again.") from None
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    plain: Any = tokenizer.backend_tokenizer
    plain.no_truncation()
    plain.no_padding()
    marks = plain.token_to_id("[CLS]"), plain.token_to_id("[SEP]")
    if None in marks or plain.token_to_id(UNKNOWN) is None:
        raise CheckpointError(f"its vocabulary lacks [CLS], [SEP] or {UNKNOWN}", where=where, fix="Copy the whole folder again.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    frozen: nn.Module = encoder.eval().requires_grad_(False).float().to(device)
    return plain, frozen, marks
