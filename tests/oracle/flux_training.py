"""A training step of XLabs' adapter on diffusers' transformer with diffusers' own processors."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from tests.adapters import AdapterFile
from tests.flux import GUIDANCE, SMALL, FluxCall
from tests.oracle.flux_reference import XLabsReference, predict
from tests.oracle.training import Examples, Tensors

SHIFT = 1.15  # of FLUX's times, as the host has it
XLABS_NAMES = (  # of what diffusers holds
    (r"encoder_hid_proj\.image_projection_layers\.0\.image_embeds\.", "ip_adapter_proj_model.proj."),
    (r"encoder_hid_proj\.image_projection_layers\.0\.norm\.", "ip_adapter_proj_model.norm."),
    (
        r"transformer_blocks\.(\d+)\.attn\.processor\.to_([kv])_ip\.0\.",
        r"double_blocks.\1.processor.ip_adapter_double_stream_\2_proj.",
    ),
)


@dataclass
class FluxTraining:
    """diffusers' transformer with an adapter whose weights learn, and nothing else."""

    reference: XLabsReference

    def loss(self, examples: Examples) -> Tensor:
        """The mean squared error of the velocity from the picture to the noise."""
        sigma = torch.exp(torch.tensor(SHIFT)) / (torch.exp(torch.tensor(SHIFT)) + 1 / (1 - examples.time) - 1)
        across = sigma.float().view(-1, 1, 1, 1)
        noisy = across * examples.noise + (1 - across) * examples.latents
        assert examples.pooled is not None
        guidance = torch.full((len(noisy),), GUIDANCE)
        told = (noisy, sigma.float(), examples.text, examples.pooled, guidance)
        call = FluxCall(*told, references=[], cond_or_uncond=[0], output=noisy)
        rows = [self.velocity(call, row, examples.features[row]) for row in range(len(noisy))]
        return mse_loss(torch.cat(rows), examples.noise - examples.latents)

    def velocity(self, call: FluxCall, row: int, features: Tensor) -> Tensor:
        """Of one example, (1, 16, h, w)."""
        return predict(self.reference.model, SMALL, call, row, ip_adapter_image_embeds=[features.view(1, 1, -1)])

    @property
    def trained(self) -> dict[str, torch.nn.Parameter]:
        """What learns, under XLabs' names."""
        named = ((xlabs_name_of(name), p) for name, p in self.reference.model.named_parameters())
        return {name: p for name, p in named if name}

    def public(self, values: Callable[[torch.nn.Parameter], Tensor | None]) -> Tensors:
        """Something of every trained tensor under XLabs' names."""
        made = {name: values(p) for name, p in self.trained.items()}
        return {name: tensor for name, tensor in made.items() if tensor is not None}


def xlabs_name_of(name: str) -> str:
    """XLabs' name of a tensor of diffusers'; none for what is not the adapter's."""
    found = next(((pattern, to) for pattern, to in XLABS_NAMES if re.match(pattern, name)), None)
    return re.sub(*found, name) if found else ""


def flux_training(file: AdapterFile) -> FluxTraining:
    """diffusers' side of a training run."""
    made = FluxTraining(XLabsReference([file], [1.0]))
    for parameter in made.trained.values():
        parameter.requires_grad_(True)
    return made
