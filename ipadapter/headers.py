"""What is in a weights file, without reading the weights: names, shapes and types as tensors on the meta device."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from .checkpoint import (
    DEEPEST,
    Checkpoint,
    Tensors,
    flatten,
    group,
    read_head,
    refuse_other_files,
    refuse_whole_numbers,
)
from .diffusers_layout import from_diffusers, is_diffusers_layout
from .errors import IPAdapterError

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
ZIP = b"PK\x03\x04"  # what a torch file begins with whose tensors can stay on the disk


@dataclass(frozen=True)
class Header:
    """A file's tensors as shapes, and what it says of itself."""

    name: str
    tensors: Tensors  # on the meta device
    metadata: dict[str, str] = field(default_factory=dict)


def read_header(path: Path, name: str) -> Header:
    """The header of a safetensors or torch file. Raises IPAdapterError for a file that is neither, or damaged."""
    head = read_head(path, name)
    refuse_other_files(head, name)
    if head[8:9] == b"{":
        return safetensors_header(path, name)
    return Header(name, flatten(on_meta(torch_contents(path, name, mapped=head.startswith(ZIP))), name))


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
    except KeyError as error:
        raise IPAdapterError(f"'{name}' stores numbers as {error.args[0]}, which is not known here.") from error
    except Exception as error:  # of the format's own, and whatever a header that lies leads it to
        raise IPAdapterError(f"'{name}' is damaged or cut short: download it again.") from error


def torch_contents(path: Path, name: str, mapped: bool) -> dict[str, Any]:
    """A torch file's tensors, left on the disk where its format allows it. Tensors only, as everywhere."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # the unpickler raises whatever a damaged stream leads it to
        raise IPAdapterError(f"'{name}' is damaged, or not made of tensors only: download it again.") from error
    if not isinstance(loaded, dict):
        raise IPAdapterError(f"'{name}' holds a {type(loaded).__name__}, not named tensors.")
    return loaded


def on_meta(nested: dict[Any, Any], depth: int = DEEPEST) -> dict[Any, Any]:
    """The same names with shapes in place of tensors."""
    return {
        key: shape_only(value.shape, value.dtype) if isinstance(value, torch.Tensor) else on_meta(value, depth - 1)
        for key, value in nested.items()
        if isinstance(value, torch.Tensor) or (isinstance(value, dict) and depth)
    }


def shape_only(shape: Any, dtype: torch.dtype) -> torch.Tensor:
    """A tensor without numbers."""
    return torch.empty(tuple(shape), dtype=dtype, device="meta")


def checkpoint_header(header: Header) -> Checkpoint:
    """An adapter file's header as what `identify` reads."""
    flat = header.tensors
    checkpoint = group(from_diffusers(flat, header.name) if is_diffusers_layout(flat) else flat, header.name)
    refuse_whole_numbers(checkpoint)
    return checkpoint
