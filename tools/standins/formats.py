"""The kinds of files, and how a file tells that it is a stand-in of the present recipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx.helper import set_model_props
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .noise import State

# Changes when the tensors do, so that files of an older recipe are made again.
RECIPE, RECIPE_KEY = "1", "stand_in_recipe"


@dataclass(frozen=True)
class Format:
    """Files of one kind: how they are saved, and what they say of themselves, or None where they are not whole."""

    save: Callable[[Any, Path], None]
    metadata: Callable[[Path], Mapping[str, str] | None]


def save_state(state: State, path: Path) -> None:
    save_file(state, path, {"format": "pt", RECIPE_KEY: RECIPE})


def state_metadata(path: Path) -> Mapping[str, str] | None:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except SafetensorError:
        return None


def save_torch(state: State, path: Path) -> None:
    """Nested by the first part of the names, as the public files of this kind are."""
    nested: dict[str, Any] = {RECIPE_KEY: RECIPE}
    for name, tensor in state.items():
        group, _, key = name.partition(".")
        nested.setdefault(group, {})[key] = tensor
    torch.save(nested, path)


def torch_metadata(path: Path) -> Mapping[str, str] | None:
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return {key: value for key, value in loaded.items() if isinstance(value, str)}
    except Exception:  # whatever a damaged file leads the unpickler to
        return None


def save_model(model: onnx.ModelProto, path: Path) -> None:
    set_model_props(model, {RECIPE_KEY: RECIPE})
    path.write_bytes(model.SerializeToString())


def model_metadata(path: Path) -> Mapping[str, str] | None:
    try:
        model = onnx.load_model(path, load_external_data=False)
    except DecodeError:
        return None
    if not model.graph.node:  # an empty file is a valid model of nothing
        return None
    return {entry.key: entry.value for entry in model.metadata_props}


FORMATS = {
    ".safetensors": Format(save_state, state_metadata),
    ".bin": Format(save_torch, torch_metadata),
    ".onnx": Format(save_model, model_metadata),
}


def is_there(path: Path) -> bool:
    """Whether the file needs no making: it is a stand-in of this recipe, or a real model somebody put there."""
    if not path.is_file():
        return False
    metadata = FORMATS[path.suffix].metadata(path)
    return metadata is not None and metadata.get(RECIPE_KEY, RECIPE) == RECIPE


def write(path: Path, content: Any) -> None:
    """Save under another name first, so that a file with the right name is always whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    try:
        FORMATS[path.suffix].save(content, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
