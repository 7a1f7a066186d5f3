"""The run itself: every image prompt through ComfyUI with every seed, measured as the pictures come.

Several servers draw at a time, each the next image prompt that nobody has begun.
"""

from __future__ import annotations

import asyncio
import io
import sys
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ...errors import IPAdapterError
from ...evaluation.judges import Scores
from ...files.replacing import write_whole
from ...server.client import Client, ClientError, ServerGoneError, StoredFile, connect
from .folder import CaptionedImage, open_image
from .graph import Template
from .rows import Key, ResultRow, ResultTable
from .score import Scorer
from .systems import System

Told = Callable[[ResultRow], None]


@dataclass(frozen=True)
class Work:
    """What is still to do: the seeds of one image prompt by one system."""

    item: CaptionedImage
    seeds: tuple[int, ...]
    system: System


@dataclass(frozen=True)
class Studio:
    """Where pictures are made, and what is done with them."""

    urls: Sequence[str]
    scorer: Scorer
    pictures: Path | None  # a folder that keeps them


def wanted(items: Sequence[CaptionedImage], seeds: Sequence[int], systems: Sequence[System]) -> list[Key]:
    """The rows that an evaluation is of."""
    return [(system.name, item.name, item.content, seed) for system in systems for item in items for seed in seeds]


def remaining(
    items: Sequence[CaptionedImage], seeds: Sequence[int], systems: Sequence[System], done: Container[Key]
) -> list[Work]:
    """Image prompts with the seeds that have no row yet. A server keeps a system's models while it draws with it."""

    def left(system: System, item: CaptionedImage) -> tuple[int, ...]:
        return tuple(seed for seed in seeds if (system.name, item.name, item.content, seed) not in done)

    work = (Work(item, left(system, item), system) for system in systems for item in items)
    return [one for one in work if one.seeds]


async def run(studio: Studio, work: Sequence[Work], table: ResultTable, told: Told) -> None:
    """Make and measure every picture, one row each. Raises IPAdapterError where no server can go on."""
    waiting, urls = deque(work), list(studio.urls)
    while waiting:
        gone = await serve_together(urls, studio, waiting, table, told)
        urls = [url for url, error in zip(urls, gone, strict=True) if error is None]  # they do what the others left
        if not urls:
            raise IPAdapterError(f"{gone[0]}: start it, and run the same command again to go on.")


async def serve_together(
    urls: Sequence[str], studio: Studio, waiting: deque[Work], table: ResultTable, told: Told
) -> list[ServerGoneError | None]:
    """Let servers draw what is waiting, all at a time; why each is gone, if it is."""
    servers = [asyncio.ensure_future(serve(url, studio, waiting, table, told)) for url in urls]
    try:
        return await asyncio.gather(*servers)
    finally:
        for server in servers:
            server.cancel()
        await asyncio.gather(*servers, return_exceptions=True)


async def serve(
    url: str, studio: Studio, waiting: deque[Work], table: ResultTable, told: Told
) -> ServerGoneError | None:
    """Let one server draw what is waiting. Where it is gone, what it has begun waits for another; why is returned."""
    place = f"image-prompt-{uuid.uuid4().hex[:8]}"  # a name of this run's own in the server's input folder
    begun: list[Work] = []
    async with connect(url) as client:
        try:
            await forget(client)
            while waiting:
                begun = [waiting.popleft()]
                async for row in drawn_rows(client, studio, begun[0], place):
                    table.add(row)
                    told(row)
        except ServerGoneError as error:
            waiting.extendleft(left for one in begun for left in left_of(one, table.done))
            print(f"\n{error}", file=sys.stderr)
            return error
    return None


def left_of(work: Work, done: Container[Key]) -> list[Work]:
    """What of it has no row."""
    return remaining([work.item], work.seeds, [work.system], done)


async def forget(client: Client) -> None:
    """What was loaded before may not be what the files hold now, by which the rows are known.

    Raises ServerGoneError, or IPAdapterError for the rest.
    """
    try:
        await client.forget()
    except ServerGoneError:
        raise
    except ClientError as error:
        raise IPAdapterError(f"ComfyUI does not let go of what it has loaded: {one_line(error)}") from error


async def drawn_rows(client: Client, studio: Studio, work: Work, place: str) -> AsyncIterator[ResultRow]:
    """The rows of one image prompt as its pictures are made. Raises ServerGoneError, or IPAdapterError for the rest."""
    measure = await asyncio.to_thread(studio.scorer.against, work.item)
    try:
        stored = await send_prompt(client, work, place)
        for seed in work.seeds:
            began = time.perf_counter()
            picture = await draw(client, work.system.template, stored.path, seed, work.item.text)
            keep(studio.pictures, picture, picture_name(work.system.name, work.item, seed))
            made = await asyncio.to_thread(measure, read_picture(picture))
            yield make_row(work, seed, made, round(time.perf_counter() - began, 3))
    except ServerGoneError:
        raise
    except ClientError as error:
        drawn = f"'{work.item.name}'" + (f" with {work.system.name}" if work.system.name else "")
        raise IPAdapterError(f"ComfyUI could not draw {drawn}: {one_line(error)}") from error


def make_row(work: Work, seed: int, scores: Scores, seconds: float) -> ResultRow:
    """One picture's."""
    item, more = work.item, {key: value for key, value in scores.items() if key not in CLIPS}
    clip_i, clip_t, clip_score = (scores.get(key) for key in CLIPS)
    assert clip_i is not None
    known = (clip_i, clip_t, clip_score, len(item.captions), seconds, item.content)
    return ResultRow(item.name, seed, *known, work.system.name, more)


CLIPS = ("clip_i", "clip_t", "clip_score")


async def send_prompt(client: Client, work: Work, place: str) -> StoredFile:
    """Put an image prompt, as its system wants it, into the server's input folder."""
    path, prepare = work.item.path, work.system.prepare
    if prepare is None:
        return await client.upload(path, place + path.suffix.lower())
    return await client.upload_bytes(as_png(prepare(open_image(path))), f"{place}.png")


def as_png(image: Image.Image) -> bytes:
    """A picture as a file."""
    made = io.BytesIO()
    image.save(made, "PNG")
    return made.getvalue()


def one_line(error: Exception) -> str:
    """The server's words as one sentence."""
    text = " ".join(str(error).split())
    return text if text.endswith(".") else f"{text}."


async def draw(client: Client, template: Template, image: str, seed: int, text: str | None) -> bytes:
    """One picture as the server stored it."""
    outcome = await client.run(template.fill(image, seed, text), timeout=None)
    shown = outcome.outputs.get(template.output, {}).get("images", ())
    if len(shown) != 1:
        raise ClientError(f"node {template.output} showed {len(shown)} pictures, where one for each seed is needed")
    return await client.download(StoredFile.read(shown[0]))


def read_picture(data: bytes) -> Image.Image:
    """A stored picture, RGB."""
    with Image.open(io.BytesIO(data)) as image:
        made: Image.Image = image.convert("RGB")
        return made


def picture_name(method: str, item: CaptionedImage, seed: int) -> str:
    """Below the folder that keeps pictures."""
    name = f"{item.file_stem}.{seed}.png"
    return f"{method}/{name}" if method else name


def keep(folder: Path | None, data: bytes, name: str) -> None:
    """Put a picture into the folder that keeps them, where there is one."""
    if folder is not None:
        write_whole(folder / name, data)
