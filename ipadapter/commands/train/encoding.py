"""Filling the cache: every picture through the VAE and the image encoder, every different text through CLIP, once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from ...adapters.features import Read
from ...errors import IPAdapterError
from ...faces.reading import NoFaceError
from ...files.replacing import clear_parts
from ...files.tensors import Tensors
from ...training.buckets import Buckets
from ..naming import name_some
from .cache import READ_ROWS, Cache, cache_fingerprint, row_name
from .face_files import embedding_file, embedding_stamp, read_embedding
from .listing import Entry
from .pictures import TrainingPicture, open_training_picture

OneRead = TypeVar("OneRead")


class Encoders(Protocol):
    """The frozen models that a cache is made with."""

    def latents(self, pixels: Tensor) -> Tensor:
        """(N, H, W, 3) in 0 … 1 to latents in the base model's scale, (N, C, R / 8, R / 8)."""

    def features(self, pictures: Sequence[Tensor]) -> Read:
        """Pictures (1, H, W, 3) of any sizes to what the projection reads, (N, E) or (N, S, D) each."""

    def no_picture(self) -> Read:
        """What the projection reads where there is no picture, (1, E) or (1, S, D) each."""

    def text(self, caption: str) -> tuple[Tensor, Tensor | None]:
        """A text's context (L, C), and its pooled embedding (P,) where the base model reads one."""


@dataclass(frozen=True)
class Settings:
    """How pictures are read and what of them is kept."""

    resolution: int = 512
    dtype: torch.dtype = torch.float16
    chunk: int = 256
    batch_size: int = 8
    skip_bad: bool = False
    alpha_is_mask: bool = False
    buckets: bool = field(default=False, repr=False)
    reads_faces: bool = field(default=False, repr=False)  # in the pictures, or, with face_embeddings, in files
    face_embeddings: bool = field(default=False, repr=False)


@dataclass(frozen=True)
class ChunkShare:
    """The part of the work that one process does: every `processes`-th chunk from `process` on."""

    process: int = 0
    processes: int = 1

    def of(self, count: int) -> range:
        """Numbers of its chunks."""
        return range(self.process, count, self.processes)


ALL_CHUNKS = ChunkShare()
ANOTHER_RUN = 600.0  # seconds after which no other run that fills the same cache can still be writing a file
ChunkProgress = Callable[[str, Sequence[Any]], Iterable[Any]]  # a label and chunks to go through


def without_progress(label: str, items: Sequence[Any]) -> Iterable[Any]:
    """For those who do not watch."""
    return items


@dataclass(frozen=True)
class Plan:
    """A data set cut into chunks, and where they are kept."""

    entries: list[Entry]
    texts: list[str]  # all different, the empty one first
    settings: Settings
    cache: Cache

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be encoded."""
        pictures = [self.cache.pictures(number) for number in range(len(self.picture_chunks))]
        texts = [self.cache.texts(number) for number in range(len(self.text_chunks))]
        return all(chunk.exists for chunk in (self.cache.nothing, *texts, *pictures))

    @property
    def picture_chunks(self) -> list[list[Entry]]:
        """Examples of each file."""
        return pieces(self.entries, self.settings.chunk)

    @property
    def text_chunks(self) -> list[list[str]]:
        """Texts of each file."""
        return pieces(self.texts, self.settings.chunk)


def pieces(items: list[Any], size: int) -> list[list[Any]]:
    """Consecutive runs of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def make_plan(entries: list[Entry], models: tuple[Any, ...], settings: Settings, folder: Path) -> Plan:
    """Where the encoded form of these examples is, or will be. `models` tells the encoders from others."""
    stamps = [(e.name, e.caption, e.start, e.size, e.changed) for e in entries]
    # Without these a cache has the name it always had.
    shapes = ["aspect ratio buckets"] if settings.buckets else []
    faces = [("face embeddings", *map(embedding_stamp, entries))] if settings.face_embeddings else []
    cache = Cache(folder / cache_fingerprint([models, settings, *stamps, *shapes, *faces]))
    return Plan(entries, list(dict.fromkeys(["", *map(training_text, entries)])), settings, cache)


def training_text(entry: Entry) -> str:
    """The text trained with a picture."""
    return entry.caption or ""


