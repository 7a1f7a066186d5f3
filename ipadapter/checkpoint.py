"""Reading adapter files safely into two groups of tensors.

A file holds an image projection and, per cross-attention layer, `to_k_ip` and `to_v_ip`. The public layouts:
nested torch files (`image_proj`, `ip_adapter`), the same flattened with prefixes in safetensors, the reference
trainer's names (`image_proj_model`, `adapter_modules`), and the state dict of a diffusers UNet with an adapter in it.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .diffusers_layout import from_diffusers, is_diffusers_layout
from .errors import IPAdapterError

Tensors = dict[str, Tensor]

GROUPS = {
    "image_proj": "image_proj",
    "image_proj_model": "image_proj",
    "ip_adapter": "ip_adapter",
    "adapter_modules": "ip_adapter",
}

NOT_WEIGHTS = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights themselves: download the real file"),
    (b"<!doctype html", "is a web page, not weights: download it again with the site's download button"),
    (b"<html", "is a web page, not weights: download it again with the site's download button"),
)


@dataclass(frozen=True)
class Checkpoint:
    """Tensors of one adapter file. `other` names what belongs to neither group, for telling families apart."""

    name: str
    image_proj: Tensors
    ip_adapter: Tensors
    other: Tensors

    def keys(self) -> set[str]:
        """All names, flat, with the canonical group as prefix."""
        groups = (("image_proj.", self.image_proj), ("ip_adapter.", self.ip_adapter), ("", self.other))
        return {prefix + key for prefix, tensors in groups for key in tensors}


def read_checkpoint(path: Path, name: str | None = None) -> Checkpoint:
    """Read an adapter file by its content, whatever its ending.

    Raises IPAdapterError for a file that is missing, empty, damaged, unsafe or not made of tensors.
    """
    name = name or path.name
    flat = flatten(read_tensors(path, name), name)
    flat = from_diffusers(flat) if is_diffusers_layout(flat) else flat
    checkpoint = group(flat, name)
    refuse_unusable_numbers(checkpoint)
    return checkpoint


def read_tensors(path: Path, name: str) -> dict[str, Any]:
    """The raw contents of a safetensors or torch file."""
    head = read_head(path, name)
    for magic, sentence in NOT_WEIGHTS:
        if head.lower().startswith(magic):
            raise IPAdapterError(f"'{name}' {sentence}.")
    if head[8:9] == b"{":
        return read_safetensors(path, name)
    return read_torch(path, name)


def read_head(path: Path, name: str) -> bytes:
    """The first bytes of a file that has some."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise IPAdapterError(f"'{name}' cannot be read: {error.strerror}.") from error
    if not head:
        raise IPAdapterError(f"'{name}' is empty (0 bytes): download it again.")
    return head


def read_safetensors(path: Path, name: str) -> Tensors:
    """Tensors of a safetensors file, copied into memory so that the file may be replaced later."""
    try:
        return {key: tensor.clone() for key, tensor in load_file(path).items()}
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
        raise IPAdapterError(f"'{name}' is damaged or cut short ({error}): download it again.") from error


def read_torch(path: Path, name: str) -> dict[str, Any]:
    """Contents of a torch file, tensors only: a pickle that asks for anything else is refused unread."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever a damaged stream leads it to
        raise IPAdapterError(torch_failure(name, error)) from error
    if not isinstance(loaded, dict):
        raise IPAdapterError(f"'{name}' holds a {type(loaded).__name__}, not an adapter's named tensors.")
    return loaded


def torch_failure(name: str, error: Exception) -> str:
    """The sentence for a torch file that did not load."""
    if isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower():
        return (
            f"'{name}' is a pickle that asks to run code while it loads, so it was not opened: "
            "use the .safetensors version of this adapter."
        )
    return (
        f"'{name}' is not a readable safetensors or torch file; it is damaged, cut short or of another kind: "
        "download it again."
    )


def flatten(nested: dict[Any, Any], name: str) -> Tensors:
    """Nested dictionaries of tensors as one, keys joined with dots."""
    flat: Tensors = {}
    for key, value in nested.items():
        if isinstance(value, Tensor):
            flat[str(key)] = value
        elif isinstance(value, dict):
            flat |= {f"{key}.{inner}": tensor for inner, tensor in flatten(value, name).items()}
    if not flat and nested:
        raise IPAdapterError(f"'{name}' holds no tensors, so it is not an adapter.")
    return flat


def group(flat: Tensors, name: str) -> Checkpoint:
    """Sort flat names into the image projection, the layers and the rest."""
    groups: dict[str, Tensors] = {"image_proj": {}, "ip_adapter": {}}
    other: Tensors = {}
    for key, tensor in flat.items():
        prefix, _, rest = key.partition(".")
        if prefix in GROUPS and rest:
            groups[GROUPS[prefix]][rest] = tensor
        else:
            other[key] = tensor
    return Checkpoint(name, groups["image_proj"], groups["ip_adapter"], other)


def refuse_unusable_numbers(checkpoint: Checkpoint) -> None:
    """Refuse an adapter whose weights are not finite floating point numbers."""
    for prefix, tensors in (("image_proj.", checkpoint.image_proj), ("ip_adapter.", checkpoint.ip_adapter)):
        for key, tensor in tensors.items():
            if not tensor.is_floating_point():
                raise IPAdapterError(
                    f"'{checkpoint.name}': {prefix}{key} holds {tensor.dtype}, where weights are floating point."
                )
            if not is_finite(tensor):
                raise IPAdapterError(
                    f"'{checkpoint.name}': {prefix}{key} holds NaN or infinite numbers; the file is damaged or its "
                    "training diverged: use another copy."
                )


def is_finite(tensor: Tensor) -> bool:
    """Whether every number is finite; 8-bit floats are widened, as torch has no test for them."""
    wide = tensor.float() if tensor.element_size() == 1 else tensor
    return bool(torch.isfinite(wide).all())
