"""The trained part of an IP-Adapter: an image projection, and W'_k and W'_v for every cross-attention layer."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ..errors import IPAdapterError
from ..files.tensors import Shapes, Tensors, shapes
from .checkpoint import Checkpoint
from .layer import LayerProjection
from .layout import LayerLayout
from .lora import lora_tensors
from .spec import AdapterSpec


class IPAdapter(nn.Module):
    """An adapter as the file has it. Layers are in the reference's order."""

    def __init__(self, spec: AdapterSpec, operations: Any = nn) -> None:
        super().__init__()
        self.spec = spec
        self.lora: Tensors = {}  # of FaceID files: no part of the module, as it changes the UNet's weights
        self.image_proj = spec.family.projection(spec.projection, operations)
        self.layers = nn.ModuleList(
            spec.family.layer(channels, spec.context_dim, spec.projection.time_width, operations)
            for channels in spec.channels
        )

    def layer_projections(self) -> list[LayerProjection]:
        """W'_k and W'_v of every layer."""
        return [layer for layer in self.layers if isinstance(layer, LayerProjection)]

    def time(self, sigma: float, like: Tensor) -> tuple[Tensor, ...]:
        """What tells projection and layers the noise level, (1, D), for those that follow it: the last of what the
        projection takes."""
        projection: Any = self.image_proj
        return (projection.time_embedding(sigma, like),) if self.spec.follows_noise else ()

    def settle(self, read: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What the projection takes, as far as it can be read before a noise level is known."""
        projection: Any = self.image_proj
        return (projection.settle(*read),) if read and self.spec.projection.blocks else read

    def tokens(self, *features: Tensor) -> Tensor:
        """Features of N images, and what else the projection takes, to all their tokens: (1, N · T, C)."""
        return one_after_another(self.image_proj(*features))


def one_after_another(tokens: Tensor) -> Tensor:
    """Tokens of N images (N, T, C) to (1, N · T, C)."""
    return rearrange(tokens, "n t c -> 1 (n t) c")


def load_adapter(checkpoint: Checkpoint, spec: AdapterSpec, operations: Any = nn) -> IPAdapter:
    """The module with the file's tensors as its weights, in the file's precision and without a copy.

    Raises IPAdapterError where a tensor is missing, superfluous or of another shape.
    """
    with torch.device("meta"):
        adapter = IPAdapter(spec, operations)
    weights = module_names(checkpoint, spec.family.layers)
    refuse_other_shapes(checkpoint.name, expected_shapes(spec), shapes(weights))
    adapter.load_state_dict(weights, assign=True)
    adapter.lora = lora_tensors(checkpoint)
    return adapter.requires_grad_(False).eval()


def module_names(checkpoint: Checkpoint, layout: LayerLayout) -> Tensors:
    """The file's tensors under the module's names."""
    tensors = {f"image_proj.{key}": tensor for key, tensor in checkpoint.image_proj.items()}
    for key in checkpoint.ip_adapter.keys() - lora_tensors(checkpoint).keys():
        number, rest = key.split(".", 1)
        tensors[f"layers.{layout.index(int(number))}.{rest}"] = checkpoint.ip_adapter[key]
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
