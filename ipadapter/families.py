"""What kind of adapter a file is, read from its tensors.

Sources: tencent-ailab/IP-Adapter `ip_adapter.py`, `resampler.py`; diffusers `loaders/unet.py`. A file's name is
never looked at: nothing here depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from torch import Tensor

from .checkpoint import Checkpoint, Tensors
from .errors import IPAdapterError
from .image_prompt import Feature

DIM_HEAD = 64  # of every public Resampler
TO_K = re.compile(r"([0-9]{1,4})\.to_k_ip\.weight")
LAYER_KEY = re.compile(r"[0-9]{1,4}\.to_[kv]_ip\.weight")


class Unconditional(Enum):
    """What stands for "no image" (reference `get_image_embeds`)."""

    ZERO_EMBEDDING = "a zero embedding through the projection"
    ZERO_PIXELS = "the penultimate states of zero normalised pixels"


class Family(Enum):
    """The projections of adapters that need no face model."""

    BASE = "base"
    FULL_FACE = "full-face"
    PLUS = "plus"


@dataclass(frozen=True)
class ProjectionSpec:
    """Sizes of the image projection. `tokens` is None where there is one token a patch (full-face)."""

    family: Family
    feature_dim: int
    context_dim: int
    tokens: int | None
    dim: int = 0
    inner_dim: int = 0
    depth: int = 0
    ff_dim: int = 0


@dataclass(frozen=True)
class AdapterSpec:
    """What a file turned out to be. `channels` is each cross-attention layer's width, in the reference's order."""

    name: str
    projection: ProjectionSpec
    channels: tuple[int, ...]

    @property
    def family(self) -> Family:
        """The kind of projection."""
        return self.projection.family

    @property
    def feature(self) -> Feature:
        """The encoder output this family reads."""
        return Feature.IMAGE_EMBEDS if self.family is Family.BASE else Feature.PENULTIMATE

    @property
    def unconditional(self) -> Unconditional:
        """The reference's rule for a dropped image."""
        return Unconditional.ZERO_EMBEDDING if self.family is Family.BASE else Unconditional.ZERO_PIXELS

    @property
    def context_dim(self) -> int:
        """Width of the tokens, which is the width of the UNet's text context."""
        return self.projection.context_dim

    @property
    def base(self) -> str:
        """The base model it was made for, in users' words."""
        if self.context_dim == 2048 and self.projection.dim == 2048:
            return "Kolors"
        return BASES.get(self.context_dim, f"a UNet with {self.context_dim}-wide text context")

    @property
    def encoder(self) -> str:
        """The image encoder it was made for, in users' words."""
        return ENCODERS.get((self.feature, self.projection.feature_dim), "an image encoder of that width")

    def __str__(self) -> str:
        tokens = self.projection.tokens or "one a patch"
        return f"{self.family.value} adapter for {self.base}, {len(self.channels)} layers, tokens: {tokens}"


BASES = {768: "SD1.5", 1024: "SD2.1", 2048: "SDXL"}

ENCODERS = {
    (Feature.IMAGE_EMBEDS, 1024): "CLIP ViT-H/14 (CLIP-ViT-H-14-laion2B-s32B-b79K)",
    (Feature.PENULTIMATE, 1280): "CLIP ViT-H/14 (CLIP-ViT-H-14-laion2B-s32B-b79K)",
    (Feature.IMAGE_EMBEDS, 1280): "CLIP ViT-bigG/14 (CLIP-ViT-bigG-14-laion2B-39B-b160k)",
    (Feature.PENULTIMATE, 1664): "CLIP ViT-bigG/14 (CLIP-ViT-bigG-14-laion2B-39B-b160k)",
    (Feature.IMAGE_EMBEDS, 768): "CLIP ViT-L/14 (clip-vit-large-patch14)",
    (Feature.PENULTIMATE, 1024): "CLIP ViT-L/14-336 (clip-vit-large-patch14-336)",
}


@dataclass(frozen=True)
class Foreign:
    """A kind of file that is recognised, and refused by name."""

    what: str
    recognise: Callable[[set[str]], bool]


def has(*patterns: str) -> Callable[[set[str]], bool]:
    """A test that every pattern begins some key."""
    compiled = [re.compile(pattern) for pattern in patterns]
    return lambda keys: all(any(pattern.match(key) for key in keys) for pattern in compiled)


