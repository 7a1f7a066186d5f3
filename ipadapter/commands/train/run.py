"""The steps of a run on accelerate: one process or many, checkpoints, and an end at any moment without loss."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...adapters.checkpoint import read_checkpoint
from ...adapters.module import IPAdapter, load_adapter
from ...adapters.provenance import Provenance
from ...adapters.writing import write_adapter
from ...errors import IPAdapterError
from ...files.replacing import clear_parts
from ...files.tensors import read_metadata
from ...training.average import WeightAverage, moved
from ...training.batches import Batches, Share
from ...training.buckets import Buckets
from ...training.loop import DivergedError, gradient_length, refuse_divergence
from ...training.module import AdapterTraining, TrainingSet
from ...training.rates import set_rate
from ...training.recipe import Recipe
from .checkpoints import Checkpoints, RunCheckpoint, step_name
from .journal import Journal, LossRow
from .stopping import Stop
from .trackers import open_trackers, refuse_trackers
from .validation import OF_AVERAGE, OF_LAST_STEP, Validation

FIXED = (
    "kind",
    "tokens",
    "base",
    "encoder width",
    "layer widths",
)  # what a checkpoint cannot be gone on from with another
COUNTED = ("step", "ema_updates")  # what differs by going on
FINAL = "ip-adapter.safetensors"
FINAL_AVERAGE = "ip-adapter-ema.safetensors"
PROCESS_PATIENCE = timedelta(hours=2)  # of processes with each other, while one still encodes its pictures


@dataclass(frozen=True)
class WritingSchedule:
    """When what is written, and where."""

    folder: Path
    checkpoint_every: int = 1000
    keep: int = 3
    log_every: int = 10
    project: str = "curves"  # what trackers call the runs

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's."""
        return Checkpoints(self.folder / "checkpoints", self.keep)

    @property
    def journal(self) -> Journal:
        """The run's."""
        return Journal(self.folder / "loss.csv")


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended: after all its steps, or because it was asked to."""

    step: int
    file: Path
    stopped_by: int | None = None


def make_accelerator(
    mixed_precision: str, recipe: Recipe, folder: Path, cpu: bool = False, trackers: Sequence[str] = ()
) -> Any:
    """accelerate's object, before ComfyUI looks for a device: each process gets its own from it."""
    try:
        from accelerate import Accelerator, InitProcessGroupKwargs
    except ImportError as error:
        raise IPAdapterError("training from the command line needs accelerate: pip install accelerate.") from error
    refuse_trackers(trackers)
    try:
        return Accelerator(
            mixed_precision=mixed_precision,
            gradient_accumulation_steps=recipe.grad_accumulation,
            cpu=cpu,
            log_with=list(trackers) or None,
            project_dir=folder,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PROCESS_PATIENCE)],
        )
    except ValueError as error:
        raise IPAdapterError(f"training.mixed_precision '{mixed_precision}' does not go here: {error}.") from error


@dataclass(frozen=True)
class Said:
    """What the processes say of a step, on average."""

    loss: float
    stop: float  # above 0 where any is to stop
    gradient: float  # its length


