"""FLUX.1 dev as narrow as the host allows, with all its blocks, and what goes beside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .adapters import linear, timed_resampler
from .models import vae_state
from .noise import Noise, Shapes, State, fill, shapes_of

HEAD = 128  # channels of an attention head, which the host takes for given
POOLED = 768  # of CLIP-L
LATENT_CHANNELS = 16
XLABS_TOKENS, INSTANTX_TOKENS = 16, 128
CLIP_L_EMBED, SIGLIP_EMBED, DINOV2_HIDDEN = 768, 1152, 1536
NARROW = 64  # of InstantX's perceptron, in place of 2304


@dataclass(frozen=True)
class FluxShape:
    """How wide a FLUX.1 is and the text that it reads, how many blocks it has, and how wide the pooled text is."""

    width: int
    text: int
    double: int = 19
    single: int = 38
    pooled: int = POOLED

    def config(self) -> dict[str, object]:
        """The host's keyword arguments for its Flux and ControlNetFlux."""
        return {
            "in_channels": LATENT_CHANNELS,
            "out_channels": LATENT_CHANNELS,
            "patch_size": 2,
            "vec_in_dim": self.pooled,
            "context_in_dim": self.text,
            "hidden_size": self.width,
            "mlp_ratio": 4.0,
            "num_heads": self.width // HEAD,
            "depth": self.double,
            "depth_single_blocks": self.single,
            "axes_dim": [16, 56, 56],
            "theta": 10000,
            "qkv_bias": True,
            "guidance_embed": True,
            "txt_ids_dims": [],
        }


FLUX_DEV = FluxShape(width=3072, text=4096)
SMALL = FluxShape(width=HEAD, text=768)  # reads CLIP-L's text in place of T5-XXL's
SMALL_CONTROL = FluxShape(SMALL.width, SMALL.text, double=2, single=0)  # as many blocks as XLabs' ControlNets have


def public_names(shapes: Shapes) -> Shapes:
    """The host's names as FLUX's public files have them."""
    return {name.replace("_norm.weight", "_norm.scale"): shape for name, shape in shapes.items()}


def fill_flux(module: torch.nn.Module, noise: Noise) -> State:
    """Random tensors, ones for the norms of queries and keys."""
    state = fill(public_names(shapes_of(module)), noise)
    return {name: torch.ones_like(value) if name.endswith("_norm.scale") else value for name, value in state.items()}


def flux_model(noise: Noise, shape: FluxShape = SMALL) -> State:
    """What Load Diffusion Model opens as FLUX.1 dev."""
    from comfy.ldm.flux.model import Flux
    from comfy.ops import manual_cast

    return fill_flux(Flux(device="meta", dtype=torch.float16, operations=manual_cast, **shape.config()), noise)


def flux_controlnet(noise: Noise) -> State:
    """A ControlNet in XLabs' layout for the model above, made weak."""
    from comfy.ldm.flux.controlnet import ControlNetFlux
    from comfy.ops import manual_cast

    config = SMALL_CONTROL.config()
    state = fill_flux(ControlNetFlux(device="meta", dtype=torch.float16, operations=manual_cast, **config), noise)
    return {name: value * 0.2 if name.startswith("controlnet_blocks") else value for name, value in state.items()}


def flux_vae(noise: Noise) -> State:
    """An autoencoder to FLUX's 16 channels."""
    return vae_state(noise, "", LATENT_CHANNELS)


def xlabs_adapter(noise: Noise) -> State:
    """XLabs' adapter, version 2, for the model above."""
    return fill(xlabs_shapes(SMALL), noise)


def instantx_adapter(noise: Noise) -> State:
    """InstantX's adapter for the model above."""
    return fill(instantx_shapes(SMALL), noise)


def xlabs_shapes(shape: FluxShape) -> Shapes:
    """CLIP-L's embedding -> 16 tokens, and keys and values with biases in every double block."""
    names = [
        f"double_blocks.{index}.processor.ip_adapter_double_stream_{kind}_proj"
        for index in range(shape.double)
        for kind in "kv"
    ]
    weights = {f"{name}.weight": (shape.width, shape.text) for name in names}
    projection = linear_tokens("ip_adapter_proj_model", "proj", CLIP_L_EMBED, (XLABS_TOKENS, shape.text))
    return {**projection, **weights, **{f"{name}.bias": (shape.width,) for name in names}}


def instantx_shapes(shape: FluxShape, perceptron: int = NARROW) -> Shapes:
    """SigLIP's embedding -> 128 tokens through a perceptron so wide, and keys and values in every block."""
    first = {"image_proj.proj.0.weight": (perceptron, SIGLIP_EMBED), "image_proj.proj.0.bias": (perceptron,)}
    projection = linear_tokens("image_proj", "proj.2", perceptron, (INSTANTX_TOKENS, shape.text))
    blocks = range(shape.double + shape.single)
    layers = {f"ip_adapter.{n}.to_{kind}_ip.weight": (shape.width, shape.text) for n in blocks for kind in "kv"}
    return {**first, **projection, **layers}


@dataclass(frozen=True)
class CharacterShape:
    """How wide InstantCharacter's features are, how many blocks read them, and how many queries then read those."""

    features: int = SIGLIP_EMBED + DINOV2_HIDDEN
    blocks: int = 4
    tokens: int = 1024
    width: int = 1280  # of the queries


def character_shapes(shape: FluxShape, character: CharacterShape = CharacterShape()) -> Shapes:
    """Hidden states of two encoders -> tokens that follow the noise level, and keys and values in every block."""
    states, prefix = character.features, "image_proj."
    queries = timed_resampler(shape.text, character.width, states, character.tokens)
    shapes = {name.replace(prefix, f"{prefix}resampler.", 1): size for name, size in queries.items()}
    for index in range(character.blocks):
        for reads in ("layer", "scale"):
            shapes |= reading_block(f"{prefix}cross_{reads}_blocks.{index}.", states)
    for name in ("proj", "proj_cross_layer", "proj_cross_scale"):
        shapes |= linear(f"{prefix}{name}.fc1", 2 * states, states) | linear(f"{prefix}{name}.fc2", states, 2 * states)
    for index in range(shape.double + shape.single):
        for kind in "kv":
            shapes |= linear(f"ip_adapter.{index}.to_{kind}_ip", shape.width, shape.text)
        shapes |= {f"ip_adapter.{index}.norm_ip_{kind}.scale": (HEAD,) for kind in "qk"}
    return shapes


def reading_block(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """Two attentions and a gated perceptron, each behind a norm, under diffusers' names."""
    shapes: dict[str, tuple[int, ...]] = {}
    for attention in ("attn1", "attn2"):
        shapes |= {f"{name}{attention}.to_{kind}.weight": (width, width) for kind in "qkv"}
        shapes |= linear(f"{name}{attention}.to_out.0", width, width)
    for index in (1, 2, 3):
        shapes |= {f"{name}norm{index}.{kind}": (width,) for kind in ("weight", "bias")}
    return shapes | linear(f"{name}ff.net.0.proj", 8 * width, width) | linear(f"{name}ff.net.2", width, 4 * width)


def linear_tokens(prefix: str, name: str, dim: int, tokens: tuple[int, int]) -> Shapes:
    """A linear map to so many tokens of such a width, and their norm."""
    count, width = tokens
    return {
        f"{prefix}.{name}.weight": (count * width, dim),
        f"{prefix}.{name}.bias": (count * width,),
        f"{prefix}.norm.weight": (width,),
        f"{prefix}.norm.bias": (width,),
    }
