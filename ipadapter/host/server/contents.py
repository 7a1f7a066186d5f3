"""What the files that a graph names hold, for a program that draws with this server and must tell one adapter from the
next of its name: `python -m ipadapter.evaluate`."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import Any

import folder_paths

from ...errors import refusal
from ...files.digests import sha256_of
from ...files.opening import refuse_name
from ...server.client import CONTENTS, FINDABLE
from ..files import HOST_ADAPTERS, HOST_ENCODERS, HOST_LORAS, given_file
from ..library.finding import folders_fingerprint
from ..running import running_server


def register_contents() -> None:
    """Answer on the running server; without one there is nobody to ask."""
    server = running_server()
    if server is not None:
        server.routes.get(f"/{CONTENTS}")(answer_contents)
        server.routes.get(f"/{FINDABLE}")(answer_findable)


async def answer_contents(request: Any) -> Any:
    """SHA-256 of the files that an input's value `name` may mean; an empty list for what names none."""
    from aiohttp import web

    files = files_named(request.query.get("name", ""))
    return web.json_response(
        {"sha256": sorted({await asyncio.to_thread(digest_of_state, *stamp(file)) for file in files})}
    )


async def answer_findable(_: Any) -> Any:
    """Another text whenever nodes that look for files may find others."""
    from aiohttp import web

    return web.json_response(
        {"sha256": await asyncio.to_thread(folders_fingerprint, HOST_ADAPTERS, HOST_ENCODERS, HOST_LORAS)}
    )


def files_named(name: str) -> list[Path]:
    """Files of this name in the host's model folders and its input folder, each once."""
    if refusal(lambda: refuse_name(name)):
        return []
    ending = Path(name).suffix.lower()
    folders = [folder for folder, (_, endings) in folder_paths.folder_names_and_paths.items() if ending in endings]
    models = (folder_paths.get_full_path(folder, name) for folder in folders)
    return list(dict.fromkeys(Path(path) for path in (*models, given_file(name)) if path))


def stamp(file: Path) -> tuple[Path, int, int]:
    """Tells a file from an earlier one of its name without reading it."""
    state = file.stat()
    return file, state.st_size, state.st_mtime_ns


@functools.lru_cache(maxsize=256)
def digest_of_state(file: Path, size: int, changed: int) -> str:
    """SHA-256 of a file, read once as long as its size and time stay."""
    return sha256_of(file)
