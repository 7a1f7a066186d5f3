"""The designs that the paper compares, trained alike: the same pictures, noise, batches and steps in the wider world.

Each has the learning rate that short runs choose, by the loss they leave on pictures that no run learns from; then
RUNS runs of two rounds, the rate constant and then falling to nothing, each with a curve of that loss. A curve is
called flat where the last third of the steps brought less than FLAT of all that the image prompt takes off the loss.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from ipadapter.adapters.families import BASE, PLUS
from ipadapter.adapters.family import Family
from ipadapter.adapters.provenance import Provenance
from ipadapter.adapters.writing import write_adapter
from ipadapter.attention.decoupled import Branches
from ipadapter.host.training.frozen import FrozenUNet, frozen_unet
from ipadapter.training.draws import draw_example
from ipadapter.training.fresh import new_adapter, new_spec
from ipadapter.training.loop import train
from ipadapter.training.module import AdapterTraining, Batch, ModelText, image_branches, make_batch
from ipadapter.training.objective import prediction_errors
from ipadapter.training.recipe import Drops, Recipe

from . import files, store
from .adapting import ENCODER, Lesson, make_lesson
from .stages.base import by_noise
from .training import Average, autocast, lay_out_plainly
from .wide import train_wide


@dataclass(frozen=True)
class Round:
    """Steps with an optimizer of their own, and how the learning rate goes on in them (`SCHEDULES`)."""

    steps: int
    schedule: str


RATES = (1e-3, 3e-3, 1e-2)
LOWER_RATES = (1e-4, 3e-4)  # for designs that the lowest of RATES suits best
WHOLE_RATES = (*LOWER_RATES, 1e-3, 3e-3)  # of the whole model, which is trained already
TRIAL, NEAR = 200, 2e-4  # steps of the short run that a rate is chosen by, and losses that it does not tell apart
MIDDLE_RATE = 3e-3  # where rates are not told apart, the one nearest to this is taken
ROUNDS = (Round(1200, "constant"), Round(800, "cosine"))
STEPS, BATCH, WARMUP, DECAY = sum(one.steps for one in ROUNDS), 16, 50, 0.995
RUNS = 2  # of every adapter, each from a seed of its own
NEXT_ROUND = 100  # from a round's seed to the next one's, which sees the pictures in another order
PICTURES, EXAM = 4000, 256
LOOK_EVERY = 100  # steps between two points of a curve
FLAT = 0.05
WIDE = "wide-base"
DROPS = Drops(0.1, 0.05, 0.05)


class DecoupledTraining(AdapterTraining):
    """The paper's adapter, its loss weighed by the noise level."""

    def forward(self, batch: Batch) -> Tensor:
        return self.loss(batch, batch.text, image_branches(self.adapter, batch.features, self.model.layers))

    def loss(self, batch: Batch, text: ModelText, branches: Branches) -> Tensor:
        """Of a batch that is told a text and shown these branches.

        The errors of the noise fall as the noise level rises, and where things stand is decided while it is high; so
        they are weighed by it, which lets a short training come to an end.
        """
        noisy = self.model.add_noise(batch.latents, batch.noise, batch.sigma)
        denoised = self.model.denoise(noisy, batch.sigma, text, branches)
        errors = prediction_errors(self.model.prediction, denoised, batch.latents, batch.sigma)
        return by_noise(errors, batch.sigma)


class SimpleTraining(DecoupledTraining):
    """Image tokens after the text's in the frozen attention: only the projection learns."""

    def __init__(self, projection: nn.Module, model: FrozenUNet) -> None:
        nn.Module.__init__(self)  # a projection alone is no adapter
        self.adapter, self.model = projection.to(model.device).train(), model  # type: ignore[assignment]

    def forward(self, batch: Batch) -> Tensor:
        tokens = self.adapter(batch.features)
        return self.told(batch, torch.cat([batch.text["c_crossattn"], tokens], dim=1))

    def told(self, batch: Batch, context: Tensor) -> Tensor:
        """The loss of a batch that is told this context (B, L, C)."""
        return self.loss(batch, batch.text | {"c_crossattn": context}, {})


class WholeTraining(SimpleTraining):
    """Image tokens in place of the text's: the projection and all of the UNet learn."""

    def __init__(self, projection: nn.Module, model: FrozenUNet) -> None:
        super().__init__(projection, model)
        self.unet: nn.Module = model.patcher.model.diffusion_model.requires_grad_(True)

    def forward(self, batch: Batch) -> Tensor:
        return self.told(batch, self.adapter(batch.features))


class Untold(SimpleTraining):
    """The base model with the text alone."""

    def forward(self, batch: Batch) -> Tensor:
        return self.told(batch, batch.text["c_crossattn"])


Begin = Callable[["Design", FrozenUNet, Lesson, int], AdapterTraining]


