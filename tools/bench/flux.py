"""What an image prompt costs in FLUX: operations in a narrow model with all blocks, FLOPs and bytes by its shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools.bench import counting
from tools.bench.flux_models import DTYPE, NARROW, PIXELS, WIDE, build_flux, call_flux, sample_narrow
from tools.bench.flux_packs import EMBEDDING_ADAPTERS, FLUX_ADAPTERS, FluxAdapter, FluxPack
from tools.bench.measure import Case, StepCost, cases, cell, say, tidy
from tools.bench.models import META, Model
from tools.bench.packs import PLAIN, Use
from tools.bench.report import Cell, Row, Unit
from tools.standins.flux import FLUX_DEV, FluxShape

ATTENTION = "scaled_dot_product"  # in the names of torch's attentions


@dataclass(frozen=True)
class FluxBench:
    """What is measured, and where. `folder` is one in which the host looks for adapter files."""

    packs: tuple[FluxPack, ...]
    device: torch.device
    dtype: torch.dtype
    folder: Path

    def load(self, pack: FluxPack, adapter: FluxAdapter, shape: FluxShape, device: torch.device | None = None) -> Any:
        """A pack's loader node."""
        return pack.load(adapter, shape, self.folder, device or self.device)

    def narrow(self, pack: FluxPack, adapter: FluxAdapter, use: Use = PLAIN) -> Model:
        """A narrow model of its own with a pack's image prompt: some packs change what all models share."""
        loaded = self.load(pack, adapter, NARROW)
        return pack.apply(build_flux(NARROW, self.device, self.dtype), loaded, adapter, use)

    def of_readers(self, adapter: FluxAdapter, figure: Callable[[FluxPack], float | None], unit: Unit) -> Columns:
        """A figure of each pack that reads an adapter."""
        return tuple(cell(figure(pack), unit) if pack.reads(adapter) else None for pack in self.packs)


Columns = tuple[Cell | None, ...]


def all_flux_rows(bench: FluxBench) -> Iterator[Row]:
    """Every measurement, the counts first."""
    for adapter in FLUX_ADAPTERS:
        mend_packs(bench, adapter)
        yield from block_counts(bench, adapter)
    for adapter in EMBEDDING_ADAPTERS:
        yield from distances(bench, adapter)
    say(f"Counting by shapes, FLUX.1 dev at {PIXELS} px")
    whole = flux_flops(build_flux(FLUX_DEV, META, DTYPE), FLUX_DEV)
    for adapter in EMBEDDING_ADAPTERS:
        yield from flux_footprints(bench, adapter, whole)
        tidy()


def mend_packs(bench: FluxBench, adapter: FluxAdapter) -> None:
    """Say which packs do not run by themselves, with the error, and give them what they miss."""
    for pack in bench.packs:
        if pack.reads(adapter) and (error := error_of(partial(sample_with, bench, pack, adapter))):
            say(f"{pack.name} do not run on this ComfyUI ({error}); they are given what they miss.")
            pack.mend()


def sample_with(bench: FluxBench, pack: FluxPack, adapter: FluxAdapter) -> Tensor:
    """A small picture with a pack's image prompt."""
    return sample_narrow(bench.narrow(pack, adapter))


