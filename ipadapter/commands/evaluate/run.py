"""The run itself: every image prompt through ComfyUI with every seed, measured as the pictures come."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import AsyncIterator, Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...errors import IPAdapterError
from ...files.replacing import write_whole
from ...server.client import Client, ClientError, ServerGoneError, StoredFile, connect
from .folder import CaptionedImage
from .graph import Template
from .rows import Key, ResultRow, ResultTable
from .score import Scorer

Told = Callable[[ResultRow], None]


@dataclass(frozen=True)
class Work:
    """What is still to do: the seeds of one image prompt."""

    item: CaptionedImage
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Studio:
    """Where pictures are made, and what is done with them."""

    url: str
    template: Template
    scorer: Scorer
    pictures: Path | None  # a folder that keeps them


def wanted(items: Sequence[CaptionedImage], seeds: Sequence[int]) -> list[Key]:
    """The rows that an evaluation is of."""
    return [(item.name, item.content, seed) for item in items for seed in seeds]


def remaining(items: Sequence[CaptionedImage], seeds: Sequence[int], done: Container[Key]) -> list[Work]:
    """Image prompts with the seeds that have no row yet."""
    work = (Work(item, tuple(seed for seed in seeds if (item.name, item.content, seed) not in done)) for item in items)
    return [one for one in work if one.seeds]


async def run(studio: Studio, work: Sequence[Work], table: ResultTable, told: Told) -> None:
    """Make and measure every picture, one row each. Raises IPAdapterError where the server cannot go on."""
    async with connect(studio.url) as client:
        await forget(client)
        place = f"image-prompt-{uuid.uuid4().hex[:8]}"  # a name of this run's own in the server's input folder
        for one in work:
            async for row in drawn_rows(client, studio, one, place):
                table.add(row)
                told(row)


async def forget(client: Client) -> None:
    """What was loaded before may not be what the files hold now, by which the rows are known."""
    try:
        await client.forget()
    except ClientError as error:
        raise IPAdapterError(f"ComfyUI does not let go of what it has loaded: {one_line(error)}") from error


async def drawn_rows(client: Client, studio: Studio, work: Work, place: str) -> AsyncIterator[ResultRow]:
    """The rows of one image prompt as its pictures are made."""
    target = studio.scorer.target(work.item)
    try:
        stored = await client.upload(work.item.path, place + work.item.path.suffix.lower())
        for seed in work.seeds:
            began = time.perf_counter()
            picture = await draw(client, studio.template, stored.path, seed)
            keep(studio.pictures, picture, f"{work.item.name}.{seed}.png")
            made = studio.scorer.measure(read_picture(picture), target)
            seconds = round(time.perf_counter() - began, 3)
            captions = len(work.item.captions)
            scores = (made.clip_i, made.clip_t, made.clip_score)
            yield ResultRow(work.item.name, seed, *scores, captions, seconds, work.item.content)
    except ServerGoneError as error:
        raise IPAdapterError(f"{error}: start it, and run the same command again to go on.") from error
    except ClientError as error:
        raise IPAdapterError(f"ComfyUI could not draw '{work.item.name}': {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """The server's words as one sentence."""
    text = " ".join(str(error).split())
    return text if text.endswith(".") else f"{text}."


async def draw(client: Client, template: Template, image: str, seed: int) -> bytes:
    """One picture as the server stored it."""
    outcome = await client.run(template.fill(image, seed), timeout=None)
    shown = outcome.outputs.get(template.output, {}).get("images", ())
    if len(shown) != 1:
        raise ClientError(f"node {template.output} showed {len(shown)} pictures, where one for each seed is needed")
    return await client.download(StoredFile.read(shown[0]))


def read_picture(data: bytes) -> Image.Image:
    """A stored picture, RGB."""
    with Image.open(io.BytesIO(data)) as image:
        made: Image.Image = image.convert("RGB")
        return made


def keep(folder: Path | None, data: bytes, name: str) -> None:
    """Put a picture into the folder that keeps them, where there is one."""
    if folder is not None:
        write_whole(folder / name, data)
