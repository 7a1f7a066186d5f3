"""What each model call of a run needs: which rows get the image, who is active, and K', V' and masks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import comfy.model_base
import torch
from torch import Tensor

from ...attention.application import Application
from ...attention.decoupled import CALL_KEY, Branch, Branches, CallBranches
from ...attention.masks import LayerMask
from ...attention.packing import ABSENT, ChosenRows, Placed, hide, row_of, unpack
from ...attention.rows import Rows
from ...backbones.backbone import Place
from ...images.masks import Size
from ..backbones.attachment import Attachment, attachment_of
from ..backbones.feed import Feed
from .call_shape import CallShape, frame_column, place_mask
from .compiled import is_compiled, mark_control
from .frames import ALL_SEEN, Seen, refuse_mismatch, seen_by
from .roles import Group, Roles, groups_by_position
from .rows import RowOrder, RowPatch, groups_by_text, origins
from .step_clock import StepClock
from .watch import RunWatch
from .windows import Acting, Timing, acting, timings_of

RUN_KEY = "ip_adapter_run"  # where a run's roles and timings travel in the host's transformer_options
FEW = 8  # shapes of call that are kept whatever they take
ROOM = 2**30  # bytes for more of them; a run meets a new one with each context window


@dataclass(frozen=True)
class Run:
    """What is known once a sampling run begins."""

    roles: Roles
    timings: tuple[Timing, ...]
    clock: StepClock | None
    latent: Size
    pictures: int
    watch: RunWatch
    as_asked: bool = True  # whether the model is called at the noise level that the sampler asks for

    @property
    def sigma(self) -> float | None:
        """The noise level of a call, where the sampler's loop tells it."""
        return self.clock.sigma if self.clock and self.as_asked else None


@dataclass(frozen=True)
class Moment:
    """When a call is made: who acts at which level, and the noise level, for whoever asks."""

    levels: Acting
    sigma: Callable[[], float]


@dataclass(frozen=True)
class Prepared:
    """Branches for calls of one shape, and the rows that they are views of, by application."""

    branches: Branches
    rows: Mapping[int, Rows]
    size: int  # bytes


