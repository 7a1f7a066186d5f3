"""Whether there is room on the disks for what a run will write, asked before it begins."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from ...adapters.lora import lora_shapes
from ...adapters.module import IPAdapter
from ...adapters.spec import AdapterSpec
from ...errors import IPAdapterError
from ...files.tensors import Tensors
from ...images.pixels import GREY
from .checkpoints import Checkpoints
from .encoding import Encoders, Plan, encode_texts, missing

FLOAT = 4  # bytes of a trained number
COPIES = 4  # of each in a checkpoint: the weights, AdamW's two moments, and the adapter as a file
INTEGERS = 5 * 8  # bytes of a picture's four sizes and of its text's number


def cache_bytes(plan: Plan, encoders: Encoders) -> int:
    """What is still to be encoded takes so much."""
    settings, texts, pictures = plan.settings, plan.text_chunks, plan.picture_chunks
    picture = torch.full((1, settings.resolution, settings.resolution, 3), GREY)
    numbers = encoders.latents(picture).numel() + sum(one.numel() for one in encoders.no_picture())
    a_picture = numbers * settings.dtype.itemsize + INTEGERS
    a_text = bytes_of(encode_texts(encoders, [""], settings))
    texts_left = sum(len(texts[number]) for number in missing(range(len(texts)), plan.cache.texts))
    pictures_left = sum(len(pictures[number]) for number in missing(range(len(pictures)), plan.cache.pictures))
    return texts_left * a_text + pictures_left * a_picture


def bytes_of(tensors: Tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def checkpoints_bytes(spec: AdapterSpec, checkpoints: Checkpoints, averages: int = 0) -> int:
    """Checkpoints that are still to come take so much at once, one more than are kept, and the last file.

    `averages` are further adapters in each.
    """
    with torch.device("meta"):
        numbers = sum(parameter.numel() for parameter in IPAdapter(spec).parameters())
        numbers += sum(rows * columns for rows, columns in lora_sizes(spec))
    to_come = checkpoints.keep + 1 - min(checkpoints.keep, len(checkpoints.complete()))
    return (to_come * (COPIES + averages) + 1 + averages) * numbers * FLOAT


def lora_sizes(spec: AdapterSpec) -> Iterable[tuple[int, int]]:
    """Of the matrices of its LoRA, where it has one."""
    return lora_shapes(spec.channels, spec.context_dim, spec.lora_rank).values() if spec.lora_rank else ()


def refuse_little_room(needs: Mapping[Path, int]) -> None:
    """Bytes for each folder, which need not be there yet. Raises IPAdapterError where its disk has less."""
    places = {folder: existing(folder) for folder in needs}
    of_disk: Counter[int] = Counter()
    for folder, needed in needs.items():
        of_disk[places[folder].stat().st_dev] += needed
    for folder, place in places.items():
        needed, free = of_disk[place.stat().st_dev], shutil.disk_usage(place).free
        if needed > free:
            raise IPAdapterError(
                f"the run will write about {size_in_words(needed)} to the disk of '{folder}', where "
                f"{size_in_words(free)} are free: make room, keep fewer checkpoints (output.keep), or name another "
                "folder."
            )


def existing(folder: Path) -> Path:
    """The folder, or the one that it will be made in."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def size_in_words(size: int) -> str:
    """Bytes as people write them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
