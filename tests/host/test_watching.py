"""What takes over two seconds on a user's machine shows how far it is, in the host's own progress bar."""

from __future__ import annotations

import comfy.utils
import pytest
import torch
from pack.ipadapter.host.adapters.adapter import load_adapter_file
from pack.ipadapter.host.adapters.saving import save_to_output
from pack.ipadapter.host.encoders.encoder import PICTURES_A_PASS
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.images.pixels import Fit
from pack.ipadapter.prompts.combining import Combination, combine_prompts
from pack.ipadapter.strength.strength import Strength

from tests.host.test_encoder import encode
from tests.image_prompts import image_prompt
from tests.plain.public import write_safetensors
from tests.small import SD15, make_pair
from tests.world import adapter_file, host_adapter


@pytest.fixture
def seen(monkeypatch):
    """What the host is told of how far something is: done and of how much, in order."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda done, of, *more, **others: told.append((done, of)))
    return told


def test_many_references_show_how_many_are_encoded(seen):
    encode(torch.rand(20, 60, 60, 3), Fit.CROP)
    assert (PICTURES_A_PASS, 20) in seen and seen[-1] == (20, 20)  # the host leaves out what follows at once


def test_many_parts_show_how_many_are_applied(seen):
    prompt = combine_prompts([image_prompt(seed=seed) for seed in range(4)], Combination.CONCAT, None)
    apply_image_prompt(make_pair(SD15).host, host_adapter(adapter_file(SD15, "base")), prompt, Strength(), None)
    assert seen[-1] == (len(prompt.parts), len(prompt.parts))


def test_reading_an_adapter_shows_when_it_is_read_and_when_it_is_ready(seen, tmp_path):
    path = write_safetensors(tmp_path / "a.safetensors", adapter_file(SD15, "base").flat())
    load_adapter_file(path, path.name)
    assert seen == [(1, 2), (2, 2)]


def test_writing_an_adapter_shows_how_much_is_on_the_disk(seen, tmp_path, monkeypatch):
    monkeypatch.setattr("folder_paths.get_output_directory", lambda: str(tmp_path))
    monkeypatch.setattr("pack.ipadapter.files.replacing.PIECE", 100_000)
    path = save_to_output(host_adapter(adapter_file(SD15, "base")), "ipadapter/a")
    size = path.stat().st_size
    assert seen[0] == (100_000, size) and seen[-1] == (size, size)
    assert load_adapter_file(path, path.name).spec.base == "SD1.5"
