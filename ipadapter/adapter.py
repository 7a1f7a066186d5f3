"""The trained part of an IP-Adapter: an image projection, and W'_k and W'_v for every cross-attention layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import normalize

from .checkpoint import Checkpoint, Shapes, Tensors, shapes
from .errors import IPAdapterError
from .families import AdapterSpec, Family, Unconditional
from .image_prompt import UNKNOWN, Feature, ImageFeatures, ImagePrompt, Part, merge_features
from .lora import lora_tensors
from .projection import build_projection


class LayerProjection(nn.Module):
    """W'_k and W'_v of one cross-attention layer (paper eq. 4)."""

    to_k_ip: nn.Linear
    to_v_ip: nn.Linear

    def __init__(self, channels: int, context_dim: int, operations: Any) -> None:
        super().__init__()
        self.to_k_ip = operations.Linear(context_dim, channels, bias=False)
        self.to_v_ip = operations.Linear(context_dim, channels, bias=False)


class IPAdapter(nn.Module):
    """An adapter as the file has it. Layers are in the reference's order: down, up, middle."""

    def __init__(self, spec: AdapterSpec, operations: Any = nn) -> None:
        super().__init__()
        self.spec = spec
        self.lora: Tensors = {}  # of FaceID files: no part of the module, as it changes the UNet's weights
        self.image_proj = build_projection(spec.projection, operations)
        self.layers = nn.ModuleList(
            LayerProjection(channels, spec.context_dim, operations) for channels in spec.channels
        )

    def layer_projections(self) -> list[LayerProjection]:
        """W'_k and W'_v of every layer."""
        return [layer for layer in self.layers if isinstance(layer, LayerProjection)]

    def tokens(self, *features: Tensor) -> Tensor:
        """Features of N images to one sequence of all their tokens: (1, N · T, C)."""
        return rearrange(self.image_proj(*features), "n t c -> 1 (n t) c")


def load_adapter(checkpoint: Checkpoint, spec: AdapterSpec, operations: Any = nn) -> IPAdapter:
    """The module with the file's tensors as its weights, in the file's precision and without a copy.

    Raises IPAdapterError where a tensor is missing, superfluous or of another shape.
    """
    with torch.device("meta"):
        adapter = IPAdapter(spec, operations)
    weights = module_names(checkpoint)
    refuse_other_shapes(checkpoint.name, expected_shapes(spec), shapes(weights))
    adapter.load_state_dict(weights, assign=True)
    adapter.lora = lora_tensors(checkpoint)
    return adapter.requires_grad_(False).eval()


def module_names(checkpoint: Checkpoint) -> Tensors:
    """The file's tensors under the module's names: key number 2i + 1 is layer i."""
    tensors = {f"image_proj.{key}": tensor for key, tensor in checkpoint.image_proj.items()}
    for key in checkpoint.ip_adapter.keys() - lora_tensors(checkpoint).keys():
        number, rest = key.split(".", 1)
        tensors[f"layers.{int(number) // 2}.{rest}"] = checkpoint.ip_adapter[key]
    return tensors


class Blank:
    """torch's own layers as `operations`, which nobody fills with random numbers."""

    LayerNorm = nn.LayerNorm

    class Linear(nn.Linear):
        def reset_parameters(self) -> None:
            """Leave the weights as they are: only their shapes are asked for."""


def expected_shapes(spec: AdapterSpec) -> Shapes:
    """What a file must hold under the module's names. Asked of torch's own layers: the host's may come without weights
    until a file is loaded.
    """
    with torch.device("meta"):
        return shapes(dict(IPAdapter(spec, Blank).state_dict()))


def refuse_other_shapes(name: str, expected: Shapes, found: Shapes) -> None:
    """Compare names and shapes, and name the first tensor that differs."""
    for key in sorted(expected.keys() | found.keys()):
        want, have = (list(tensors[key]) if key in tensors else None for tensors in (expected, found))
        if want != have:
            raise IPAdapterError(
                f"'{name}': {key} is {have or 'missing'}, where its other tensors ask for {want or 'no such tensor'}; "
                "the file is damaged or mixes two adapters."
            )