FACE = "it reads a face embedding, which this version does not make"
FACE_SHAPES = (  # what only a width tells: tensor, axis, size
    ("perceiver_resampler.proj_in.weight", 0, 4096, f"an IP-Adapter FaceID Plus for Kolors: {FACE}"),
    ("proj_in.weight", 1, 512, f"an IP-Adapter FaceID Portrait (unnorm) or InstantID file: {FACE}"),
)
FOREIGN = (
    Foreign(
        "an XLabs FLUX IP-Adapter; only UNets (SD1.5, SD2.1, SDXL, Kolors) are supported",
        has(r".*double_blocks\.\d+\.processor\.ip_adapter"),
    ),
    Foreign(
        "an InstantX SD3.5 IP-Adapter; only UNets (SD1.5, SD2.1, SDXL, Kolors) are supported",
        has(r".*\d+\.norm_ip\.linear\."),
    ),
    Foreign(
        "an InstantX FLUX IP-Adapter; only UNets (SD1.5, SD2.1, SDXL, Kolors) are supported",
        has(r"ip_adapter\.0\.to_k_ip\.", r"ip_adapter\.2\.to_k_ip\."),
    ),
    Foreign(
        "a HunyuanDiT IP-Adapter; only UNets (SD1.5, SD2.1, SDXL, Kolors) are supported", has(r".*kv_proj_ip_adapter")
    ),
    Foreign(f"an IP-Adapter FaceID Plus: {FACE}", has(r"image_proj\.perceiver_resampler\.")),
    Foreign(
        f"an IP-Adapter FaceID: {FACE}", has(r"image_proj\.proj\.2\.", r"image_proj\.norm\.", r"ip_adapter\..*_lora")
    ),
    Foreign(f"an IP-Adapter FaceID Portrait: {FACE}", has(r"image_proj\.proj\.2\.", r"image_proj\.norm\.")),
    Foreign("a CSGO adapter, which has two image projections", has(r"content_image_proj\.", r"style_image_proj\.")),
    Foreign("a LoRA: load it with Load LoRA", has(r".*(lora_up|lora_down|lora_A|lora_B)\b")),
    Foreign("a ControlNet: load it with Load ControlNet Model", has(r"(control_model\.|controlnet_|.*zero_convs)")),
    Foreign("a CLIP image encoder: it belongs in models/clip_vision", has(r"(vision_model\.|visual\.)")),
    Foreign("a checkpoint: load it with Load Checkpoint", has(r"(model\.diffusion_model\.|diffusion_model\.)")),
    Foreign("a VAE: load it with Load VAE", has(r"(first_stage_model\.|decoder\.conv_in\.)")),
)

PUBLIC = "an IP-Adapter file has image_proj and ip_adapter tensors, such as ip-adapter_sd15.safetensors"


def identify(checkpoint: Checkpoint) -> AdapterSpec:
    """Read family, base, widths and token count from the tensors.

    Raises IPAdapterError naming the file for one that is of another family, of another kind, or malformed.
    """
    refuse_foreign(checkpoint)
    if not checkpoint.image_proj or not checkpoint.ip_adapter:
        missing = "image_proj" if not checkpoint.image_proj else "ip_adapter"
        raise IPAdapterError(f"'{checkpoint.name}' has no {missing} tensors, so it is not an IP-Adapter: {PUBLIC}.")
    channels, context_dim = read_layers(checkpoint)
    projection = read_projection(checkpoint, context_dim)
    return AdapterSpec(checkpoint.name, projection, channels)


def refuse_foreign(checkpoint: Checkpoint) -> None:
    """Refuse by name what is recognised and not supported."""
    keys = checkpoint.keys()
    kinds = [kind for key, axis, size, kind in FACE_SHAPES if has_size(checkpoint.image_proj.get(key), axis, size)]
    kinds += [foreign.what for foreign in FOREIGN if foreign.recognise(keys)]
    if kinds:
        raise IPAdapterError(f"'{checkpoint.name}' is {kinds[0]}.")


def has_size(tensor: Tensor | None, axis: int, size: int) -> bool:
    """Whether a matrix is there and has that size."""
    return tensor is not None and tensor.ndim == 2 and tensor.shape[axis] == size


