"""Sizes of an image projection, read from its tensors: what several families have in common."""

from __future__ import annotations

from ..errors import IPAdapterError
from .checkpoint import Checkpoint, shape
from .projection import DIM_HEAD


def row_count(checkpoint: Checkpoint, key: str) -> int:
    """Rows of a tensor of the projection; 0 where there is no such tensor."""
    tensor = checkpoint.image_proj.get(key)
    return tensor.shape[0] if tensor is not None and tensor.ndim else 0


def whole_tokens(checkpoint: Checkpoint, name: str, rows: int, width: int) -> int:
    """How many tokens a matrix's rows are."""
    if rows < width or rows % width:
        raise IPAdapterError(
            f"'{checkpoint.name}': image_proj.{name}.weight has {rows} rows, where a whole number of {width}-wide "
            "tokens is needed to match its to_k_ip; the file mixes two adapters."
        )
    return rows // width


def read_perceiver(checkpoint: Checkpoint, prefix: str) -> tuple[int, int, int, int]:
    """Width of what it reads, inner width, depth and feed-forward width; heads are 64 wide in every public file."""
    _, feature_dim = shape(checkpoint, "image_proj", f"{prefix}proj_in.weight", 2)
    inner_dim, _ = shape(checkpoint, "image_proj", f"{prefix}layers.0.0.to_q.weight", 2)
    ff_dim, _ = shape(checkpoint, "image_proj", f"{prefix}layers.0.1.1.weight", 2)
    layers = f"{prefix}layers."
    depth = len({key[len(layers) :].split(".")[0] for key in checkpoint.image_proj if key.startswith(layers)})
    if inner_dim % DIM_HEAD:
        raise IPAdapterError(
            f"'{checkpoint.name}': the Resampler's to_q is {inner_dim} wide, where a multiple of {DIM_HEAD} is needed."
        )
    return feature_dim, inner_dim, depth, ff_dim
