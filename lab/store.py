"""The weights folder: small safetensors files in fp16, and a report of what was measured when they were made."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

WEIGHTS = Path(__file__).resolve().parent / "weights"
REPORT = WEIGHTS / "report.json"
RUNS = WEIGHTS.parent / "evidence" / "measured" / "runs"


def path_of(name: str) -> Path:
    """Where the weights of a stage are."""
    return WEIGHTS / f"{name}.safetensors"


def rows_of(name: str) -> Path:
    """Where the numbers are that a stage read off its runs' pictures."""
    return RUNS / f"{name}.json"


def halved(tensor: Tensor) -> Tensor:
    """fp16 where the tensor is of real numbers."""
    return (tensor.half() if tensor.is_floating_point() else tensor).detach().contiguous().clone()


def save(name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any] | None = None) -> Path:
    """Write weights in fp16 under another name first, so that a file with the right name is always whole."""
    path = path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.unfinished")
    try:
        described = {"format": "pt", **{key: json.dumps(value) for key, value in (metadata or {}).items()}}
        save_file({key: halved(tensor) for key, tensor in tensors.items()}, unfinished, described)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def load(name: str) -> dict[str, Tensor]:
    """Weights, in fp32 where they are real numbers."""
    return {
        key: tensor.to(torch.float32) if tensor.is_floating_point() else tensor
        for key, tensor in load_file(path_of(name)).items()
    }


def load_metadata(name: str) -> dict[str, Any]:
    """What was written beside the weights."""
    with safe_open(path_of(name), "pt") as file:
        described = file.metadata() or {}
    return {key: json.loads(value) for key, value in described.items() if key != "format"}


def read_report() -> dict[str, Any]:
    """Everything measured so far, by stage."""
    return json.loads(REPORT.read_text()) if REPORT.exists() else {}


def write_report(stage: str, numbers: Mapping[str, Any]) -> None:
    """Add what a stage measured."""
    report = {**read_report(), stage: dict(numbers)}
    unfinished = REPORT.with_suffix(f".{os.getpid()}.unfinished")
    unfinished.write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    unfinished.replace(REPORT)


SNAPSHOTS = WEIGHTS.parent.parent / ".run" / "lab"


def save_snapshot(name: str, tensors: Mapping[str, Tensor]) -> None:
    """What a long run has come to, to look at while it goes on."""
    SNAPSHOTS.mkdir(parents=True, exist_ok=True)
    save_file({key: halved(tensor) for key, tensor in tensors.items()}, SNAPSHOTS / f"{name}.safetensors")
