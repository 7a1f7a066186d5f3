"""What nodes of other packs give to old nodes and take from them, and what it is here.

`IPADAPTER` has two shapes there: the tensors of an adapter in two groups, with marks for what no tensor tells; and such
weights with their image encoder and what reads faces. `EMBEDS` is one tensor, of an image encoder's features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any

import comfy.ops
import torch
from torch import Tensor

from ...adapters.checkpoint import refuse_unusable_numbers, sort
from ...adapters.face_settings import FaceVersion
from ...adapters.families.instantid import INSTANTID
from ...adapters.families.portrait import PORTRAIT_UNNORM
from ...adapters.identify import identify
from ...adapters.module import load_adapter
from ...adapters.provenance import Provenance
from ...adapters.spec import AdapterSpec
from ...adapters.writing import file_tensors
from ...errors import IPAdapterError
from ...files.replacing import write_whole
from ...prompts.files import prompt_of_unknown, read_features
from ...prompts.prompt import Feature, ImageFeatures, ImagePrompt
from ..adapters.adapter import Adapter, hand_over
from ..files import next_path
from ..prompts.files import find_prompt, prompt_names

GROUPS = ("image_proj", "ip_adapter")
VERSION_MARK, UNNORM_MARK = "faceidplusv2", "portraitunnorm"
NAMELESS = "the connected IPADAPTER"
EMBEDS_ENDING = ".ipadpt"


# Adapters


@dataclass(frozen=True, eq=False, repr=False)
class AdapterWeights(Mapping[str, Any]):
    """An adapter as a mapping of its tensors. They are looked up when somebody asks: the host may move them."""

    adapter: Adapter

    def __iter__(self) -> Iterator[str]:
        return iter((*GROUPS, *marks_of(self.adapter.spec)))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, key: object) -> bool:
        return key in tuple(self)

    def __getitem__(self, key: str) -> Any:
        if key not in self:
            raise KeyError(key)
        return True if key not in GROUPS else group_of(self.adapter, f"{key}.")


def marks_of(spec: AdapterSpec) -> tuple[str, ...]:
    """What no tensor of an adapter tells."""
    said = {VERSION_MARK: spec.version is FaceVersion.V2, UNNORM_MARK: spec.family in (PORTRAIT_UNNORM, INSTANTID)}
    return tuple(mark for mark, holds in said.items() if holds)


def group_of(adapter: Adapter, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin alike, by the rest of their names."""
    tensors = file_tensors(adapter.patcher.model).items()
    return {name.removeprefix(prefix): tensor for name, tensor in tensors if name.startswith(prefix)}


def pipeline_of(adapter: Adapter, provider: str) -> dict[str, Any]:
    """An adapter with its image encoder and what reads faces, each beside the file it came from."""
    return {
        "clipvision": {"file": None, "model": adapter.clip_vision},
        "ipadapter": {"file": adapter.spec.name, "model": AdapterWeights(adapter)},
        "insightface": {"provider": provider if adapter.insightface else None, "model": adapter.insightface},
    }


GivenAdapter = Adapter | Mapping[str, Any]


def adapter_of(given: GivenAdapter) -> Adapter:
    """What comes through an `IPADAPTER` or `IP_ADAPTER` socket. Raises IPAdapterError for anything else."""
    if isinstance(given, Adapter):
        return given
    if isinstance(given, AdapterWeights):
        return given.adapter
    if not isinstance(given, Mapping):
        raise IPAdapterError(f"ipadapter is a {type(given).__name__}, and no IP-Adapter: connect a loader of adapters.")
    if "ipadapter" in given:
        return adapter_in_pipeline(given)
    return open_weights(given, NAMELESS)


