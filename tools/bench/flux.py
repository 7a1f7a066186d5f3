"""What an image prompt costs in FLUX: operations in a narrow model with all blocks, FLOPs and bytes by its shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sample
import comfy.supported_models
import torch
from pack.ipadapter.prompts.prompt import ImageFeatures, ImagePrompt, Part
from pack.nodes.apply import ApplyIPAdapter
from safetensors.torch import save_file
from torch import Tensor

from tools.bench import counting
from tools.bench.adapters import DEVIATION, Shapes
from tools.bench.measure import Bench, Case, StepCost, cases, cell, say, tidy
from tools.bench.models import LATENT_SCALE, META, Model
from tools.bench.noise import SEED, fill_module, make_noise, tile
from tools.bench.packs import PLAIN, ThisPack, Use
from tools.bench.report import Cell, Row, Unit
from tools.standins.flux import (
    CLIP_L_EMBED,
    FLUX_DEV,
    HEAD,
    LATENT_CHANNELS,
    POOLED,
    SIGLIP_EMBED,
    FluxShape,
    instantx_shapes,
    xlabs_shapes,
)

# K' and V' are as wide as the model, however wide the text is from which they are made.
SHORT_TEXT = 64
NARROW, WIDE = FluxShape(HEAD, SHORT_TEXT), replace(FLUX_DEV, text=SHORT_TEXT)
PIXELS, COUNTED_PIXELS = 1024, 64
TEXT_ROWS, COUNTED_TEXT_ROWS = 512, 32
GUIDANCE = 3.5
COUNTED_STEPS = 4  # so that the last is after half of the sampling
ATTENTION = "scaled_dot_product"  # in the names of torch's attentions


@dataclass(frozen=True)
class FluxAdapter:
    """A public adapter: how wide an embedding it reads, the blocks it acts in, its tensors for a FLUX of a shape."""

    name: str
    embed: int
    blocks: int
    shapes: Callable[[FluxShape], Shapes]


FLUX_ADAPTERS = (
    FluxAdapter("FLUX.1 dev, XLabs v2, 16 tokens", CLIP_L_EMBED, FLUX_DEV.double, xlabs_shapes),
    FluxAdapter("FLUX.1 dev, InstantX, 128 tokens", SIGLIP_EMBED, FLUX_DEV.double + FLUX_DEV.single, instantx_shapes),
)


def all_flux_rows(bench: Bench) -> Iterator[Row]:
    """Every measurement, the counts first."""
    for adapter in FLUX_ADAPTERS:
        yield from block_counts(bench, adapter)
    say(f"Counting by shapes, FLUX.1 dev at {PIXELS} px")
    bare = flux_flops(build_flux(FLUX_DEV, META, torch.float16), FLUX_DEV)
    model = build_flux(WIDE, META, torch.float16)
    without = flux_flops(model, WIDE)
    for adapter in FLUX_ADAPTERS:
        yield from flux_footprints(bench, adapter, model, Counted(bare, without))
        tidy()


def build_flux(shape: FluxShape, device: torch.device, dtype: torch.dtype) -> Model:
    """A model as the host's loader wraps it. One on the meta device has shapes only."""
    config = comfy.supported_models.Flux({"image_model": "flux", **shape.config()})
    config.set_inference_dtype(dtype, None)
    config.unet_config["dtype"] = dtype
    model = comfy.model_base.Flux(config, device=device)
    if device == META:
        model.model_sampling.to(META)
    else:
        fill_module(model.diffusion_model)
    offload = torch.device("cpu") if device == META else device
    return comfy.model_patcher.CoreModelPatcher(
        model, load_device=comfy.model_management.get_torch_device(), offload_device=offload
    )