def read_layers(checkpoint: Checkpoint) -> tuple[tuple[int, ...], int]:
    """Each layer's width, in the order of the odd key numbers, and the width of the tokens."""
    tensors, name = checkpoint.ip_adapter, checkpoint.name
    unknown = sorted(key for key in tensors if not LAYER_KEY.fullmatch(key))
    if unknown:
        raise IPAdapterError(f"'{name}' has a tensor ip_adapter.{unknown[0]}, which no known adapter has: {PUBLIC}.")
    numbers = sorted(int(match[1]) for key in tensors if (match := TO_K.fullmatch(key)))
    if numbers != list(range(1, 2 * len(numbers), 2)) or len(tensors) != 2 * len(numbers):
        raise IPAdapterError(
            f"'{name}' is incomplete: its {len(tensors)} layer tensors are not pairs of to_k_ip and to_v_ip numbered "
            "1, 3, 5 …; download it again."
        )
    context_dim = shape(checkpoint, "ip_adapter", "1.to_k_ip.weight", 2)[1]
    return tuple(layer_channels(checkpoint, number, context_dim) for number in numbers), context_dim


def layer_channels(checkpoint: Checkpoint, number: int, context_dim: int) -> int:
    """The width of one layer, after checking that its two matrices agree."""
    key = shape(checkpoint, "ip_adapter", f"{number}.to_k_ip.weight", 2)
    value = shape(checkpoint, "ip_adapter", f"{number}.to_v_ip.weight", 2)
    if key != value or key[1] != context_dim or 0 in key:
        raise IPAdapterError(
            f"'{checkpoint.name}': layer {number} has to_k_ip {list(key)} and to_v_ip {list(value)}, where both "
            f"should be [channels, {context_dim}]; the file is damaged or mixes two adapters."
        )
    return key[0]


def read_projection(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """The image projection's family and sizes (the order of the tests is diffusers')."""
    for marker, read in READERS:
        if marker in checkpoint.image_proj:
            return read(checkpoint, context_dim)
    raise IPAdapterError(
        f"'{checkpoint.name}' has an image projection of no known family "
        f"({', '.join(sorted(checkpoint.image_proj)[:4])} …): supported are base, plus and full-face adapters."
    )


def read_base(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """`proj` [tokens · context, E]: one linear map and a LayerNorm."""
    rows, feature_dim = shape(checkpoint, "image_proj", "proj.weight", 2)
    if rows < context_dim or rows % context_dim:
        raise IPAdapterError(
            f"'{checkpoint.name}': image_proj.proj.weight has {rows} rows, where a whole number of {context_dim}-wide "
            "tokens is needed to match its to_k_ip; the file mixes two adapters."
        )
    return ProjectionSpec(Family.BASE, feature_dim, context_dim, rows // context_dim)


def read_full_face(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """`proj.0` [dim, D], `proj.2` [context, dim]: a token for every patch."""
    dim, feature_dim = shape(checkpoint, "image_proj", "proj.0.weight", 2)
    return ProjectionSpec(Family.FULL_FACE, feature_dim, context_dim, None, dim=dim)


def read_plus(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """The Resampler: queries, widths and depth from its tensors; heads are 64 wide in every public file."""
    _, tokens, dim = shape(checkpoint, "image_proj", "latents", 3)
    _, feature_dim = shape(checkpoint, "image_proj", "proj_in.weight", 2)
    inner_dim, _ = shape(checkpoint, "image_proj", "layers.0.0.to_q.weight", 2)
    ff_dim, _ = shape(checkpoint, "image_proj", "layers.0.1.1.weight", 2)
    depth = len({key.split(".")[1] for key in checkpoint.image_proj if key.startswith("layers.")})
    if inner_dim % DIM_HEAD or not tokens:
        raise IPAdapterError(
            f"'{checkpoint.name}': the Resampler's to_q is {inner_dim} wide with {tokens} queries, where a multiple of "
            f"{DIM_HEAD} and at least one query are needed."
        )
    return ProjectionSpec(Family.PLUS, feature_dim, context_dim, tokens, dim, inner_dim, depth, ff_dim)


READERS: tuple[tuple[str, Callable[[Checkpoint, int], ProjectionSpec]], ...] = (
    ("proj.weight", read_base),
    ("proj.3.weight", read_full_face),
    ("latents", read_plus),
)


def shape(checkpoint: Checkpoint, group: str, key: str, ndim: int) -> tuple[int, ...]:
    """The shape of a tensor that must be there with that many dimensions."""
    tensors: Tensors = getattr(checkpoint, group)
    tensor: Tensor | None = tensors.get(key)
    if tensor is None:
        raise IPAdapterError(f"'{checkpoint.name}' has no {group}.{key}; the file is incomplete: download it again.")
    if tensor.ndim != ndim or 0 in tensor.shape:
        raise IPAdapterError(
            f"'{checkpoint.name}': {group}.{key} has shape {list(tensor.shape)}, where {ndim} dimensions of at least 1 "
            "are needed."
        )
    return tuple(tensor.shape)
