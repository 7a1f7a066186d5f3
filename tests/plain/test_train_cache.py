"""The cache: what is in it, that it goes on where it stopped, and that one that is out of date is not used."""

from __future__ import annotations

import os
import resource
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pack.ipadapter.commands.train.encoding import ChunkShare, Plan, Settings, fill, make_plan, skipped
from pack.ipadapter.commands.train.examples import open_set
from pack.ipadapter.commands.train.listing import list_folder
from pack.ipadapter.commands.train.pictures import open_training_picture
from pack.ipadapter.commands.train.room import cache_bytes, refuse_little_room
from pack.ipadapter.errors import IPAdapterError
from PIL import Image
from torch import Tensor

from tests.host.train_cli_world import SmallEncoders

usage = namedtuple("usage", "total used free")
SETTINGS = Settings(32, torch.float32, chunk=3, batch_size=2)


class Counting(SmallEncoders):
    """Counts what is encoded, and may fail after some texts or pictures as a process that is killed does."""

    def __init__(self, fail_after: int = 10**6) -> None:
        self.texts: list[str] = []
        self.pictures = 0
        self.fail_after = fail_after

    def text(self, caption: str) -> tuple[Tensor, Tensor | None]:
        self.texts.append(caption)
        return super().text(caption)

    def latents(self, pixels: Tensor) -> Tensor:
        if self.pictures + len(pixels) > self.fail_after:
            raise KeyboardInterrupt
        self.pictures += len(pixels)
        return super().latents(pixels)


