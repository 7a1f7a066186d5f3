"""What is minimised: the mean squared error of the base model's own prediction (paper eq. 6).

A model predicts the noise (ε), the velocity of the variance-preserving process (v), or the velocity of a straight flow.
All three are affine in the denoised picture D with the same slope for prediction and target, so the error of any of
them is w(σ) · (D − x₀), and one formula serves all.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor

from ..errors import IPAdapterError


class Prediction(Enum):
    """What the base model was trained to predict."""

    EPSILON = "noise"
    VELOCITY = "velocity"
    FLOW = "flow"


def by_sigma(sigma: Tensor) -> Tensor:
    """ε = (x − D) / σ with x = x₀ + σ ε; and for a flow, ε − x₀ = (x − D) / σ with x = σ ε + (1 − σ) x₀."""
    return 1 / sigma


def by_velocity(sigma: Tensor) -> Tensor:
    """v = α ε − s x₀ with α = 1 / √(σ² + 1), s = σ α, which is (x α² − D) / s with x = x₀ + σ ε."""
    return torch.sqrt(sigma**2 + 1) / sigma


LOSS_WEIGHTS: dict[Prediction, Callable[[Tensor], Tensor]] = {
    Prediction.EPSILON: by_sigma,
    Prediction.VELOCITY: by_velocity,
    Prediction.FLOW: by_sigma,
}


# min(SNR, γ) / SNR for noise and / (SNR + 1) for the velocity, with SNR = 1 / σ² (arXiv 2303.09556, section 3.4).
MIN_SNR: dict[Prediction, Callable[[Tensor, float], Tensor]] = {
    Prediction.EPSILON: lambda sigma, gamma: (gamma * sigma**2).clamp(max=1.0),
    Prediction.VELOCITY: lambda sigma, gamma: (gamma * sigma**2).clamp(max=1.0) / (sigma**2 + 1),
}


def refuse_min_snr(prediction: Prediction, min_snr: float) -> None:
    """Refuse what is not defined for a model."""
    if min_snr and prediction not in MIN_SNR:
        raise IPAdapterError(
            f"min_snr is {min_snr:g}, but this model predicts the {prediction.value} of a straight path, for which no "
            "signal-to-noise weight is known: set min_snr to 0."
        )


def error_weight(prediction: Prediction, sigma: Tensor, min_snr: float) -> Tensor:
    """What D − x₀ is multiplied by before it is squared, (B,)."""
    weight = LOSS_WEIGHTS[prediction](sigma)
    return weight * MIN_SNR[prediction](sigma, min_snr).sqrt() if min_snr else weight


def prediction_errors(
    prediction: Prediction, denoised: Tensor, clean: Tensor, sigma: Tensor, min_snr: float = 0.0
) -> Tensor:
    """Squared errors of the prediction, (B, C, h, w), of (B, C, h, w), (B, C, h, w) and (B,)."""
    weight = error_weight(prediction, sigma.float(), min_snr).view(-1, *[1] * (clean.ndim - 1))
    return ((denoised.float() - clean.float()) * weight).square()
