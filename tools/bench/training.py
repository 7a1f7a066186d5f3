"""What a step of training costs beside the same step as the reference writes it on diffusers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from pack.ipadapter.adapters.families import BASE, PLUS
from pack.ipadapter.adapters.family import Family
from pack.ipadapter.host.training.data import EncodedPictures, GraphPictures, encode_pictures
from pack.ipadapter.host.training.frozen import FrozenUNet, checkpointed, frozen_unet, in_training, not_loaded
from pack.ipadapter.training.batches import Batches
from pack.ipadapter.training.draws import draw_example
from pack.ipadapter.training.fresh import new_adapter, new_spec
from pack.ipadapter.training.loop import train_step
from pack.ipadapter.training.module import AdapterTraining
from pack.ipadapter.training.recipe import Recipe
from torch import Tensor

from tools.bench import adapters, counting, memory
from tools.bench.adapters import AdapterKind
from tools.bench.card import card_of_shapes
from tools.bench.host import BenchError
from tools.bench.measure import say, tidy
from tools.bench.models import FULL_WIDTH, LATENT_SCALE, META, NARROW_WIDTH, TEXT_TOKENS, Base, Model, build_model
from tools.bench.noise import SEED
from tools.bench.reference import TIMESTEPS, Examples, ReferenceTraining, diffusers_unet
from tools.bench.report import Cell, Row, Unit
from tools.bench.timing import alternate, median_interval, ratio

PICTURES = 8
COUNTED = 3  # steps of each side in each mode that are not timed: for memory, operations, and waits
AGREEMENT = 1e-3  # of the two sides' losses, relative


@dataclass(frozen=True)
class TrainingCase:
    """A step to be measured: this adapter for a UNet of this width, `batch` pictures of this size."""

    kind: AdapterKind
    width: int
    pixels: int
    batch: int
    rounds: int

    @property
    def name(self) -> str:
        return f"{self.kind.name}, {self.width} channels, {self.pixels} px, batch {self.batch}"

    @property
    def family(self) -> Family:
        return PLUS if self.kind.resampler else BASE

    @property
    def steps(self) -> int:
        """Steps that each side does in all: in each mode the timed ones, one before them, and the counted ones."""
        return len(MODES) * (self.rounds + 1 + COUNTED)


# What one CPU core does in half a minute, and what a graphics card is bought for.
TRAINING_CASES = {
    "cpu": (TrainingCase(adapters.SD15_BASE, NARROW_WIDTH, 256, 1, 11),),
    "cuda": (
        TrainingCase(adapters.SD15_BASE, FULL_WIDTH, 512, 8, 31),
        TrainingCase(adapters.SDXL_BASE, FULL_WIDTH, 1024, 1, 21),
    ),
}


class Side(Protocol):
    """A trainer at its steps, one after the other."""

    optimizer: torch.optim.Optimizer
    losses: list[float]

    def step(self) -> None:
        """The next step."""

    def checkpointed(self) -> AbstractContextManager[None]:
        """Steps within recompute blocks in the backward pass."""

    def held(self) -> Iterator[Tensor]:
        """The weights it needs on the device, learned or not."""


@dataclass(frozen=True)
class Mode:
    """A way to run the steps, and what its rows are called."""

    name: str
    checkpointed: bool

    def of(self, side: Side) -> AbstractContextManager[None]:
        return side.checkpointed() if self.checkpointed else nullcontext()


MODES = (Mode("", False), Mode(", with gradient checkpointing", True))


class OurTraining:
    """This pack's trainer: `train_step` on pictures as the training node holds them."""

    def __init__(self, frozen: FrozenUNet, training: AdapterTraining, data: EncodedPictures, recipe: Recipe) -> None:
        self.frozen, self.training, self.batches = frozen, training, Batches(data, frozen, recipe)
        self.optimizer: torch.optim.Optimizer = recipe.optimizer(list(training.parameters()))
        self.losses: list[float] = []

    def step(self) -> None:
        self.losses.append(train_step(self.training, self.batches, self.optimizer, len(self.losses)))

    def checkpointed(self) -> AbstractContextManager[None]:
        return checkpointed(self.frozen.patcher.model.diffusion_model)

    def held(self) -> Iterator[Tensor]:
        yield from self.frozen.patcher.model.diffusion_model.parameters()
        yield from self.training.parameters()


