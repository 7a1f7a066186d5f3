"""`make demo`: image prompts through a real ComfyUI server, to a PNG.

Without CHECKPOINT, ADAPTER and ENCODER it uses the laboratory's miniature models: four references, and beside each what
is drawn at three weights.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ipadapter.server.client import Client, ClientError, NodeProgress, Outcome, Prompt, connect
from tools.chosen import ChoiceError, Chosen, read_choice
from tools.environment import LAYOUT
from tools.server import ServerError, Settings, running

PROMPT = LAYOUT.root / "tests" / "prompts" / "image_and_text_prompt.json"
DIRECTORY = LAYOUT.runs / "demo"
PICTURE = DIRECTORY / "image_prompt.png"


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


class Stopwatch:
    """How long each part took, in seconds, in the order the parts began."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._part: str | None = None
        self._since = 0.0

    def begin(self, part: str | None) -> None:
        """End the part that runs, and begin this one; None begins nothing."""
        now = time.perf_counter()
        if self._part is not None:
            self.seconds[self._part] = self.seconds.get(self._part, 0.0) + now - self._since
        self._part, self._since = part, now

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self.begin(name)
        yield
        self.begin(None)


class Display:
    """Shows a run's progress, and times its nodes."""

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._node: str | None = None

    def __call__(self, progress: NodeProgress) -> None:
        if progress.node_id != self._node:
            self._node = progress.node_id
            self._stopwatch.begin(f"node: {progress.title}")
            print(f"  {progress.title}", flush=True)
        if progress.of:
            print(f"    {progress.step} of {progress.of}", flush=True)


def read_prompt(path: Path) -> Prompt:
    if not path.is_file():
        raise DemoError(f"The demo's graph is missing: there is no {path}.")
    prompt: Prompt = json.loads(path.read_text())
    return prompt


def with_inputs(prompt: Prompt, class_type: str, inputs: Mapping[str, Any]) -> Prompt:
    """The prompt with these inputs set on every node of the class. Raise DemoError if it has none."""
    changed = {
        node_id: {**node, "inputs": {**node["inputs"], **inputs}}
        for node_id, node in prompt.items()
        if node["class_type"] == class_type
    }
    if not changed:
        raise DemoError(f"The demo's graph has no {class_type} node to set {', '.join(inputs)} on.")
    return {**prompt, **changed}


def fill_in(prompt: Prompt, chosen: Chosen, image: str) -> Prompt:
    """The prompt with the run's models and image."""
    inputs: dict[str, Mapping[str, Any]] = {
        "CheckpointLoaderSimple": {"ckpt_name": chosen.models.checkpoint},
        "LoadIPAdapter": {"ip_adapter_name": chosen.models.adapter},
        "CLIPVisionLoader": {"clip_name": chosen.models.encoder},
        "LoadImage": {"image": image},
    }
    for class_type, values in inputs.items():
        prompt = with_inputs(prompt, class_type, values)
    return prompt


async def save_picture(client: Client, outcome: Outcome) -> None:
    saved = [image for image in outcome.images if image.kind == "output"]
    if not saved:
        raise DemoError("The graph ran to its end but saved no image: it has no SaveImage node that is connected.")
    PICTURE.write_bytes(await client.download(saved[-1]))


async def real_prompt(client: Client, chosen: Chosen) -> Prompt:
    """The shipped graph on the user's models and photo."""
    image = await client.upload(chosen.image)
    return fill_in(read_prompt(PROMPT), chosen, image.path)


async def miniature_prompt(client: Client, chosen: Chosen) -> Prompt:
    """The laboratory's graph, on its own references or on the user's image."""
    # Imported here: a run with real models needs nothing of it.
    from tools.lab import lab_prompt, reference_pictures

    folder = DIRECTORY / "references"
    folder.mkdir(parents=True, exist_ok=True)
    if chosen.own_image:
        files = [chosen.image]
    else:
        files = [folder / name for name in reference_pictures()]
        for path, content in zip(files, reference_pictures().values(), strict=True):
            path.write_bytes(content)
    images = [(await client.upload(path)).path for path in files]
    return lab_prompt(images, [path.stem for path in files])


async def draw(url: str, chosen: Chosen, stopwatch: Stopwatch) -> None:
    """Send pictures and graph to the server, and fetch the picture."""
    async with connect(url) as client:
        with stopwatch.part("upload"):
            prompt = await (real_prompt if chosen.files else miniature_prompt)(client, chosen)
        with stopwatch.part("queue"):
            outcome = await client.run(prompt, Display(stopwatch), timeout=None)
        with stopwatch.part("download"):
            await save_picture(client, outcome)


def settings_for(chosen: Chosen) -> Settings:
    """The server's: with the user's models, or with the laboratory."""
    if chosen.files:
        return Settings(DIRECTORY, device=chosen.device, model_files=chosen.model_files)
    from tools.lab import MODEL_FILES, NODES

    print("No CHECKPOINT, ADAPTER and ENCODER named: the laboratory's miniature models draw coloured shapes.")
    return Settings(DIRECTORY, device=chosen.device, model_files=MODEL_FILES, custom_nodes=NODES)


def print_table(seconds: Mapping[str, float]) -> None:
    width = max(len(name) for name in seconds)
    rows = [*seconds.items(), ("total", sum(seconds.values()))]
    for name, value in rows:
        print(f"  {name:<{width}}  {value:7.2f} s")


def demonstrate(chosen: Chosen) -> None:
    stopwatch = Stopwatch()
    settings = settings_for(chosen)
    print(f"Starting ComfyUI on {chosen.device}", flush=True)
    stopwatch.begin("server start")
    with running(settings) as server:
        asyncio.run(draw(server.url, chosen, stopwatch))
        stopwatch.begin("server stop")
    stopwatch.begin(None)
    print("\nTime taken")
    print_table(stopwatch.seconds)
    print(f"\nPicture: {PICTURE}")


def main() -> int:
    try:
        demonstrate(read_choice(os.environ))
    except (ChoiceError, DemoError, ClientError, ServerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
