"""Attention × gradient (Chefer, Gur and Wolf 2021, "Generic attention-model explainability"), for the logit of LLNM.

Each attention weight is multiplied by the slope of the logit over it, and what does not raise the logit is cut:
(A ⊙ ∂logit/∂A)⁺. So a word or region counts where reading it raised this prediction, not wherever it was read.

The gradients are of tensors that the network returns: no hook, nothing kept on the shared model.
"""

from __future__ import annotations

import torch

from model.encode import MeasuredCase
from model.explain.attention import CrossAttention, by_word, layer_matrices
from model.nets.blocks import Reads
from model.nets.llnm_net import Attention, Tokens
from model.predict import Predictor


def attention_gradient(predictor: Predictor, measured: MeasuredCase) -> CrossAttention:
    """Attention × gradient of every layer and head, addressed like plain attention, and the relevance over all layers.

    Weights are in units of the calibrated logit and not negative; their rows sum to no fixed number.
    """
    with torch.no_grad():
        tokens = predictor.net.embed(predictor.encode([measured]))
    weighted = weighted_attention(predictor, tokens)
    method = "Attention × gradient for the logit of LLNM; relevance (Chefer, Gur and Wolf 2021)"
    return by_word(predictor, measured, weighted, relevance(weighted), method=method)


def weighted_attention(predictor: Predictor, tokens: Tokens) -> Attention:
    """(A ⊙ ∂logit/∂A)⁺ of every layer, and of the mean at the end, for B cases; the logit is the calibrated one."""
    with torch.enable_grad():
        traced = Tokens(
            tokens.image.detach().requires_grad_(True), tokens.clinical.detach().requires_grad_(True),
            tokens.clinical_present, tokens.view_weight,
        )  # fmt: skip
        output = predictor.net.fuse(traced, return_attention=True)
        attention = output.attention
        assert attention is not None
        weights = [*(w for layer in attention.fusion for w in layer), *attention.joint, attention.pooling]
        # A case's logit depends on its own weights alone, so the slopes of the sum are the slopes of each.
        read = [w for w in weights if w.requires_grad]  # a direction that is turned off is no part of the graph
        slopes = iter(torch.autograd.grad(predictor.calibrated(output.logit).sum(), read, allow_unused=True))

    def by_slope(weight: torch.Tensor) -> torch.Tensor:
        slope = next(slopes) if weight.requires_grad else None
        return torch.zeros_like(weight) if slope is None else (weight.detach() * slope).clamp(min=0)

    # In the order of `weights`.
    fusion = tuple(Reads(*(by_slope(w) for w in layer)) for layer in attention.fusion)
    return Attention(fusion, tuple(by_slope(w) for w in attention.joint), by_slope(attention.pooling), attention.image_tokens)


@torch.no_grad()
def relevance(weighted: Attention) -> torch.Tensor:
    """Relevance of each token for the logit over all layers, (B·V, T_I + T_C), from `weighted_attention`.

    Their update rule R ← R + Ā R, where Ā is the mean over the heads of a layer over both streams and R starts as the
    identity. They read the row of a class token, without its own entry. Here the mean over the tokens, weighted by its
    gradient like any other attention, is that row *(ours)*; so what a token brought to its own place is left out, and
    what attention carried counts.
    """
    own = weighted.pooling[:, None]
    carried = torch.zeros_like(own)
    # The slope of a cross-modal weight already holds the α with which it enters.
    for square in reversed(layer_matrices(weighted, alpha=1.0)):
        carried = carried + (own + carried) @ square
    return carried[:, 0]