class TrainingRun:
    """A run in progress: what accelerate has prepared, and the step it is at."""

    def __init__(
        self,
        accelerator: Any,
        training: AdapterTraining,
        data: TrainingSet,
        recipe: Recipe,
        schedule: WritingSchedule,
        provenance: Provenance,
        settings: Mapping[str, Any] | None = None,
        ema_decay: float = 0.0,
        validation: Validation | None = None,
        buckets: Buckets | None = None,
    ) -> None:
        optimizer = recipe.optimizer(list(training.parameters()))
        self.accelerator, self.plain, self.data, self.recipe = accelerator, training, data, recipe
        self.schedule, self.provenance = schedule, provenance
        self.settings = settings or {}  # of the run, besides the recipe, that its checkpoints tell of
        self.module, self.optimizer = accelerator.prepare(training, optimizer)
        self.share = Share(accelerator.process_index, accelerator.num_processes)
        self.batches = Batches(data, training.model, recipe, self.share, buckets)
        self.average = WeightAverage(training.adapter, ema_decay) if ema_decay else None
        self.validation = validation
        self.step = 0
        self.saved: RunCheckpoint | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """What a checkpoint says of the run."""
        spec, recipe = self.plain.adapter.spec, self.recipe
        return {
            "step": self.step,
            "kind": spec.family.title,
            "tokens": spec.projection.tokens,
            "base": spec.base,
            "encoder width": spec.projection.feature_dim,
            "layer widths": list(spec.channels),
            "encoder": self.provenance.encoder,
            "pictures": len(self.data),
            "seed": recipe.seed,
            "batch_size": recipe.batch_size,
            "grad_accumulation": recipe.grad_accumulation,
            "processes": self.share.processes,
            "learning_rate": recipe.learning_rate,
            "weight_decay": recipe.weight_decay,
            "schedule": recipe.schedule,
            "warmup_steps": recipe.warmup_steps,
            "min_snr": recipe.min_snr,
            **{f"drop_{name}": chance for name, chance in asdict(recipe.drops).items()},
            "ema_decay": self.average.decay if self.average else 0.0,
            "ema_updates": self.average.updates if self.average else 0,
            **self.settings,
        }

    @property
    def is_written(self) -> bool:
        """Whether the last file is there, and of this step: a run may have been killed before it was written."""
        path = self.schedule.folder / FINAL
        return path.is_file() and Provenance.read(read_metadata(path)).steps == self.provenance.steps + self.step

    def resume(self) -> list[str]:
        """Go on from the newest checkpoint, if there is one; what differs from the settings it was made with."""
        self.saved = self.schedule.checkpoints.newest()
        if self.saved is None:
            return []
        changed = differences(self.saved, self.facts)
        self.load(self.saved)
        self.accelerator.step = 0  # its count of micro-batches, of which another number may make a step now
        for group in self.optimizer.param_groups:
            group["weight_decay"] = self.recipe.weight_decay
        self.step = self.saved.step
        return changed

    def open_trackers(self) -> None:
        """Curves begin, or go on, at this step."""
        if self.accelerator.log_with:
            open_trackers(self.accelerator, self.schedule.project, self.step, self.facts)

    def load(self, saved: RunCheckpoint) -> None:
        """Take weights and optimizer from a checkpoint. Raises IPAdapterError where one of its files is damaged."""
        try:
            self.accelerator.load_state(str(saved.folder))
        except Exception as error:  # each library raises its own, and torch advises to let a pickle run
            raise saved.damaged("its weights or its optimizer's state cannot be read") from error
        if self.average is not None:
            self.average = self.saved_average(saved, self.average.decay)

    def saved_average(self, saved: RunCheckpoint, decay: float) -> WeightAverage:
        """The average of a checkpoint; from its weights on where it has none."""
        path, adapter = saved.folder / average_name(saved.step), self.plain.adapter
        if not path.is_file():
            return WeightAverage(adapter, decay)
        kept = moved(load_adapter(read_checkpoint(path), adapter.spec), self.plain.model.device)
        return WeightAverage(kept, decay, saved.facts["ema_updates"])

    def one_step(self, stop: Stop) -> tuple[float, bool]:
        """One optimizer step; the mean loss over all processes, and whether any of them is to stop.

        Raises DivergedError before any weight is harmed. The host waits for the device once, before the optimizer.
        """
        set_rate(self.optimizer, self.recipe.rate(self.step))
        losses: list[Tensor] = []
        said = Said(0.0, 0.0, 0.0)
        for number in self.recipe.batches_of(self.step):
            with self.accelerator.accumulate(self.module):
                loss = self.module(self.batches.take(number))
                self.accelerator.backward(loss)
                losses.append(loss.detach())
                self.batches.make_ahead(number + 1)
                if self.accelerator.sync_gradients:
                    said = self.over_processes(losses, stop)
                    refuse_divergence(said.loss, said.gradient, self.step)
                self.optimizer.step()
                self.optimizer.zero_grad()
        if self.average is not None:
            self.average.follow(self.plain.adapter)
        self.step += 1
        return said.loss, said.stop > 0

    def over_processes(self, losses: list[Tensor], stop: Stop) -> Said:
        """The mean of what every process says, the same in each."""
        asked = torch.full_like(losses[0], float(stop.asked))
        said = self.accelerator.reduce(torch.stack([*losses, asked, self.gradient(losses[0])]), "mean")
        *parts, stopping, gradient = said.tolist()
        return Said(sum(parts) / len(parts), stopping, gradient)

    def gradient(self, like: Tensor) -> Tensor:
        """The gradient's length, or 0 where it does not matter: of fp16 gradients that overflow, accelerate skips the
        step."""
        return torch.zeros_like(like) if self.accelerator.scaler is not None else gradient_length(self.plain)

    def validate(self, stop: Stop) -> bool:
        """Draw what is due at this step, with the average of the weights where one is taken; False: asked to stop."""
        validation, steps = self.validation, self.recipe.steps
        if validation is None or not validation.is_due(self.step, steps):
            return True
        adapter, which = (self.average.adapter, OF_AVERAGE) if self.average else (self.plain.adapter, OF_LAST_STEP)
        return validation.at(self.step, adapter, which, self.accelerator, stop)

    def save(self) -> RunCheckpoint:
        """A checkpoint of the weights as they are."""
        if self.saved is not None and self.saved.step == self.step:
            return self.saved
        checkpoints, main = self.schedule.checkpoints, self.accelerator.is_main_process
        if main:
            checkpoints.begin(self.step)
        self.accelerator.wait_for_everyone()
        with checkpoints.telling(self.step):
            self.accelerator.save_state(str(checkpoints.unfinished(self.step)))
        self.accelerator.wait_for_everyone()
        if main:
            with checkpoints.telling(self.step):
                self.write_average(checkpoints.unfinished(self.step) / average_name(self.step))
                self.write_file(checkpoints.unfinished(self.step) / adapter_name(self.step))
            checkpoints.finish(self.step, self.facts)
        self.accelerator.wait_for_everyone()
        self.saved = RunCheckpoint(checkpoints.place(self.step), self.step)
        return self.saved

    def write_file(self, path: Path) -> Path:
        """The adapter, ready for use."""
        return self.write(path, self.plain.adapter)

    def write_average(self, path: Path) -> None:
        """The average of its weights, where one is taken, ready for use too."""
        if self.average is not None:
            self.write(path, self.average.adapter)

    def write(self, path: Path, adapter: IPAdapter) -> Path:
        """Weights with what they were made from."""
        about = replace(self.provenance, steps=self.provenance.steps + self.step).of(adapter.spec)
        return write_adapter(path, adapter, about)


