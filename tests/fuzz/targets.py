"""What reads what others wrote: every reader and parser of the pack, with what to begin from.

An input is either understood, or refused in a sentence that names it, within the time and the memory that a file may
cost. Anything else is a finding.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pack.ipadapter.backbones.backbone import CrossAttentionLayer
from pack.ipadapter.commands.evaluate.captions import coco_captions, json_captions
from pack.ipadapter.commands.evaluate.folder import open_image, trouble
from pack.ipadapter.commands.evaluate.graph import make_template, read_workflow
from pack.ipadapter.commands.evaluate.rows import repair
from pack.ipadapter.commands.migrate.command import MigrationRequest, migrate_file
from pack.ipadapter.commands.train.config import read_config
from pack.ipadapter.commands.train.journal import Journal
from pack.ipadapter.commands.train.listing import expand_braces, shard_entries
from pack.ipadapter.commands.train.pictures import open_training_picture
from pack.ipadapter.encoders.image_tower import described_architecture
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.files.captions import lines_of, read_table, read_text
from pack.ipadapter.prompts import weights as image_weights
from pack.ipadapter.strength import frames as frame_weights
from pack.ipadapter.strength.curve import Interpolation, read_keyframes
from pack.ipadapter.strength.layers import read_layer_weights, weigh_layers

from tests.fuzz import seeds
from tests.plain.hostile import cost_of, zip_of
from tests.plain.readers import READERS

SECONDS, MEGABYTES = 2.0, 100.0  # what a file may cost, the second above its own size
ROOM = 2**18  # bytes behind a header
RECORDS = [str(number) for number in range(16)]
LONGEST = 1000  # letters of a sentence
TYPED = ""  # the ending of what a person types, which is no file to them
LAYERS = tuple(CrossAttentionLayer((part, number, 0), 320, 768, 8) for part in ("input", "output") for number in (1, 2))
Action = Callable[[Path], object]


class FindingError(AssertionError):
    """An input that is neither understood nor refused as it should be."""


@dataclass(frozen=True)
class Target:
    """Inputs of one kind, all that reads them, and what to begin from."""

    ending: str
    readers: tuple[Action, ...]
    seeds: Callable[[], list[bytes]]
    words: tuple[str, ...] = ()
    write: Callable[[Path, bytes], object] = Path.write_bytes


def try_input(target: Target, content: bytes, folder: Path) -> int:
    """How many readers understood it. Raises FindingError, or whatever a reader raised that it should not."""
    path = folder / f"given{target.ending}"
    target.write(path, content)
    return sum([understands(reader, path) for reader in target.readers])


def warm_up(target: Target, folder: Path) -> None:
    """Read every seed once: what is imported or made at the first time is no input's cost."""
    path = folder / f"given{target.ending}"
    for seed in target.seeds():
        target.write(path, seed)
        for reader in target.readers:
            refusal(reader, path)


def understands(reader: Action, path: Path) -> bool:
    """Whether something can be read, at the cost that it may have. Raises FindingError."""
    refusals: list[str] = []
    cost = cost_of(lambda: refusals.extend(refusal(reader, path)))
    if cost.seconds > SECONDS or cost.megabytes > MEGABYTES + path.stat().st_size / 2**20:
        raise FindingError(f"{cost.seconds:.1f} s and {cost.megabytes:.0f} MB for {path.stat().st_size} bytes")
    return not refusals


def refusal(reader: Action, path: Path) -> list[str]:
    """What is said instead of reading it, if anything. Raises FindingError where that is no sentence for a person."""
    try:
        reader(path)
    except IPAdapterError as error:
        said = str(error)
        named = not path.suffix or path.name in said or "the workflow" in said
        if not named or not said.endswith(".") or "\n" in said or len(said) > LONGEST or "Error(" in said:
            raise FindingError(f"no sentence: {said!r}") from error
        return [said]
    return []


# What there is around the bytes that are tried


def write_header(path: Path, listed: bytes) -> None:
    """A safetensors file with this header, and as many bytes behind it as it says."""
    ends = [int(end[-9:]) for end in re.findall(rb"\[\s*\d+\s*,\s*(\d+)\s*\]", listed)]
    path.write_bytes(struct.pack("<Q", len(listed)) + listed + bytes(min(max(ends, default=0), ROOM)))


