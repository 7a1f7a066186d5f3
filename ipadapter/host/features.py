"""What the pack needs of ComfyUI, asked for by feature; what a version lacks is said in one sentence when it starts."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from ..errors import IPAdapterError

OLDEST = "0.18.2"  # the oldest ComfyUI that the tests run on, as pyproject.toml tells the registry


class HostError(IPAdapterError):
    """This ComfyUI is too old; the message says what it lacks and which version has it."""


@dataclass(frozen=True)
class HostFeature:
    """A name in one of the host's modules, and what it is in words."""

    module: str
    name: str  # dotted
    meaning: str


NODES_FEATURE = HostFeature("comfy_api.latest", "ComfyExtension", "nodes of the V3 API")
NEEDED = (
    HostFeature("comfy_api.v0_0_2", "io.Autogrow", "inputs that grow"),
    HostFeature("comfy_api.v0_0_2", "io.NodeReplace", "replacements of nodes"),
    HostFeature("comfy_api.torch_helpers.torch_compile", "COMPILE_KEY", "compiled models that can be told"),
    HostFeature("comfy.model_patcher", "CoreModelPatcher", "memory management of the host's choice"),
    HostFeature(
        "comfy.model_patcher", "ModelPatcher.model_patches_call_function", "the cleanup of patches after a run"
    ),
    HostFeature("comfy.model_sampling", "IMG_TO_IMG_FLOW", "image-to-image flow models"),
    HostFeature("comfy.patcher_extension", "WrappersMP.SAMPLER_SAMPLE", "wrappers around a run"),
    HostFeature("comfy.quant_ops", "QuantizedTensor", "quantised weights"),
    HostFeature("comfy.weight_adapter", "LoRAAdapter", "weight adapters"),
)


def host_has(feature: HostFeature) -> bool:
    """Whether the module is there and has the name."""
    try:
        attrgetter(feature.name)(importlib.import_module(feature.module))
    except (ModuleNotFoundError, AttributeError):
        return False
    return True


def missing_features(features: Iterable[HostFeature]) -> list[HostFeature]:
    """Those that are not there."""
    return [feature for feature in features if not host_has(feature)]


def host_version() -> str:
    """What the host says of itself."""
    try:
        return str(importlib.import_module("comfyui_version").__version__)
    except (ModuleNotFoundError, AttributeError):
        return "of an unknown version"


def require_features(*features: HostFeature) -> None:
    """Raise HostError unless the host has them all."""
    missing = missing_features(features)
    if missing:
        lacks = ", ".join(f"{feature.meaning} ({feature.module}.{feature.name})" for feature in missing)
        raise HostError(
            f"Image Prompt Adapter needs ComfyUI {OLDEST} or later; this is ComfyUI {host_version()}, which lacks "
            f"{lacks}: update ComfyUI."
        )
