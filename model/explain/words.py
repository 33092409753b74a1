"""What each word of the report adds to the prediction: leave one word out (Shen et al. 2025, Fig. S3, shows top words).

Attention says which words were read; this says what the calibrated logit loses without one. Two words that say the same
cover for each other, so both may seem to add little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from model.encode import MeasuredCase
from model.explain.attention import Word, read_words
from model.predict import Predictor

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WordContributions:
    """The words of one report and what each adds.

    Parameters
    ----------
    case_id : the case.
    report : as given; `words` point into it.
    words : words that the model read, in order; none without a report.
    contributions : (words,) calibrated logit of the case minus that of the case without the word.
    logit : calibrated logit of the case.
    """

    case_id: str
    report: str
    words: tuple[Word, ...]
    contributions: FloatArray
    logit: float


@torch.inference_mode()
def word_contributions(predictor: Predictor, measured: MeasuredCase) -> WordContributions:
    """Take every word of the report away in turn, with all its pieces, and run all these reports in one call."""
    words = read_words(predictor, measured)
    inputs = predictor.encode([measured])
    rows = inputs.repeat(1 + len(words))
    present = rows.word_present.clone()
    for i, word in enumerate(words, 1):
        present[i, list(word.tokens)] = False
    rows = replace(rows, word_present=present)
    stem = predictor.net.run_stem(inputs).repeat(len(rows), 1, 1, 1)  # the pictures are the same in every row
    tokens = predictor.net.embed(rows, trim=True, stem_output=stem)
    logits = predictor.calibrated(predictor.net.fuse(tokens).logit.float()).double().cpu().numpy()
    return WordContributions(
        measured.case.case_id, measured.case.report_text, words, logits[0] - logits[1:], float(logits[0])
    )
