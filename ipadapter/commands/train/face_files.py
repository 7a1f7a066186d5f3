"""Embeddings of faces in files beside the pictures: `cat.npy` beside `cat.png`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ...faces.reading import NoFaceError
from ...prompts.prompt import FACE_WIDTH
from .listing import Entry


def embedding_file(entry: Entry) -> Path:
    """Where a picture's is."""
    return entry.file.with_suffix(".npy")


def embedding_stamp(entry: Entry) -> tuple[int, int] | None:
    """Tells one from an earlier one; None where there is none."""
    path = embedding_file(entry)
    if not path.is_file():
        return None
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def read_embedding(path: Path) -> Tensor:
    """A recognition model's output, made to length 1, (512,). Raises NoFaceError for anything else."""
    if not path.is_file():
        raise NoFaceError(f"there is no {path.name} beside it")
    try:
        found = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32)).flatten()
    except (ValueError, TypeError, EOFError) as error:
        raise NoFaceError(f"{path.name} is not an array of numbers as numpy saves it") from error
    length = torch.linalg.vector_norm(found)
    if found.shape != (FACE_WIDTH,) or not bool(torch.isfinite(length)) or not bool(length > 0):
        raise NoFaceError(f"{path.name} holds no face embedding, which is {FACE_WIDTH} numbers, not all of them zero")
    return normalize(found, dim=0)
