"""An adapter as a graph carries it: its spec, and its weights where the host's memory management sees them."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.clip_vision
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.utils
import torch

from ...adapters.checkpoint import read_checkpoint, sort
from ...adapters.face_settings import FaceSettings
from ...adapters.identify import identify
from ...adapters.module import IPAdapter, load_adapter
from ...adapters.provenance import Provenance
from ...adapters.spec import AdapterSpec, refuse_settings
from ...adapters.writing import file_tensors
from ...faces.reading import FaceAnalysis
from ...files.tensors import read_metadata
from ..files import HOST_ADAPTERS, find_file


@dataclass(frozen=True)
class Adapter:
    """The `IP_ADAPTER` socket. `clip_vision` is the encoder that was found for it, where a node looked for one, and
    `insightface` what it reads faces with.
    """

    spec: AdapterSpec
    patcher: comfy.model_patcher.ModelPatcher
    provenance: Provenance = Provenance()
    clip_vision: comfy.clip_vision.ClipVisionModel | None = None
    insightface: FaceAnalysis | None = None


def open_adapter(name: str) -> Adapter:
    """Load one of the user's adapter files by its listed name."""
    adapter = load_adapter_file(find_file(HOST_ADAPTERS, name), name)
    if adapter.spec.lacks_lora:
        logging.warning(
            "IP-Adapter: '%s' was trained with a LoRA that its file does not hold; add it with Load LoRA, or take the "
            "adapter from Find IP-Adapter, which looks for it.",
            name,
        )
    return adapter


def load_adapter_file(path: Path, name: str) -> Adapter:
    """Read, identify and hand to the host's memory management. Progress: read, identified, ready."""
    progress = comfy.utils.ProgressBar(2)
    checkpoint, provenance = read_checkpoint(path, name), Provenance.read(read_metadata(path))
    spec = provenance.told(identify(checkpoint))
    progress.update(1)
    model = load_adapter(checkpoint, spec, comfy.ops.manual_cast)
    progress.update(1)
    return hand_over(model, provenance)


def trained_adapter(adapter: IPAdapter, provenance: Provenance) -> Adapter:
    """A copy of weights that are being trained, as a file of them would be loaded."""
    with torch.inference_mode(False):
        tensors = {key: tensor.clone() for key, tensor in file_tensors(adapter).items()}
    checkpoint, told = sort(tensors, adapter.spec.name), provenance.of(adapter.spec)
    return hand_over(load_adapter(checkpoint, told.told(identify(checkpoint)), comfy.ops.manual_cast), told)


def with_face(adapter: Adapter, face: FaceSettings) -> Adapter:
    """A FaceID adapter that is used in another way. Raises IPAdapterError for settings it does not have."""
    refuse_settings(adapter.spec, face)
    return using(adapter, face)


def using(adapter: Adapter, face: FaceSettings) -> Adapter:
    """An adapter with settings of faces, whether it reads them or not."""
    return replace(adapter, spec=replace(adapter.spec, face=face))


def hand_over(model: IPAdapter, provenance: Provenance) -> Adapter:
    """An adapter whose weights the host brings to the device and takes away again."""
    patcher = comfy.model_patcher.CoreModelPatcher(
        model,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    return Adapter(model.spec, patcher, provenance)
