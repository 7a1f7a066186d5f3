"""Aspect ratio buckets: which picture goes where, in which order they come, and what is kept of them."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from pack.ipadapter.commands.train.config import read_config
from pack.ipadapter.commands.train.encoding import Settings, fill, make_plan
from pack.ipadapter.commands.train.examples import open_set
from pack.ipadapter.commands.train.listing import list_folder
from pack.ipadapter.commands.train.pictures import open_training_picture
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.training.batches import Batches, Share
from pack.ipadapter.training.buckets import STEP, Buckets, bucket_sizes, nearest_bucket, steps_before
from pack.ipadapter.training.recipe import Recipe
from PIL import Image

from tests.host.train_cli_world import SmallEncoders
from tests.plain.test_train_config import SMALLEST, written


@pytest.mark.parametrize("resolution", [64, 128, 512, 768, 1024])
def test_buckets_have_about_the_pixels_of_the_square_and_sides_of_64(resolution):
    sizes = bucket_sizes(resolution)
    assert (resolution, resolution) in sizes and len(set(sizes)) == len(sizes)
    assert {(width, height) for height, width in sizes} == set(sizes), "upright as well as lying"
    for size in sizes:
        assert size.height % STEP == size.width % STEP == 0
        assert resolution**2 - STEP * max(size) < size.height * size.width <= resolution**2


def test_a_picture_goes_where_its_ratio_is_nearest_and_is_never_enlarged_more_than_to_the_square():
    rng = random.Random(1)
    for _ in range(2000):
        height, width = rng.randint(8, 3000), rng.randint(8, 3000)
        size = nearest_bucket(height, width, 512)
        away = [abs(math.log(width / height) - math.log(one.width / one.height)) for one in bucket_sizes(512)]
        assert abs(math.log(width / height) - size.ratio) == min(away)
        scale = max(size.height / height, size.width / width)
        assert scale <= 512 / min(height, width) + 1e-9
        shown = size.height * size.width / (scale**2 * height * width)
        assert shown > 0.7 or not 1 / 4 < width / height < 4, "little is cut off"
        assert nearest_bucket(width, height, 512) == size[::-1]


COUNTS = (7, 1, 13, 2)


def members() -> Buckets:
    sizes = [number for number, count in enumerate(COUNTS) for _ in range(count)]
    random.Random(3).shuffle(sizes)
    return Buckets.of(sizes)


@pytest.mark.parametrize("step_size", [1, 2, 4, 32])
def test_every_picture_comes_once_an_epoch_but_for_what_waits_to_fill_a_step(step_size):
    buckets, seen, steps = members(), Counter[int](), steps_before(9, members().counts, step_size)
    bucket_of = {picture: bucket for bucket, some in enumerate(buckets.members) for picture in some}
    for step in range(steps):
        drawn = [buckets.picture(5, step * step_size + place, step_size) for place in range(step_size)]
        assert len({bucket_of[picture] for picture in drawn}) == 1, "a step is of one bucket"
        seen.update(drawn)
    for picture, bucket in bucket_of.items():
        waiting = math.ceil((step_size - 1) / len(buckets.members[bucket]))
        assert 9 - waiting <= seen[picture] <= 9
    if step_size == 1:
        assert set(seen.values()) == {9}


def test_the_order_follows_the_seed_alone_and_is_another_each_epoch():
    def order(seed: int, buckets: Buckets) -> list[int]:
        return [buckets.picture(seed, position, 2) for position in range(60)]

    assert order(1, members()) == order(1, members()) != order(2, members())
    assert order(1, members())[:20] != order(1, members())[20:40]


@pytest.mark.parametrize("divided", [(4, 1, 1), (2, 2, 1), (1, 2, 2), (1, 1, 4)])
def test_however_a_step_is_divided_it_has_the_same_pictures(divided):
    batch, accumulation, processes = divided
    recipe = Recipe(batch_size=batch, grad_accumulation=accumulation, seed=3)

    def step_of(number: int) -> list[int]:
        positions = itertools.chain.from_iterable(
            Share(process, processes).positions(recipe, micro)
            for process in range(processes)
            for micro in recipe.batches_of(number)
        )
        batches = Batches(range(sum(COUNTS)), None, recipe, Share(0, processes), members())
        return sorted((draw.index, draw.time) for draw in map(batches.draw, positions))

    whole = Batches(range(sum(COUNTS)), None, Recipe(batch_size=4, seed=3), buckets=members())
    for step in range(12):
        assert step_of(step) == sorted((d.index, d.time) for d in map(whole.draw, range(4 * step, 4 * step + 4)))


@pytest.fixture
def data(tmp_path) -> Path:
    """Pictures that lie, stand and are square, the last of them half transparent."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number, (width, height) in enumerate([(300, 80), (90, 90), (80, 330), (400, 100), (100, 101)]):
        pixels = np.random.default_rng(number).integers(0, 255, (height, width, 4), dtype=np.uint8)
        pixels[..., 3] = 255
        pixels[: height // 2, :, 3] = 0 if number == 3 else 255
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"caption {number % 2}")
    return folder


