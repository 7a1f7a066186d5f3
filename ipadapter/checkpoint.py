"""Reading adapter files safely into two groups of tensors.

A file holds an image projection and, per cross-attention layer, `to_k_ip` and `to_v_ip`. The public layouts:
nested torch files (`image_proj`, `ip_adapter`), the same flattened with prefixes in safetensors, the reference
trainer's names (`image_proj_model`, `adapter_modules`), and the state dict of a diffusers UNet with an adapter in it.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from .diffusers_layout import from_diffusers, is_diffusers_layout
from .errors import IPAdapterError

Tensors = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

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

BLANK = b"\xef\xbb\xbf \t\r\n"  # what a web page may begin with

LARGEST = 65504.0  # of half precision, which adapters are stored and run in
LONGEST_NAME = 250  # characters of a tensor's name; diffusers' longest have about 100
DEEPEST = 4  # levels of names in a torch file; public ones have three at most


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
    flat = from_diffusers(flat, name) if is_diffusers_layout(flat) else flat
    checkpoint = group(flat, name)
    refuse_unusable_numbers(checkpoint)
    return checkpoint


def read_tensors(path: Path, name: str) -> dict[str, Any]:
    """The raw contents of a safetensors or torch file."""
    head = read_head(path, name)
    refuse_other_files(head, name)
    if head[8:9] == b"{":
        return read_safetensors(path, name)
    return read_torch(path, name)


def refuse_other_files(head: bytes, name: str) -> None:
    """Refuse what is often saved in place of weights."""
    for magic, sentence in NOT_WEIGHTS:
        if head.lstrip(BLANK).lower().startswith(magic):
            raise IPAdapterError(f"'{name}' {sentence}.")


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


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself; nothing where it is of another format or says nothing."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except Exception:  # as in read_safetensors; whether the file can be read at all is told there
        return {}


def read_safetensors(path: Path, name: str) -> Tensors:
    """Tensors of a safetensors file, copied into memory so that the file may be replaced later."""
    try:
        return {key: tensor.clone() for key, tensor in load_file(path).items()}
    except Exception as error:  # of the format's own, and whatever torch makes of a header that lies
        raise IPAdapterError(
            f"'{name}' begins as a safetensors file but cannot be read as one; it is damaged or cut short: "
            "download it again."
        ) from error


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
    """Nested dictionaries of tensors as one, keys joined with dots.

    Raises IPAdapterError where there is no tensor, two of the same name, or a name that nobody could have given.
    """
    flat: Tensors = {}
    for key, tensor in named_tensors(nested):
        if len(key) > LONGEST_NAME or not key.isprintable():
            raise IPAdapterError(f"'{name}' holds a tensor with an unreadable name; it is damaged: download it again.")
        if key in flat:
            raise IPAdapterError(f"'{name}' holds {key} twice, so which one is meant cannot be told.")
        flat[key] = tensor
    if not flat:
        raise IPAdapterError(f"'{name}' holds no tensors, so it is not an adapter.")
    return flat


def named_tensors(nested: dict[Any, Any], prefix: str = "", depth: int = DEEPEST) -> Iterator[tuple[str, Tensor]]:
    """Every tensor with its full name. The depth ends a dictionary that holds itself."""
    for key, value in nested.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, dict) and depth:
            yield from named_tensors(value, f"{prefix}{key}.", depth - 1)


def group(flat: Tensors, name: str) -> Checkpoint:
    """Sort flat names into the image projection, the layers and the rest."""
    groups: dict[str, Tensors] = {"image_proj": {}, "ip_adapter": {}}
    other: Tensors = {}
    for key, tensor in flat.items():
        prefix, _, rest = key.partition(".")
        if prefix in GROUPS and rest:
            if rest in groups[GROUPS[prefix]]:
                raise IPAdapterError(f"'{name}' holds {GROUPS[prefix]}.{rest} under two names; it mixes two adapters.")
            groups[GROUPS[prefix]][rest] = tensor
        else:
            other[key] = tensor
    return Checkpoint(name, groups["image_proj"], groups["ip_adapter"], other)


def refuse_unusable_numbers(checkpoint: Checkpoint) -> None:
    """Refuse an adapter whose weights are not floating point numbers that a model can be run with."""
    refuse_whole_numbers(checkpoint)
    for key, tensor in weights(checkpoint):
        if not is_plain(tensor):
            raise IPAdapterError(
                f"'{checkpoint.name}': {key} is a sparse, empty or repeated tensor, where weights are stored in full; "
                "use another copy."
            )
        if not is_usable(tensor):
            raise IPAdapterError(
                f"'{checkpoint.name}': {key} holds NaN, infinite or absurdly large numbers; the file is damaged or its "
                "training diverged: use another copy."
            )


def refuse_whole_numbers(checkpoint: Checkpoint) -> None:
    """Refuse an adapter whose weights are not floating point numbers."""
    for key, tensor in weights(checkpoint):
        if not tensor.is_floating_point():
            raise IPAdapterError(f"'{checkpoint.name}': {key} holds {tensor.dtype}, where weights are floating point.")


def weights(checkpoint: Checkpoint) -> Iterator[tuple[str, Tensor]]:
    """The tensors of both groups under their full names."""
    for prefix, tensors in (("image_proj.", checkpoint.image_proj), ("ip_adapter.", checkpoint.ip_adapter)):
        yield from ((prefix + key, tensor) for key, tensor in tensors.items())


def is_plain(tensor: Tensor) -> bool:
    """Whether every number is there: not sparse, not only a shape, not a few numbers repeated."""
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.device.type != "cpu":
        return False
    return 0 < tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def is_usable(tensor: Tensor) -> bool:
    """Whether every number is one that half precision has; 8-bit floats are widened, as torch cannot compare them."""
    low, high = torch.aminmax(tensor.float() if tensor.element_size() == 1 else tensor)
    return bool((low >= -LARGEST) & (high <= LARGEST))  # both are false for NaN


def shapes(tensors: Tensors) -> Shapes:
    """Names and shapes, to compare a file with what it should be."""
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def shape(checkpoint: Checkpoint, group: str, key: str, ndim: int) -> tuple[int, ...]:
    """The shape of a tensor that must be there with that many dimensions."""
    tensors: Tensors = getattr(checkpoint, group)
    tensor: Tensor | None = tensors.get(key)
    if tensor is None:
        raise IPAdapterError(f"'{checkpoint.name}' has no {group}.{key}; the file is incomplete: download it again.")
    if tensor.ndim != ndim or 0 in tensor.shape:
        raise IPAdapterError(
            f"'{checkpoint.name}': {group}.{key} has shape {list(tensor.shape)}, where {ndim} dimensions of at least 1 "
            "are needed."
        )
    return tuple(tensor.shape)
