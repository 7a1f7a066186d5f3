"""A model that records where its image prompts act while it samples. A model without this node pays nothing for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...attention.application import Application
from ...attention.decoupled import Branches
from ...attention.maps import AttentionRecord, Gathering, Sight, Subject, shares_of
from ...attention.masks import Cut
from ...attention.packing import POSITIVE
from ...backbones.backbone import BlockName, CrossAttentionLayer, Place
from ...backbones.known import backbone_of, find_layers
from ...errors import IPAdapterError
from ...images.masks import Size
from ...strength.layers import transformers_of
from ..backbones.feed import Feed
from ..backbones.replaced import own_attentions
from .call_shape import CallShape
from .calls import CallRows, Moment
from .compiled import is_compiled
from .patching import RECORD_KEY, attach, rows_of
from .step_clock import StepClock, clock_for


def record_image_prompt(model: ModelPatcher) -> tuple[ModelPatcher, AttentionRecord]:
    """A model that records, and the record that each of its runs fills anew; the one given is untouched.

    Raises IPAdapterError for a model without an image prompt.
    """
    applications = rows_of(model).applications
    if not applications:
        raise IPAdapterError(
            "model has no image prompt to record: put this node after Apply IP-Adapter, with a weight other than 0."
        )
    with own_attentions(model) as unet:
        record, levels = AttentionRecord(), Levels.of(find_layers(unet))
    recorder = Recorder(record, levels)
    clone = attach(model, RecordingRows(applications, recorder))
    clone.remove_wrappers_with_key(WrappersMP.SAMPLER_SAMPLE, RECORD_KEY)
    clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, RECORD_KEY, recorder)
    clone.remove_wrappers_with_key(WrappersMP.PREDICT_NOISE, RECORD_KEY)
    clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, RECORD_KEY, recorder.follow)
    return clone, record


@dataclass(frozen=True)
class Levels:
    """A model's levels: each block's, and how many layers each has, in the order in which they run."""

    by_block: Mapping[BlockName, str]
    layers: Mapping[str, int]

    @staticmethod
    def of(layers: tuple[CrossAttentionLayer, ...]) -> Levels:
        by_block = backbone_of(layers).levels_of(layers)
        found = [by_block[layer.block] for layer in layers]
        order = dict.fromkeys(by_block[block] for block in transformers_of(layers))
        return Levels(by_block, {level: found.count(level) for level in order})


@dataclass(frozen=True)
class RecordedRun:
    """A run that is being recorded: where it is, and what it has left so far."""

    clock: StepClock
    gathering: Gathering


class Recorder:
    """The host's SAMPLER_SAMPLE wrapper: empties the record when a run begins, fills it however the run ends."""

    def __init__(self, record: AttentionRecord, levels: Levels) -> None:
        self.record = record
        self.levels = levels
        self.run: RecordedRun | None = None

    def __call__(
        self,
        executor: Any,
        guider: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        self.record.maps = None
        refuse_compiled(guider.inner_model, extra_args["model_options"]["transformer_options"])
        subject = Subject(noise.shape[0], (noise.shape[-2], noise.shape[-1]), self.levels.layers)
        self.run = RecordedRun(clock_for(executor.class_obj, sigmas.tolist()), Gathering(subject))
        callback = self.run.clock.listen(callback)
        try:
            return executor(guider, sigmas, extra_args, callback, noise, *args, **kwargs)
        finally:
            self.record.maps, self.run = self.run.gathering.finish(), None

    def follow(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """The host's PREDICT_NOISE wrapper."""
        if self.run is not None:
            self.run.clock.count()
        return executor(*args, **kwargs)


def refuse_compiled(model: Any, options: dict[str, Any]) -> None:
    """Compiled code is made once, and would not see that it is to record."""
    if is_compiled(model, options):
        raise IPAdapterError(
            "Record Image Prompt Attention cannot look into a model that TorchCompileModel has compiled: bypass one "
            "of the two nodes."
        )


@dataclass(frozen=True)
class View:
    """How to read the layers of calls of one shape: the conditional groups of rows with what they show, and the
    numbers of the image prompts that act in each layer."""

    batch: int
    conditional: tuple[tuple[int, Sight], ...]
    prompts: Mapping[Place, tuple[int, ...]]

    @staticmethod
    def of(call: CallShape, meant: tuple[int, ...], applications: tuple[Application, ...]) -> View:
        parts = enumerate(zip(call.groups, call.cuts, strict=True))
        groups = [(index, sight_of(cut, call)) for index, (group, cut) in parts if group.role == POSITIVE]
        prompts: dict[Place, tuple[int, ...]] = {}
        for index in meant:
            for layer in applications[index].layers:
                prompts[layer.place] = (*prompts.get(layer.place, ()), index + 1)
        return View(call.batch, tuple(groups), prompts)


def sight_of(cut: Cut | None, call: CallShape) -> Sight:
    """What a conditioning's rows show."""
    part = cut or Cut.box(0, 0, *call.latent)
    return Sight(call.seen.frames(call.batch), part.rows, part.columns)


class RecordingRows(CallRows):
    """Feeds patches that record."""

    def __init__(self, applications: tuple[Application, ...], recorder: Recorder) -> None:
        super().__init__(applications)
        self.by_place = True  # a map tells pictures and places apart, whatever the image prompts do
        self.recorder = recorder
        self.view: View | None = None

    def with_applications(self, applications: tuple[Application, ...]) -> RecordingRows:
        return RecordingRows(applications, self.recorder)

    @property
    def feed(self) -> Feed:
        return Feed(self.release, self.measure, self.behind, self.models)

    def branches(self, call: CallShape, moment: Moment) -> Branches:
        refuse_repeated(call)
        self.view = View.of(call, self.meant(call), self.applications)
        return super().branches(call, moment)

    def measure(self, place: Place, text: Tensor, images: list[Tensor], activations: Size) -> None:
        """Gather what a layer has added in a call. Outside a sampling run there is nothing to gather for."""
        run, view = self.recorder.run, self.view
        if run is None or view is None:
            return
        refuse_other_positions(text, activations)
        run.gathering.prompts = len(self.applications)
        level, numbers = self.recorder.levels.by_block[place[:2]], view.prompts.get(place, ())
        for group, sight in view.conditional:
            rows = slice(group * view.batch, (group + 1) * view.batch)
            shares = shares_of(text[rows], {n: image[rows] for n, image in zip(numbers, images, strict=True)})
            at = run.gathering.at(level, sight, activations, text.device)
            run.gathering.add(place, level, run.clock.step, at, shares)

    def release(self) -> None:
        super().release()
        self.view = None


def refuse_repeated(call: CallShape) -> None:
    """Refuse rows that another pack repeats: each region's attention would count as the whole picture's."""
    if call.order is not None:
        raise IPAdapterError(
            "Record Image Prompt Attention cannot record beside a node that repeats rows for regional prompts: bypass "
            "one of the two."
        )


def refuse_other_positions(text: Tensor, activations: Size) -> None:
    """Refuse a layer whose positions are not those of its activations."""
    if text.shape[1] != activations[0] * activations[1]:
        raise IPAdapterError(
            f"Record Image Prompt Attention met a layer of {text.shape[1]} positions for activations of "
            f"{activations[0]} × {activations[1]}, so it cannot tell where these are: a node such as token merging "
            "changes them; bypass it while recording."
        )
