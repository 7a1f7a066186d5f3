"""Small random FLUX models of the real classes, the same weights in diffusers and in the host, and runs of them.

Kinds of blocks, keys, head width and rotations are the public model's; widths and how many blocks there are are small.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import comfy.utils
import torch
from comfy.patcher_extension import WrappersMP
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from pack.ipadapter.prompts.prompt import ImagePrompt, Part
from torch import Tensor

from tests.adapters import CHARACTER, EMBED, SQUARE, AdapterFile, random_adapter
from tests.image_prompts import random_features
from tests.small import scatter
from tests.world import Settings, sampled

CONTEXT, POOLED, TOKENS = 48, 32, 5  # of the text: width, width of the pooled embedding, length
HEAD, HEADS = 128, 2
WIDTH = HEAD * HEADS
LATENTS = 16  # channels
GUIDANCE = 3.5


@dataclass(frozen=True)
class Blocks:
    """How many of each."""

    double: int = 2
    single: int = 2


SMALL = Blocks()
FLUX = Settings(steps=2, cfg=1.0, size=(9, 6))  # an odd side


def host_config(blocks: Blocks) -> dict[str, Any]:
    """As the host's detection reads it from a file."""
    return dict(
        image_model="flux",
        in_channels=LATENTS,
        out_channels=LATENTS,
        patch_size=2,
        vec_in_dim=POOLED,
        context_in_dim=CONTEXT,
        hidden_size=WIDTH,
        mlp_ratio=4.0,
        num_heads=HEADS,
        depth=blocks.double,
        depth_single_blocks=blocks.single,
        axes_dim=[16, 56, 56],
        theta=10000,
        qkv_bias=True,
        txt_ids_dims=[],
        guidance_embed=True,
    )


@cache
def reference_flux(blocks: Blocks = SMALL) -> FluxTransformer2DModel:
    """The diffusers side, made once."""
    with torch.inference_mode(False):
        model = FluxTransformer2DModel(
            patch_size=1,
            in_channels=4 * LATENTS,
            num_layers=blocks.double,
            num_single_layers=blocks.single,
            attention_head_dim=HEAD,
            num_attention_heads=HEADS,
            joint_attention_dim=CONTEXT,
            pooled_projection_dim=POOLED,
            guidance_embeds=True,
            axes_dims_rope=(16, 56, 56),
        )
        model.eval().requires_grad_(False)
        scatter(model, 0, std=0.03)
        for name, norm in model.named_parameters():
            if name.endswith((".norm_q.weight", ".norm_k.weight")):
                norm.sub_(1).mul_(10).add_(1)  # scales that a query without them is far from
    return model


def base_weights(blocks: Blocks) -> dict[str, Tensor]:
    """Without whatever adapter a test has put in."""
    weights = reference_flux(blocks).state_dict()
    return {key: tensor for key, tensor in weights.items() if "processor" not in key and "encoder_hid" not in key}


@cache
def make_flux(
    blocks: Blocks = SMALL, dtype: torch.dtype = torch.float32, cast: torch.dtype | None = None
) -> comfy.model_patcher.ModelPatcher:
    """The host's side with the same weights, stored as `dtype` and computed in `cast` where that is another."""
    config = comfy.supported_models.Flux(host_config(blocks))
    config.set_inference_dtype(dtype, cast)
    offload = comfy.model_management.unet_offload_device()
    with torch.inference_mode(False):
        model = comfy.model_base.Flux(config, device=offload)
        weights = {name: tensor.to(dtype) for name, tensor in host_weights(blocks).items()}
        model.diffusion_model.load_state_dict(weights, strict=True)
        model.eval().requires_grad_(False)
    device = comfy.model_management.get_torch_device()
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=offload)


def host_weights(blocks: Blocks) -> dict[str, Tensor]:
    """diffusers' weights under the host's names, queries, keys and values of a block in one."""
    names = comfy.utils.flux_to_diffusers(host_config(blocks))
    made: dict[str, dict[int, Tensor]] = {}
    for key, tensor in base_weights(blocks).items():
        name, (_, start, _), change = (*place, None)[:3] if len(place := as_place(names[key])) == 2 else place
        made.setdefault(name, {})[start] = change(tensor) if change else tensor
    return {name: torch.cat([pieces[start] for start in sorted(pieces)]) for name, pieces in made.items()}


