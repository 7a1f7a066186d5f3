"""The trained part of an IP-Adapter: an image projection, and W'_k and W'_v for every cross-attention layer."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from .checkpoint import Checkpoint, Tensors
from .errors import IPAdapterError
from .families import AdapterSpec, Unconditional
from .image_prompt import Feature, ImagePrompt, Part
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
        self.image_proj = build_projection(spec.projection, operations)
        self.layers = nn.ModuleList(
            LayerProjection(channels, spec.context_dim, operations) for channels in spec.channels
        )

    def layer_projections(self) -> list[LayerProjection]:
        """W'_k and W'_v of every layer."""
        return [layer for layer in self.layers if isinstance(layer, LayerProjection)]

    def tokens(self, features: Tensor) -> Tensor:
        """Features of N images to one sequence of all their tokens: (1, N · T, C)."""
        return rearrange(self.image_proj(features), "n t c -> 1 (n t) c")


def load_adapter(checkpoint: Checkpoint, spec: AdapterSpec, operations: Any = nn) -> IPAdapter:
    """The module with the file's tensors as its weights, in the file's precision and without a copy.

    Raises IPAdapterError where a tensor is missing, superfluous or of another shape.
    """
    with torch.device("meta"):
        adapter = IPAdapter(spec, operations)
    weights = module_names(checkpoint)
    refuse_other_shapes(checkpoint.name, dict(adapter.state_dict()), weights)
    adapter.load_state_dict(weights, assign=True)
    return adapter.requires_grad_(False).eval()


def module_names(checkpoint: Checkpoint) -> Tensors:
    """The file's tensors under the module's names: key number 2i + 1 is layer i."""
    tensors = {f"image_proj.{key}": tensor for key, tensor in checkpoint.image_proj.items()}
    for key, tensor in checkpoint.ip_adapter.items():
        number, rest = key.split(".", 1)
        tensors[f"layers.{int(number) // 2}.{rest}"] = tensor
    return tensors


def refuse_other_shapes(name: str, expected: Tensors, found: Tensors) -> None:
    """Compare names and shapes, and name the first tensor that differs."""
    for key in sorted(expected.keys() | found.keys()):
        want, have = (list(tensors[key].shape) if key in tensors else None for tensors in (expected, found))
        if want != have:
            raise IPAdapterError(
                f"'{name}': {key} is {have or 'missing'}, where its other tensors ask for {want or 'no such tensor'}; "
                "the file is damaged or mixes two adapters."
            )


DIMENSIONS = {Feature.IMAGE_EMBEDS: 2, Feature.PENULTIMATE: 3}  # (N, E) and (N, S, D)


def features_for(spec: AdapterSpec, prompt: ImagePrompt, part: Part) -> tuple[Tensor, Tensor]:
    """The features an adapter reads from a part of a prompt: of its images, and of what stands for no image.

    Raises IPAdapterError where the prompt's encoder is not the one the adapter was made for.
    """
    positive = part.positive.get(spec.feature)
    if (
        positive is None
        or positive.ndim != DIMENSIONS[spec.feature]
        or positive.shape[-1] != spec.projection.feature_dim
    ):
        made = "not made by it" if positive is None else f"shaped {' × '.join(map(str, positive.shape))}"
        raise IPAdapterError(
            f"'{spec.name}' reads {spec.feature.value} {spec.projection.feature_dim} wide, but the image prompt's "
            f"encoder is {prompt.encoder}, whose {spec.feature.value} are {made}: encode with {spec.encoder}."
        )
    return positive, unconditional(spec, prompt, part)


def unconditional(spec: AdapterSpec, prompt: ImagePrompt, part: Part) -> Tensor:
    """The user's negative image, else what the reference puts in place of an image."""
    if part.negative is not None:
        return present(part.negative.get(spec.feature))
    if spec.unconditional is Unconditional.ZERO_EMBEDDING:
        return torch.zeros_like(present(prompt.zero_pixels.get(spec.feature)))
    return present(prompt.zero_pixels.get(spec.feature))


def present(features: Tensor | None) -> Tensor:
    """Narrow features that the positive ones of the same encoder have shown to exist."""
    if features is None:
        raise IPAdapterError("the image prompt's negative was made by another encoder than its images.")
    return features
