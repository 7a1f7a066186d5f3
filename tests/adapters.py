"""Random adapter files with the public files' keys, for models of any width."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from operator import or_

import torch
from pack.ipadapter.adapters.spec import AdapterSpec
from pack.ipadapter.prompts.prompt import Feature
from torch import Tensor

FACE = 512  # width of an ArcFace embedding
EMBED, HIDDEN, PATCHES = 96, 80, 17  # of the small image encoder: projected width, hidden width, tokens
CHARACTER, SQUARE = 128, 4  # of two small encoders beside each other: width of the states, patches of a square
SEQUENCES = (Feature.PENULTIMATE, Feature.CHARACTER)

Tensors = dict[str, Tensor]


@dataclass(frozen=True, eq=False)
class AdapterFile:
    """The two groups of a public file. No two are equal, whatever is in them."""

    image_proj: Tensors
    ip_adapter: Tensors

    @property
    def nested(self) -> dict[str, Tensors]:
        """As `.bin` files and diffusers have it."""
        return {"image_proj": dict(self.image_proj), "ip_adapter": dict(self.ip_adapter)}

    def flat(self, image_proj: str = "image_proj.", ip_adapter: str = "ip_adapter.") -> Tensors:
        """As safetensors files have it, under any prefixes."""
        groups = ((image_proj, self.image_proj), (ip_adapter, self.ip_adapter))
        return {prefix + key: tensor for prefix, tensors in groups for key, tensor in tensors.items()}


PERIOD = 1_000_003  # random numbers of a tensor until they repeat: a prime, so that no two rows are alike


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int) -> Tensors:
    """Weights large enough that an adapter changes the picture, and scales that tell queries from each other."""
    generator = torch.Generator().manual_seed(seed)
    return {key: noise(shape, generator) * (8 if key.endswith(".scale") else 1) for key, shape in shapes.items()}


def noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    count = math.prod(shape)
    drawn = torch.randn(min(count, PERIOD), generator=generator) * 0.2
    return drawn.repeat(-(-count // PERIOD))[:count].view(shape)


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def linear(name: str, out: int, into: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def base_shapes(context: int, embed: int = EMBED, tokens: int = 4) -> dict[str, tuple[int, ...]]:
    return linear("proj", tokens * context, embed) | norm("norm", context)


def full_face_shapes(context: int, hidden: int = HIDDEN) -> dict[str, tuple[int, ...]]:
    return linear("proj.0", hidden, hidden) | linear("proj.2", context, hidden) | norm("proj.3", context)


def plus_shapes(
    context: int, hidden: int = HIDDEN, tokens: int = 16, dim: int = 128, inner: int = 128, depth: int = 4
) -> dict[str, tuple[int, ...]]:
    shapes = {"latents": (1, tokens, dim)} | linear("proj_in", dim, hidden) | linear("proj_out", context, dim)
    shapes |= norm("norm_out", context)
    for i in range(depth):
        shapes |= norm(f"layers.{i}.0.norm1", dim) | norm(f"layers.{i}.0.norm2", dim) | norm(f"layers.{i}.1.0", dim)
        shapes |= {
            f"layers.{i}.0.to_q.weight": (inner, dim),
            f"layers.{i}.0.to_kv.weight": (2 * inner, dim),
            f"layers.{i}.0.to_out.weight": (dim, inner),
            f"layers.{i}.1.1.weight": (4 * dim, dim),
            f"layers.{i}.1.3.weight": (dim, 4 * dim),
        }
    return shapes


def face_shapes(context: int, tokens: int = 4, dim: int = 2 * FACE) -> dict[str, tuple[int, ...]]:
    """An ArcFace embedding to tokens."""
    return linear("proj.0", dim, FACE) | linear("proj.2", tokens * context, dim) | norm("norm", context)


def face_plus_shapes(context: int, hidden: int = HIDDEN, tokens: int = 4, depth: int = 4) -> dict[str, tuple[int, ...]]:
    """The same, and a perceiver as wide as the tokens."""
    perceiver = plus_shapes(context, hidden, tokens, context, context, depth)
    inner = {f"perceiver_resampler.{key}": shape for key, shape in perceiver.items() if key != "latents"}
    return face_shapes(context, tokens) | inner


def portrait_unnorm_shapes(context: int) -> dict[str, tuple[int, ...]]:
    """A Resampler over one face embedding."""
    return plus_shapes(context, hidden=FACE)


def instantx_shapes(context: int, embed: int = EMBED, tokens: int = 8) -> dict[str, tuple[int, ...]]:
    """An embedding to tokens through twice its width."""
    return linear("proj.0", 2 * embed, embed) | linear("proj.2", tokens * context, 2 * embed) | norm("norm", context)


def timed_shapes(
    context: int, hidden: int = HIDDEN, tokens: int = 8, dim: int = 64, inner: int = 64, depth: int = 4, sines: int = 32
) -> dict[str, tuple[int, ...]]:
    """A Resampler that follows the noise level."""
    shapes = plus_shapes(context, hidden, tokens, dim, inner, depth)
    shapes |= linear("time_embedding.linear_1", dim, sines) | linear("time_embedding.linear_2", dim, dim)
    for i in range(depth):
        shapes |= linear(f"layers.{i}.2.1", 4 * dim, dim)
    return shapes


def attention_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """One of a diffusers block."""
    maps = {f"{name}.to_{matrix}.weight": (width, width) for matrix in "qkv"}
    return maps | linear(f"{name}.to_out.0", width, width)


def block_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """A diffusers block with a gated perceptron."""
    shapes = attention_shapes(f"{name}.attn1", width) | attention_shapes(f"{name}.attn2", width)
    shapes |= linear(f"{name}.ff.net.0.proj", 8 * width, width) | linear(f"{name}.ff.net.2", width, 4 * width)
    return reduce(or_, (norm(f"{name}.norm{i}", width) for i in (1, 2, 3)), shapes)


def character_shapes(context: int, width: int = CHARACTER, blocks: int = 2, **sizes: int) -> dict[str, tuple[int, ...]]:
    """Blocks that read features as wide, and a Resampler that follows the noise level."""
    shapes = {f"resampler.{key}": shape for key, shape in timed_shapes(context, width, **sizes).items()}
    for i in range(blocks):
        shapes |= block_shapes(f"cross_layer_blocks.{i}", width) | block_shapes(f"cross_scale_blocks.{i}", width)
    for name in ("proj", "proj_cross_layer", "proj_cross_scale"):
        shapes |= linear(f"{name}.fc1", 2 * width, width) | linear(f"{name}.fc2", width, 2 * width)
    return shapes


PROJECTIONS: dict[str, Callable[..., dict[str, tuple[int, ...]]]] = {
    "base": base_shapes,
    "plus": plus_shapes,
    "full-face": full_face_shapes,
    "FaceID": face_shapes,
    "FaceID Plus": face_plus_shapes,
    "FaceID Portrait": partial(face_shapes, tokens=16),
    "FaceID Portrait unnorm": portrait_unnorm_shapes,
    "InstantID": portrait_unnorm_shapes,
    "XLabs FLUX": base_shapes,
    "InstantX FLUX": instantx_shapes,
    "ai-toolkit FLUX": base_shapes,
    "ai-toolkit FLUX plus": plus_shapes,
    "InstantX SD3.5": timed_shapes,
    "InstantCharacter": character_shapes,
}
WITH_LORA = ("FaceID", "FaceID Plus")


def lora_shapes(channels: tuple[int, ...], context: int, rank: int = 8) -> dict[str, tuple[int, ...]]:
    """The LoRA in FaceID files, over every attention: even numbers are self-attention, odd ones cross-attention."""
    shapes: dict[str, tuple[int, ...]] = {}
    for n in range(2 * len(channels)):
        width = channels[n // 2]
        for matrix, columns in (("q", width), ("k", context), ("v", context), ("out", width)):
            shapes[f"{n}.to_{matrix}_lora.down.weight"] = (rank, columns if n % 2 else width)
            shapes[f"{n}.to_{matrix}_lora.up.weight"] = (width, rank)
    return shapes


def kohya(file: AdapterFile, blocks: Sequence[str]) -> Tensors:
    """The LoRA of a FaceID adapter as the separate files have it; `blocks` are the attentions by diffusers' names."""
    tensors = {}
    for key, tensor in file.ip_adapter.items():
        number, _, rest = key.partition(".")
        if "lora" in rest:
            weight, _, end = rest.removesuffix(".weight").partition("_lora.")
            block = blocks[int(number)].removesuffix(".processor").replace(".", "_")
            matrix = "to_out_0" if weight == "to_out" else weight
            tensors[f"lora_unet_{block}_{matrix}.lora_{end}.weight"] = tensor
    return tensors


