"""A running server as the tests use it: graphs in, pixels out."""

from __future__ import annotations

import asyncio
import io
import json
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from pack.ipadapter.server.client import Client, Outcome, StoredFile, connect
from PIL import Image

from tests.live.files import NARROW_CHARACTER, SMALL_ADAPTER, SMALL_ENCODER
from tests.live.graph import Graph
from tools.server import Server
from tools.workflows.models import BASE

SIDE = 64  # pixels of a quick picture: eight latent cells
STEPS = 2
MEGAPIXELS = 0.01

QUICK = {
    "KSampler": {"steps": STEPS},
    "BasicScheduler": {"steps": STEPS},
    "EmptyLatentImage": {"width": SIDE, "height": SIDE},
    "EmptySD3LatentImage": {"width": SIDE, "height": SIDE},
    "ImageScaleToTotalPixels": {"megapixels": MEGAPIXELS},
}

Pixels = np.ndarray  # (height, width, channels), 0 ... 255
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """A graph that ran to its end, with the pictures that each output node saved."""

    outcome: Outcome
    pictures: dict[str, list[Pixels]]

    @property
    def picture(self) -> Pixels:
        """The one picture saved."""
        ((picture,),) = self.pictures.values()
        return picture


@dataclass(frozen=True)
class Studio:
    """One server, and the names under which it has the photo, a face, and the photo with a hole to be painted anew."""

    server: Server
    photo: str
    face: str
    hole: str
    drawn: dict[str, Any] = field(default_factory=dict)  # what shipped workflows have drawn here, by name

    def quick(self, name: str) -> Graph:
        """A shipped graph on the photo, small and in few steps."""
        shipped = Graph.shipped(name)
        graph = shipped.change("LoadImage", image=self.face if shipped.ids("EncodeFacePrompt") else self.photo)
        for class_type, inputs in QUICK.items():
            graph = graph.change(class_type, **inputs)
        return with_narrow_towers(without_t5(graph))

    def light(self, architecture: str = "auto") -> Graph:
        """The image prompt's quick graph with an image encoder thirty times smaller than ViT-H."""
        return lightened(self.loaded(), architecture)

    def loaded(self) -> Graph:
        """A quick graph whose base adapter and encoder are loaded by name."""
        graph = self.quick("image_and_text_prompt").change("ApplyIPAdapter", weight=1.0)
        return graph.change("LoadIPAdapter", ip_adapter_name=BASE.name)

    def ask(self, action: Callable[[Client], Awaitable[T]]) -> T:
        """What an action gives with a client of its own."""

        async def session() -> T:
            async with connect(self.server.url) as client:
                return await action(client)

        return asyncio.run(session())

    def run(self, graph: Graph) -> Run:
        async def action(client: Client) -> Run:
            outcome = await client.run(graph.nodes)
            return Run(outcome, await download(client, outcome))

        return self.ask(action)

    def draw(self, graph: Graph) -> Pixels:
        return self.run(graph).picture

    def draw_all(self, graph: Graph) -> list[Pixels]:
        """Every picture that the one saving node has saved."""
        (pictures,) = self.run(graph).pictures.values()
        return pictures

    def get(self, path: str, sent: bytes | None = None) -> bytes:
        """What the server has at a path, such as a file the front end asks for, or answers to what is sent there."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(f"{self.server.url}/{path}", sent, {"Content-Type": "application/json"})
        with opener.open(request, timeout=30) as reply:
            return reply.read()

    def free(self) -> None:
        """Let the server drop its models and results, as the front end's button does."""
        self.get("api/free", json.dumps({"unload_models": True, "free_memory": True}).encode())

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))


def lightened(graph: Graph, architecture: str = "auto") -> Graph:
    """A graph with a base adapter and the small encoder that it reads."""
    light = graph.change("LoadIPAdapter", ip_adapter_name=SMALL_ADAPTER)
    encoder = {"clip_name": SMALL_ENCODER, "architecture": architecture}
    light.nodes[light.only("CLIPVisionLoader")] |= {"class_type": "LoadOpenCLIPVision", "inputs": encoder}
    return light


def without_t5(graph: Graph) -> Graph:
    """A graph for FLUX with CLIP-L's text alone, which the stand-in reads: T5-XXL comes in its full size only."""
    small = graph.copy()
    for node in small.ids("DualCLIPLoader"):
        clip_l = small.nodes[node]["inputs"]["clip_name1"]
        small.nodes[node] |= {"class_type": "CLIPLoader", "inputs": {"clip_name": clip_l, "type": "stable_diffusion"}}
    return small


def with_narrow_towers(graph: Graph) -> Graph:
    """A graph for InstantCharacter with narrow encoders, and the adapter that reads them: DINOv2-giant comes in its
    full size only."""
    narrow = graph.copy()
    for both in narrow.ids("JoinImageEncoders"):
        for tower, (loader, _) in narrow.nodes[both]["inputs"].items():
            narrow.nodes[loader] |= {"class_type": "LoadNarrowTower", "inputs": {"tower": tower}}
        narrow = narrow.change("LoadIPAdapter", ip_adapter_name=NARROW_CHARACTER)
    return narrow


async def download(client: Client, outcome: Outcome) -> dict[str, list[Pixels]]:
    """Pictures in the output folder by the node that saved them; previews are left out."""
    files = {
        node: [StoredFile.read(image) for image in shown.get("images", ())] for node, shown in outcome.outputs.items()
    }
    saved = {node: [file for file in listed if file.kind == "output"] for node, listed in files.items()}
    return {
        node: [read_png(await client.download(file)) for file in listed] for node, listed in saved.items() if listed
    }


def read_png(content: bytes) -> Pixels:
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(np.int16)


def difference(one: Pixels, other: Pixels) -> float:
    """Mean distance of two pictures, in levels of 255."""
    return float(np.abs(one - other).mean())