@dataclass(frozen=True)
class Design:
    """One way to give an image to the model. `name` is its file's."""

    name: str
    title: str
    kind: Family
    begin: Begin
    runs: int = RUNS
    rates: tuple[float, ...] = RATES

    @property
    def tokens(self) -> int:
        """Image tokens."""
        return self.kind.start.tokens


def decoupled(design: Design, frozen: FrozenUNet, lesson: Lesson, seed: int) -> AdapterTraining:
    """The paper's adapter."""
    spec = new_spec(design.name, design.kind, design.tokens, lesson.encoded.shape[-1], frozen.layers)
    return DecoupledTraining(new_adapter(spec, frozen.layer_weights(), seed), frozen)


def projected(training: type[SimpleTraining], design: Design, frozen: FrozenUNet, lesson: Lesson, seed: int) -> Any:
    """The same first projection as the adapter's."""
    return training(decoupled(design, frozen, lesson, seed).adapter.image_proj, frozen)


SIMPLE = Design("wide-simple-adapter", "simple, 4 tokens", BASE, partial(projected, SimpleTraining))
FOUR = Design("wide-ip-adapter", "decoupled, 4 tokens", BASE, decoupled)
SIXTEEN = Design("wide-ip-adapter-plus", "decoupled, 16 tokens", PLUS, decoupled, rates=(*LOWER_RATES, *RATES))
WHOLE_MODEL = Design(
    "wide-whole-model", "whole model, 4 tokens", BASE, partial(projected, WholeTraining), runs=1, rates=WHOLE_RATES
)
DESIGNS = (SIMPLE, FOUR, SIXTEEN)


@dataclass(frozen=True)
class Curve:
    """The loss on pictures that nothing learns from, every LOOK_EVERY steps, and that of the text alone."""

    points: list[float]  # the first before any step
    untold: float

    @property
    def is_flat(self) -> bool:
        """Whether the last third of the steps brought little of all that the image prompt brings."""
        return self.late <= FLAT

    @property
    def late(self) -> float:
        """How much of what the image prompt takes off the loss came in the last third of the steps."""
        before = self.points[round((len(self.points) - 1) * 2 / 3)]
        return (before - self.points[-1]) / max(1e-9, self.untold - self.points[-1])


@dataclass
class Class:
    """A base model, what is learned from, and what is looked at."""

    frozen: FrozenUNet
    lesson: Lesson
    exam: list[Batch]
    weights: dict[str, Tensor]  # of the base model, to begin every run with

    @torch.no_grad()
    def loss_of(self, training: AdapterTraining) -> float:
        """On all of the exam's batches."""
        return float(torch.stack([training(batch) for batch in self.exam]).mean())

    def begin(self, design: Design, seed: int) -> AdapterTraining:
        """A design before its first step, on the base model as it was."""
        self.frozen.patcher.model.diffusion_model.load_state_dict(self.weights)
        self.frozen.patcher.model.diffusion_model.requires_grad_(False)
        training = design.begin(design, self.frozen, self.lesson, seed)
        training.forward = autocast()(training.forward)  # type: ignore[method-assign]
        return training


@contextmanager
def class_of(design: Design) -> Iterator[Class]:
    """The wide base and the pictures: the same for every design, up to what its projection reads."""
    with frozen_unet(files.load_model(WIDE), None, gradient_checkpointing=False) as frozen:
        unet = frozen.patcher.model.diffusion_model
        lay_out_plainly(unet)
        lesson = make_lesson(frozen, design.kind, train_wide(PICTURES, 1008), 0)
        shown = make_lesson(frozen, design.kind, train_wide(EXAM, 2008), 1)
        weights = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
        yield Class(frozen, lesson, exam_of(shown, frozen), weights)


def exam_of(lesson: Lesson, frozen: FrozenUNet) -> list[Batch]:
    """Every picture once, at noise levels evenly apart, with its caption and its image."""
    draws = [
        replace(draw_example(0, i, EXAM), index=i, time=((i * 37) % EXAM + 0.5) / EXAM)  # 37: any odd number
        for i in range(EXAM)
    ]
    return [make_batch(lesson, frozen, draws[i : i + BATCH], Drops(0, 0, 0)) for i in range(0, EXAM, BATCH)]


def recipe_of(design: Design, rate: float, one: Round, seed: int) -> Recipe:
    """The paper's at another rate, after a short warm-up."""
    return Recipe(
        design.kind,
        steps=one.steps,
        batch_size=BATCH,
        learning_rate=rate,
        schedule=one.schedule,
        warmup_steps=WARMUP,
        drops=DROPS,
        seed=seed,
    )


