"""Writing adapter files: the reference's layout, flat, with what they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from ..files.replacing import write_whole
from ..progress import Progress, no_progress
from .module import IPAdapter
from .provenance import FORMAT, Provenance


def file_tensors(adapter: IPAdapter, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The tensors under the public files' names."""
    family, names = adapter.spec.family, dict[str, Tensor]()
    for key, tensor in adapter.state_dict().items():
        group, _, rest = key.partition(".")
        if group == "layers":
            index, _, matrix = rest.partition(".")
            key = f"ip_adapter.{family.layers.number(int(index))}.{matrix}"
        names[key] = tensor
    names |= {f"ip_adapter.{key}": tensor for key, tensor in adapter.lora.items()}
    return {family.file_name(key): tensor.detach().to("cpu", dtype).contiguous() for key, tensor in names.items()}


def metadata(adapter: IPAdapter, provenance: Provenance) -> dict[str, str]:
    """What the file says of itself."""
    spec = adapter.spec
    return {
        "format": FORMAT,
        "kind": spec.family.title,
        "base": spec.base,
        "encoder": provenance.encoder or spec.encoder,
        "tokens": str(spec.projection.tokens or "one a patch"),
        "steps": str(provenance.steps),
        "license": provenance.license,
    } | ({"face_version": provenance.face_version} if provenance.face_version else {})


def write_adapter(
    path: Path,
    adapter: IPAdapter,
    provenance: Provenance,
    dtype: torch.dtype | None = None,
    progress: Progress = no_progress,
) -> Path:
    """Write a safetensors file. Raises IPAdapterError where the disk does not take it; nothing is replaced then."""
    return write_whole(path, save(file_tensors(adapter, dtype), readable(metadata(adapter, provenance))), progress)


def readable(notes: Mapping[str, str]) -> dict[str, str]:
    """Notes that a file can hold: half of a character, which no text has, becomes a question mark."""
    return {key: note.encode("utf-8", "replace").decode() for key, note in notes.items()}