def as_place(place: Any) -> tuple[Any, ...]:
    """Where the host keeps a tensor: its name, which rows of it, and how it is changed."""
    if isinstance(place, str):
        return place, (0, 0, 0), None
    name, rows, *change = place
    return name, rows or (0, 0, 0), *(change or [None])


def flux_adapter(family: str, blocks: Blocks = SMALL, seed: int = 1, **sizes: int) -> AdapterFile:
    """A random adapter for every block that its family acts in."""
    layers = blocks.double if family.startswith("XLabs") else blocks.double + blocks.single
    width = WIDTH if family.startswith("ai-toolkit") else CONTEXT  # of the tokens
    return random_adapter(family, (WIDTH,) * layers, width, seed, **sizes)


def flux_prompt(images: int = 1, seed: int = 3, negatives: int = 0) -> ImagePrompt:
    """Random features as small image encoders might make them, of a black picture too."""
    generator = torch.Generator().manual_seed(seed)
    positive, negative = (random_features(count, generator) for count in (images, negatives))
    positive, negative = (
        replace(one, character=torch.randn(len(one), 8 * SQUARE, CHARACTER, generator=generator))
        for one in (positive, negative)
    )
    again = torch.Generator().manual_seed(98)
    part = Part(positive, negative if negatives else None)
    zero = replace(random_features(1, again), character=torch.zeros(1, 8 * SQUARE, CHARACTER))
    return ImagePrompt.known((part,), zero, "small test encoder", torch.randn(1, EMBED, generator=again))


def conditioning(seed: int, tokens: int = TOKENS, **extra: Any) -> list:
    """A random text conditioning in the host's form."""
    generator = torch.Generator().manual_seed(seed)
    text, pooled = (
        torch.randn(1, tokens, CONTEXT, generator=generator),
        torch.randn(1, POOLED, generator=generator),
    )
    return [[text, {"pooled_output": pooled, "guidance": GUIDANCE} | extra]]


@dataclass(frozen=True)
class FluxCall:
    """One call of the transformer as the host made it."""

    x: Tensor
    timestep: Tensor
    context: Tensor
    y: Tensor
    guidance: Tensor
    references: list[Tensor]
    cond_or_uncond: list[int]
    output: Tensor


@dataclass
class Recorder:
    """A wrapper around the transformer that sees every call and what came of it."""

    calls: list[FluxCall] = field(default_factory=list)

    def __call__(
        self,
        executor: Any,
        x: Tensor,
        timestep: Tensor,
        context: Tensor,
        y: Tensor,
        guidance: Tensor,
        references: list[Tensor] | None,
        control: Any,
        options: dict[str, Any],
        **kwargs: Any,
    ) -> Tensor:
        given = (x.clone(), timestep.clone(), context.clone(), y.clone(), guidance.clone())
        out: Tensor = executor(x, timestep, context, y, guidance, references, control, options, **kwargs)
        self.calls.append(FluxCall(*given, references or [], list(options["cond_or_uncond"]), out.clone()))
        return out


def sample_flux(
    model: Any, settings: Settings = FLUX, conds: tuple[Any, Any] | None = None
) -> tuple[Tensor, list[FluxCall]]:
    """Sample as the host's KSampler node does, and record every model call."""
    recorder, recorded = Recorder(), model.clone()
    recorded.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "recorder", recorder)
    return flux_picture(recorded, settings, conds), recorder.calls


def flux_picture(model: Any, settings: Settings = FLUX, conds: tuple[Any, Any] | None = None) -> Tensor:
    """Sample as the host's KSampler node does."""
    return sampled(model, settings, conds or (conditioning(11), conditioning(12)), LATENTS, "simple")


def with_cfg(settings: Settings = FLUX, cfg: float = 3.0) -> Settings:
    """True classifier-free guidance, which FLUX.1-dev does without."""
    return replace(settings, cfg=cfg)
