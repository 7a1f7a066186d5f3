"""Runs of random graphs on a live server, some interrupted, some left by their client, and what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any

from pack.ipadapter.server.client import (
    Client,
    ClientError,
    ExecutionFailedError,
    ExecutionInterruptedError,
    PromptRejectedError,
    connect,
)

from tests.soak.graphs import PACK, Catalogue, Json, make_graph, read_catalogue
from tests.soak.held import Sample
from tools.server import Server

PROBE = Path(__file__).with_name("probe")
SENTENCES = ("IPAdapterError", "DivergedError", "UnreadableError", "HostError")  # what refuses with a sentence
OURS = os.path.join("custom_nodes", PACK, "")  # in the path of a file of the pack; a checkout may be called so too
PATIENCE = 180.0  # seconds that a run may take
SETTLED = 0.3  # seconds in which the host lets go
LONGEST_WAIT = 0.6  # seconds until an interruption
EACH = 10  # runs between two looks at what is held
INTERRUPTED, ABANDONED = 0.1, 0.1  # shares of the runs


class Ending(str, Enum):
    """How a run ended."""

    DONE = "done"
    REFUSED = "refused"  # by a sentence of the pack
    REJECTED = "rejected"  # before it was queued
    INTERRUPTED = "interrupted"
    ABANDONED = "abandoned"
    HOSTS = "failed in the host alone"
    FOUND = "FOUND"  # failed in the pack, or never ended


@dataclass(frozen=True)
class Run:
    """One graph and what became of it."""

    number: int
    graph: Json
    ending: Ending
    said: str = ""


@dataclass
class Record:
    """All runs, and what was held between them."""

    endings: Counter[Ending] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)  # that ran to an end
    findings: list[Run] = field(default_factory=list)
    said: Counter[str] = field(default_factory=Counter)  # why runs did not end, in the last words of it
    samples: list[Sample] = field(default_factory=list)

    def add(self, run: Run) -> None:
        self.endings[run.ending] += 1
        if run.ending is Ending.DONE:
            self.classes.update({node["class_type"] for node in run.graph.values()})
        if run.ending is Ending.FOUND:
            self.findings.append(run)
        if run.ending in (Ending.HOSTS, Ending.REFUSED, Ending.REJECTED):
            self.said[f"{run.ending.value}: {run.said.strip().splitlines()[-1]}"] += 1


def soak(server: Server, numbers: range, seed: int) -> Iterator[tuple[Run, Record]]:
    """Runs by their numbers, one after another, each with what is known until then."""
    record, catalogue = Record(), asyncio.run(look(server))
    for number in numbers:
        if number % EACH == 0:
            record.samples.append(Sample(number, held(server)))
            catalogue = asyncio.run(look(server))
            record.classes.update(dict.fromkeys(catalogue.ours, 0))
        run = asyncio.run(run_one(server, catalogue, number, Random(f"{seed} {number}")))
        record.add(run)
        yield run, record
    record.samples.append(Sample(numbers.stop, held(server)))


async def look(server: Server) -> Catalogue:
    """What there is to choose from, the files that runs have saved included."""
    async with connect(server.url) as client:
        return read_catalogue(await client.object_info())


async def run_one(server: Server, catalogue: Catalogue, number: int, random: Random) -> Run:
    """A run around one of our classes, each in its turn."""
    graph = make_graph(catalogue, catalogue.ours[number % len(catalogue.ours)], random)
    drawn, wait = random.random(), random.uniform(0, LONGEST_WAIT)
    way = interrupt if drawn < INTERRUPTED else abandon if drawn < INTERRUPTED + ABANDONED else finish
    async with connect(server.url) as client:
        try:
            ending, said = await way(client, graph, wait)
            await empty(client)
        except ClientError as error:
            ending, said = classify(error)
    return Run(number, graph, ending, said)


async def finish(client: Client, graph: Json, wait: float) -> tuple[Ending, str]:
    await client.run(graph, timeout=PATIENCE)
    return Ending.DONE, ""


async def interrupt(client: Client, graph: Json, wait: float) -> tuple[Ending, str]:
    run = asyncio.create_task(client.run(graph, timeout=PATIENCE))
    await asyncio.wait([run], timeout=wait)
    await client.interrupt()
    await run
    return Ending.DONE, ""


async def abandon(client: Client, graph: Json, wait: float) -> tuple[Ending, str]:
    """The client goes while the server is at work, as somebody who closes the browser."""
    run = asyncio.create_task(client.run(graph, timeout=PATIENCE))
    await asyncio.wait([run], timeout=wait)
    if run.done():
        await run
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run
    return Ending.ABANDONED, ""


async def empty(client: Client) -> None:
    """Wait until the server has nothing to do. Raises ClientError where that takes too long."""
    for _ in range(int(PATIENCE / 0.05)):
        if not await client.queue_length():
            return
        await asyncio.sleep(0.05)
    raise ClientError(f"the queue is not empty after {PATIENCE:.0f} s")


def classify(error: ClientError) -> tuple[Ending, str]:
    """What an error means."""
    if isinstance(error, ExecutionInterruptedError):
        return Ending.INTERRUPTED, str(error)
    if isinstance(error, PromptRejectedError):
        return Ending.REJECTED, str(error)
    if isinstance(error, ExecutionFailedError):
        return classify_failure(error)
    return Ending.FOUND, str(error)


def classify_failure(error: ExecutionFailedError) -> tuple[Ending, str]:
    """A sentence of ours is a refusal; any other exception on whose way the pack is, is its fault until looked at."""
    if error.exception_type.rpartition(".")[2] in SENTENCES:
        return Ending.REFUSED, error.exception_message
    said = f"{error.traceback}\n{error}"
    return (Ending.FOUND if OURS in error.traceback else Ending.HOSTS), said


def held(server: Server) -> dict[str, float]:
    """What the server holds when it has let go of models, results and the history.

    It is asked for that again and again: the host may pass over a request that arrives just before it waits.
    """
    post(server, "history", {"clear": True})
    for _ in range(int(PATIENCE / SETTLED)):
        post(server, "free", {"unload_models": True, "free_memory": True})
        time.sleep(SETTLED)
        if not (loaded := ask(server, "probe/loaded")):
            return ask(server, "probe/held")
    raise ClientError(f"the server does not let go of {', '.join(loaded)}")


def post(server: Server, path: str, content: Any) -> None:
    body = json.dumps(content).encode()
    request = urllib.request.Request(f"{server.url}/{path}", body, {"Content-Type": "application/json"})
    open_url(request).read()


def ask(server: Server, path: str) -> Any:
    return json.loads(open_url(urllib.request.Request(f"{server.url}/{path}")).read())


def open_url(request: urllib.request.Request) -> Any:
    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60)


def keep(run: Run, folder: Path) -> Path:
    """Write a finding down: its graph, to be sent again, and what was said."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{run.number}.txt").write_text(run.said, encoding="utf-8")
    path = folder / f"{run.number}.json"
    path.write_text(json.dumps(run.graph, indent=2), encoding="utf-8")
    return path