class CallRows:
    """The host's APPLY_MODEL wrapper: hands each model call its branches.

    They are made when a call of that shape first comes in a run. Outside its window an application is left out.
    """

    def __init__(self, applications: tuple[Application, ...]) -> None:
        self.applications = applications
        self.by_place = any(app.by_frame or app.mask is not None for app in applications)
        self.made: dict[CallShape, Prepared] = {}
        self.told: dict[Any, tuple[Group, ...]] = {}  # groups of rows that have been told by their text
        self.orders: dict[tuple[CallShape, int], RowOrder] = {}
        self.placed: dict[tuple[int, torch.device, torch.dtype], Placed] = {}

    @cached_property
    def attachment(self) -> Attachment:
        """How they stand in the model's sampling."""
        return attachment_of(self.applications[0].layers)

    def with_applications(self, applications: tuple[Application, ...]) -> CallRows:
        """One of the same kind, for more applications."""
        return CallRows(applications)

    @property
    def feed(self) -> Feed:
        """What the patches in its layers call."""
        return Feed(self.release, behind=self.behind, models=self.models)

    @property
    def models(self) -> tuple[Any, ...]:
        """What the host loads for a run."""
        return tuple(dict.fromkeys(model for app in self.applications for model in app.packed.models))

    @property
    def behind(self) -> frozenset[Place]:
        """The blocks to whose output some application adds."""
        apps = (app for app in self.applications if app.joining and app.joining.behind)
        return frozenset(layer.place for app in apps for layer in app.layers)

    def __call__(
        self,
        executor: Any,
        x: Tensor,
        t: Tensor,
        c_concat: Tensor | None = None,
        c_crossattn: Tensor | None = None,
        control: dict[str, Any] | None = None,
        transformer_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        options = transformer_options or {}
        moment = Moment(self.levels(executor.class_obj, t, options), lambda: sigma_of(t, options.get(RUN_KEY)))
        call = self.shape(executor.class_obj, x, c_crossattn, options, tuple(index for index, _ in moment.levels))
        arrange = self.arranging(call, moment, c_crossattn, options)
        made, compiled = self.branches(call, moment), is_compiled(executor.class_obj, options)
        watch: RunWatch = options[RUN_KEY].watch if RUN_KEY in options else RunWatch()
        watch.expect(() if compiled else made, self.is_stretched(call))
        latent, model = (x.shape[-2], x.shape[-1]), executor.class_obj.diffusion_model
        branches = CallBranches(len(x), made, arrange, None if compiled else watch.asked, latent, model)
        if compiled:
            control = mark_control(control, self.structure(call))
        out: Tensor = executor(x, t, c_concat, c_crossattn, control, options | {CALL_KEY: branches}, **kwargs)
        return out

    def levels(self, model: comfy.model_base.BaseModel, t: Tensor, options: dict[str, Any]) -> Acting:
        """Who acts in a call, and at which level."""
        run: Run | None = options.get(RUN_KEY)
        timings = run.timings if run else timings_of(self.applications, model.model_sampling, ())
        return acting(timings, t, run.clock if run else None, model.model_sampling)

    def shape(
        self,
        model: comfy.model_base.BaseModel,
        x: Tensor,
        text: Tensor | None,
        options: dict[str, Any],
        active: tuple[int, ...],
    ) -> CallShape:
        """Describe a call."""
        run: Run | None = options.get(RUN_KEY)
        seen, size = seen_by(options), (x.shape[0], *x.shape[-2:])
        groups = self.groups(run, seen, x, text, options)
        seen = refuse_mismatch(seen, size[0] // len(groups)) if self.by_place else ALL_SEEN
        latent = run.latent if run else (size[1], size[2])
        return CallShape(x.device, model.get_dtype_inference(), groups, active, size, latent, seen)

    def groups(
        self, run: Run | None, seen: Seen, x: Tensor, text: Tensor | None, options: dict[str, Any]
    ) -> tuple[Group, ...]:
        """The groups of a call's rows: as the host named them where there are as many rows, otherwise by their text."""
        places, uuids = tuple(options.get("cond_or_uncond", (0,))), options.get("uuids")
        if run is None or uuids is None:
            return groups_by_position(places)
        pictures = len(seen.pictures or ()) or run.pictures
        groups = run.roles.groups(uuids)
        if text is None or len(places) == len(groups) and len(groups) * pictures == len(x):
            return groups
        key = (groups, places, pictures, x.shape)
        if key not in self.told:
            self.told[key] = groups_by_text(x, text, run.roles.with_texts(uuids), pictures, places)
        return self.told[key]

    def arranging(
        self, call: CallShape, moment: Moment, text: Tensor | None, options: dict[str, Any]
    ) -> Callable[[Tensor, dict[str, Any]], Branches]:
        """What makes branches for a layer that another pack's patches hand more rows than the call has."""
        patches = self.attachment.row_patches(options)
        places = tuple(options.get("cond_or_uncond", ()))  # as they are now: some packs change the list in place

        def arrange(query: Tensor, given: dict[str, Any]) -> Branches:
            key = (call, query.shape[0])
            if key not in self.orders:
                told = given | {"cond_or_uncond": list(places)}
                self.orders[key] = order_of(call, patches, query, text, told)
            return self.branches(replace(call, order=self.orders[key]), moment)

        return arrange

    def branches(self, call: CallShape, moment: Moment) -> Branches:
        """The branches of a call, made once for all calls of its shape."""
        prepared = self.made.get(call) or self.keep(call, self.make(call))
        for index, level in moment.levels:
            if index in prepared.rows:
                prepared.rows[index].turn(level, moment.sigma)
        return prepared.branches

    def keep(self, call: CallShape, prepared: Prepared) -> Prepared:
        """Keep what was made until the run ends, as far as there is room.

        Context windows come again and again in the same order, so that what is dropped for the next would be missed
        first. What other applications acted in does not come again soon.
        """
        if len(self.made) >= FEW and self.room() < prepared.size:
            there = self.made.copy()  # at once: cards that share a run have a thread each
            self.made = {shape: made for shape, made in there.items() if shape.active == call.active}
        if len(self.made) < FEW or prepared.size <= self.room():
            self.made[call] = prepared
        return prepared

    def room(self) -> int:
        """Bytes that are left."""
        return ROOM - sum(made.size for made in self.made.copy().values())

    def make(self, call: CallShape) -> Prepared:
        """Branches of every layer for calls of this shape."""
        branches: dict[Place, tuple[Branch, ...]] = {}
        masks: list[LayerMask] = []
        rows = {index: self.rows(index, call) for index in self.meant(call)}
        for index, turned in rows.items():
            app = self.applications[index]
            mask = None if app.mask is None else place_mask(app, app.mask, call)
            masks += [mask] if mask else []
            own = app.joining is not None and app.joining.own
            found, fillings = unpack(turned.rows, app.layers, app.tokens, own), self.hidden(app, call)
            for layer, one, hidden in zip(app.layers, found, fillings, strict=True):
                branch = Branch(one.keys, one.values, mask, hidden, app.joining, one.own)
                branches[layer.place] = (*branches.get(layer.place, ()), branch)
        size = sum(one.size for one in rows.values()) + sum(mask.size for mask in masks)
        return Prepared(branches, rows, size)

    def meant(self, call: CallShape) -> tuple[int, ...]:
        """The applications that some row of a call follows; those bound to other conditionings are left out."""
        return tuple(
            index
            for index in call.active
            if any(group.role_for(self.applications[index].bound) != ABSENT for group in call.groups)
        )

    def rows(self, index: int, call: CallShape) -> Rows:
        """An application's rows for a call: one for each picture of each conditioning, in the layer's order."""
        app, column = self.applications[index], None
        sources, pictures = sources_of(app, call)
        rows = torch.tensor([row_of(app.packed, *source) for source in sources], device=call.device)
        if app.frames is not None:
            like = torch.empty(0, device=call.device, dtype=call.dtype)
            column = frame_column(app.frames, [frame for _, frame in sources], like)
        return self.place(index, call).take(ChosenRows(rows, column, pictures))

    def hidden(self, app: Application, call: CallShape) -> list[Tensor | None]:
        """What hides the tokens that only fill rows up, (R, 1, 1, T) for each layer; None where there are none."""
        if app.lengths is None:
            return [None] * len(app.layers)
        sources, pictures = sources_of(app, call)
        roles = [role for role, _ in sources for _ in range(pictures)]
        made = {
            lengths: hide([lengths[role] for role in roles], app.tokens, call.device, call.dtype)
            for lengths in set(app.lengths)
        }
        return [made[lengths] for lengths in app.lengths]

    def place(self, index: int, call: CallShape) -> Placed:
        """All rows of an application on a call's device. Those of frames are kept there for the next window, and those
        that are made in a run for its next call."""
        app, key = self.applications[index], (index, call.device, call.dtype)
        placed = self.placed.get(key) or app.packed.to(call.device, call.dtype)
        if app.by_frame or app.packed.models:
            self.placed[key] = placed
        return placed

    def is_stretched(self, call: CallShape) -> bool:
        """Whether a mask of the whole picture is stretched over a part that nobody names: another pack's tile."""
        is_part = any(part < whole for part, whole in zip(call.size[1:], call.latent, strict=True))
        return (
            is_part and not any(call.cuts) and any(self.applications[index].mask is not None for index in call.active)
        )

    def structure(self, call: CallShape) -> str:
        """What of a call changes the computation, not only its numbers."""
        apps = [self.applications[index] for index in self.meant(call)]
        shapes = [
            (app.tokens, bool(app.lengths), is_batch(app.mask), app.by_frame, [layer.place for layer in app.layers])
            for app in apps
        ]
        return f"{shapes} in {len(call.groups)} rows, {'cut' if any(call.cuts) else 'whole'}"

    def release(self) -> None:
        """Drop what was made for a run."""
        self.made, self.placed, self.told, self.orders = {}, {}, {}, {}


def sigma_of(t: Tensor, run: Run | None) -> float:
    """The noise level of a call, read from the device only where nothing else tells it."""
    known = run.sigma if run else None
    return float(t.flatten()[0]) if known is None else known


def sources_of(app: Application, call: CallShape) -> tuple[list[tuple[int, int]], int]:
    """The role and the picture of each row, in the layer's order, and how many rows are alike and side by side."""
    frames = call.seen.frames(call.batch) if app.by_frame else (0,)
    sources = [(group.role_for(app.bound), frame) for group in call.groups for frame in frames]
    pictures = call.batch // len(frames)
    if call.order is None:
        return sources, pictures
    return [sources[row // pictures] for row in call.order], 1


def order_of(
    call: CallShape, patches: Sequence[RowPatch], query: Tensor, text: Tensor | None, options: dict[str, Any]
) -> RowOrder:
    """Which row of a call each row of a layer is. Of rows that are all alike any will do."""
    if call.batch == 1 and len(set(call.groups)) == 1:
        return (0,) * query.shape[0]
    context = query.new_zeros(call.size[0], 1, 1) if text is None else text.to(query.dtype)
    return origins(patches, call.size[0], query, context, options)


def is_batch(mask: Tensor | None) -> bool | None:
    """Whether a mask is one for each picture; None for no mask."""
    return None if mask is None else mask.shape[0] > 1