def random(*shape: int, seed: int = SEED) -> Tensor:
    """Numbers from a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sample_narrow(model: Model) -> Tensor:
    """Sample one small picture as FLUX.1 dev is, without CFG: one conditioning to a call."""
    side = COUNTED_PIXELS // LATENT_SCALE
    latent = torch.zeros(1, LATENT_CHANNELS, side, side)
    words = random(1, COUNTED_TEXT_ROWS, SHORT_TEXT)
    text = [[words, {"pooled_output": random(1, POOLED), "guidance": GUIDANCE}]]
    run = (COUNTED_STEPS, 1.0, "euler", "simple")
    return comfy.sample.sample(model, random(*latent.shape), *run, text, text, latent, disable_pbar=True, seed=SEED)


def call_flux(model: Model, shape: FluxShape) -> Tensor:
    """One call of a model that has shapes only, with its patches and wrappers as a sampler would."""
    side = PIXELS // LATENT_SCALE
    options = {
        **model.model_options["transformer_options"],
        "wrappers": model.wrappers,
        "cond_or_uncond": [0],
    }
    given = {
        "c_crossattn": torch.empty(1, TEXT_ROWS, shape.text, device=META, dtype=torch.float16),
        "y": torch.empty(1, POOLED, device=META, dtype=torch.float16),
        "guidance": torch.empty(1, device=META),
    }
    x, sigma = torch.empty(1, LATENT_CHANNELS, side, side, device=META), torch.full((1,), 0.5, device=META)
    return model.model.apply_model(x, sigma, transformer_options=options, **given)


def load_flux_adapter(bench: Bench, adapter: FluxAdapter, shape: FluxShape) -> Any:
    """An adapter in fp16, as they are published, through the loader node."""
    path, noise = bench.folder / "flux.safetensors", make_noise().mul(DEVIATION).half()
    save_file({name: tile(noise, size).clone() for name, size in adapter.shapes(shape).items()}, path)
    return ThisPack().load(path.name)


def apply_to_flux(model: Model, loaded: Any, adapter: FluxAdapter, use: Use = PLAIN) -> Model:
    """The apply node, given a random embedding."""
    nothing = ImageFeatures(torch.zeros(1, adapter.embed))
    picture, black = (random(1, adapter.embed, seed=seed) for seed in (SEED, SEED + 1))
    prompt = ImagePrompt((Part(ImageFeatures(picture)),), nothing, "random features", black)
    return ApplyIPAdapter.execute(model, loaded, prompt, 1.0, 0.0, use.end_at, mask=use.mask).result[0]


def block_counts(bench: Bench, adapter: FluxAdapter) -> Iterator[Row]:
    """Operations and host syncs that one more step of a sampling run costs."""
    say(f"Counting the operations of a step, {adapter.name}")
    model = build_flux(NARROW, bench.device, bench.dtype)
    loaded = load_flux_adapter(bench, adapter, NARROW)
    bare = flux_step_cost(model)
    for case in cases():
        cost = flux_step_cost(apply_to_flux(model, loaded, adapter, case.use))
        yield from flux_case_rows(adapter, case, bare, cost)


def flux_step_cost(model: Model) -> StepCost:
    """Count one step."""
    waits = counting.cuda_waits(model, sample_narrow) if model.load_device.type == "cuda" else None
    return StepCost(counting.ops_of_a_step(model, sample_narrow), waits)


def attentions(ops: counting.Ops) -> int:
    """How many attentions there are among the operations."""
    return sum(count for name, count in ops.items() if ATTENTION in name)


def flux_case_rows(adapter: FluxAdapter, case: Case, bare: StepCost, patched: StepCost) -> Iterator[Row]:
    """The rows of one way to use an adapter."""

    def row(measure: str, unit: Unit, bare_figure: float | None, figure: float) -> Row:
        return Row(adapter.name, measure + case.name, cell(bare_figure, unit), (Cell(figure, unit),))

    more = patched.ops.total() - bare.ops.total()
    if case.use == PLAIN:
        yield row("attentions a step", Unit.COUNT, attentions(bare.ops), attentions(patched.ops))
        yield row("ATen operations a step", Unit.COUNT, bare.ops.total(), patched.ops.total())
    yield row("extra ATen operations a block a step", Unit.PER_LAYER, None, more / adapter.blocks)
    yield row("host syncs a step", Unit.COUNT, counting.syncs(bare.ops), counting.syncs(patched.ops))
    if bare.waits is not None:
        yield row("waits a step that CUDA reports", Unit.COUNT, bare.waits, patched.waits or 0)


@dataclass(frozen=True)
class Counted:
    """FLOPs of a call without an image prompt: of the public model, and of the one that reads a narrow text."""

    whole: int
    short_text: int


def flux_flops(model: Model, shape: FluxShape) -> int:
    return counting.count_flops(lambda: call_flux(model, shape))


def flux_footprints(bench: Bench, adapter: FluxAdapter, model: Model, bare: Counted) -> Iterator[Row]:
    """FLOPs of a call and bytes held for it in the public width."""
    loaded = load_flux_adapter(bench, adapter, WIDE)
    once = apply_to_flux(model, loaded, adapter)
    extra = Cell(100 * (flux_flops(once, WIDE) - bare.short_text) / bare.whole, Unit.PERCENT)
    yield Row(adapter.name, f"extra FLOPs of a call at {PIXELS} px", Cell(bare.whole / 1e9, Unit.GFLOP), (extra,))
    twice = apply_to_flux(once, loaded, adapter)
    call_flux(twice, WIDE)
    for words, patched in (("held on the device while sampling, in fp16", once), ("the same, applied twice", twice)):
        held = Cell(counting.half_bytes(ThisPack().held(patched)), Unit.BYTES)
        yield Row(adapter.name, words, Cell(0, Unit.BYTES), (held,))