def filled(data: Path, settings: Settings):
    plan = make_plan(list_folder(data, "txt"), ("small",), settings, data.parent / "cache")
    fill(plan, SmallEncoders())
    return plan, open_set(plan)


def test_what_is_kept_is_the_bucket_of_each_picture_its_sizes_and_its_mask(data):
    plan, examples = filled(data, Settings(128, torch.float32, 2, 3, alpha_is_mask=True, buckets=True))
    assert examples.buckets == Buckets(((0, 3), (1, 4), (2,)))
    lying = examples.latents([0, 3])
    assert lying.shape == (2, 4, 8, 32) and examples.latents([2]).shape == (1, 4, 32, 8)
    opened = open_training_picture((data / "3.png").read_bytes(), 128, buckets=True)
    assert opened.pixels.shape == (64, 256, 3) and torch.equal(
        lying[1], SmallEncoders().latents(opened.pixels[None])[0]
    )
    assert torch.equal(examples.areas([3])[0], opened.area) and examples.areas([0, 3]).shape == (2, 1, 8, 32)
    assert opened.area[0, 0].max() < 0.1 and opened.area[0, -1].min() > 0.9, "the mask is cropped as the picture is"
    assert examples.pictures.get("sizes", [3, 1]).tolist() == [[100, 400, 0, 0, 64, 256], [90, 90, 0, 0, 128, 128]]
    told = examples.pictures.get("sizes", [0]).tolist()[0]
    assert told == [80, 300, 2, 0, 64, 256], "resized to 68 × 256, of which 2 rows are cut off above and below"
    assert (
        plan.cache.folder.name
        != filled(data, Settings(128, torch.float32, 2, 3, alpha_is_mask=True))[0].cache.folder.name
    )


def test_without_buckets_nothing_is_another(data):
    _, examples = filled(data, Settings(128, torch.float32, 2, 3))
    assert examples.buckets is None
    assert examples.pictures.get("sizes", [0]).shape == (1, 4)
    square = open_training_picture((data / "1.png").read_bytes(), 128)
    bucketed = open_training_picture((data / "1.png").read_bytes(), 128, buckets=True)
    assert torch.equal(square.pixels, bucketed.pixels), "a square picture is the same one in its bucket"
    assert "buckets" not in repr(Settings(buckets=False)), "caches that are there keep their names"


def test_a_resolution_that_is_no_bucket_is_refused(tmp_path):
    text = SMALLEST.replace("[data]", "[data]\nresolution = 520\nbuckets = true")
    with pytest.raises(IPAdapterError, match="data has buckets and resolution 520, which must be a multiple of 64"):
        read_config(written(tmp_path, text))
