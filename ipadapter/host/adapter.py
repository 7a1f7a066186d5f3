"""An adapter as a graph carries it: its spec, and its weights where the host's memory management sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils

from ..adapter import load_adapter
from ..checkpoint import read_checkpoint
from ..families import AdapterSpec, identify
from .files import ADAPTERS, find_file


@dataclass(frozen=True)
class Adapter:
    """The `IP_ADAPTER` socket."""

    spec: AdapterSpec
    patcher: comfy.model_patcher.ModelPatcher


def open_adapter(name: str) -> Adapter:
    """Load one of the user's adapter files by its listed name."""
    return load_adapter_file(find_file(ADAPTERS, name), name)


def load_adapter_file(path: Path, name: str) -> Adapter:
    """Read, identify and hand to the host's memory management. Progress: read, identified, ready."""
    progress = comfy.utils.ProgressBar(2)
    checkpoint = read_checkpoint(path, name)
    spec = identify(checkpoint)
    progress.update(1)
    model = load_adapter(checkpoint, spec, comfy.ops.manual_cast)
    progress.update(1)
    patcher = comfy.model_patcher.CoreModelPatcher(
        model,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    return Adapter(spec, patcher)
