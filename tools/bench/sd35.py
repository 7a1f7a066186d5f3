"""What an image prompt costs in SD3.5 Large: operations in a model of few blocks, for the host ties width to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.model_base
import comfy.model_patcher
import comfy.sample
import comfy.supported_models
import torch
from torch import Tensor

from tools.bench import counting
from tools.bench.flux_models import random
from tools.bench.measure import DTYPES, cases, say
from tools.bench.models import LATENT_SCALE, Model
from tools.bench.noise import SEED, fill_module, make_noise, tile
from tools.bench.packs import Use
from tools.bench.report import Cell, Row, Unit
from tools.bench.sd35_packs import SD35Pack
from tools.standins.sd35 import (
    LATENT_CHANNELS,
    POOLED,
    TEXT,
    TOKENS,
    sd35_config,
)

NAME = f"SD3.5 Large, InstantX, {TOKENS} tokens"
FEW, MORE = 2, 3  # blocks: what one of them costs, and what is done once a step, however many there are
SIDE, TEXT_ROWS = 64, 32  # pixels, rows of text
STEPS, CFG = 4, 4.5  # so that the last is after half of the sampling


@dataclass(frozen=True)
class SD35Bench:
    """What is measured, and where. `folder` is one in which the host looks for adapter files."""

    packs: tuple[SD35Pack, ...]
    device: torch.device
    folder: Path


@dataclass(frozen=True)
class ExtraCost:
    """What an image prompt costs in models of FEW and of MORE blocks, as extra ATen operations, and its host syncs."""

    few: int
    more: int
    syncs: int

    @property
    def a_block(self) -> int:
        return (self.more - self.few) // (MORE - FEW)

    @property
    def once(self) -> int:
        """For K' and V' of a noise level."""
        return self.few - FEW * self.a_block


def sd35_rows(bench: SD35Bench) -> Iterator[Row]:
    """Operations and host syncs that one more step of a sampling run costs."""
    say("Counting the operations of a step, SD3.5 Large")
    for case in cases():
        costs = [extra_cost(bench, pack, case.use) if pack.can(case.use) else None for pack in bench.packs]
        for measure, figure in FIGURES.items():
            cells = tuple(None if cost is None else Cell(figure(cost), Unit.COUNT) for cost in costs)
            yield Row(NAME, measure + case.name, None, cells)


FIGURES: dict[str, Callable[[ExtraCost], int]] = {
    "extra ATen operations a block a step": lambda cost: cost.a_block,
    "extra ATen operations a step besides": lambda cost: cost.once,
    "host syncs a step": lambda cost: cost.syncs,
}


def extra_cost(bench: SD35Bench, pack: SD35Pack, use: Use) -> ExtraCost:
    """Count the last step of a run in both models."""
    few, more = (extra_step(bench, pack, blocks, use) for blocks in (FEW, MORE))
    return ExtraCost(few.total(), more.total(), counting.syncs(more))


def extra_step(bench: SD35Bench, pack: SD35Pack, blocks: int, use: Use) -> counting.Ops:
    """The operations of a step with an image prompt, less those without."""
    model = build_sd35(blocks, bench.device, DTYPES[bench.device.type])
    patched = pack.apply(model, pack.load(blocks, bench.folder, bench.device), use)
    return counting.extra(*(counting.ops_of_a_step(one, sample_sd35) for one in (patched, model)))


def build_sd35(blocks: int, device: torch.device, dtype: torch.dtype) -> Model:
    """A model as the host's loader wraps it."""
    config = comfy.supported_models.SD3({**sd35_config(blocks), "pos_embed_scaling_factor": None})
    config.set_inference_dtype(dtype, None)
    config.unet_config["dtype"] = dtype
    model = comfy.model_base.SD3(config, device=device)
    fill_module(model.diffusion_model)
    places = model.diffusion_model.pos_embed
    places.copy_(tile(make_noise(), tuple(places.shape)))
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=device)


def sample_sd35(model: Model) -> Tensor:
    """Sample one small picture with CFG, two conditionings to a call."""
    side = SIDE // LATENT_SCALE
    latent = torch.zeros(1, LATENT_CHANNELS, side, side)

    def words(seed: int) -> list[Any]:
        return [[random(1, TEXT_ROWS, TEXT, seed=seed), {"pooled_output": random(1, POOLED, seed=seed)}]]

    run = (STEPS, CFG, "euler", "simple")
    return comfy.sample.sample(
        model, random(*latent.shape), *run, words(1), words(2), latent, disable_pbar=True, seed=SEED
    )
