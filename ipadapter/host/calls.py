"""What each model call of a run needs: which rows get the image, who is active, and K', V' and masks for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import comfy.model_base
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY
from torch import Tensor

from ..attention import CALL_KEY, Branch, Branches
from ..errors import IPAdapterError
from ..layers import CrossAttentionLayer, Place
from ..masks import LayerMask
from .application import Application
from .roles import Roles, rows_by_position
from .windows import StepClock, Windows, active, windows_of

RUN_KEY = "ip_adapter_run"  # where a run's roles and windows travel in the host's transformer_options


@dataclass(frozen=True)
class Run:
    """What is known once a sampling run begins."""

    roles: Roles
    windows: Windows
    clock: StepClock | None


@dataclass(frozen=True)
class CallShape:
    """All that a model call's branches depend on."""

    device: torch.device
    dtype: torch.dtype
    roles: tuple[int, ...]
    active: tuple[int, ...]
    latent: tuple[int, ...]  # (rows, height, width)


class CallRows:
    """The host's APPLY_MODEL wrapper: hands each model call its branches.

    They are made when a call of that shape first comes in a run. Outside its window an application is left out.
    """

    def __init__(self, applications: tuple[Application, ...]) -> None:
        self.applications = applications
        self.made: dict[CallShape, Branches] = {}

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
        call = self.shape(executor.class_obj, x, t, options)
        if call not in self.made:
            self.made[call] = self.make(call)
        if is_compiled(executor.class_obj, options):
            control = mark_control(control, self.structure(call))
        return executor(x, t, c_concat, c_crossattn, control, options | {CALL_KEY: self.made[call]}, **kwargs)

    def shape(self, model: comfy.model_base.BaseModel, x: Tensor, t: Tensor, options: dict[str, Any]) -> CallShape:
        """Describe a call."""
        run: Run | None = options.get(RUN_KEY)
        windows = run.windows if run else windows_of(self.applications, model.model_sampling)
        acting = active(windows, t, run.clock if run else None)
        if run and "uuids" in options:
            roles = run.roles.rows(options["uuids"])
        else:
            roles = rows_by_position(options.get("cond_or_uncond", (0,)))
        return CallShape(x.device, model.get_dtype_inference(), roles, acting, (x.shape[0], *x.shape[-2:]))

    def make(self, call: CallShape) -> Branches:
        """Branches of every layer for calls of this shape."""
        branches: dict[Place, tuple[Branch, ...]] = {}
        for index in call.active:
            for place, branch in place_application(self.applications[index], call).items():
                branches[place] = (*branches.get(place, ()), branch)
        return branches

    def structure(self, call: CallShape) -> str:
        """What of a call changes the computation, not only its numbers."""
        apps = [self.applications[index] for index in call.active]
        shapes = [(app.tokens, None if app.mask is None else app.mask.shape[0]) for app in apps]
        return f"{shapes} in {len(call.roles)} rows"

    def release(self) -> None:
        """Drop what was made for a run."""
        self.made = {}


def place_application(app: Application, call: CallShape) -> dict[Place, Branch]:
    """One application's branches on the call's device, in its dtype, a row for each of its conditionings."""
    rows = app.packed.to(call.device, call.dtype)[list(call.roles)]  # (G, Σ layers 2 · T · C)
    mask = None if app.mask is None else place_mask(app.mask, call)
    sizes = [app.tokens * layer.channels for layer in app.layers for _ in range(2)]
    pieces = iter(rows.split(sizes, dim=1))
    return {layer.place: Branch(unpack(pieces, layer), unpack(pieces, layer), mask) for layer in app.layers}


def unpack(pieces: Iterator[Tensor], layer: CrossAttentionLayer) -> Tensor:
    """The next piece of the packed rows as (G, H, T, d)."""
    return next(pieces).unflatten(1, (layer.heads, -1, layer.channels // layer.heads))


def place_mask(mask: Tensor, call: CallShape) -> LayerMask:
    """A mask on the call's device with the sizes its layers will ask for."""
    rows, height, width = call.latent
    groups = len(call.roles)
    if mask.shape[0] not in (1, rows // groups):
        raise IPAdapterError(
            f"a batch of {mask.shape[0]} masks met {rows // groups} pictures in one call of the model."
        )
    placed = LayerMask(mask.to(call.device, call.dtype), groups)
    placed.prepare_levels((height, width))
    return placed


def is_compiled(model: comfy.model_base.BaseModel, options: dict[str, Any]) -> bool:
    """Whether the UNet runs through torch.compile, by the host's wrapper or as a compiled module."""
    wrappers = options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    return bool(wrappers.get(COMPILE_KEY)) or hasattr(model.diffusion_model, "_orig_mod")


@cache
def control_type(structure: str) -> type[dict[str, Any]]:
    """A dictionary type of its own for each structure."""
    return type("MarkedControl", (dict,), {"structure": structure})


def mark_control(control: dict[str, Any] | None, structure: str) -> dict[str, Any]:
    """ControlNet's residuals, or none, in a dictionary whose type tells the structure.

    The host compiles without guards on transformer_options, so a change of structure there (a window that closes, an
    adapter more or less) would go unseen and stale code would run. The type of `control` is guarded.
    """
    return control_type(structure)(control or {})
