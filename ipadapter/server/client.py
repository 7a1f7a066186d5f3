"""A client of ComfyUI's HTTP and websocket API.

    async with connect(url) as client:
        outcome = await client.run(prompt, on_progress)
        png = await client.download(outcome.images[0])

A prompt is a graph in the host's API format: node id -> class_type, inputs, _meta. What goes wrong is raised as a
subclass of ClientError that carries the server's own words.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

# Where the pack itself answers, beside the host's own.
CONTENTS = "image_prompt_adapter/contents"
FINDABLE = "image_prompt_adapter/findable"

Json = dict[str, Any]
Prompt = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class NodeFault:
    """What the server objects to in one input of one node of a prompt."""

    node_id: str
    class_type: str
    message: str
    details: str
    input_name: str | None

    def __str__(self) -> str:
        return f"node {self.node_id} ({self.class_type}): {self.message}: {self.details}"


class ClientError(Exception):
    """Something went wrong between this client and the server."""


class ServerGoneError(ClientError):
    """The server does not answer, or closed the connection."""


class RequestRefusedError(ClientError):
    """The server answered a request with an error status."""

    def __init__(self, request: str, status: int, body: str) -> None:
        super().__init__(f"{request} was answered with status {status}: {body or '(nothing said)'}")
        self.status = status
        self.body = body


class PromptRejectedError(ClientError):
    """The prompt did not pass the server's validation, and was not queued."""

    def __init__(self, message: str, faults: tuple[NodeFault, ...]) -> None:
        super().__init__("; ".join([message, *map(str, faults)]))
        self.message = message
        self.faults = faults


class ExecutionFailedError(ClientError):
    """A node raised an exception."""

    def __init__(self, data: Json) -> None:
        self.node_id = str(data["node_id"])
        self.class_type = str(data["node_type"])
        self.exception_type = str(data["exception_type"])
        self.exception_message = str(data["exception_message"]).strip()
        self.traceback = "".join(data["traceback"])
        super().__init__(f"node {self.node_id} ({self.class_type}): {self.exception_type}: {self.exception_message}")


class ExecutionInterruptedError(ClientError):
    """Somebody interrupted the prompt."""

    def __init__(self, data: Json) -> None:
        self.node_id = str(data["node_id"])
        self.class_type = str(data["node_type"])
        super().__init__(f"interrupted at node {self.node_id} ({self.class_type})")


@dataclass(frozen=True)
class NodeProgress:
    """A node has begun (`of` is 0), or is `step` steps of `of` along."""

    node_id: str
    title: str
    step: int
    of: int


OnProgress = Callable[[NodeProgress], None]


@dataclass(frozen=True)
class StoredFile:
    """A file in the server's input, output or temp folder (`kind`)."""

    name: str
    subfolder: str
    kind: str

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> StoredFile:
        return cls(data.get("filename") or data["name"], data.get("subfolder", ""), data.get("type", "output"))

    @property
    def path(self) -> str:
        """As a LoadImage node names it."""
        return f"{self.subfolder}/{self.name}" if self.subfolder else self.name


@dataclass(frozen=True)
class Queued:
    """A prompt the server took. It leaves out the output nodes that `faults` concern."""

    prompt_id: str
    faults: tuple[NodeFault, ...]


@dataclass(frozen=True)
class Outcome:
    """A prompt that ran to its end."""

    prompt_id: str
    outputs: Mapping[str, Json]  # node id -> what it shows, as the server's history has it
    cached: frozenset[str]  # ids of nodes whose earlier result was used again
    faults: tuple[NodeFault, ...]

    @property
    def images(self) -> tuple[StoredFile, ...]:
        """Saved and previewed images, node by node."""
        shown = (image for output in self.outputs.values() for image in output.get("images", ()))
        return tuple(StoredFile.read(image) for image in shown)


def read_faults(node_errors: Mapping[str, Json]) -> tuple[NodeFault, ...]:
    return tuple(
        NodeFault(node_id, node["class_type"], error["message"], error.get("details", ""), input_name(error))
        for node_id, node in node_errors.items()
        for error in node["errors"]
    )


def input_name(error: Json) -> str | None:
    name: str | None = error.get("extra_info", {}).get("input_name")
    return name


