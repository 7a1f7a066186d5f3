"""Aspect ratio buckets in a run: the command and the node, on the host's own model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.host.test_train_cli import assert_same_bits, losses
from tests.host.test_training import RECIPE, pictures, run
from tests.host.train_cli_world import Job, carry_out

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_accelerate")]


@pytest.fixture
def shapes(tmp_path) -> Path:
    """Seven noisy pictures of three shapes."""
    folder = tmp_path / "shapes"
    folder.mkdir()
    for number, size in enumerate([(90, 30), (40, 40), (90, 30), (30, 90), (44, 40), (40, 44), (91, 30)]):
        noise = torch.randint(0, 255, (size[0] * size[1] * 3,), generator=torch.Generator().manual_seed(number))
        Image.frombytes("RGB", size, bytes(noise.tolist())).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a picture like {number % 3}")
    return folder


def test_a_run_with_buckets_goes_on_to_the_very_same_bits(shapes, tmp_path):
    whole, stopped = (
        Job(str(shapes), str(tmp_path / name), batch_size=2, buckets=True, checkpoint_every=9)
        for name in ("one", "two")
    )
    for job in (whole, replace(stopped, terminate_at=3), stopped):
        carry_out(job)
    assert_same_bits(tmp_path / "one", tmp_path / "two")
    assert len(losses(tmp_path / "one")) == 6


def test_a_graphs_pictures_of_several_sizes_train_in_batches_of_one():
    given = pictures(count=5)
    for number in (1, 3):
        given.latents[number] = given.latents[number][..., :8]
    assert len(run(RECIPE, given=given).losses) == RECIPE.steps
