"""One real server for all tests of this layer, with the stand-in models and a few files of the tests' own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from pack.ipadapter.server.client import StoredFile, connect
from PIL import Image

from tests.comfyui import start_host
from tests.faces import DrawnFace, draw_faces, save_picture
from tests.live.files import NARROW, make_files
from tests.live.studio import Studio
from tests.soak.runs import PROBE
from tests.warm import warm_python
from tools.environment import LAYOUT
from tools.server import WITHOUT_OLD_IDS, Server, Settings, running
from tools.standins.listed import SETS
from tools.standins.make import make

start_host()

# Between runs, results of the latest prompt and no others are kept, however much memory there is.
KEEP = "--cache-classic"
PHOTO = LAYOUT.root / "tests" / "data" / "photo.jpg"


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, ...]]:
    """What runs servers and commands."""
    with warm_python(tmp_path_factory.mktemp("warm")) as python:
        yield python


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Model files of the tests' own: place below a models folder -> file."""
    return make_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def server(
    python: tuple[str, ...], files: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    for _ in make(SETS["all"], LAYOUT.models, LAYOUT.host):
        pass
    directory, added = tmp_path_factory.mktemp("server"), {"probe": PROBE, "narrow": NARROW}
    how = {"arguments": (KEEP,), "environment": WITHOUT_OLD_IDS, "python": python}
    settings = Settings(directory, model_files=files, custom_nodes=added, **how)
    with running(settings) as server:
        yield server


@pytest.fixture(scope="session")
def studio(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    return studio_of(server, tmp_path_factory)


def studio_of(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Studio:
    """A server with the pictures that graphs read."""
    folder = tmp_path_factory.mktemp("pictures")
    face, hole = folder / "face.png", folder / "photo_with_hole.png"
    save_picture(draw_faces(320, 320, DrawnFace(150, 160, 80)), face)  # what the stand-in detector finds
    save_with_hole(PHOTO, hole)
    stored = [asyncio.run(upload(server.url, path)).path for path in (PHOTO, face, hole)]
    return Studio(server, *stored)


def save_with_hole(picture: Path, path: Path) -> None:
    """A picture after somebody painted a mask over its middle."""
    painted = Image.open(picture).convert("RGB")
    alpha = np.full((painted.height, painted.width), 255, np.uint8)
    alpha[painted.height // 4 : -painted.height // 4, painted.width // 4 : -painted.width // 4] = 0
    painted.putalpha(Image.fromarray(alpha))
    painted.save(path)


async def upload(url: str, image: Path) -> StoredFile:
    async with connect(url) as client:
        return await client.upload(image)