def read_rejection(body: str) -> PromptRejectedError:
    answer = json.loads(body)
    error = answer["error"]
    said = (error["message"], error.get("details")) if isinstance(error, dict) else (str(error),)
    return PromptRejectedError(": ".join(filter(None, said)), read_faults(answer.get("node_errors") or {}))


def title_of(prompt: Prompt, node_id: str) -> str:
    """The node's title; a node that an expansion made has the id of its origin before the first dot."""
    node = prompt.get(node_id) or prompt.get(node_id.partition(".")[0]) or {}
    return str(node.get("_meta", {}).get("title") or node.get("class_type", node_id))


class Client:
    """Talks to one server. Made by `connect`."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url.rstrip("/")
        self.client_id = uuid.uuid4().hex
        self._session = session

    async def _request(self, method: str, path: str, **options: Any) -> bytes:
        try:
            async with self._session.request(method, f"{self.url}/{path}", **options) as reply:
                body = await reply.read()
        except aiohttp.ClientError as error:
            raise ServerGoneError(f"ComfyUI does not answer at {self.url}: {error}") from error
        if reply.status >= 400:
            raise RequestRefusedError(f"{method} /{path}", reply.status, body.decode(errors="replace").strip())
        return body

    async def _json(self, method: str, path: str, **options: Any) -> Json:
        answer: Json = json.loads(await self._request(method, path, **options))
        return answer

    async def object_info(self, class_type: str = "") -> Json:
        """The server's description of one node class, or of all: class -> inputs, outputs and so on."""
        return await self._json("GET", f"object_info/{class_type}" if class_type else "object_info")

    async def history(self, prompt_id: str) -> Json:
        """What the server remembers of a prompt that has ended; empty while it has not."""
        entry: Json = (await self._json("GET", f"history/{prompt_id}")).get(prompt_id, {})
        return entry

    async def queue_length(self) -> int:
        """Prompts that run or wait."""
        queue = await self._json("GET", "queue")
        return len(queue["queue_running"]) + len(queue["queue_pending"])

    async def arguments(self) -> list[str]:
        """What the server was started with, as its command line has it."""
        return list((await self._json("GET", "system_stats"))["system"].get("argv", ()))

    async def contents(self, name: str) -> list[str]:
        """SHA-256 of the files that an input's value may mean, as this pack on the server tells."""
        return list((await self._json("GET", CONTENTS, params={"name": name}))["sha256"])

    async def findable(self) -> str:
        """Another text whenever nodes that look for files may find others, as this pack on the server tells."""
        return str((await self._json("GET", FINDABLE))["sha256"])

    async def forget(self) -> None:
        """Have the server let go of models and results: it keeps them by name, whatever has that name now.

        It passes over a request that arrives just before it waits, but looks for one after every prompt.
        """
        await self._request("POST", "free", json={"unload_models": True, "free_memory": True})
        await self.run({"1": {"class_type": "PreviewAny", "inputs": {"source": "forgotten"}}}, timeout=None)

    async def interrupt(self, prompt_id: str | None = None) -> None:
        """Stop this prompt if it is running, or whatever is."""
        await self._request("POST", "interrupt", json={"prompt_id": prompt_id} if prompt_id else {})

    async def upload(self, image: Path, name: str | None = None) -> StoredFile:
        """Put an image into the server's input folder, under this name or its own."""
        return await self.upload_bytes(image.read_bytes(), name or image.name)

    async def upload_bytes(self, image: bytes, name: str) -> StoredFile:
        """Put an image's data into the server's input folder."""
        form = aiohttp.FormData()
        form.add_field("image", image, filename=name)
        form.add_field("overwrite", "true")
        return StoredFile.read({"type": "input", **await self._json("POST", "upload/image", data=form)})

    async def download(self, file: StoredFile) -> bytes:
        where = {"filename": file.name, "subfolder": file.subfolder, "type": file.kind}
        return await self._request("GET", "view", params=where)

    async def queue(self, prompt: Prompt) -> Queued:
        """Have the server validate a prompt and queue it. Raise PromptRejectedError if it will run none of it."""
        try:
            answer = await self._json("POST", "prompt", json={"prompt": prompt, "client_id": self.client_id})
        except RequestRefusedError as refusal:
            if refusal.status == 400:
                raise read_rejection(refusal.body) from None
            raise
        return Queued(answer["prompt_id"], read_faults(answer.get("node_errors") or {}))

    async def run(
        self, prompt: Prompt, on_progress: OnProgress | None = None, timeout: float | None = 600.0
    ) -> Outcome:
        """Queue a prompt and wait for its end; `timeout` in seconds.

        Raises PromptRejectedError, ExecutionFailedError, ExecutionInterruptedError, ServerGoneError or, after
        `timeout`, a plain ClientError; the prompt then goes on until `interrupt`.
        """
        try:
            return await asyncio.wait_for(self._run(prompt, on_progress or ignore), timeout)
        except asyncio.TimeoutError as error:
            raise ClientError(f"the prompt did not end within {timeout:.0f} s") from error

    async def _run(self, prompt: Prompt, on_progress: OnProgress) -> Outcome:
        async with self._messages() as messages:
            queued = await self.queue(prompt)
            run = PromptRun(prompt, queued.prompt_id, on_progress)
            async for message in messages:
                if run.take(message["type"], message["data"]):
                    break
        if run.error:
            raise run.error
        history = await self.history(queued.prompt_id)
        return Outcome(queued.prompt_id, history["outputs"], run.cached, queued.faults)

    @contextlib.asynccontextmanager
    async def _messages(self) -> AsyncIterator[AsyncIterator[Json]]:
        """The server's messages to this client, from now on."""
        try:
            async with self._session.ws_connect(
                f"{self.url}/ws", params={"clientId": self.client_id}, max_msg_size=0
            ) as socket:
                yield read_messages(socket, self.url)
        except aiohttp.ClientError as error:
            raise ServerGoneError(f"ComfyUI does not answer at {self.url}: {error}") from error


