"""What is in a weights file, without reading the weights: names, shapes and types as tensors on the meta device."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..errors import IPAdapterError
from .opening import DTYPES, Container, inspect
from .pickles import UnreadableError
from .tensors import Tensors, flatten, read_torch, refuse_overlapping


@dataclass(frozen=True)
class Header:
    """A file's tensors as shapes, and what it says of itself."""

    name: str
    tensors: Tensors  # on the meta device
    metadata: dict[str, str] = field(default_factory=dict)


def read_header(path: Path, name: str) -> Header:
    """The header of a safetensors or torch file. Raises IPAdapterError for a file that is neither, or damaged."""
    container = inspect(path, name)
    if container is Container.SAFETENSORS:
        return safetensors_header(path, name)
    tensors = refuse_overlapping(flatten(read_torch(path, name, container), name), name)
    return Header(name, {key: shape_only(tensor.shape, tensor.dtype) for key, tensor in tensors.items()})


def safetensors_header(path: Path, name: str) -> Header:
    """Shapes and types as the header gives them; the library checks that the file is as long as they ask for."""
    try:
        with safe_open(path, framework="np") as file:
            names = file.keys()
            slices = {key: file.get_slice(key) for key in names}
            tensors = {key: shape_only(part.get_shape(), DTYPES[part.get_dtype()]) for key, part in slices.items()}
            return Header(name, flatten(tensors, name), dict(file.metadata() or {}))
    except IPAdapterError:
        raise
    except Exception as error:  # of the format's own, and whatever a header that lies leads it to
        raise UnreadableError(f"'{name}' is damaged or cut short: download it again.") from error


def shape_only(shape: Any, dtype: torch.dtype) -> torch.Tensor:
    """A tensor without numbers."""
    return torch.empty(tuple(shape), dtype=dtype, device="meta")