def layer_shapes(channels: tuple[int, ...], context: int) -> dict[str, tuple[int, ...]]:
    """`to_k_ip` and `to_v_ip` numbered 1, 3, 5 ..."""
    return {
        f"{2 * i + 1}.{matrix}.weight": (width, context)
        for i, width in enumerate(channels)
        for matrix in ("to_k_ip", "to_v_ip")
    }


def every_layer_shapes(channels: tuple[int, ...], context: int) -> dict[str, tuple[int, ...]]:
    """The same numbered 0, 1, 2 ..."""
    return {f"{i}.to_{m}_ip.weight": (width, context) for i, width in enumerate(channels) for m in "kv"}


def biased_layer_shapes(channels: tuple[int, ...], context: int) -> dict[str, tuple[int, ...]]:
    """These with a bias each."""
    biases = {f"{i}.to_{m}_ip.bias": (width,) for i, width in enumerate(channels) for m in "kv"}
    return every_layer_shapes(channels, context) | biases


def timed_layer_shapes(
    channels: tuple[int, ...], context: int, time: int = 64, head: int = 64
) -> dict[str, tuple[int, ...]]:
    """Those with norms, one of which follows the noise level."""
    norms = {f"{i}.{name}.weight": (head,) for i in range(len(channels)) for name in ("norm_q", "norm_k", "norm_ip_k")}
    timed = [linear(f"{i}.norm_ip.linear", 2 * context, time) for i in range(len(channels))]
    return reduce(or_, timed, every_layer_shapes(channels, context) | norms)


