"""The measurements, each a few rows of the report."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import comfy.model_management
import torch

from tools.bench import adapters, counting
from tools.bench.adapters import AdapterKind
from tools.bench.models import (
    FULL_WIDTH,
    META,
    NARROW_WIDTH,
    SD15,
    SDXL,
    Base,
    Model,
    ModelCall,
    build_model,
    layers_of,
    make_call,
    sample,
)
from tools.bench.packs import PLAIN, Pack, Use, reached
from tools.bench.report import Cell, Row, Unit
from tools.bench.timing import Stopwatch, alternate, alternating, median_interval, ratio

APPLY_ROUNDS = 3
FULL_KINDS = (adapters.SD15_BASE, adapters.SD15_PLUS, adapters.SDXL_PLUS)


@dataclass(frozen=True)
class TimedStep:
    """A step to be timed: one call of a UNet of this width with a Plus adapter. `target` is the ratio aimed at."""

    kind: AdapterKind
    width: int
    pixels: int
    rounds: int
    target: float | None = None

    @property
    def subject(self) -> str:
        """What its rows are called."""
        return f"{self.kind.name}, {self.width} channels, {self.pixels} px"

    @property
    def aim(self) -> str:
        """The target in words."""
        return f", {self.target:g} at most aimed at" if self.target else ""


# What one CPU core does in a second, and what a graphics card is bought for.
TIMED_STEPS = {
    "cpu": (TimedStep(adapters.SD15_PLUS, 128, 256, 31),),
    "cuda": (
        TimedStep(adapters.SD15_PLUS, FULL_WIDTH, 512, 41, target=1.01),
        TimedStep(adapters.SDXL_PLUS, FULL_WIDTH, 1024, 21, target=1.02),
    ),
}
DTYPES = {"cpu": torch.float32, "cuda": torch.float16}


@dataclass(frozen=True)
class Bench:
    """What is measured, and where. `folder` is one in which the host looks for adapter files."""

    packs: tuple[Pack, ...]
    device: torch.device
    folder: Path

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.device.type]

    def write(self, kind: AdapterKind, model: Model) -> str:
        """Write an adapter for a model's layers; its name in the host's list."""
        return adapters.write_adapter(kind, layers_of(model), self.folder).name


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


def all_rows(bench: Bench) -> Iterator[Row]:
    """Every measurement, the counts first."""
    for base in (SD15, SDXL):
        yield from step_counts(bench, base)
    for kind in FULL_KINDS:
        yield from full_size(bench, kind)
        tidy()
    for step in TIMED_STEPS[bench.device.type]:
        yield from step_times(bench, step)
        tidy()


@dataclass(frozen=True)
class Case:
    """A way to use an adapter, and what its rows are called."""

    name: str
    use: Use


def cases() -> tuple[Case, ...]:
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1
    return (Case("", PLAIN), Case(", with a mask", Use(mask=mask)), Case(", outside its window", Use(end_at=0.5)))


def step_counts(bench: Bench, base: Base) -> Iterator[Row]:
    """Operations and host syncs that one more step of a sampling run costs, on a narrow UNet with all its layers."""
    say(f"Counting the operations of a step, {base.name}")
    model = build_model(base, NARROW_WIDTH, bench.device, bench.dtype)
    file = bench.write(adapters.BASE_KINDS[base.name], model)
    loaded = [pack.load(file) for pack in bench.packs]
    bare = step_cost(model, base)
    for case in cases():
        models = [apply(pack, model, adapter, case.use) for pack, adapter in zip(bench.packs, loaded, strict=True)]
        costs = [step_cost(patched, base) for patched in models]
        yield from case_rows(base, case, model, bare, list(zip(models, costs, strict=True)))


def apply(pack: Pack, model: Model, adapter: Any, use: Use = PLAIN, seed: int = 1) -> Model:
    """A pack's apply node, given random features."""
    return pack.apply(model, adapter, adapters.random_features(seed), use)


@dataclass(frozen=True)
class StepCost:
    """What one step of a sampling run does. `waits` are those that CUDA itself reports, None on the CPU."""

    ops: counting.Ops
    waits: int | None


def step_cost(model: Model, base: Base) -> StepCost:
    """Count one step."""
    run = partial(sample, base=base, steps=2)
    waits = counting.cuda_waits(model, run) if model.load_device.type == "cuda" else None
    return StepCost(counting.ops_of_a_step(model, run), waits)


def case_rows(
    base: Base, case: Case, model: Model, bare: StepCost, patched: Sequence[tuple[Model, StepCost]]
) -> Iterator[Row]:
    """The rows of one way to use an adapter."""

    def row(measure: str, unit: Unit, bare_figure: float | None, figures: Iterable[float]) -> Row:
        return Row(base.name, measure + case.name, cell(bare_figure, unit), tuple(Cell(f, unit) for f in figures))

    layers = [reached(each) for each, _ in patched]
    totals = [cost.ops.total() for _, cost in patched]
    extra = [(total - bare.ops.total()) / count for total, count in zip(totals, layers, strict=True)]
    if case.use == PLAIN:
        yield row("cross-attention layers reached", Unit.COUNT, len(layers_of(model)), layers)
        yield row("ATen operations a step", Unit.COUNT, bare.ops.total(), totals)
    yield row("extra ATen operations a layer a step", Unit.PER_LAYER, None, extra)
    syncs = [counting.syncs(cost.ops) for _, cost in patched]
    yield row("host syncs a step", Unit.COUNT, counting.syncs(bare.ops), syncs)
    if bare.waits is not None:
        yield row("waits a step that CUDA reports", Unit.COUNT, bare.waits, [cost.waits or 0 for _, cost in patched])