def ignore(_: NodeProgress) -> None:
    """Progress nobody wants to hear of."""


async def read_messages(socket: aiohttp.ClientWebSocketResponse[Any], url: str) -> AsyncIterator[Json]:
    """The text messages of a server's websocket; binary ones are previews. Raise ServerGoneError when it closes."""
    async for message in socket:
        if message.type == aiohttp.WSMsgType.TEXT:
            yield json.loads(message.data)
    raise ServerGoneError(f"ComfyUI at {url} closed the connection before the prompt had ended")


class PromptRun:
    """What the server's messages have told so far about one prompt."""

    def __init__(self, prompt: Prompt, prompt_id: str, on_progress: OnProgress) -> None:
        self.prompt = prompt
        self.prompt_id = prompt_id
        self.on_progress = on_progress
        self.cached: frozenset[str] = frozenset()
        self.error: ClientError | None = None

    def take(self, kind: str, data: Json) -> bool:
        """Take one message in. True when it was the prompt's last."""
        if data.get("prompt_id") != self.prompt_id:
            return False
        handler = self.HANDLERS.get(kind)
        if handler:
            handler(self, data)
        return kind == "executing" and data["node"] is None

    def _executing(self, data: Json) -> None:
        if data["node"] is not None:
            self._tell(data["node"], 0, 0)

    def _progress(self, data: Json) -> None:
        self._tell(data["node"], int(data["value"]), int(data["max"]))

    def _cached(self, data: Json) -> None:
        self.cached = frozenset(data["nodes"])

    def _failed(self, data: Json) -> None:
        self.error = ExecutionFailedError(data)

    def _interrupted(self, data: Json) -> None:
        self.error = ExecutionInterruptedError(data)

    def _tell(self, node_id: str, step: int, of: int) -> None:
        self.on_progress(NodeProgress(node_id, title_of(self.prompt, node_id), step, of))

    HANDLERS = {
        "executing": _executing,
        "progress": _progress,
        "execution_cached": _cached,
        "execution_error": _failed,
        "execution_interrupted": _interrupted,
    }


@contextlib.asynccontextmanager
async def connect(url: str) -> AsyncIterator[Client]:
    """A client of the server at `url`, such as http://127.0.0.1:8188. Nothing is sent yet."""
    # A run may be silent for as long as a step takes.
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        yield Client(url, session)