def random_pictures(base: Base, pixels: int, seed: int = SEED) -> GraphPictures:
    """Latents and captions of random numbers; of the pictures nothing but their number is read."""
    generator = torch.Generator().manual_seed(seed)
    side = pixels // LATENT_SCALE

    def text() -> list[object]:
        pooled = {"pooled_output": torch.randn(1, 1280, generator=generator)} if base.adm else {}
        return [torch.randn(1, TEXT_TOKENS, base.context_dim, generator=generator), pooled]

    latents = [torch.randn(1, 4, side, side, generator=generator) for _ in range(PICTURES)]
    return GraphPictures([torch.zeros(1, 1, 1, 3)] * PICTURES, latents, [text() for _ in latents], text())


def random_features(kind: AdapterKind, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Of the pictures and of no picture: (N, E) and (1, E), or (N, S, D) and (1, S, D)."""
    shape = (adapters.PATCHES, adapters.HIDDEN) if kind.resampler else (adapters.EMBED,)
    features = torch.randn(PICTURES, *shape, generator=torch.Generator().manual_seed(seed))
    return features, torch.zeros(1, *shape)


def frozen_model(case: TrainingCase, device: torch.device) -> Model:
    """A random base model in float32, in which the reference trains too."""
    with torch.inference_mode(False):
        model = build_model(case.kind.base, case.width, device, torch.float32)
        model.model.requires_grad_(False)
    return model


def frozen_on(model: Model, device: torch.device) -> AbstractContextManager[FrozenUNet]:
    """A model ready to be trained against."""
    return shapes_of(model) if device == META else frozen_unet(model, None, gradient_checkpointing=False)


@contextmanager
def shapes_of(model: Model) -> Iterator[FrozenUNet]:
    """A model of shapes, on the card without the host's loading, as shapes take no room there."""
    model.load_device = META
    with in_training():
        frozen = not_loaded(model, None)
        model.model.to(META)
        yield frozen


@contextmanager
def both_sides(case: TrainingCase, device: torch.device) -> Iterator[tuple[ReferenceTraining, OurTraining]]:
    """The reference and this pack at the start of the same run, over the same base weights."""
    base, recipe = case.kind.base, Recipe(case.family, batch_size=case.batch, seed=SEED)
    model = frozen_model(case, device)
    with frozen_on(model, device) as frozen:
        features, nothing = random_features(case.kind)
        spec = new_spec(base.name, case.family, case.kind.tokens, features.shape[-1], frozen.layers)
        training = AdapterTraining(new_adapter(spec, frozen.layer_weights(), SEED), frozen)
        data = encode_pictures(frozen.patcher.model, random_pictures(base, case.pixels), (features,), (nothing,))
        unet = diffusers_unet(base, case.width, frozen.patcher, training.adapter)
        batches = [examples(data, frozen, recipe, step) for step in range(case.steps)]
        yield ReferenceTraining(unet, recipe, batches), OurTraining(frozen, training, data, recipe)


def examples(data: EncodedPictures, frozen: FrozenUNet, recipe: Recipe, step: int) -> Examples:
    """The batch that this pack's trainer draws at a step, as the reference takes it."""
    batches = Batches(data, frozen, recipe)
    positions = batches.share.positions(recipe, step)
    times = [draw_example(recipe.seed, position, len(data)).time for position in positions]
    batch, timestep = batches.make(step), torch.tensor([int(time * TIMESTEPS) for time in times])
    text, vector = batch.text["c_crossattn"], batch.text.get("y")
    return Examples(batch.latents, batch.noise, timestep.to(frozen.device), text, vector, *batch.features)


def all_training_rows(device: torch.device) -> Iterator[Row]:
    """Every measurement of training."""
    for case in TRAINING_CASES[device.type]:
        say(f"Training {case.steps} steps each of {case.name}")
        yield from training_rows(case, device)
        tidy()


def training_rows(case: TrainingCase, device: torch.device) -> Iterator[Row]:
    """Times, memory and counts of a step, the reference's first. Raises BenchError where the two do not agree."""
    with both_sides(case, device) as sides:
        for mode in MODES:
            yield from mode_rows(case, mode, sides, device)
        refuse_different(*(side.losses for side in sides))


def refuse_different(theirs: Sequence[float], ours: Sequence[float]) -> None:
    """Two steps that compute different losses are not to be compared."""
    for step, (expected, loss) in enumerate(zip(theirs, ours, strict=True), start=1):
        if not math.isclose(expected, loss, rel_tol=AGREEMENT):
            raise BenchError(f"loss {loss:g} of training step {step} is not the reference's {expected:g}.")


@dataclass(frozen=True)
class Measured:
    """What the steps of one side took in one mode: seconds of the timed ones, bytes, counts."""

    seconds: list[float]
    peak: memory.Peak
    ops: int
    waits: int


def measure(case: TrainingCase, mode: Mode, sides: Sequence[Side], device: torch.device) -> Iterator[Measured]:
    """Run the steps, the timed ones in alternation."""
    with ExitStack() as stack:
        for side in sides:
            stack.enter_context(mode.of(side))
        times = alternate([side.step for side in sides], case.rounds, device)
        waits = WAITS[device.type].count(case, mode, sides)
        for side, seconds, waiting in zip(sides, times, waits, strict=True):
            peak = memory.training_peak(side.step, side.held(), side.optimizer, device)
            yield Measured(seconds, peak, counting.count_ops(side.step).total(), waiting)


def counted_waits(case: TrainingCase, mode: Mode, sides: Sequence[Side]) -> list[int]:
    """How often a step of each side would wait for a card, counted without one on the same UNet's shapes."""
    with card_of_shapes() as waits, both_sides(case, META) as shapes:
        return [waits_in(mode, side, waits) for side in shapes]


def waits_in(mode: Mode, side: Side, waits: counting.Ops) -> int:
    """Those of a side's second step."""
    with mode.of(side):
        side.step()
        waits.clear()
        side.step()
    return waits.total()


def reported_waits(case: TrainingCase, mode: Mode, sides: Sequence[Side]) -> list[int]:
    """How often a step of each side waits, as CUDA itself reports."""
    return [counting.waits_of(side.step) for side in sides]


@dataclass(frozen=True)
class Waits:
    """A way to count waits for the device, and what its row is called."""

    name: str
    count: Callable[[TrainingCase, Mode, Sequence[Side]], list[int]]


WAITS = {
    "cpu": Waits("waits a step, counted on shapes", counted_waits),
    "cuda": Waits("waits a step that CUDA reports", reported_waits),
}


def mode_rows(case: TrainingCase, mode: Mode, sides: Sequence[Side], device: torch.device) -> Iterator[Row]:
    """The rows of one way to run the steps."""
    theirs, ours = measured = tuple(measure(case, mode, sides, device))
    times = [Cell(median_interval(each.seconds), Unit.SECONDS) for each in measured]
    yield Row(case.name, f"time of a training step{mode.name}", times[0], (times[1],))
    compared = Cell(ratio(ours.seconds, theirs.seconds), Unit.RATIO)
    yield Row(case.name, f"the same, as a ratio to diffusers'{mode.name}", None, (compared,))
    for name, unit, pick in (*FIGURES, (WAITS[device.type].name, Unit.COUNT, lambda each: each.waits)):
        reference, figure = (Cell(pick(each), unit) for each in measured)
        yield Row(case.name, name + mode.name, reference, (figure,))


FIGURES: tuple[tuple[str, Unit, Callable[[Measured], float]], ...] = (
    ("memory of a step at its peak", Unit.BYTES, lambda each: each.peak.total),
    ("of it for the step alone", Unit.BYTES, lambda each: each.peak.step),
    ("ATen operations a step", Unit.COUNT, lambda each: each.ops),
)
