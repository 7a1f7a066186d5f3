"""The oracle for SD3.5: diffusers' own transformer with its own IP-Adapter."""

from __future__ import annotations

import torch
from diffusers.models.attention_processor import JointAttnProcessor2_0
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor
from torch.nn.functional import pad

from tests.adapters import AdapterFile
from tests.sd3 import LARGE, Kind, SD3Call, reference_sd3


def without_adapter(kind: Kind = LARGE) -> SD3Transformer2DModel:
    """The transformer itself, whatever another test has put in: an adapter's Resampler has attentions too."""
    model = reference_sd3(kind)
    model._modules.pop("image_proj", None)
    model.set_attn_processor(JointAttnProcessor2_0())
    return model


class SD3Reference:
    """diffusers' loader and processors."""

    def __init__(self, file: AdapterFile, scale: float, kind: Kind = LARGE) -> None:
        self.model = without_adapter(kind)
        with torch.inference_mode(False):
            self.model._load_ip_adapter_weights(file.nested, low_cpu_mem_usage=False)
        for processor in self.model.attn_processors.values():
            processor.scale = scale

    def into(self, kind: Kind) -> SD3Reference:
        """The same processors in a model of as many blocks; attentions that it has besides keep their own."""
        other, mine = without_adapter(kind), self.model.attn_processors
        other.set_attn_processor({name: mine.get(name, JointAttnProcessor2_0()) for name in other.attn_processors})
        other.image_proj = self.model.image_proj
        self.model = other
        return self

    def velocity(self, call: SD3Call, row: int, hidden: Tensor) -> Tensor:
        """Of one row of a call (1, 16, h, w), with images (n, S, D), whose tokens stand one behind another."""
        time = call.timestep[row : row + 1]
        tokens, embedded = self.model.image_proj(hidden, time.expand(len(hidden)))
        given = {"ip_hidden_states": tokens.flatten(0, 1)[None], "temb": embedded[:1]}
        return predict(self.model, call, row, given)


def predict(model: torch.nn.Module, call: SD3Call, row: int, joint: dict[str, Tensor] | None = None) -> Tensor:
    """The velocity of one row of a call, an odd side filled up as the host does."""
    height, width = call.x.shape[-2:]
    x = pad(call.x[row : row + 1], (0, width % 2, 0, height % 2), mode="circular")
    out = model(
        x,
        encoder_hidden_states=call.context[row : row + 1],
        pooled_projections=call.y[row : row + 1],
        timestep=call.timestep[row : row + 1],
        joint_attention_kwargs=joint,
    ).sample
    return out[..., :height, :width]
