"""Adapter files, in the layouts of the public ones."""

from __future__ import annotations

from collections.abc import Callable

from .noise import Noise, Shapes, State, fill
from .unets import CHANNELS, SD15, SDXL, UNetShape

FACE_LORA_RANK = 128
RESAMPLER_DEPTH, SINES = 4, 320  # perceiver layers, and sines of the noise level where they follow it
FACE_WIDTH, INSTANTID_TOKENS, INSTANTID_WIDTH = 512, 16, 256  # in place of 1280


def image_attention_shapes(shape: UNetShape) -> dict[str, tuple[int, ...]]:
    """`ip_adapter` of an adapter file: numbers 1, 3, 5 ... over the cross-attention layers."""
    numbers = range(1, 2 * shape.cross_attention_layers, 2)
    size = (CHANNELS, shape.context)
    return {f"ip_adapter.{n}.to_{kind}_ip.weight": size for n in numbers for kind in "kv"}


def standard_projection(shape: UNetShape) -> dict[str, tuple[int, ...]]:
    """Pooled ViT-H feature (1024) -> 4 image tokens."""
    return {
        "image_proj.proj.weight": (4 * shape.context, 1024),
        "image_proj.proj.bias": (4 * shape.context,),
        "image_proj.norm.weight": (shape.context,),
        "image_proj.norm.bias": (shape.context,),
    }


def full_projection(shape: UNetShape) -> dict[str, tuple[int, ...]]:
    """Every ViT-H token (257 of 1280) -> as many image tokens."""
    sizes = {"proj.0.weight": (1280, 1280), "proj.0.bias": (1280,), "proj.2.weight": (shape.context, 1280)}
    norms = {"proj.2.bias": (shape.context,), "proj.3.weight": (shape.context,), "proj.3.bias": (shape.context,)}
    return {f"image_proj.{name}": size for name, size in {**sizes, **norms}.items()}


def face_plus_projection(shape: UNetShape) -> dict[str, tuple[int, ...]]:
    """An ArcFace embedding (512) -> 4 image tokens, which read ViT-H tokens through four perceiver layers."""
    width, perceiver = shape.context, "image_proj.perceiver_resampler."
    first = {"proj.0.weight": (1024, 512), "proj.0.bias": (1024,), "proj.2.weight": (4 * width, 1024)}
    rest = {"proj.2.bias": (4 * width,), "norm.weight": (width,), "norm.bias": (width,)}
    queries = "image_proj.latents"
    resampler = {name: size for name, size in resampler_projection(shape, width).items() if name != queries}
    return {
        **{f"image_proj.{name}": size for name, size in {**first, **rest}.items()},
        **{name.replace("image_proj.", perceiver): size for name, size in resampler.items()},
    }


def face_lora(shape: UNetShape) -> dict[str, tuple[int, ...]]:
    """The rank-128 LoRA of FaceID files: even numbers are self-attention, odd ones cross-attention."""
    sizes: dict[str, tuple[int, ...]] = {}
    for n in range(2 * shape.cross_attention_layers):
        for name in ("q", "k", "v", "out"):
            columns = shape.context if n % 2 and name in "kv" else CHANNELS
            sizes[f"ip_adapter.{n}.to_{name}_lora.down.weight"] = (FACE_LORA_RANK, columns)
            sizes[f"ip_adapter.{n}.to_{name}_lora.up.weight"] = (CHANNELS, FACE_LORA_RANK)
    return sizes


def face_adapter(noise: Noise) -> State:
    """FaceID Plus, its LoRA made weak so that a random model stays itself."""
    state = adapter(SD15, {**face_plus_projection(SD15), **face_lora(SD15)})(noise)
    return {name: tensor * 0.1 if "lora.up" in name else tensor for name, tensor in state.items()}


def instantid_adapter(noise: Noise) -> State:
    """An ArcFace embedding (512) -> 16 image tokens of SDXL, through a narrow Resampler."""
    projection = resampler(SDXL.context, INSTANTID_WIDTH, FACE_WIDTH, INSTANTID_TOKENS)
    return adapter(SDXL, projection)(noise)


def resampler_layer(index: int, width: int) -> dict[str, tuple[int, ...]]:
    attention, feed_forward = f"image_proj.layers.{index}.0.", f"image_proj.layers.{index}.1."
    norms = {f"{attention}norm{n}.{kind}": (width,) for n in (1, 2) for kind in ("weight", "bias")}
    return {
        **norms,
        f"{attention}to_q.weight": (width, width),
        f"{attention}to_kv.weight": (2 * width, width),
        f"{attention}to_out.weight": (width, width),
        f"{feed_forward}0.weight": (width,),
        f"{feed_forward}0.bias": (width,),
        f"{feed_forward}1.weight": (4 * width, width),
        f"{feed_forward}3.weight": (width, 4 * width),
    }


def resampler_projection(shape: UNetShape, width: int) -> dict[str, tuple[int, ...]]:
    """Penultimate ViT-H tokens (257 of 1280) -> 16 image tokens."""
    return resampler(shape.context, width, hidden=1280, tokens=16)


def resampler(context: int, width: int, hidden: int, tokens: int) -> dict[str, tuple[int, ...]]:
    """Hidden states -> so many image tokens `context` wide, through four perceiver layers of this width."""
    layers: dict[str, tuple[int, ...]] = {}
    for index in range(RESAMPLER_DEPTH):
        layers |= resampler_layer(index, width)
    ends = {
        "latents": (1, tokens, width),
        "proj_in.weight": (width, hidden),
        "proj_in.bias": (width,),
        "proj_out.weight": (context, width),
        "proj_out.bias": (context,),
        "norm_out.weight": (context,),
        "norm_out.bias": (context,),
    }
    return {**{f"image_proj.{name}": size for name, size in ends.items()}, **layers}


def timed_resampler(context: int, width: int, hidden: int, tokens: int) -> dict[str, tuple[int, ...]]:
    """One that follows the noise level."""
    shapes = resampler(context, width, hidden, tokens)
    shapes |= linear("image_proj.time_embedding.linear_1", width, SINES)
    shapes |= linear("image_proj.time_embedding.linear_2", width, width)
    for index in range(RESAMPLER_DEPTH):
        shapes |= linear(f"image_proj.layers.{index}.2.1", 4 * width, width)
    return shapes


def linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    """A linear map with a bias."""
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def adapter(shape: UNetShape, projection: Shapes) -> Callable[[Noise], State]:
    return lambda noise: fill({**projection, **image_attention_shapes(shape)}, noise)
