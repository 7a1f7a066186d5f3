"""What a server draws with, by content: the files that a graph names, and the options that shape its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import IPAdapterError
from ...server.client import Client, ClientError, Json, RequestRefusedError, connect
from .graph import ApiGraph

FINDERS = ("FindIPAdapter", "LegacyIPAdapterFaceIDLoader")  # nodes that look for their files themselves
# Beginnings of the host's options for precision, attention and device.
SHAPING = ("--bf16", "--cpu", "--deterministic", "--directml", "--dont-upcast", "--fast", "--force-", "--fp", "--use-")
NOT_FOUND = 404


@dataclass(frozen=True)
class Drawer:
    """One server's files and options."""

    contents: Mapping[str, tuple[str, ...]]  # a name in the graph -> SHA-256 of the files it may mean
    findable: str | None  # another text whenever nodes that look for files may find others; None without such nodes
    options: tuple[str, ...]
    tells: bool  # whether the server has this pack, which is what tells contents

    def differs_from(self, other: Drawer) -> str | None:
        """What two servers do not have in common, or None."""
        files = [
            name for name in {**self.contents, **other.contents} if self.contents.get(name) != other.contents.get(name)
        ]
        if files:
            return f"'{min(files)}' is not the same file"
        return "their options or packs are not the same" if self != other else None


async def ask_drawers(urls: Sequence[str], prompt: ApiGraph, told: Callable[[str], None]) -> Drawer:
    """Ask several servers. Raises IPAdapterError where they would not draw the same."""
    first, *others = [await ask_drawer(url, prompt, told) for url in urls]
    for url, other in zip(urls[1:], others, strict=True):
        if difference := first.differs_from(other):
            raise IPAdapterError(
                f"{urls[0]} and {url} would not draw the same: {difference}; give them the same files and options."
            )
    return first


async def ask_nodes(url: str, classes: Sequence[str]) -> Json:
    """How a server describes some of its nodes; those it does not have are left out."""
    async with connect(url) as client:
        await greet(client)
        try:
            described = await client.object_info()
        except ClientError as error:
            raise IPAdapterError(f"ComfyUI does not describe its nodes: {error}") from error
    return {name: described[name] for name in classes if name in described}


async def ask_drawer(url: str, prompt: ApiGraph, told: Callable[[str], None]) -> Drawer:
    """Ask the server at an address; `told` hears of each name before its files are read.

    Raises IPAdapterError where no ComfyUI answers.
    """
    async with connect(url) as client:
        options = shaping(await greet(client))
        try:
            contents = {name: await ask_contents(client, name, told) for name in texts_in(prompt)}
            searches = any(node["class_type"] in FINDERS for node in prompt.values())
            findable = await client.findable() if searches else None
        except RequestRefusedError as error:
            if error.status != NOT_FOUND:
                raise IPAdapterError(f"ComfyUI cannot read the files that the graph names: {error}") from error
            return Drawer({}, None, options, tells=False)
    return Drawer({name: found for name, found in contents.items() if found}, findable, options, tells=True)


async def ask_contents(client: Client, name: str, told: Callable[[str], None]) -> tuple[str, ...]:
    told(name)
    return tuple(await client.contents(name))


async def greet(client: Client) -> list[str]:
    """What the server was started with, which also finds out whether there is one."""
    try:
        return await client.arguments()
    except (ClientError, ValueError, KeyError) as error:
        raise IPAdapterError(
            f"no ComfyUI answers at {client.url} ({error.__cause__ or error}): start it, or name another --url."
        ) from error


def texts_in(prompt: ApiGraph) -> list[str]:
    """Every value that may be the name of a file, each once."""
    values = (value for node in prompt.values() for value in node["inputs"].values())
    return list(dict.fromkeys(value for value in values if isinstance(value, str) and could_be_file(value)))


def could_be_file(value: str) -> bool:
    """Whether a file can have this name: no prompt of several lines, no word without an ending."""
    return 0 < len(value) < 1024 and "." in value and "\n" not in value


def shaping(arguments: Sequence[str]) -> tuple[str, ...]:
    """Those of a server's options, with their values, by which the same graph gives other numbers."""
    groups: list[list[str]] = []
    for word in arguments:
        if word.startswith("--"):
            groups.append([word])
        elif groups:
            groups[-1].append(word)
    return tuple(sorted(" ".join(group) for group in groups if group[0].startswith(SHAPING)))


def compared_by(value: Any) -> Any:
    """What two settings are compared by: of a file its contents, whatever it is called."""
    return value["sha256"] if isinstance(value, dict) else value


def setting_in_words(value: Any) -> str:
    """A setting as a sentence has it."""
    if not isinstance(value, dict):
        return repr(value)
    return f"'{value['file']}' (SHA-256 {', '.join(one[:12] for one in value['sha256'])})"