def adapter_in_pipeline(pipeline: Mapping[str, Any]) -> Adapter:
    """An adapter with what was loaded for it. Raises IPAdapterError where there is none."""
    held, parts = pipeline["ipadapter"], (pipeline.get("clipvision"), pipeline.get("insightface"))
    clip_vision, insightface = (part.get("model") if isinstance(part, Mapping) else None for part in parts)
    weights = held.get("model") if isinstance(held, Mapping) else None
    if weights is None:
        raise IPAdapterError("ipadapter holds no adapter: connect a loader that has loaded one.")
    named = PurePath(str(held.get("file") or NAMELESS)).name
    adapter = open_weights(weights, named) if is_foreign(weights) else adapter_of(weights)
    return replace(
        adapter,
        clip_vision=clip_vision or adapter.clip_vision,
        insightface=insightface or adapter.insightface,
    )


def is_foreign(weights: GivenAdapter) -> bool:
    """Whether another pack has loaded these weights."""
    return isinstance(weights, Mapping) and not isinstance(weights, AdapterWeights)


def open_weights(weights: Mapping[str, Any], name: str) -> Adapter:
    """An adapter that another pack has loaded, without a copy of its tensors. Raises IPAdapterError for none."""
    groups = {group: tensors for group, tensors in weights.items() if isinstance(tensors, Mapping)}
    flat = {f"{group}.{key}": tensor for group, tensors in groups.items() for key, tensor in tensors.items()}
    tensors = {key: tensor for key, tensor in flat.items() if isinstance(tensor, Tensor)}
    checkpoint = sort(tensors, name)
    spec = marked(identify(checkpoint), weights)
    refuse_unusable_numbers(checkpoint)
    return hand_over(load_adapter(checkpoint, spec, comfy.ops.manual_cast), Provenance())


def marked(spec: AdapterSpec, weights: Mapping[str, Any]) -> AdapterSpec:
    """With the version that the pack which loaded it read in the file's name."""
    if not spec.family.versions or not weights.get(VERSION_MARK):
        return spec
    return replace(spec, face=replace(spec.face, version=FaceVersion.V2))


# Embeds


def require_embeds(embeds: object) -> Tensor:
    """Features (N, E) or (N, S, D). Raises IPAdapterError for anything else."""
    if not isinstance(embeds, Tensor) or embeds.ndim not in (2, 3):
        shape = f"shape {list(embeds.shape)}" if isinstance(embeds, Tensor) else f"a {type(embeds).__name__}"
        raise IPAdapterError(
            f"the embeds are {shape}, where a tensor (images, width) or (images, tokens, width) is needed: connect "
            "IPAdapter Encoder."
        )
    return embeds


def prompt_of_embeds(embeds: object) -> ImagePrompt:
    """Features as a prompt whose encoder is not known. Raises IPAdapterError for what are none."""
    return prompt_of_unknown(require_embeds(embeds).float())


def embeds_of(features: ImageFeatures, feature: Feature) -> Tensor:
    """One output of the encoder. Raises IPAdapterError where it has no such output."""
    found = features.get(feature)
    if found is None:
        raise IPAdapterError(f"the image encoder makes no {feature.value}: connect the one that the adapter needs.")
    return found


def encoded_feature(spec: AdapterSpec) -> Feature:
    """Which output of an image encoder an adapter reads."""
    widths = dict(spec.projection.reads)
    return Feature.PENULTIMATE if Feature.PENULTIMATE in widths else Feature.IMAGE_EMBEDS


def held_feature(features: ImageFeatures) -> Feature:
    """Which output some embeds hold."""
    return Feature.IMAGE_EMBEDS if features.penultimate is None else Feature.PENULTIMATE


def embeds_names() -> list[str]:
    """The files of embeds that a user can choose."""
    return [name for name in prompt_names() if EMBEDS_ENDING in name.lower()]


def save_embeds(embeds: object, prefix: str) -> Path:
    """Write embeds as other packs read them, under the next free number."""
    written = BytesIO()
    torch.save(require_embeds(embeds).detach().cpu().clone(), written)
    return write_whole(next_path(prefix).with_suffix(EMBEDS_ENDING), written.getvalue())


def load_embeds(name: str) -> Tensor:
    """Embeds from a listed file. Raises IPAdapterError for one that holds anything else."""
    return read_features(find_prompt(name), name)
