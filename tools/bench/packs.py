"""The packs that are measured, each driven through its own nodes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import torch
from comfy.patcher_extension import WrappersMP
from pack.ipadapter.host.sampling.patching import APPLY_KEY
from pack.ipadapter.prompts.prompt import ImageFeatures, ImagePrompt, Part
from pack.nodes.apply import ApplyIPAdapter
from pack.nodes.load import LoadIPAdapter
from torch import Tensor, nn

from tools.bench.adapters import Features
from tools.bench.models import META, Model, layers_of


@dataclass(frozen=True)
class Use:
    """How an adapter is applied: until where in the sampling, and where in the picture."""

    end_at: float = 1.0
    mask: Tensor | None = None


PLAIN = Use()


class Pack(Protocol):
    """A pack that brings IP-Adapter to ComfyUI."""

    name: str

    def load(self, file_name: str) -> Any:
        """Its loader node: an adapter from a listed file."""

    def apply(self, model: Model, adapter: Any, features: Features, use: Use) -> Model:
        """Its apply node, given encoded pictures."""

    def held(self, model: Model) -> Iterator[Tensor]:
        """What it keeps on the device for a model that has been called."""

    def to_meta(self, model: Model) -> None:
        """Leave of its tensors only their shapes, where it would multiply them with the model's in a call."""


class ThisPack:
    """This pack."""

    name = "this pack"

    def load(self, file_name: str) -> Any:
        return LoadIPAdapter.execute(file_name).result[0]

    def apply(self, model: Model, adapter: Any, features: Features, use: Use) -> Model:
        prompt = ImagePrompt.known(
            (Part(ImageFeatures(features.embeds, features.penultimate)),),
            ImageFeatures(torch.zeros_like(features.embeds), features.zero_penultimate),
            "random features",
        )
        return ApplyIPAdapter.execute(model, adapter, prompt, 1.0, 0.0, use.end_at, mask=use.mask).result[0]

    def held(self, model: Model) -> Iterator[Tensor]:
        for wrapper in model.get_wrappers(WrappersMP.APPLY_MODEL, APPLY_KEY):
            for call in wrapper.made.values():
                for branch in (branch for layer in call.branches.values() for branch in layer):
                    yield from (branch.keys, branch.values)
                    if branch.mask is not None:
                        yield from (branch.mask.mask, *branch.mask.sizes.values())

    def to_meta(self, model: Model) -> None:
        """Nothing to do: K' and V' follow the call's device."""


class Peer:
    """ComfyUI_IPAdapter_plus."""

    name = "IPAdapter_plus"

    def __init__(self, package: ModuleType) -> None:
        nodes = package.NODE_CLASS_MAPPINGS
        self.loader = nodes["IPAdapterModelLoader"]()
        self.applier = nodes["IPAdapterEmbeds"]()

    def load(self, file_name: str) -> Any:
        return self.loader.load_ipadapter_model(file_name)[0]

    def apply(self, model: Model, adapter: Any, features: Features, use: Use) -> Model:
        plus = "latents" in adapter["image_proj"]
        positive = features.penultimate if plus else features.embeds
        negative = features.zero_penultimate if plus else torch.zeros_like(features.embeds)
        window = (0.0, use.end_at)
        return self.applier.apply_ipadapter(model, adapter, positive, 1.0, "linear", *window, negative, use.mask)[0]

    def arguments(self, model: Model) -> Iterator[dict[str, Any]]:
        """What each of its callbacks is called with."""
        patches = model.model_options["transformer_options"]["patches_replace"]["attn2"]
        for patch in patches.values():
            yield from patch.kwargs

    def held(self, model: Model) -> Iterator[Tensor]:
        for arguments in self.arguments(model):
            for value in arguments.values():
                yield from tensors_of(value)

    def to_meta(self, model: Model) -> None:
        moved: dict[int, tuple[Any, Any]] = {}  # what all layers share stays shared; the originals keep their ids taken
        for arguments in self.arguments(model):
            for key, value in arguments.items():
                arguments[key] = moved.setdefault(id(value), (value, shapes_only(value)))[1]


def tensors_of(value: Any) -> tuple[Tensor, ...]:
    """The tensors of an argument that is a module, a tensor, or neither."""
    if isinstance(value, nn.Module):
        return (*value.parameters(), *value.buffers())
    return (value,) if isinstance(value, Tensor) else ()


def shapes_only(value: Any) -> Any:
    """An argument on the meta device in the meta model's precision, where it can be."""
    return value.to(META, torch.float16) if isinstance(value, (nn.Module, Tensor)) else value


def reached(model: Model) -> int:
    """How many cross-attention layers find a patch when the host looks under a layer's place, or its block's."""
    patches = model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    return sum(layer.place in patches or layer.place[:2] in patches for layer in layers_of(model))
