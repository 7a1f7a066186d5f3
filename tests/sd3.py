"""Small random SD3.5 models of the real classes, the same weights in diffusers and in the host, and runs of them.

Kinds of blocks, keys and head width are the public models'; widths and how many blocks there are are small.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import comfy.utils
import torch
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from pack.ipadapter.prompts.prompt import ImageFeatures, ImagePrompt, Part
from torch import Tensor

from tests.adapters import EMBED, HIDDEN, PATCHES, AdapterFile, random_adapter
from tests.flux import as_place
from tests.small import scatter
from tests.world import Settings, sampled

CONTEXT, POOLED, TOKENS = 48, 32, 5  # of the text: width, width of the pooled embedding, length
HEAD, LATENTS, SIDE = 64, 16, 8  # width of a head, channels, places of the position embedding along a side


@dataclass(frozen=True)
class Kind:
    """A model: how many blocks, which of them attend a second time, and whether queries are normalised."""

    blocks: int = 2
    twice: tuple[int, ...] = ()
    normed: bool = True

    @property
    def width(self) -> int:
        """The host's models have as many heads as blocks, which is no more than a default."""
        return HEAD * self.blocks


LARGE = Kind()
MEDIUM = Kind(twice=(0,))
OLDER = Kind(normed=False)
SD3 = Settings(steps=2, cfg=1.0, size=(9, 6))  # an odd side
CFG = Settings(steps=2, cfg=3.0, size=(9, 6), batch=2)


def host_config(kind: Kind) -> dict[str, Any]:
    """As the host's detection reads it from a file."""
    return dict(
        in_channels=LATENTS,
        patch_size=2,
        out_channels=LATENTS,
        depth=kind.blocks,
        input_size=None,
        adm_in_channels=POOLED,
        qk_norm="rms" if kind.normed else None,
        x_block_self_attn_layers=list(kind.twice),
        context_embedder_config={
            "target": "torch.nn.Linear",
            "params": {"in_features": CONTEXT, "out_features": kind.width},
        },
        num_patches=SIDE**2,
        pos_embed_max_size=SIDE,
        pos_embed_scaling_factor=None,
    )


@cache
def reference_sd3(kind: Kind = LARGE) -> SD3Transformer2DModel:
    """The diffusers side, made once."""
    with torch.inference_mode(False):
        model = SD3Transformer2DModel(
            sample_size=2 * SIDE,
            patch_size=2,
            in_channels=LATENTS,
            num_layers=kind.blocks,
            attention_head_dim=HEAD,
            num_attention_heads=kind.blocks,
            joint_attention_dim=CONTEXT,
            caption_projection_dim=kind.width,
            pooled_projection_dim=POOLED,
            out_channels=LATENTS,
            pos_embed_max_size=SIDE,
            dual_attention_layers=kind.twice,
            qk_norm="rms_norm" if kind.normed else None,
        )
        model.eval().requires_grad_(False)
        scatter(model, 0, std=0.05)
    return model


def base_weights(kind: Kind) -> dict[str, Tensor]:
    """Without whatever adapter a test has put in."""
    weights = reference_sd3(kind).state_dict()
    return {key: tensor for key, tensor in weights.items() if "processor" not in key and "image_proj" not in key}


@cache
def make_sd3(
    kind: Kind = LARGE, dtype: torch.dtype = torch.float32, cast: torch.dtype | None = None
) -> comfy.model_patcher.ModelPatcher:
    """The host's side with the same weights, stored as `dtype` and computed in `cast` where that is another."""
    config = comfy.supported_models.SD3(host_config(kind))
    config.set_inference_dtype(dtype, cast)
    offload = comfy.model_management.unet_offload_device()
    with torch.inference_mode(False):
        model = comfy.model_base.SD3(config, device=offload)
        weights = {name: tensor.to(dtype) for name, tensor in host_weights(kind).items()}
        model.diffusion_model.load_state_dict(weights, strict=True)
        model.eval().requires_grad_(False)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=offload)


def host_weights(kind: Kind) -> dict[str, Tensor]:
    """diffusers' weights under the host's names, queries, keys and values of a block in one."""
    names = comfy.utils.mmdit_to_diffusers(host_config(kind)) | {"pos_embed.pos_embed": "pos_embed"}
    made: dict[str, dict[int, Tensor]] = {}
    for key, tensor in base_weights(kind).items():
        name, (_, start, _), change = (*place, None)[:3] if len(place := as_place(names[key])) == 2 else place
        made.setdefault(name, {})[start] = change(tensor) if change else tensor
    return {name: torch.cat([pieces[start] for start in sorted(pieces)]) for name, pieces in made.items()}


def sd3_adapter(kind: Kind = LARGE, seed: int = 1, **sizes: int) -> AdapterFile:
    """A random adapter for every block."""
    return random_adapter("InstantX SD3.5", (kind.width,) * kind.blocks, kind.width, seed, **sizes)


def encoded(images: int, generator: torch.Generator) -> ImageFeatures:
    """Random features of some images."""
    embeds, hidden = (torch.randn(images, *size, generator=generator) for size in ((EMBED,), (PATCHES, HIDDEN)))
    return ImageFeatures(embeds, hidden)


def sd3_prompt(images: int = 1, seed: int = 3, negatives: int = 0) -> ImagePrompt:
    """Random hidden states as a small image encoder might make them."""
    generator = torch.Generator().manual_seed(seed)
    positive, negative, nothing = (encoded(count, generator) for count in (images, negatives, 1))
    return ImagePrompt.known((Part(positive, negative if negatives else None),), nothing, "small test encoder")


def conditioning(seed: int, tokens: int = TOKENS, **extra: Any) -> list:
    """A random text conditioning in the host's form."""
    generator = torch.Generator().manual_seed(seed)
    text, pooled = (torch.randn(1, *size, generator=generator) for size in ((tokens, CONTEXT), (POOLED,)))
    return [[text, {"pooled_output": pooled} | extra]]


@dataclass(frozen=True)
class SD3Call:
    """One call of the transformer as the host made it."""

    x: Tensor
    timestep: Tensor
    context: Tensor
    y: Tensor
    output: Tensor
    cond_or_uncond: list[int]

    @property
    def roles(self) -> list[int]:
        """Of each row: 0 is the positive."""
        pictures = len(self.x) // len(self.cond_or_uncond)
        return [role for role in self.cond_or_uncond for _ in range(pictures)]


@dataclass
class SD3Recorder:
    """A hook on the transformer that sees every call and what came of it: the host has no wrapper around it."""

    calls: list[SD3Call] = field(default_factory=list)

    def __call__(self, module: Any, args: tuple[Any, ...], given: dict[str, Any], out: Tensor) -> None:
        x, timestep = (tensor.clone() for tensor in args)
        rows = list(given["transformer_options"]["cond_or_uncond"])
        self.calls.append(SD3Call(x, timestep, given["context"].clone(), given["y"].clone(), out.clone(), rows))


def sample_sd3(
    model: Any, settings: Settings = SD3, conds: tuple[Any, Any] | None = None
) -> tuple[Tensor, list[SD3Call]]:
    """Sample as the host's KSampler node does, and record every model call."""
    recorder = SD3Recorder()
    with model.model.diffusion_model.register_forward_hook(recorder, with_kwargs=True):
        return sd3_picture(model, settings, conds), recorder.calls


def sd3_picture(model: Any, settings: Settings = SD3, conds: tuple[Any, Any] | None = None) -> Tensor:
    """Sample as the host's KSampler node does."""
    return sampled(model, settings, conds or (conditioning(11), conditioning(12)), LATENTS, "simple")
