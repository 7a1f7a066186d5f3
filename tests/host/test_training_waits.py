"""How often a training step makes the host wait for a graphics card: counted on shapes, without one."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pack.ipadapter.adapters.families import BASE
from pack.ipadapter.adapters.provenance import Provenance
from pack.ipadapter.commands.train.encoding import Settings, fill, make_plan
from pack.ipadapter.commands.train.examples import open_set
from pack.ipadapter.commands.train.listing import list_folder
from pack.ipadapter.commands.train.run import TrainingRun, WritingSchedule, make_accelerator
from pack.ipadapter.commands.train.stopping import Stop
from pack.ipadapter.training.batches import Batches
from pack.ipadapter.training.fresh import new_adapter, new_spec
from pack.ipadapter.training.module import AdapterTraining
from pack.ipadapter.training.recipe import Recipe
from PIL import Image

from tests.host.train_cli_world import WIDTH, SmallEncoders, base_model
from tools.bench import adapters, models
from tools.bench.card import card_of_shapes
from tools.bench.models import META, NARROW_WIDTH
from tools.bench.training import MODES, TrainingCase, both_sides, shapes_of, waits_in

PLAIN, CHECKPOINTED = MODES
FEW_BLOCKS = {  # every kind of block once or twice: how many there are is nothing to wait for
    "transformer_depth": [0, 0, 1, 1, 1, 1],
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 1, 1, 1],
    "transformer_depth_middle": 1,
}
SDXL = replace(adapters.SDXL_BASE, base=replace(models.SDXL, config={**models.SDXL.config, **FEW_BLOCKS}))
STEPS = ((adapters.SD15_PLUS, PLAIN), (SDXL, PLAIN), (SDXL, CHECKPOINTED))


@contextmanager
def on_shapes(kind=SDXL):
    """What is waited for, and this pack's trainer."""
    case = TrainingCase(kind, NARROW_WIDTH, pixels=64, batch=2, rounds=1)
    with card_of_shapes() as waits, both_sides(case, META) as (_, ours):
        yield waits, ours


@pytest.mark.parametrize(("kind", "mode"), STEPS, ids=lambda part: part.name or "plain")
def test_a_step_waits_once(kind, mode):
    with on_shapes(kind) as (waits, ours):
        assert waits_in(mode, ours, waits) == 1, waits


def test_accumulated_batches_are_waited_for_once():
    with on_shapes() as (waits, ours):
        ours.batches = Batches(ours.batches.data, ours.frozen, Recipe(BASE, batch_size=2, grad_accumulation=2))
        assert waits_in(PLAIN, ours, waits) == 1


def test_pictures_that_lie_on_the_card_are_not_waited_for():
    with on_shapes() as (waits, ours):
        data = ours.batches.data
        ours.batches.data = replace(
            data,
            clean=[latent.to(META) for latent in data.clean],
            encoded=tuple(read.to(META) for read in data.encoded),
            nothing=tuple(read.to(META) for read in data.nothing),
        )
        assert waits_in(CHECKPOINTED, ours, waits) == 1


@pytest.mark.parametrize("accumulation", [1, 3], ids=lambda count: f"{count} a step")
def test_a_step_of_the_command_waits_once(tmp_path, accumulation, fresh_accelerate):
    recipe = Recipe(BASE, 2, steps=2, batch_size=2, grad_accumulation=accumulation)
    accelerator = make_accelerator("no", recipe, tmp_path / "run", cpu=True)
    accelerator.state.device = META
    with card_of_shapes() as waits, shapes_of(base_model("meta")) as frozen:
        spec = new_spec("small", BASE, 2, WIDTH, frozen.layers)
        training = AdapterTraining(new_adapter(spec, frozen.layer_weights(), 0), frozen)
        data = encoded_pictures(tmp_path)
        run = TrainingRun(accelerator, training, data, recipe, WritingSchedule(tmp_path / "run"), Provenance("small"))
        run.one_step(Stop())
        waits.clear()
        run.one_step(Stop())
    assert waits.total() == 1, waits


def encoded_pictures(folder: Path):
    """The cache of a folder of three pictures."""
    (folder / "pictures").mkdir()
    for number in range(3):
        Image.new("RGB", (40, 40), (60 * number, 0, 0)).save(folder / "pictures" / f"{number}.png")
        (folder / "pictures" / f"{number}.txt").write_text(f"picture {number}")
    entries = list_folder(folder / "pictures", "txt")
    plan = make_plan(entries, ("small",), Settings(32, torch.float32), folder / "cache")
    fill(plan, SmallEncoders())
    return open_set(plan)


WAITED_FOR = {
    "a number read": lambda card: card[0].item(),
    "a truth read": lambda card: bool(card[0] > 0),
    "numbers read": lambda card: card.tolist(),
    "a copy back": lambda card: card.cpu(),
    "a copy from ordinary memory": lambda card: torch.zeros(2).to(META),
    "one that is only said not to be waited for": lambda card: torch.zeros(2).to(META, non_blocking=True),
    "a copy into what is there": lambda card: card.copy_(torch.zeros(2)),
    "pinned memory that is waited for": lambda card: torch.zeros(2).pin_memory().to(META),
    "a list as an index": lambda card: card[[0, 1]],
    "numbers of Python": lambda card: torch.tensor([1.0, 2.0], device=META),
}
NOT_WAITED_FOR = {
    "pinned memory": lambda card: torch.zeros(2).pin_memory().to(META, non_blocking=True),
    "a number as an index": lambda card: card[0],
    "one number of Python": lambda card: torch.full((), 2.0, device=META),
    "a number of main memory": lambda card: card * torch.tensor(2.0),
    "main memory alone": lambda card: torch.zeros(2).tolist(),
}


@pytest.mark.parametrize("what", WAITED_FOR)
def test_the_card_of_shapes_sees(what):
    with card_of_shapes() as waits:
        WAITED_FOR[what](torch.zeros(2, device=META))
    assert waits.total() == 1, waits


@pytest.mark.parametrize("what", NOT_WAITED_FOR)
def test_the_card_of_shapes_does_not_count(what):
    with card_of_shapes() as waits:
        NOT_WAITED_FOR[what](torch.zeros(2, device=META))
    assert not waits, waits
