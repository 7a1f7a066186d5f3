"""`make demo`: an image prompt through a real ComfyUI server, from a photo to a PNG.

Without CHECKPOINT, ADAPTER and ENCODER it uses stand-ins of random weights, at a small size and few steps.
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

from tools.chosen import ChoiceError, Chosen, read_choice
from tools.client import Client, ClientError, Outcome, Progress, Prompt, connect
from tools.environment import LAYOUT
from tools.server import ServerError, Settings, running

PROMPT = LAYOUT.root / "tests" / "prompts" / "image_prompt.json"
DIRECTORY = LAYOUT.runs / "demo"
PICTURE = DIRECTORY / "image_prompt.png"
# Stand-ins draw noise at any size, so a small one does.
QUICK = {"KSampler": {"steps": 4}, "EmptyLatentImage": {"width": 256, "height": 256}}


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

    def __call__(self, progress: Progress) -> None:
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
    """The prompt with the run's models and image, made quick where the weights are random."""
    inputs: dict[str, Mapping[str, Any]] = {
        "CheckpointLoaderSimple": {"ckpt_name": chosen.models.checkpoint},
        "LoadIPAdapter": {"ip_adapter_name": chosen.models.adapter},
        "CLIPVisionLoader": {"clip_name": chosen.models.encoder},
        "LoadImage": {"image": image},
        **({} if chosen.files else QUICK),
    }
    for class_type, values in inputs.items():
        prompt = with_inputs(prompt, class_type, values)
    return prompt


async def save_picture(client: Client, outcome: Outcome) -> None:
    saved = [image for image in outcome.images if image.kind == "output"]
    if not saved:
        raise DemoError("The graph ran to its end but saved no image: it has no SaveImage node that is connected.")
    PICTURE.write_bytes(await client.download(saved[-1]))


async def draw(url: str, chosen: Chosen, stopwatch: Stopwatch) -> None:
    """Send the photo and the graph to the server, and fetch the picture."""
    async with connect(url) as client:
        with stopwatch.part("upload"):
            image = await client.upload(chosen.image)
        prompt = fill_in(read_prompt(PROMPT), chosen, image.path)
        with stopwatch.part("queue"):
            outcome = await client.run(prompt, Display(stopwatch), timeout=None)
        with stopwatch.part("download"):
            await save_picture(client, outcome)


def make_stand_ins(chosen: Chosen) -> None:
    if chosen.files:
        return
    # Imported here: it loads torch, which a run with real models need not wait for.
    from tools.standins import STAND_INS, make

    models = chosen.models
    wanted = (f"checkpoints/{models.checkpoint}", f"ipadapter/{models.adapter}", f"clip_vision/{models.encoder}")
    print("No CHECKPOINT, ADAPTER and ENCODER named: random weights, so the picture shows plumbing, not art.")
    for made in make([one for one in STAND_INS if one.path in wanted], LAYOUT.models, LAYOUT.host):
        print(f"  made {made.path.name} ({made.size / 1e6:,.0f} MB)", flush=True)


def print_table(seconds: Mapping[str, float]) -> None:
    width = max(len(name) for name in seconds)
    rows = [*seconds.items(), ("total", sum(seconds.values()))]
    for name, value in rows:
        print(f"  {name:<{width}}  {value:7.2f} s")


def demonstrate(chosen: Chosen) -> None:
    stopwatch = Stopwatch()
    with stopwatch.part("stand-in models"):
        make_stand_ins(chosen)
    print(f"Starting ComfyUI on {chosen.device}", flush=True)
    stopwatch.begin("server start")
    with running(Settings(DIRECTORY, device=chosen.device, model_files=chosen.model_files)) as server:
        asyncio.run(draw(server.url, chosen, stopwatch))
        stopwatch.begin("server stop")
    stopwatch.begin(None)
    print("\nTime taken")
    print_table(stopwatch.seconds)
    print(f"\nImage prompt: {chosen.image}\nPicture:      {PICTURE}")


def main() -> int:
    try:
        demonstrate(read_choice(os.environ))
    except (ChoiceError, DemoError, ClientError, ServerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