def write_pickle(path: Path, instructions: bytes) -> None:
    """A torch file with these instructions, and numbers for them."""
    zip_of(path, instructions, dict.fromkeys(RECORDS, bytes(ROOM // len(RECORDS))))


def write_description(path: Path, described: bytes) -> None:
    """A description of an encoder, beside the file that it is of."""
    path.write_bytes(described)
    path.with_suffix(".pt").touch()


# Readers that take something else than a file


def typed(parse: Callable[[str], object]) -> Action:
    """A parser of what a person types."""
    return lambda path: parse(path.read_bytes().decode("utf-8", "replace"))


def migrate(path: Path) -> None:
    """As the command does, which reports an error a file."""
    report = migrate_file(path, MigrationRequest((path,), None, None, None, False))
    if report.error:
        raise IPAdapterError(report.error)


def train_on(path: Path) -> object:
    """As the trainer does, which names the pictures that it cannot read and says why."""
    try:
        return open_training_picture(path.read_bytes(), 8)
    except IPAdapterError as error:
        raise IPAdapterError(f"'{path.name}': {error}.") from error


MODEL_READERS = tuple(partial(lambda reader, path: reader(path, path.name), reader) for reader in READERS.values())
TENSORS = ("image_proj", "ip_adapter", "to_k_ip", "to_v_ip", "weight", "latents", "norm", "proj", "visual.", "dtype")
TYPES = ("F32", "F16", "BF16", "F8_E4M3", "I64", "BOOL", "shape", "data_offsets", "__metadata__", "format", "parts")
OPCODES = ("ctorch._utils\n_rebuild_tensor_v2\n", "ccollections\nOrderedDict\n", "ctorch\nFloatStorage\n", "storage")
NODES = ("IPAdapter", "IPAdapterAdvanced", "class_type", "inputs", "nodes", "links", "widgets_values", "definitions")
TABLE = ("image", "file_name", "caption", "text", "images", "annotations", "image_id", "id", "\r\n", '"', "\ufeff")

TARGETS = {
    "safetensors": Target(".safetensors", MODEL_READERS, seeds.safetensors_files, (*TENSORS, *TYPES)),
    "headers": Target(".safetensors", MODEL_READERS, seeds.headers, (*TENSORS, *TYPES), write_header),
    "torch": Target(".bin", MODEL_READERS, seeds.torch_files, (*TENSORS, *OPCODES)),
    "pickles": Target(".bin", MODEL_READERS, seeds.pickles, (*TENSORS, *OPCODES), write_pickle),
    "descriptions": Target(
        ".json",
        (lambda path: described_architecture(path.with_suffix(".pt"), path.name),),
        seeds.descriptions,
        ("model_cfg", "vision_cfg", "text_cfg", "embed_dim", "layers", "preprocess_cfg", "timm_model_name", "1e999"),
        write_description,
    ),
    "typed": Target(
        TYPED,
        (
            typed(lambda text: weigh_layers([read_layer_weights(text)], LAYERS)),
            typed(lambda text: read_keyframes(text, Interpolation.LINEAR)),
            typed(frame_weights.read_frame_weights),
            typed(image_weights.read_image_weights),
            typed(expand_braces),
        ),
        seeds.typed_texts,
        ("input", "output", "middle", "all", "1e999", "nan", "inf", "..", "{", "}", "%", ":", "="),
    ),
    "prompts": Target(".json", (migrate, lambda path: make_template(read_workflow(path))), seeds.prompts, NODES),
    "workflows": Target(".json", (migrate, lambda path: make_template(read_workflow(path))), seeds.workflows, NODES),
    "pictures": Target(
        ".png",
        (trouble, open_image, train_on, migrate),
        seeds.pictures,
        ("IHDR", "IDAT", "tEXt", "iTXt", "zTXt", "eXIf", "workflow", "prompt"),
    ),
    "configurations": Target(
        ".toml", (read_config,), seeds.configurations, ("[output]", "[data]", "inf", "nan", "1979-05-27", "'''", "[[")
    ),
    "tables": Target(".csv", (read_table, repair, lambda path: Journal(path).rows()), seeds.tables, TABLE),
    "lists": Target(".jsonl", (read_table,), seeds.lists, TABLE),
    "captions": Target(".json", (json_captions, coco_captions), seeds.captions, TABLE),
    "texts": Target(".txt", (lambda path: lines_of(read_text(path)),), seeds.texts),
    "shards": Target(".tar", (lambda path: shard_entries(path, ".txt"),), seeds.shards, ("ustar", ".txt", ".png")),
}