@torch.no_grad()
def fill(
    plan: Plan, encoders: Encoders, part: ChunkShare = ALL_CHUNKS, progress: ChunkProgress = without_progress
) -> None:
    """Make what is missing. Raises IPAdapterError for pictures that cannot be read, unless they are to be skipped."""
    cache, settings = plan.cache, plan.settings
    if part.process == 0:
        clear_parts(cache.folder, ANOTHER_RUN)
    if part.process == 0 and not cache.nothing.exists:
        cache.nothing.write(in_rows(tuple(one.to(settings.dtype) for one in encoders.no_picture())), {})
    texts, pictures = plan.text_chunks, plan.picture_chunks
    for number in progress("encoding texts", missing(part.of(len(texts)), cache.texts)):
        cache.texts(number).write(encode_texts(encoders, texts[number], settings), {})
    rows = {text: row for row, text in enumerate(plan.texts)}
    for number in progress("encoding pictures", missing(part.of(len(pictures)), cache.pictures)):
        tensors, bad = encode_chunk(encoders, pictures[number], settings, rows)
        if bad and not settings.skip_bad:
            others = [pictures[after] for after in part.of(len(pictures)) if after > number]
            for entries in progress("looking for more bad pictures", others):
                bad |= unusable(encoders, entries, settings)
            raise IPAdapterError(bad_pictures_sentence(bad, len(plan.entries)))
        cache.pictures(number).write(tensors, {"skipped": json.dumps(bad)})


def in_rows(read: Sequence[OneRead]) -> dict[str, OneRead]:
    """What the projection reads, one thing after another, by its names in a chunk."""
    return dict(zip(READ_ROWS[-len(read) :], read, strict=True))


def unreadable(entries: list[Entry], settings: Settings) -> dict[str, str]:
    """Which pictures cannot be read, and why, one after the other."""
    return {name: why for entry in entries for name, why in open_all([entry], settings)[1].items()}


def unusable(encoders: Encoders, entries: list[Entry], settings: Settings) -> dict[str, str]:
    """The same, with those in which no face is found, where faces are read."""
    found: dict[str, str] = {}
    for entry in entries:
        opened, bad = open_all([entry], settings)
        found |= bad | (with_features(encoders, opened, settings)[1] if settings.reads_faces else {})
    return found


def missing(numbers: range, chunk: Callable[[int], Any]) -> list[int]:
    """Those whose file is not there yet."""
    return [number for number in numbers if not chunk(number).exists]


def bad_pictures_sentence(bad: dict[str, str], of: int) -> str:
    """The sentence for pictures that cannot be trained on."""
    named = name_some([f"{name}: {why}" for name, why in bad.items()])
    return (
        f"{len(bad)} of {of} pictures cannot be used ({named}): take them out, or set data.skip_bad = true to go on "
        "without them."
    )


def encode_texts(encoders: Encoders, texts: list[str], settings: Settings) -> Tensors:
    """Contexts (N, L, C), and pooled embeddings (N, P) where the model has them."""
    contexts, pooled = zip(*(encoders.text(text) for text in texts), strict=True)
    made = {"context": torch.stack(contexts).to(settings.dtype)}
    return made | ({} if pooled[0] is None else {"pooled": torch.stack(pooled).to(settings.dtype)})


def encode_chunk(
    encoders: Encoders, entries: list[Entry], settings: Settings, rows: dict[str, int]
) -> tuple[Tensors, dict[str, str]]:
    """The rows of one chunk, a few pictures at a time, and which pictures it lacks."""
    encoded: EncodedRows = {}
    bad: dict[str, str] = {}
    for some in pieces(entries, settings.batch_size):
        opened, failed = open_all(some, settings)
        opened, unread = with_features(encoders, opened, settings)
        bad |= failed | unread
        for name, made in (encode_group(encoders, opened, settings, rows) if opened else {}).items():
            encoded.setdefault(name, []).extend(made)
    return {key: tensor for name, made in encoded.items() for key, tensor in as_stored(name, made, settings)}, bad