def adapter_name(step: int) -> str:
    """`ip-adapter-step-000100.safetensors`"""
    return f"ip-adapter-{step_name(step)}.safetensors"


def average_name(step: int) -> str:
    """`ip-adapter-ema-step-000100.safetensors`"""
    return f"ip-adapter-ema-{step_name(step)}.safetensors"


def differences(saved: RunCheckpoint, facts: dict[str, Any]) -> list[str]:
    """Settings that have changed. Raises IPAdapterError for those a checkpoint cannot be gone on from with."""
    before = saved.facts
    changed = {name: (before[name], now) for name, now in facts.items() if name in before and before[name] != now}
    for name in FIXED:
        if name in changed:
            was, now = changed[name]
            raise IPAdapterError(
                f"the checkpoint '{saved.folder}' is of a run with {name} {was}, but now {name} is {now}: give this "
                "run another output.folder, or the former setting."
            )
    return [f"{name} {was} → {now}" for name, (was, now) in changed.items() if name not in COUNTED]


def train_run(run: TrainingRun, stop: Stop, quiet: bool = False) -> RunOutcome:
    """All steps that are left. Raises DivergedError once the last good weights are saved."""
    with run_journal(run, quiet) as note:
        while run.step < run.recipe.steps:
            run.validate(stop)
            started = time.perf_counter()
            try:
                loss, asked = run.one_step(stop)
            except DivergedError as error:
                raise DivergedError(f"{error} They are in '{run.save().folder}'.") from error
            note(loss, time.perf_counter() - started)
            if asked:
                return RunOutcome(run.step, run.save().folder / adapter_name(run.step), stop.signal or 0)
            if run.step % run.schedule.checkpoint_every == 0:
                run.save()
    last = run.save()
    if not run.validate(stop):
        return RunOutcome(run.step, last.folder / adapter_name(run.step), stop.signal or 0)
    if run.accelerator.is_main_process:
        run.write_average(run.schedule.folder / FINAL_AVERAGE)
        run.write_file(run.schedule.folder / FINAL)
    return RunOutcome(run.step, run.schedule.folder / FINAL)


@contextmanager
def run_journal(run: TrainingRun, quiet: bool) -> Iterator[Any]:
    """A function that takes each step's loss and seconds: the file, the curves and the progress bar."""
    if run.validation is not None:
        run.validation.begin(run.step, run.accelerator.is_main_process)
    if not run.accelerator.is_main_process:
        yield lambda loss, seconds: None
        return
    from tqdm import tqdm

    clear_parts(run.schedule.folder)
    journal, pending = run.schedule.journal, list[LossRow]()
    journal.cut(run.step)
    bar = tqdm(total=run.recipe.steps, initial=run.step, desc="training", unit="step", disable=quiet)

    def note(loss: float, seconds: float) -> None:
        examples = run.recipe.examples_a_step * run.share.processes
        pending.append(LossRow(run.step, loss, run.recipe.rate(run.step - 1), examples / max(seconds, 1e-9)))
        bar.update()
        due = run.step % run.schedule.log_every == 0 or run.step % run.schedule.checkpoint_every == 0
        if due:
            write_down(run, journal, pending, bar)

    try:
        yield note
    finally:
        write_down(run, journal, pending, bar)
        bar.close()


def write_down(run: TrainingRun, journal: Journal, pending: list[LossRow], bar: Any) -> None:
    """Move what is pending to the file, and its means to the curves."""
    if not pending:
        return
    journal.add(pending)
    loss = sum(row.loss for row in pending) / len(pending)
    speed = len(pending) / sum(1 / row.examples_per_second for row in pending)
    bar.set_postfix(loss=f"{loss:.4f}", examples_per_second=f"{speed:.3g}")
    told = {"loss": loss, "learning_rate": pending[-1].learning_rate, "examples_per_second": speed}
    run.accelerator.log(told, step=run.step)
    pending.clear()
