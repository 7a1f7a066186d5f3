"""The reference's training step, on diffusers' UNet with diffusers' adapter code and its scheduler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.training_utils import compute_snr
from pack.ipadapter.adapters.diffusers_layout import from_diffusers
from torch import Tensor
from torch.nn.functional import mse_loss

from tests.adapters import AdapterFile
from tests.oracle.reference import reference_with
from tests.small import POOLED, Layout

TRAINED = (".to_k_ip.", ".to_v_ip.", "image_projection_layers")
Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Examples:
    """One batch, as the reference's data loader and its random numbers give it."""

    latents: Tensor  # (B, 4, h, w)
    noise: Tensor
    time: Tensor  # (B,) uniform in 0 … 1
    text: Tensor  # (B, L, C), the empty prompt where dropped
    pooled: Tensor | None  # (B, P)
    features: Tensor  # "no image" where dropped
    hidden: Tensor | None = None  # of a face, beside its embedding


@dataclass
class ReferenceTraining:
    """diffusers' UNet with an adapter whose weights learn, and nothing else."""

    layout: Layout
    unet: UNet2DConditionModel
    forward: Callable[[Examples], tuple[Tensor, Tensor, Tensor]]  # noisy input, timestep, target
    weights: Callable[[Tensor], Tensor] = torch.ones_like  # of the examples, by their timesteps
    area: float | Tensor = 1.0  # (B, 1, h, w), what is learned from

    def loss(self, examples: Examples) -> Tensor:
        """`tutorial_train.py`: the mean squared error of the prediction."""
        noisy, timestep, target = self.forward(examples)
        noisy, text, features = (given.to(self.unet.dtype) for given in (noisy, examples.text, examples.features))
        added = {"image_embeds": [features.unsqueeze(1)]}
        if examples.hidden is not None:
            projection = self.unet.encoder_hid_proj.image_projection_layers[0]
            projection.clip_embeds, projection.shortcut = examples.hidden.to(features).unsqueeze(1), True
        if examples.pooled is not None:
            self.unet.add_time_proj.forward = lambda flat: flat  # the size ids come embedded from the host
            pooled = examples.pooled.to(self.unet.dtype)
            added |= {"text_embeds": pooled[:, :POOLED], "time_ids": pooled[:, POOLED:]}
        predicted = self.unet(noisy, timestep, text, added_cond_kwargs=added).sample
        errors = mse_loss(predicted.float(), target.float(), reduction="none") * self.area
        return (errors.flatten(1).mean(1) * self.weights(timestep)).mean()

    @property
    def trained(self) -> list[torch.nn.Parameter]:
        return [p for name, p in self.unet.named_parameters() if any(part in name for part in TRAINED)]

    def public(self, values: Callable[[torch.nn.Parameter], Tensor | None]) -> Tensors:
        """Something of every trained tensor under the public files' names."""
        named = {name: values(p) for name, p in self.unet.named_parameters() if any(part in name for part in TRAINED)}
        assert all(tensor is not None for tensor in named.values())
        return from_diffusers(named, "reference")


def reference_training(
    layout: Layout, file: AdapterFile, prediction: str = "epsilon", unet: UNet2DConditionModel | None = None
) -> ReferenceTraining:
    """diffusers' side of a training run, on a UNet of the test's own where there is one."""
    unet = reference_with(layout, [file], 1.0, unet).unet.requires_grad_(False)
    made = ReferenceTraining(layout, unet, FORWARD[prediction])
    for parameter in made.trained:
        parameter.requires_grad_(True)
    return made


SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def min_snr_weights(prediction: str, gamma: float) -> Callable[[Tensor], Tensor]:
    """As diffusers' `train_text_to_image.py` weighs its examples."""

    def weights(timestep: Tensor) -> Tensor:
        snr = compute_snr(DDPMScheduler(**SCHEDULE), timestep)
        return snr.clamp(max=gamma) / (snr if prediction == "epsilon" else snr + 1)

    return weights


def discrete(prediction: str) -> Callable[[Examples], tuple[Tensor, Tensor, Tensor]]:
    """Stable Diffusion's schedule."""
    scheduler = DDPMScheduler(**SCHEDULE, prediction_type=prediction)

    def forward(examples: Examples) -> tuple[Tensor, Tensor, Tensor]:
        timestep = (examples.time * 1000).long()
        noisy = scheduler.add_noise(examples.latents, examples.noise, timestep)
        velocity = scheduler.get_velocity(examples.latents, examples.noise, timestep)
        return noisy, timestep, examples.noise if prediction == "epsilon" else velocity

    return forward


def flow(examples: Examples) -> tuple[Tensor, Tensor, Tensor]:
    """A straight path from the picture to the noise."""
    sigma = (1 - examples.time).float().view(-1, 1, 1, 1)
    noisy = sigma * examples.noise + (1 - sigma) * examples.latents
    return noisy, sigma.flatten() * 1000, examples.noise - examples.latents


FORWARD = {"epsilon": discrete("epsilon"), "v_prediction": discrete("v_prediction"), "flow": flow}
