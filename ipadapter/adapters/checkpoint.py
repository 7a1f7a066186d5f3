"""An adapter file's tensors in two groups.

A file holds an image projection and, per cross-attention layer, `to_k_ip` and `to_v_ip`. The public layouts:
nested torch files (`image_proj`, `ip_adapter`), the same flattened with prefixes in safetensors, the reference
trainer's names (`image_proj_model`, and `adapter_modules` or the processors of its `unet`), the state dict of a
diffusers UNet with an adapter in it, and XLabs' names for FLUX.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..errors import IPAdapterError
from ..files.headers import Header
from ..files.tensors import (
    Tensors,
    copied,
    is_usable,
    read_tensors,
    refuse_not_plain,
)
from ..files.wrapped_names import unwrap
from .diffusers_layout import public_names
from .timed_layout import from_timed
from .xlabs_layout import from_xlabs

FILE_GROUPS = {
    "image_proj": "image_proj",
    "image_proj_model": "image_proj",
    "ip_adapter": "ip_adapter",
    "adapter_modules": "ip_adapter",
}


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
    return group(public_names(from_timed(from_xlabs(unwrap(flat, name))), name), name)


def group(flat: Tensors, name: str) -> Checkpoint:
    """Sort flat names into the image projection, the layers and the rest."""
    groups: dict[str, Tensors] = {"image_proj": {}, "ip_adapter": {}}
    other: Tensors = {}
    for key, tensor in flat.items():
        prefix, _, rest = key.partition(".")
        if prefix in FILE_GROUPS and rest:
            if rest in groups[FILE_GROUPS[prefix]]:
                raise IPAdapterError(
                    f"'{name}' holds {FILE_GROUPS[prefix]}.{rest} under two names; it mixes two adapters."
                )
            groups[FILE_GROUPS[prefix]][rest] = tensor
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


def refuse_whole_numbers(checkpoint: Checkpoint) -> None:
    """Refuse an adapter whose weights are not floating point numbers."""
    for key, tensor in weights(checkpoint):
        if not tensor.is_floating_point():
            raise IPAdapterError(f"'{checkpoint.name}': {key} holds {tensor.dtype}, where weights are floating point.")


def weights(checkpoint: Checkpoint) -> Iterator[tuple[str, Tensor]]:
    """The tensors of both groups under their full names."""
    for prefix, tensors in (("image_proj.", checkpoint.image_proj), ("ip_adapter.", checkpoint.ip_adapter)):
        yield from ((prefix + key, tensor) for key, tensor in tensors.items())


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


def checkpoint_header(header: Header) -> Checkpoint:
    """An adapter file's header as what `identify` reads."""
    checkpoint = sort(header.tensors, header.name)
    refuse_whole_numbers(checkpoint)
    return checkpoint
