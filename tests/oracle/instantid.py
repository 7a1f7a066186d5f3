"""InstantID's ControlNet twice: diffusers' for SDXL with small random weights, and the host's with the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import comfy.cldm.cldm
import comfy.controlnet
import comfy.utils
import torch
from diffusers import ControlNetModel
from torch import Tensor

from tests.oracle.reference import Reference, roles_by_cfg
from tests.small import POOLED, SDXL, scatter
from tests.world import Call

LAYOUT = replace(SDXL, channels=(64, 64), depth=(0, 2), heads=(1, 1), expected_layers=12)  # SDXL with one level less
SKIPS = 1 + LAYOUT.res_blocks * len(LAYOUT.channels) + len(LAYOUT.channels) - 1
CPU = torch.device("cpu")
OF_A_UNET = ("sample_size", "up_block_types")  # settings that a ControlNet does not have
HINT_BLOCKS = 8  # convolutions that the hint goes through, each but the last followed by a SiLU


@cache
def reference_control(seed: int) -> ControlNetModel:
    """diffusers' side."""
    with torch.inference_mode(False):
        model = ControlNetModel(
            **{key: value for key, value in LAYOUT.diffusers_config.items() if key not in OF_A_UNET}
        )
        scatter(model, seed, std=0.04)
    model.add_time_proj.forward = lambda flat: flat  # the host has embedded the size ids already
    return model.eval().requires_grad_(False)


@cache
def host_control(seed: int) -> comfy.controlnet.ControlNet:
    """The host's side."""
    with torch.inference_mode(False):
        model = comfy.cldm.cldm.ControlNet(hint_channels=3, num_head_channels=64, **LAYOUT.host_config).eval()
        weights = {host_names()[key]: tensor for key, tensor in reference_control(seed).state_dict().items()}
        model.load_state_dict(weights, strict=True)
    return comfy.controlnet.ControlNet(model.requires_grad_(False), load_device=CPU)


@cache
def host_names() -> dict[str, str]:
    """What the host calls each of diffusers' tensors."""
    blocks = ("conv_in", *(f"blocks.{number}" for number in range(HINT_BLOCKS - 2)), "conv_out")
    modules = {f"controlnet_cond_embedding.{block}": f"input_hint_block.{2 * i}" for i, block in enumerate(blocks)}
    modules |= {f"controlnet_down_blocks.{number}": f"zero_convs.{number}.0" for number in range(SKIPS)}
    modules["controlnet_mid_block"] = "middle_block_out.0"
    own = {f"{one}.{end}": f"{other}.{end}" for one, other in modules.items() for end in ("weight", "bias")}
    return comfy.utils.unet_to_diffusers(LAYOUT.host_config) | own


@dataclass(frozen=True)
class Controlling:
    """A ControlNet of a run: what it reads in the place of the text, for the positive and the negative, or nothing."""

    model: ControlNetModel
    hint: Tensor  # (1, 3, H, W)
    strength: float
    tokens: tuple[Tensor, Tensor] | None = None

    def residuals(self, call: Call, chunk: int, role: int) -> tuple[list[Tensor], Tensor]:
        """For one conditioning of a call."""
        chunks = len(call.cond_or_uncond)
        x, timestep, context, y = (one.chunk(chunks)[chunk] for one in (call.x, call.timestep, call.context, call.y))
        text = context if self.tokens is None else self.tokens[role].expand(len(x), -1, -1)
        added = {"text_embeds": y[:, :POOLED], "time_ids": y[:, POOLED:]}
        return self.model(x, timestep, text, self.hint, self.strength, added_cond_kwargs=added, return_dict=False)


def noise_with(reference: Reference, call: Call, given: Sequence[Any], nets: Sequence[Controlling]) -> Tensor:
    """The reference's noise prediction for a call; `given` is what its adapters read, for each role."""
    made, roles = [], roles_by_cfg(call)
    inputs = [tensor.chunk(len(roles)) for tensor in (call.x, call.timestep, call.context, call.y)]
    for chunk, role in enumerate(roles):
        found = [net.residuals(call, chunk, role) for net in nets]
        skips = [sum(one) for one in zip(*(skips for skips, _ in found), strict=True)]
        residuals = {
            "down_block_additional_residuals": skips,
            "mid_block_additional_residual": sum(middle for _, middle in found),
        }
        rows = [tensor[chunk] for tensor in inputs]
        made.append(reference.predict(*rows, given[role], None, residuals if nets else {}))
    return torch.cat(made)