Read = tuple[Tensor, ...]  # what a projection takes, one after another
DIMENSIONS = {Feature.IMAGE_EMBEDS: 2, Feature.PENULTIMATE: 3, Feature.FACE: 2}  # (N, E), (N, S, D) and (N, 512)


def features_for(spec: AdapterSpec, prompt: ImagePrompt, part: Part) -> tuple[Read, Read]:
    """What an adapter reads of a part of a prompt: of its images, and of what stands for no image.

    Raises IPAdapterError where the prompt's encoder is not the one the adapter was made for.
    """
    refuse_other_features(spec, prompt, part.positive)
    nothing = unconditional(spec, prompt, part)
    refuse_other_features(spec, prompt, nothing)
    return read(spec, part.positive), read(spec, nothing)


def refuse_other_features(spec: AdapterSpec, prompt: ImagePrompt, features: ImageFeatures) -> None:
    """Refuse features that are not there, or not as the adapter's own encoder makes them."""
    for feature, width in spec.projection.reads:
        found = features.get(feature)
        if found is None or found.ndim != DIMENSIONS[feature] or found.shape[-1] != width:
            made = "none" if found is None else f"{' × '.join(map(str, found.shape))} numbers"
            raise IPAdapterError(
                f"'{spec.name}' reads {feature.value} {width} wide, but the image prompt's encoder is "
                f"{prompt.encoder}, which gives {made}: encode with {spec.encoder}."
            )
        if feature is Feature.FACE and spec.reads_raw_face and is_normalised(found):
            raise IPAdapterError(
                f"'{spec.name}' reads face embeddings as the recognition model makes them, but those of the image "
                f"prompt ({prompt.encoder}) are normalised to length 1: encode with {spec.encoder}."
            )


def is_normalised(face: Tensor) -> bool:
    """Whether embeddings (N, 512) have length 1, which no recognition model makes by itself."""
    length = torch.linalg.vector_norm(face.float(), dim=-1)
    return bool(torch.allclose(length, torch.ones_like(length), atol=1e-3))


def read(spec: AdapterSpec, features: ImageFeatures) -> Read:
    """What the projection takes of some images."""
    taken = [PREPARE[feature](spec, present(features.get(feature))) for feature, _ in spec.projection.reads]
    return (*taken, *SHARES.get(spec.family, lambda spec: ())(spec))


def face_for(spec: AdapterSpec, face: Tensor) -> Tensor:
    """Face embeddings as an adapter was trained on them. Zero stays zero."""
    return face if spec.reads_raw_face else normalize(face.float(), dim=-1)


PREPARE: dict[Feature, Callable[[AdapterSpec, Tensor], Tensor]] = {
    Feature.IMAGE_EMBEDS: lambda spec, embeds: embeds,
    Feature.PENULTIMATE: lambda spec, hidden: hidden,
    Feature.FACE: face_for,
}
SHARES: dict[Family, Callable[[AdapterSpec], Read]] = {
    Family.FACE_ID_PLUS: lambda spec: (torch.tensor(spec.face.shares),),
}


def unconditional(spec: AdapterSpec, prompt: ImagePrompt, part: Part) -> ImageFeatures:
    """The user's negative image, else what the reference puts in place of an image."""
    if part.negative is not None:
        return part.negative
    if prompt.encoder == UNKNOWN and spec.unconditional is Unconditional.ZERO_PIXELS:
        raise IPAdapterError(
            f"'{spec.name}' reads what the image encoder makes of no image, and the image prompt comes from "
            f"{UNKNOWN}: connect that encoder to clip_vision of Load Image Prompt."
        )
    if spec.unconditional is Unconditional.ZERO_EMBEDDING:
        return merge_features([prompt.zero_pixels], lambda tensors: torch.zeros_like(tensors[0]))
    return prompt.zero_pixels


def present(features: Tensor | None) -> Tensor:
    """Narrow features that the positive ones of the same encoder have shown to exist."""
    if features is None:
        raise IPAdapterError("the image prompt's negative was made by another encoder than its images.")
    return features
