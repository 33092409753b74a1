"""Grad-CAM++ (Chattopadhay et al. 2018) on the stem's last layer but one, each map apart.

Captum's Grad-CAM hangs hooks on the model, which sessions share; here the stem is run in two parts instead.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from model.encode import MeasuredCase
from model.explain.evidence import PictureEvidence, Subject
from model.predict import Predictor
from model.schema import MAPS


def grad_cam_plus_plus(predictor: Predictor, measured: MeasuredCase) -> PictureEvidence:
    """Where features that raise the logit are, coarse and without sign; zero where nothing raises it.

    Raises
    ------
    ValueError
        If no view was measured, or the network's stem is a single layer ("patch").
    """
    subject = Subject.of(predictor, measured)
    net = predictor.net
    if not isinstance(net.stem, nn.Sequential):
        raise ValueError("Grad-CAM++ needs a stem of several layers")
    last = max(i for i, layer in enumerate(net.stem) if isinstance(layer, nn.Conv2d))
    inputs = subject.inputs
    with torch.no_grad():
        features = net.stem[:last](inputs.maps.flatten(0, 1))  # (V, 3·C, s, s)
    features = features.detach().requires_grad_(True)
    with torch.enable_grad():
        tokens = net.embed(inputs, stem_output=net.stem[last:](features))
        logit = predictor.calibrated(net.fuse(tokens).logit)[0]
        (slope,) = torch.autograd.grad(logit, features)
    a = features.detach().unflatten(1, (len(MAPS), -1))  # (V, 3, C, s, s)
    g = slope.unflatten(1, (len(MAPS), -1))
    # Weights of the closed form for an exponential of the score, whose higher derivatives are powers of the first.
    square, cube = g**2, g**3
    below = 2 * square + (a * cube).sum((-2, -1), keepdim=True)
    share = torch.where(below.abs() > 1e-12, square / below, torch.zeros_like(below))
    weights = (share * F.relu(g)).sum((-2, -1), keepdim=True)
    cam = F.relu((weights * a).sum(2))[subject.at]  # (V, 3, s, s)
    size = subject.maps.shape[-1]
    cam = F.interpolate(cam, size=(size, size), mode="bilinear", align_corners=False)
    return PictureEvidence(
        case_id=subject.case_id,
        method="Grad-CAM++ (Chattopadhay et al. 2018)",
        baseline="none",
        views=subject.views,
        relevance=np.asarray(cam.cpu().numpy(), dtype=np.float32),
        signed=False,
        logit=float(logit.detach()),
        baseline_logit=math.nan,
        model_rows=1,
        residual=math.nan,
    )