def cell(figure: float | None, unit: Unit) -> Cell | None:
    """A cell, or none where there is nothing to say."""
    return None if figure is None else Cell(figure, unit)


def full_size(bench: Bench, kind: AdapterKind) -> Iterator[Row]:
    """What needs public sizes, but of the UNet only its shapes: node times, FLOPs, bytes."""
    say(f"Applying a full-size adapter, {kind.name}")
    model = build_model(kind.base, FULL_WIDTH, META, torch.float16)
    file = bench.write(kind, model)
    yield from time_rows(kind, node_times(bench, file, model))
    call = make_call(kind.base, kind.base.pixels, META, torch.float16)
    bare = counting.count_flops(lambda: call(model))
    footprints = [footprint(pack, file, model, call) for pack in bench.packs]
    extra = tuple(Cell(100 * (each.flops / bare - 1), Unit.PERCENT) for each in footprints)
    yield Row(kind.name, f"extra FLOPs of a call at {kind.base.pixels} px", Cell(bare / 1e9, Unit.GFLOP), extra)
    held = tuple(Cell(each.held, Unit.BYTES) for each in footprints)
    yield Row(kind.name, "held on the device while sampling, in fp16", Cell(0, Unit.BYTES), held)
    twice = tuple(Cell(each.held_twice, Unit.BYTES) for each in footprints)
    yield Row(kind.name, "the same, applied twice", Cell(0, Unit.BYTES), twice)


@dataclass(frozen=True)
class NodeTimes:
    """Seconds of the loader node, of the apply node, and of a second apply node behind it."""

    load: float
    apply: float
    again: float


def node_times(bench: Bench, file: str, model: Model) -> list[list[NodeTimes]]:
    """Times of each pack, the packs in alternation."""
    taken: list[list[NodeTimes]] = [[] for _ in bench.packs]
    for number in range(APPLY_ROUNDS):
        for index in alternating(len(bench.packs), number):
            taken[index].append(time_nodes(bench.packs[index], file, model, bench.device))
            tidy()
    return taken


def time_nodes(pack: Pack, file: str, model: Model, device: torch.device) -> NodeTimes:
    """One round of one pack."""
    watch = Stopwatch(device)
    adapter = pack.load(file)
    load = watch.lap()
    once = apply(pack, model, adapter)
    first = watch.lap()
    apply(pack, once, adapter, seed=2)
    return NodeTimes(load, first, watch.lap())


def time_rows(kind: AdapterKind, taken: list[list[NodeTimes]]) -> Iterator[Row]:
    """The quickest round of each: what else the machine does can only add."""
    measures: tuple[tuple[str, Callable[[NodeTimes], float]], ...] = (
        ("load node", lambda times: times.load),
        ("apply node", lambda times: times.apply),
        ("a second apply node behind it", lambda times: times.again),
        ("load and apply", lambda times: times.load + times.apply),
    )
    for measure, pick in measures:
        cells = tuple(Cell(min(map(pick, rounds)), Unit.SECONDS) for rounds in taken)
        yield Row(kind.name, measure, None, cells)


@dataclass(frozen=True)
class Footprint:
    """FLOPs of a call, and the bytes held on the device for it, with one adapter applied and with two."""

    flops: int
    held: int
    held_twice: int


def footprint(pack: Pack, file: str, model: Model, call: ModelCall) -> Footprint:
    """Count a call by its shapes."""
    adapter = pack.load(file)
    once = apply(pack, model, adapter)
    pack.to_meta(once)
    flops = counting.count_flops(lambda: call(once))
    held = counting.half_bytes(pack.held(once))
    twice = apply(pack, once, adapter, seed=2)
    pack.to_meta(twice)
    call(twice)
    return Footprint(flops, held, counting.half_bytes(pack.held(twice)))


def step_times(bench: Bench, step: TimedStep) -> Iterator[Row]:
    """A call's time beside the bare model's, and on a graphics card the memory at its peak."""
    say(f"Timing {step.rounds} steps each of {step.subject}")
    models, call = contestants(bench, step)
    works = [partial(call, model) for model in models]
    yield ratio_row(
        step, f"time of a step, as a ratio to the bare model's{step.aim}", alternate(works, step.rounds, bench.device)
    )
    if bench.device.type == "cuda":
        peak, *peaks = [Cell(counting.cuda_peak(work), Unit.BYTES) for work in works]
        yield Row(step.subject, "memory a call allocates at its peak", peak, tuple(peaks))


def contestants(bench: Bench, step: TimedStep) -> tuple[list[Model], ModelCall]:
    """The bare model and each pack's, and how to call them."""
    model = build_model(step.kind.base, step.width, bench.device, bench.dtype)
    file = bench.write(step.kind, model)
    patched = [apply(pack, model, pack.load(file)) for pack in bench.packs]
    comfy.model_management.unload_all_models()  # the adapters' weights, as far as a pack lets them go
    return [model, *patched], make_call(step.kind.base, step.pixels, bench.device, bench.dtype)


def ratio_row(step: TimedStep, measure: str, taken: Sequence[Sequence[float]]) -> Row:
    """Seconds of the bare model's rounds, and the others' as ratios to them."""
    bare, *others = taken
    ratios = tuple(Cell(ratio(seconds, bare), Unit.RATIO) for seconds in others)
    return Row(step.subject, measure, Cell(median_interval(bare), Unit.SECONDS), ratios)


def tidy() -> None:
    """Let go of what a measurement leaves behind."""
    gc.collect()
    comfy.model_management.soft_empty_cache()
