"""Reading weights files safely into tensors under their full names, and what a tensor must be to be used."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..errors import IPAdapterError
from .opening import MOST_TENSORS, Container, inspect
from .pickles import damaged, overfull, runs_code

Tensors = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]

LARGEST_HALF = 65504.0  # of half precision, which adapters are stored and run in
LONGEST_NAME = 250  # characters of a tensor's name; diffusers' longest have about 100
MOST_NAMES = 4  # of one tensor, on average; the trainer's checkpoints have two for some
NUMBERS_AT_ONCE = 2**22  # numbers looked at together
DEEPEST = 4  # levels of names in a torch file; public ones have three at most


def read_tensors(path: Path, name: str) -> Tensors:
    """Everything in a safetensors or torch file by its full name; numbers may still be on the disk."""
    container = inspect(path, name)
    if container is Container.SAFETENSORS:
        return flatten(read_safetensors(path, name), name)
    return refuse_overlapping(flatten(read_torch(path, name, container), name), name)


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
        refuse_unreadable_name(key, name)
        if key in flat:
            raise IPAdapterError(f"'{name}' holds {key} twice, so which one is meant cannot be told.")
        flat |= {key: value} if isinstance(value, Tensor) else {}
    if not flat:
        raise IPAdapterError(f"'{name}' holds no tensors, so it is not an adapter.")
    return flat


def refuse_unreadable_name(key: str, name: str) -> None:
    """Refuse a tensor's name that nobody could have given."""
    if len(key) > LONGEST_NAME or not key.isprintable():
        raise IPAdapterError(f"'{name}' holds a tensor with an unreadable name; it is damaged: download it again.")


def named(nested: dict[Any, Any], prefix: str = "", depth: int = DEEPEST) -> Iterator[tuple[str, Any]]:
    """Every entry with its full name. The depth ends a dictionary that holds itself."""
    for key, value in nested.items():
        yield f"{prefix}{key}", value
        if isinstance(value, dict) and depth:
            yield from named(value, f"{prefix}{key}.", depth - 1)


def refuse_overlapping(tensors: Tensors, name: str) -> Tensors:
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


def refuse_not_plain(key: str, tensor: Tensor, name: str) -> None:
    """Refuse a tensor that is more or less than its numbers."""
    if not is_plain(tensor):
        raise IPAdapterError(
            f"'{name}': {key} is a sparse, empty or repeated tensor, where weights are stored in full; "
            "use another copy."
        )


def is_plain(tensor: Tensor) -> bool:
    """Whether every number is there: not sparse, not only a shape, not a few numbers repeated."""
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.device.type != "cpu":
        return False
    return 0 < size_of(tensor) <= tensor.untyped_storage().nbytes()


def is_usable(tensor: Tensor) -> bool:
    """Whether every number is one that half precision has; 8-bit floats are widened, as torch cannot compare them."""
    for piece in tensor.flatten().split(NUMBERS_AT_ONCE):
        low, high = torch.aminmax(piece.float() if piece.element_size() == 1 else piece)
        if not bool((low >= -LARGEST_HALF) & (high <= LARGEST_HALF)):  # both are false for NaN
            return False
    return True


def shapes(tensors: Tensors) -> Shapes:
    """Names and shapes, to compare a file with what it should be."""
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}
