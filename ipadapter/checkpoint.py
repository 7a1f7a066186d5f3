"""Reading adapter files safely into two groups of tensors.

A file holds an image projection and, per cross-attention layer, `to_k_ip` and `to_v_ip`. The public layouts:
nested torch files (`image_proj`, `ip_adapter`), the same flattened with prefixes in safetensors, the reference
trainer's names (`image_proj_model`, and `adapter_modules` or the processors of its `unet`), and the state dict of a
diffusers UNet with an adapter in it.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from .diffusers_layout import public_names
from .errors import IPAdapterError
from .opening import MOST_TENSORS, Container, inspect
from .pickles import damaged, overfull, runs_code
from .wrapped_names import unwrap

Tensors = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

GROUPS = {
    "image_proj": "image_proj",
    "image_proj_model": "image_proj",
    "ip_adapter": "ip_adapter",
    "adapter_modules": "ip_adapter",
}

LARGEST = 65504.0  # of half precision, which adapters are stored and run in
LONGEST_NAME = 250  # characters of a tensor's name; diffusers' longest have about 100
MOST_NAMES = 4  # of one tensor, on average; the trainer's checkpoints have two for some
CHUNK = 2**22  # numbers looked at together
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
    checkpoint = sort(read_tensors(path, name), name)
    refuse_unusable_numbers(checkpoint)
    image_proj, ip_adapter = (copied(tensors, name) for tensors in (checkpoint.image_proj, checkpoint.ip_adapter))
    return replace(checkpoint, image_proj=image_proj, ip_adapter=ip_adapter)


def sort(flat: Tensors, name: str) -> Checkpoint:
    """Any layout's tensors in their groups."""
    return group(public_names(unwrap(flat, name), name), name)


def read_tensors(path: Path, name: str) -> Tensors:
    """Everything in a safetensors or torch file by its full name; numbers may still be on the disk."""
    container = inspect(path, name)
    if container is Container.SAFETENSORS:
        return flatten(read_safetensors(path, name), name)
    return refuse_repeated(flatten(read_torch(path, name, container), name), name)


def copied(tensors: Tensors, name: str) -> Tensors:
    """In memory, so that the file may be replaced later; two names of one tensor stay that.

    Raises IPAdapterError for tensors that are not stored in full.
    """
    copies: dict[object, Tensor] = {}
    for key, tensor in tensors.items():
        refuse_not_plain(key, tensor, name)
        if identity(tensor) not in copies:
            copies[identity(tensor)] = tensor.clone()
    return {key: copies[identity(tensor)] for key, tensor in tensors.items()}


def identity(tensor: Tensor) -> object:
    """What is the same for two names of one tensor."""
    return tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of itself; nothing where it is of another format or says nothing."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except Exception:  # as in read_safetensors; whether the file can be read at all is told there
        return {}


def read_safetensors(path: Path, name: str) -> Tensors:
    """Tensors of a safetensors file."""
    try:
        return load_file(path)
    except Exception as error:  # of the format's own, and whatever torch makes of a header that lies
        raise IPAdapterError(
            f"'{name}' begins as a safetensors file but cannot be read as one; it is damaged or cut short: "
            "download it again."
        ) from error


def read_torch(path: Path, name: str, container: Container) -> dict[str, Any]:
    """Contents of a torch file."""
    loaded = load_torch(path, name, container)
    if not isinstance(loaded, dict):
        raise IPAdapterError(f"'{name}' holds a {type(loaded).__name__}, not named tensors.")
    return loaded


def load_torch(path: Path, name: str, container: Container) -> Any:
    """What a torch file holds, tensors only: a pickle that asks for anything else is refused unread.

    Numbers stay on the disk where the format allows it: a record may be named often, and is there once.
    """
    # Where there is no pickle torch quotes all that it has read, and searches the quotation for half a minute.
    if container is Container.SAFETENSORS:
        raise damaged(name)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=container is Container.TORCH_ZIP)
    except Exception as error:  # the unpickler raises whatever a damaged stream leads it to
        foreign = isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower()
        raise (runs_code(name) if foreign else damaged(name)) from error


def flatten(nested: dict[Any, Any], name: str) -> Tensors:
    """Nested dictionaries of tensors as one, keys joined with dots.

    Raises IPAdapterError where there is no tensor, two of the same name, a name that nobody could have given, or more
    than any model has: a dictionary may be in many others, and they in more.
    """
    flat: Tensors = {}
    for count, (key, value) in enumerate(named(nested)):
        if count >= MOST_TENSORS:
            raise overfull(name)
        refuse_unreadable(key, name)
        if key in flat:
            raise IPAdapterError(f"'{name}' holds {key} twice, so which one is meant cannot be told.")
        flat |= {key: value} if isinstance(value, Tensor) else {}
    if not flat:
        raise IPAdapterError(f"'{name}' holds no tensors, so it is not an adapter.")
    return flat


def refuse_unreadable(key: str, name: str) -> None:
    """Refuse a tensor's name that nobody could have given."""
    if len(key) > LONGEST_NAME or not key.isprintable():
        raise IPAdapterError(f"'{name}' holds a tensor with an unreadable name; it is damaged: download it again.")


def named(nested: dict[Any, Any], prefix: str = "", depth: int = DEEPEST) -> Iterator[tuple[str, Any]]:
    """Every entry with its full name. The depth ends a dictionary that holds itself."""
    for key, value in nested.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict) and depth:
            yield from named(value, f"{prefix}{key}.", depth - 1)


def refuse_repeated(tensors: Tensors, name: str) -> Tensors:
    """Refuse tensors that lie over each other: a few numbers could stand for more than memory holds.

    One tensor may have some names.
    """
    plain = [tensor for tensor in tensors.values() if is_plain(tensor)]
    named_bytes, bytes_of = sum(map(size_of, plain)), {identity(one): size_of(one) for one in plain}
    stored = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in plain}
    if sum(bytes_of.values()) > sum(stored.values()) or named_bytes > MOST_NAMES * sum(stored.values()):
        raise IPAdapterError(f"'{name}' holds tensors that lie over each other; it is damaged: use another copy.")
    return tensors


def size_of(tensor: Tensor) -> int:
    """Bytes of its numbers."""
    return tensor.numel() * tensor.element_size()


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
        refuse_not_plain(key, tensor, checkpoint.name)
        if not is_usable(tensor):
            raise IPAdapterError(
                f"'{checkpoint.name}': {key} holds NaN, infinite or absurdly large numbers; the file is damaged or its "
                "training diverged: use another copy."
            )


def refuse_not_plain(key: str, tensor: Tensor, name: str) -> None:
    """Refuse a tensor that is more or less than its numbers."""
    if not is_plain(tensor):
        raise IPAdapterError(
            f"'{name}': {key} is a sparse, empty or repeated tensor, where weights are stored in full; "
            "use another copy."
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
    return 0 < size_of(tensor) <= tensor.untyped_storage().nbytes()


def is_usable(tensor: Tensor) -> bool:
    """Whether every number is one that half precision has; 8-bit floats are widened, as torch cannot compare them."""
    for piece in tensor.flatten().split(CHUNK):
        low, high = torch.aminmax(piece.float() if piece.element_size() == 1 else piece)
        if not bool((low >= -LARGEST) & (high <= LARGEST)):  # both are false for NaN
            return False
    return True


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