def error_of(work: Callable[[], object]) -> str | None:
    """What Python has against a piece of work that was written for other classes."""
    try:
        work()
    except (AttributeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


def block_counts(bench: FluxBench, adapter: FluxAdapter) -> Iterator[Row]:
    """Operations and host syncs that one more step of a sampling run costs."""
    say(f"Counting the operations of a step, {adapter.name}")
    bare = flux_step_cost(build_flux(NARROW, bench.device, bench.dtype))
    for case in cases():
        costs = {
            pack.name: flux_step_cost(bench.narrow(pack, adapter, case.use))
            for pack in bench.packs
            if pack.reads(adapter) and pack.can(case.use)
        }
        yield from flux_case_rows(adapter, case, bare, [costs.get(pack.name) for pack in bench.packs])


def flux_step_cost(model: Model) -> StepCost:
    """Count one step."""
    waits = counting.cuda_waits(model, sample_narrow) if model.load_device.type == "cuda" else None
    return StepCost(counting.ops_of_a_step(model, sample_narrow), waits)


def attentions(ops: counting.Ops) -> int:
    """How many attentions there are among the operations."""
    return sum(count for name, count in ops.items() if ATTENTION in name)


def flux_case_rows(adapter: FluxAdapter, case: Case, bare: StepCost, patched: list[StepCost | None]) -> Iterator[Row]:
    """The rows of one way to use an adapter."""

    def cells(unit: Unit, figure: Callable[[StepCost], float]) -> Columns:
        return tuple(None if cost is None else Cell(figure(cost), unit) for cost in patched)

    def row(measure: str, unit: Unit, figure: Callable[[StepCost], float]) -> Row:
        return Row(adapter.name, measure + case.name, Cell(figure(bare), unit), cells(unit, figure))

    def extra(cost: StepCost) -> float:
        return (cost.ops.total() - bare.ops.total()) / adapter.blocks

    if case.use == PLAIN:
        yield row("attentions a step", Unit.COUNT, lambda cost: attentions(cost.ops))
        yield row("ATen operations a step", Unit.COUNT, lambda cost: cost.ops.total())
    yield Row(adapter.name, "extra ATen operations a block a step" + case.name, None, cells(Unit.PER_LAYER, extra))
    yield row("host syncs a step", Unit.COUNT, lambda cost: counting.syncs(cost.ops))
    if bare.waits is not None:
        yield row("waits a step that CUDA reports", Unit.COUNT, lambda cost: cost.waits or 0)


def distances(bench: FluxBench, adapter: FluxAdapter) -> Iterator[Row]:
    """How far others' pictures are from this pack's, which the tests hold to the authors' formula."""
    for words, pictures in (("", 1), (", two pictures at once", 2)):
        far = bench.of_readers(adapter, partial(distance, bench, adapter, pictures), Unit.PERCENT)[1:]
        if any(far):
            yield Row(adapter.name, f"distance from the formula, of its effect{words}", None, (None, *far))


def distance(bench: FluxBench, adapter: FluxAdapter, pictures: int, pack: FluxPack) -> float:
    """Percent of the largest that an image prompt changes, in fp32: its rounding is not meant."""
    exact = replace(bench, dtype=torch.float32)
    without = sample_narrow(build_flux(NARROW, bench.device, exact.dtype), pictures)
    right, theirs = (sample_narrow(exact.narrow(one, adapter), pictures) for one in (bench.packs[0], pack))
    return 100 * ratio_of_largest(theirs - right, right - without)


def ratio_of_largest(one: Tensor, other: Tensor) -> float:
    """One difference's largest number as a part of another's."""
    return float(one.abs().max() / other.abs().max())


def flux_flops(model: Model, shape: FluxShape) -> int:
    return counting.count_flops(lambda: call_flux(model, shape))


@dataclass(frozen=True)
class FluxFootprint:
    """FLOPs of a call more than without, and the bytes held on the device for it, applied once and twice."""

    extra: int
    held: int
    held_twice: int


def flux_footprint(bench: FluxBench, pack: FluxPack, adapter: FluxAdapter) -> FluxFootprint:
    """Count a pack by shapes."""
    model = build_flux(WIDE, META, DTYPE)
    bare = flux_flops(model, WIDE)
    loaded = bench.load(pack, adapter, pack.counted, META)
    once = pack.apply(model, loaded, adapter)
    extra = flux_flops(once, WIDE) - bare
    held = counting.half_bytes(pack.held(once, loaded))
    twice = pack.apply(once, loaded, adapter)
    call_flux(twice, WIDE)
    return FluxFootprint(extra, held, counting.half_bytes(pack.held(twice, loaded)))


def flux_footprints(bench: FluxBench, adapter: FluxAdapter, whole: int) -> Iterator[Row]:
    """FLOPs of a call, as a part of the public model's, and bytes held for it in the public width."""
    counted = {pack.name: flux_footprint(bench, pack, adapter) for pack in bench.packs if pack.reads(adapter)}

    def row(measure: str, bare: Cell, unit: Unit, figure: Callable[[FluxFootprint], float]) -> Row:
        return Row(
            adapter.name, measure, bare, bench.of_readers(adapter, lambda pack: figure(counted[pack.name]), unit)
        )

    calls, nothing = Cell(whole / 1e9, Unit.GFLOP), Cell(0, Unit.BYTES)
    yield row(f"extra FLOPs of a call at {PIXELS} px", calls, Unit.PERCENT, lambda each: 100 * each.extra / whole)
    yield row("held on the device while sampling, in fp16", nothing, Unit.BYTES, lambda each: each.held)
    yield row("the same, applied twice", nothing, Unit.BYTES, lambda each: each.held_twice)