def teach(room: Class, training: AdapterTraining, recipe: Recipe, name: str) -> list[float]:
    """Run the trainer; the training ends with its averaged weights. Returns the curve's points."""
    average, points = Average(training, DECAY), [room.loss_of(training)]
    bar = tqdm(total=recipe.steps, desc=name, mininterval=10)

    def after(step: int, loss: float) -> None:
        average.update(training, step)
        bar.update()
        if step % LOOK_EVERY == 0:
            with averaged(training, average):
                points.append(room.loss_of(training))
            bar.set_postfix(loss=f"{points[-1]:.5f}", refresh=False)

    with bar:
        train(training, room.lesson, recipe, after)
    average.copy_to(training)
    return points


@contextmanager
def averaged(training: nn.Module, average: Average) -> Iterator[None]:
    """The averaged weights in place of those that learn, for a while."""
    own = Average(training, 0.0)
    average.copy_to(training)
    yield
    own.copy_to(training)


def trials_of(room: Class, design: Design, seed: int) -> dict[float, float]:
    """The loss that a short run leaves from each learning rate; kept, as the runs are."""
    path, told = path_of(design, seed).with_suffix(".trials.json"), {"steps": TRIAL, "batch": BATCH}
    kept = json.loads(path.read_text()) if path.exists() else {}
    before = kept["found"] if kept.items() >= told.items() else {}
    found = {
        rate: before[str(rate)] if str(rate) in before else trial(room, design, rate, seed) for rate in design.rates
    }
    path.write_text(json.dumps({**told, "found": found}))
    return found


def trial(room: Class, design: Design, rate: float, seed: int) -> float:
    """The loss that a short run at a learning rate leaves."""
    training = room.begin(design, seed)
    teach(room, training, recipe_of(design, rate, Round(TRIAL, "constant"), seed), f"{design.name} at {rate:g}")
    return room.loss_of(training)


def chosen(trials: Mapping[float, float]) -> float:
    """The rate that left the smallest loss; of several that left nearly the same, the one nearest to MIDDLE_RATE."""
    best = min(trials.values())
    return min(
        (rate for rate, loss in trials.items() if loss <= best + NEAR),
        key=lambda rate: abs(math.log(rate / MIDDLE_RATE)),
    )


def train_design(design: Design, seed: int) -> dict[str, Any]:
    """Choose the rate and train from every seed; each trained one is kept in a file. What the report says of it."""
    with class_of(design) as room:
        untold, trials = room.loss_of(room.begin(replace(design, begin=bare), 0)), trials_of(room, design, seed)
        rate = chosen(trials)
        learned = sum(parameter.numel() for parameter in room.begin(design, seed).parameters())
        runs = [run(room, design, rate, one) for one in seeds_of(design, seed)]
    curves = [Curve(one["points"], untold) for one in runs]
    return {
        "curves": [curve.points for curve in curves],
        "late": [curve.late for curve in curves],
        "learned": learned,
        "loss": curves[0].points[-1],
        "rate": rate,
        "seconds": sum(one["seconds"] for one in runs),
        "steps": STEPS,
        "trials": {f"{one:g}": loss for one, loss in trials.items()},
        "untold": untold,
    }


def run(room: Class, design: Design, rate: float, seed: int) -> dict[str, Any]:
    """One seed's training, kept in a file with its curve; one that is kept already is not done again."""
    path, told = path_of(design, seed), {"rate": rate, "steps": STEPS, "batch": BATCH}
    notes = path.with_suffix(".json")
    if notes.exists() and (kept := json.loads(notes.read_text())).items() >= told.items():
        return dict(kept)
    began, training = time.perf_counter(), room.begin(design, seed)
    points: list[float] = []
    for number, one in enumerate(ROUNDS):
        recipe = recipe_of(design, rate, one, seed + NEXT_ROUND * number)
        points = [*points[:-1], *teach(room, training, recipe, f"{design.name}, seed {seed}, round {number + 1}")]
    write(path, training)
    made = {**told, "points": points, "seconds": time.perf_counter() - began}
    notes.write_text(json.dumps(made))
    return made


def seeds_of(design: Design, seed: int) -> range:
    """The seeds of a build's runs."""
    return range(seed, seed + design.runs)


def path_of(design: Design, seed: int) -> Path:
    """Where a run's weights are kept until the laboratory is whole."""
    return store.SNAPSHOTS / f"{design.name}-{seed}.safetensors"


def write(path: Path, training: AdapterTraining) -> None:
    """What was learned, in fp16: an adapter as the pack writes it, anything else as it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(training, SimpleTraining):
        write_adapter(path, training.adapter, Provenance(ENCODER, STEPS, "Apache-2.0"), torch.float16)
        return
    module = training if isinstance(training, WholeTraining) else training.adapter
    save_file({key: store.halved(tensor) for key, tensor in module.state_dict().items()}, path)


def bare(design: Design, frozen: FrozenUNet, lesson: Lesson, seed: int) -> AdapterTraining:
    """Nothing but the base model."""
    return Untold(nn.Identity(), frozen)