def scaled_layer_shapes(channels: tuple[int, ...], context: int, head: int = 128) -> dict[str, tuple[int, ...]]:
    """Those with a bias each, and with norms that have a scale."""
    norms = {f"{i}.norm_ip_{m}.scale": (head,) for i in range(len(channels)) for m in "qk"}
    return biased_layer_shapes(channels, context) | norms


LAYERS = {  # others have `layer_shapes`
    "XLabs FLUX": biased_layer_shapes,
    "InstantX FLUX": every_layer_shapes,
    "InstantX SD3.5": timed_layer_shapes,
    "InstantCharacter": scaled_layer_shapes,
    "ai-toolkit FLUX": every_layer_shapes,
    "ai-toolkit FLUX plus": every_layer_shapes,
}


def random_adapter(family: str, channels: tuple[int, ...], context: int, seed: int = 1, **sizes: int) -> AdapterFile:
    """An adapter of a family for layers of these widths."""
    image_proj = random_tensors(PROJECTIONS[family](context, **sizes), seed)
    layers = random_tensors(LAYERS.get(family, layer_shapes)(channels, context), seed + 1)
    return AdapterFile(image_proj, layers | (random_lora(channels, context, seed + 2) if family in WITH_LORA else {}))


def random_lora(channels: tuple[int, ...], context: int, seed: int) -> Tensors:
    """One that changes the picture and keeps it finite."""
    return {key: tensor * 0.2 for key, tensor in random_tensors(lora_shapes(channels, context), seed).items()}


def random_read(spec: AdapterSpec, images: int, patches: int, device: str = "cpu") -> tuple[Tensor, ...]:
    """What an adapter's projection takes of some images, at random."""
    generator = torch.Generator(device).manual_seed(1) if device == "cpu" else None

    def feature(kind: Feature, width: int) -> Tensor:
        shape = (images, patches, width) if kind in SEQUENCES else (images, width)
        return torch.randn(shape, generator=generator, device=device)

    taken = tuple(feature(*one) for one in spec.projection.reads)
    time = (feature(Feature.IMAGE_EMBEDS, spec.projection.dim)[:1],) if spec.follows_noise else ()
    return (*taken, *(tensor.to(device) for tensor in spec.family.settings(spec.face)), *time)