def as_stored(name: str, rows: list[Tensor], settings: Settings) -> Iterator[tuple[str, Tensor]]:
    """One tensor of all rows, or, where they may be of several sizes, one of each."""
    if not settings.buckets or name not in OF_A_SIZE:
        yield name, torch.stack(rows)
        return
    for number, row in enumerate(rows):
        yield row_name(name, number), row


@dataclass(frozen=True)
class OpenedPicture:
    """An example on its way into the cache."""

    entry: Entry
    picture: TrainingPicture
    read: Read = ()  # what the projection reads of it, (E,) or (S, D) each, once it is known


Opened = list[OpenedPicture]
EncodedRows = dict[str, list[Tensor]]  # by the tensor's name, one for each picture
OF_A_SIZE = ("latents", "area")  # what is as large as the picture


def open_all(entries: list[Entry], settings: Settings) -> tuple[Opened, dict[str, str]]:
    """The pictures that can be read, and why the others cannot, by name."""
    opened: Opened = []
    bad: dict[str, str] = {}
    for entry in entries:
        try:
            picture = open_training_picture(entry.read(), settings.resolution, settings.buckets)
            opened.append(OpenedPicture(entry, picture))
        except (IPAdapterError, OSError) as error:
            bad[entry.name] = str(error).rstrip(".")
    return opened, bad


def with_features(encoders: Encoders, opened: Opened, settings: Settings) -> tuple[Opened, dict[str, str]]:
    """The pictures with what the projection reads of them, and why of some it cannot be read, by name."""
    found: Opened = []
    bad: dict[str, str] = {}
    if not settings.face_embeddings and opened:
        try:
            rows = zip(*encoders.features([one.picture.whole for one in opened]), strict=True)
            return [replace(one, read=row) for one, row in zip(opened, rows, strict=True)], bad
        except NoFaceError:
            pass  # in which of them, is asked below
    for one in opened:
        try:
            found.append(replace(one, read=read_of_one(encoders, one, settings)))
        except (NoFaceError, OSError) as error:
            bad[one.entry.name] = str(error).rstrip(".")
    return found, bad


def read_of_one(encoders: Encoders, one: OpenedPicture, settings: Settings) -> Read:
    """Of one picture, from the file beside it where there are such."""
    if settings.face_embeddings:
        return (read_embedding(embedding_file(one.entry)),)
    return tuple(rows[0] for rows in encoders.features([one.picture.whole]))


def encode_group(encoders: Encoders, group: Opened, settings: Settings, rows: dict[str, int]) -> EncodedRows:
    """A few pictures at once; a row of each tensor for each of them."""
    pictures = [one.picture for one in group]
    area = {"area": [picture.area.to(settings.dtype) for picture in pictures]}
    read = [[row.to(settings.dtype) for row in rows] for rows in zip(*(one.read for one in group), strict=True)]
    return (area if settings.alpha_is_mask else {}) | {
        "latents": [latents.to(settings.dtype) for latents in encode_latents(encoders, pictures)],
        **in_rows(read),
        "sizes": [told_sizes(picture, settings) for picture in pictures],
        "text": [torch.tensor(rows[training_text(one.entry)]) for one in group],
    }


def encode_latents(encoders: Encoders, pictures: Sequence[TrainingPicture]) -> list[Tensor]:
    """Of each picture (C, h, w); those of one size at once."""
    made: dict[int, Tensor] = {}
    for members in Buckets.of([picture.pixels.shape for picture in pictures]).members:
        latents = encoders.latents(torch.stack([pictures[number].pixels for number in members]))
        made |= zip(members, latents, strict=True)
    return [made[number] for number in range(len(pictures))]


def told_sizes(picture: TrainingPicture, settings: Settings) -> Tensor:
    """(6,), or (4,) where the last two are the resolution's."""
    return torch.tensor(astuple(picture.sizes)[: 6 if settings.buckets else 4])


def kept(plan: Plan) -> list[Entry]:
    """The examples that were not left out, in the order of the cache's rows."""
    left_out = dict(skipped(plan))
    return [entry for entry in plan.entries if entry.name not in left_out]


def skipped(plan: Plan) -> Iterator[tuple[str, str]]:
    """Names of the pictures that were left out, and why."""
    for number in range(len(plan.picture_chunks)):
        yield from json.loads((plan.cache.pictures(number).open().metadata() or {}).get("skipped", "{}")).items()
