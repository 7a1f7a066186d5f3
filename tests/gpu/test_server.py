"""A real server on a card: every shipped workflow under the host's default flags and under each that changes how it
keeps models; and two prompts that do not fit beside each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.gpu.card import DEVICE
from tests.live.conftest import KEEP, studio_of
from tests.live.files import NARROW, make_files
from tests.live.shipped import LEAST, NAMES, quick
from tests.live.studio import Pixels, Studio, difference
from tests.live.training_pictures import put_training_pictures
from tools.environment import LAYOUT
from tools.server import Settings, running
from tools.standins.listed import SETS
from tools.standins.make import make

MODES = {
    "default": (),
    "disable-dynamic-vram": ("--disable-dynamic-vram",),
    "lowvram": ("--disable-dynamic-vram", "--lowvram"),
    "novram": ("--novram",),
    "highvram": ("--highvram",),
}
LACKING = {  # what a workflow needs beside the host, and which do
    "insightface": ("faceid",),
}
RUNNABLE = [name for name in NAMES if not any(name in LACKING[lib] and find_spec(lib) is None for lib in LACKING)]
ROOM = 3.0  # GB of the card that two models of 2.4 and 4.7 GB (with their encoders) are to share


def arguments(mode: str) -> tuple[str, ...]:
    return MODES[mode] if DEVICE == "cuda" else ()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The models of all servers here; those of the tests' own by their place."""
    for _ in make(SETS["all"], LAYOUT.models, LAYOUT.host):
        pass
    return make_files(tmp_path_factory.mktemp("files"))


@contextmanager
def serving(
    flags: tuple[str, ...], files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    """A server of its own."""
    folder = tmp_path_factory.mktemp("server")
    settings = Settings(
        folder, device=DEVICE, model_files=files, custom_nodes={"narrow": NARROW}, arguments=(KEEP, *flags)
    )
    with running(settings) as server:
        studio = studio_of(server, tmp_path_factory)
        put_training_pictures(server.input)
        yield studio


@pytest.fixture(scope="module", params=[pytest.param(mode, marks=pytest.mark.xdist_group(mode)) for mode in MODES])
def studio(request, files, tmp_path_factory) -> Iterator[Studio]:
    with serving(arguments(request.param), files, tmp_path_factory) as studio:
        yield studio


def is_a_picture(pixels: Pixels) -> bool:
    """Whether there is anything to see; what is not a number is saved as black."""
    return float(pixels.std()) > 1


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_shipped_workflow_runs_and_follows_the_image(name: str, studio: Studio) -> None:
    graph = quick(name, studio)
    pictures = studio.draw_all(graph)
    assert pictures and all(map(is_a_picture, pictures))
    without = studio.draw_all(graph.change("ApplyIPAdapter", weight=LEAST.get(name, 0)))
    assert np.mean([difference(*pair) for pair in zip(pictures, without, strict=True)]) > 1


def reserved() -> tuple[str, ...]:
    """What leaves the host little room on the card."""
    if DEVICE == "cpu":
        return ()
    total = torch.cuda.get_device_properties(0).total_memory / 1024**3
    return ("--reserve-vram", f"{max(0.0, total - ROOM):.1f}")


@pytest.mark.xdist_group("little room")
def test_two_prompts_that_evict_each_other_draw_what_each_draws_alone(files, tmp_path_factory) -> None:
    drawn: dict[str, list[Pixels]] = {"image_prompt": [], "sdxl_plus": []}
    with serving(reserved(), files, tmp_path_factory) as studio:
        for steps in (2, 3, 2):
            for name, pictures in drawn.items():
                pictures.append(studio.draw(quick(name, studio).change("KSampler", steps=steps)))
    for first, longer, again in drawn.values():
        assert is_a_picture(first) and difference(first, longer) > 0
        np.testing.assert_array_equal(first, again)