@pytest.fixture
def data(tmp_path) -> Path:
    """Eight pictures, three captions."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 255, (40 + number, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"caption {number % 3}")
    return folder


def plan_of(data: Path, settings: Settings = SETTINGS, models: tuple = ("small",)) -> Plan:
    return make_plan(list_folder(data, "txt"), models, settings, data.parent / "cache")


def test_examples_come_back_as_they_were_encoded(data):
    plan, encoders = plan_of(data), SmallEncoders()
    fill(plan, encoders)
    examples = open_set(plan)
    assert len(examples) == 8
    pictures = [open_training_picture((data / f"{number}.png").read_bytes(), 32) for number in (5, 0)]
    keep, drop = torch.tensor([False, False]), torch.tensor([False, True])
    assert torch.equal(examples.latents([5, 0]), encoders.latents(torch.stack([p.pixels for p in pictures])))
    assert torch.equal(examples.features([5, 0], keep)[0], encoders.features([p.whole for p in pictures])[0])
    assert torch.equal(examples.features([5, 0], drop)[0][1:], encoders.no_picture()[0])
    told = examples.text([5, 0], drop)["c_crossattn"]
    assert torch.equal(told, torch.stack([encoders.text("caption 2")[0], encoders.text("")[0]]))


def test_transparent_places_are_kept_where_they_are_to_count(data):
    whole = Image.open(data / "2.png").convert("RGBA")
    whole.putalpha(Image.linear_gradient("L").resize(whole.size))
    whole.save(data / "2.png")
    for settings in (SETTINGS, replace(SETTINGS, alpha_is_mask=True)):
        fill(plan := plan_of(data, settings), SmallEncoders())
        area = open_set(plan).areas([2, 0])
        assert (area is not None) == settings.alpha_is_mask
    assert area.shape == (2, 1, 4, 4) and torch.equal(area[1], torch.ones(1, 4, 4))
    assert area[0, 0, 0].max() < 0.2 and area[0, 0, -1].min() > 0.8


def test_a_text_is_encoded_once_and_the_empty_one_is_there(data):
    encoders = Counting()
    fill(plan_of(data), encoders)
    assert encoders.texts == ["", "caption 0", "caption 1", "caption 2"]


def test_what_was_encoded_before_a_kill_is_not_encoded_again(data):
    plan = plan_of(data)
    with pytest.raises(KeyboardInterrupt):
        fill(plan, Counting(fail_after=5))
    rest = Counting()
    fill(plan, rest)
    assert (rest.texts, rest.pictures) == ([], 5)
    assert plan.complete and len(open_set(plan)) == 8
    again = Counting()
    fill(plan, again)
    assert (again.texts, again.pictures) == ([], 0)


def test_processes_share_the_work(data):
    plan, workers = plan_of(data), (Counting(), Counting())
    for number, worker in enumerate(workers):
        fill(plan, worker, ChunkShare(number, 2))
    assert [worker.pictures for worker in workers] == [5, 3]
    assert plan.complete and len(open_set(plan)) == 8


@pytest.mark.parametrize("change", ["picture", "caption", "time", "model", "resolution", "added"])
def test_a_cache_that_is_out_of_date_is_not_used(data, change):
    fill(plan_of(data), SmallEncoders())
    settings, models = SETTINGS, ("small",)
    if change == "picture":
        Image.new("RGB", (32, 32)).save(data / "0.png")
    if change == "caption":
        (data / "0.txt").write_text("other")
    if change == "time":
        os.utime(data / "0.png", ns=(1, 1))
    if change == "model":
        models = ("another",)
    if change == "resolution":
        settings = replace(SETTINGS, resolution=64)
    if change == "added":
        shutil.copy(data / "0.png", data / "9.png")
    assert not plan_of(data, settings, models).complete
    assert plan_of(data).complete == (change in ("model", "resolution"))


def test_pictures_that_cannot_be_read_are_named(data):
    (data / "1.png").write_bytes(b"nothing")
    Image.new("RGB", (4, 4)).save(data / "2.png")
    with pytest.raises(
        IPAdapterError, match=r"2 of 8 pictures cannot be used \(1\.png: not a readable .*2\.png: image"
    ):
        fill(plan_of(data), SmallEncoders())


def test_bad_pictures_are_counted_over_the_whole_set(data):
    """And not over the chunk in which the first of them is."""
    for number in (1, 4, 7):
        (data / f"{number}.png").write_bytes(b"no picture")
    with pytest.raises(IPAdapterError, match=r"^3 of 8 pictures cannot be used \(1\.png: .*, 4\.png: .*, 7\.png: "):
        fill(plan_of(data), SmallEncoders())


def test_pictures_that_cannot_be_read_are_skipped_if_asked(data):
    (data / "1.png").write_bytes(b"nothing")
    plan = plan_of(data, replace(SETTINGS, skip_bad=True))
    fill(plan, SmallEncoders())
    assert [name for name, _ in skipped(plan)] == ["1.png"]
    examples = open_set(plan)
    last = open_training_picture((data / "7.png").read_bytes(), 32)
    assert len(examples) == 7
    assert torch.equal(examples.latents([6]), SmallEncoders().latents(last.pixels[None]))


def test_a_set_of_which_nothing_can_be_read_is_refused(data):
    for path in data.glob("*.png"):
        path.write_bytes(b"nothing")
    plan = plan_of(data, replace(SETTINGS, skip_bad=True))
    fill(plan, SmallEncoders())
    with pytest.raises(IPAdapterError, match="none of the 8 pictures can be read"):
        open_set(plan)


def test_a_full_disk_while_encoding_is_one_sentence_and_leaves_no_half_chunk(data):
    plan = plan_of(data)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, limit[1]))
        with pytest.raises(IPAdapterError, match="could not be written"):
            fill(plan, SmallEncoders())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [path.name for path in plan.cache.folder.iterdir()] == ["no-picture.safetensors"]
    fill(plan, SmallEncoders())
    assert plan.complete


def test_a_damaged_chunk_is_named(data):
    plan = plan_of(data)
    fill(plan, SmallEncoders())
    plan.cache.pictures(1).path.write_bytes(b"damaged")
    with pytest.raises(IPAdapterError, match=r"pictures-00001\.safetensors' of the cache cannot be read .* delete it"):
        open_set(plan)


def test_the_room_that_is_needed_is_known_before_and_asked_for(data, monkeypatch):
    """What is still missing, whatever an earlier run has left; folders of one disk share its room."""
    plan, encoders = plan_of(data), SmallEncoders()
    needed, headers = cache_bytes(plan, encoders), 600 * len([*plan.picture_chunks, *plan.text_chunks])
    with pytest.raises(KeyboardInterrupt):
        fill(plan, Counting(fail_after=3))
    left = cache_bytes(plan, encoders)
    fill(plan, encoders)
    assert 0 < sum(path.stat().st_size for path in plan.cache.folder.iterdir()) - needed < headers
    assert 0 < left < 0.4 * needed and cache_bytes(plan, encoders) == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(total=10**10, used=0, free=3 * 10**9))
    refuse_little_room({plan.cache.folder: 10**9, data / "not" / "there": 2 * 10**9})
    with pytest.raises(
        IPAdapterError, match=r"about 3\.5 GB to the disk of '.*cache.*', where 3\.0 GB are free: make room"
    ):
        refuse_little_room({plan.cache.folder: 15 * 10**8, data / "not" / "there": 2 * 10**9})


def test_what_a_killed_process_was_writing_is_cleared_away_once_nobody_can_be_writing_it(data):
    plan = plan_of(data)
    plan.cache.folder.mkdir(parents=True)
    old, new = (plan.cache.folder / f".texts-00000.safetensors.{name}.part" for name in ("old", "new"))
    for part in (old, new):
        part.touch()
    os.utime(old, (0, 0))
    fill(plan, SmallEncoders())
    assert new.exists() and not old.exists()
