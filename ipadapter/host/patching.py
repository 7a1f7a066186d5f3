"""An image prompt attached to a MODEL: K' and V' made once, a patch in every cross-attention layer, and a wrapper
that hands each model call its rows.

Nothing here is changed in place: applying a second adapter builds everything anew from the first one's parts, because
the host's `clone()` shares these objects between the models of a graph.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.ldm.modules.attention
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..adapter import IPAdapter, features_for
from ..attention import CALL_KEY, Branch, Branches, CrossAttentionPatch, TextAttention
from ..errors import IPAdapterError
from ..image_prompt import ImagePrompt
from ..layers import CrossAttentionLayer, Place, match_layers
from ..masks import LayerMask, is_blank
from ..strength import Strength
from .adapter import Adapter
from .roles import Roles, rows_by_position

KEY = "ip_adapter"
RUN_KEY = "ip_adapter_run"
STRUCTURE = "ip_adapter_structure"

Model = comfy.model_patcher.ModelPatcher


@dataclass(frozen=True)
class Application:
    """One image prompt through one adapter on one model.

    `packed` holds K' and λ·V' of every layer one after another, a row for the image and one for the unconditional:
    (2, Σ layers 2 · T · C). One tensor, so that it is moved and its rows are chosen in one operation.
    """

    name: str
    layers: tuple[CrossAttentionLayer, ...]
    tokens: int
    packed: Tensor
    strength: Strength
    mask: Tensor | None  # (M, H, W)


def apply_image_prompt(
    model: Model, adapter: Adapter, prompt: ImagePrompt, strength: Strength, mask: Tensor | None = None
) -> Model:
    """A model that follows the prompt; the one given is untouched. Weight 0 patches nothing.

    Raises IPAdapterError where adapter, model, encoder and mask do not fit each other.
    """
    layers = match_layers(adapter.spec, model.model.diffusion_model)
    features = features_for(adapter.spec, prompt)
    refuse_mask(mask)
    if strength.weight == 0:
        return model.clone()
    packed, tokens = project(adapter, features, layers, strength.weight)
    application = Application(adapter.spec.name, layers, tokens, packed, strength, mask)
    return attach(model, (*applications_of(model), application))


def refuse_mask(mask: Tensor | None) -> None:
    """Refuse a mask that no picture could use."""
    if mask is None:
        return
    if mask.ndim != 3 or 0 in mask.shape:
        raise IPAdapterError(f"mask has shape {list(mask.shape)}, where [masks, height, width] is needed.")
    if is_blank(mask):
        raise IPAdapterError("mask is empty: the image prompt would act nowhere; paint where it should act.")


def project(
    adapter: Adapter, features: tuple[Tensor, Tensor], layers: tuple[CrossAttentionLayer, ...], weight: float
) -> tuple[Tensor, int]:
    """K' and λ·V' of every layer (paper eq. 4), and the number of tokens. In float32 whatever the weights are."""
    comfy.model_management.load_models_gpu([adapter.patcher])
    module: IPAdapter = adapter.patcher.model
    device = adapter.patcher.load_device
    tokens = common_length(*(module.tokens(rows.to(device, torch.float32)) for rows in features))  # (2, T, C)
    parts = []
    for layer, projection in zip(layers, module.layers, strict=True):
        parts += [
            split_heads(projection.to_k_ip(tokens), layer.heads),  # type: ignore[operator]
            split_heads(projection.to_v_ip(tokens) * weight, layer.heads),  # type: ignore[operator]
        ]
    packed = torch.cat([part.flatten(1) for part in parts], dim=1)
    return packed.to(comfy.model_management.intermediate_device()), tokens.shape[1]


def common_length(positive: Tensor, negative: Tensor) -> Tensor:
    """Two sequences (1, T, C) as rows of one (2, T, C). Repeating all tokens equally leaves their attention as it is."""
    length = math.lcm(positive.shape[1], negative.shape[1])
    return torch.cat([tokens.repeat(1, length // tokens.shape[1], 1) for tokens in (positive, negative)])


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(2, T, H · d) to (2, H, T, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def applications_of(model: Model) -> tuple[Application, ...]:
    """What has been applied to a model before."""
    return tuple(app for wrapper in model.get_wrappers(WrappersMP.APPLY_MODEL, KEY) for app in wrapper.applications)


def attach(model: Model, applications: tuple[Application, ...]) -> Model:
    """A clone with a patch in every layer and the wrappers that feed it."""
    clone = model.clone()
    rows = CallRows(applications)
    for place in {layer.place: None for app in applications for layer in app.layers}:
        text = text_attention_of(clone, place)
        clone.set_model_attn2_replace(CrossAttentionPatch(place, text, rows.release), *place)
    wrappers: tuple[tuple[str, Callable[..., Any]], ...] = (
        (WrappersMP.SAMPLER_SAMPLE, begin_run(applications)),
        (WrappersMP.APPLY_MODEL, rows),
    )
    for kind, wrapper in wrappers:
        clone.remove_wrappers_with_key(kind, KEY)
        clone.add_wrapper_with_key(kind, KEY, wrapper)
    return clone


def text_attention_of(model: Model, place: Place) -> TextAttention:
    """What attends to the text at a layer: another pack's patch where there is one, else the host's own function."""
    patches = model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    existing = patches.get(place) or patches.get(place[:2])
    if isinstance(existing, CrossAttentionPatch):
        return existing.text
    return existing or host_text_attention


def host_text_attention(q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
    """As the host's CrossAttention calls it, so that precision and a user's attention override stay in force."""
    return comfy.ldm.modules.attention.optimized_attention(
        q,
        k,
        v,
        extra_options["n_heads"],
        attn_precision=extra_options["attn_precision"],
        transformer_options=extra_options,
    )


@dataclass(frozen=True)
class SigmaWindow:
    """Noise levels between which an image prompt acts, both included (as the host's own timestep ranges)."""

    start: float
    end: float

    def holds(self, sigma: float) -> bool:
        """Whether a noise level is inside."""
        return self.end <= sigma <= self.start


@dataclass(frozen=True)
class Run:
    """What is known once a sampling run begins."""

    roles: Roles
    windows: tuple[SigmaWindow | None, ...]  # None: always


def windows_of(applications: tuple[Application, ...], model_sampling: Any) -> tuple[SigmaWindow | None, ...]:
    """Each application's window in noise levels of the model being sampled."""

    def window(strength: Strength) -> SigmaWindow | None:
        if strength.always:
            return None
        return SigmaWindow(*(float(model_sampling.percent_to_sigma(at)) for at in (strength.start, strength.end)))

    return tuple(window(app.strength) for app in applications)


def begin_run(applications: tuple[Application, ...]) -> Callable[..., Any]:
    """A wrapper that checks what only the run knows and records roles and windows for its calls."""

    def wrapper(
        executor: Any, guider: Any, sigmas: Tensor, extra_args: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        noise = args[1] if len(args) > 1 else kwargs["noise"]
        refuse_mask_batches(applications, noise.shape[0])
        options = extra_args["model_options"]["transformer_options"]
        warn_if_displaced(applications, options)
        options[RUN_KEY] = Run(Roles.of(guider.conds), windows_of(applications, guider.inner_model.model_sampling))
        return executor(guider, sigmas, extra_args, *args, **kwargs)

    return wrapper


def refuse_mask_batches(applications: tuple[Application, ...], batch: int) -> None:
    """A batch of masks must have one for each picture."""
    for app in applications:
        if app.mask is not None and app.mask.shape[0] not in (1, batch):
            raise IPAdapterError(
                f"the mask of '{app.name}' is a batch of {app.mask.shape[0]}, but {batch} picture(s) are sampled: give one "
                f"mask, or {batch}."
            )


def warn_if_displaced(applications: tuple[Application, ...], options: dict[str, Any]) -> None:
    """Another node's patch put in our place after ours cannot be undone, but it can be said."""
    patches = options.get("patches_replace", {}).get("attn2", {})
    places = {layer.place for app in applications for layer in app.layers}
    lost = sum(not isinstance(patches.get(place), CrossAttentionPatch) for place in places)
    if lost:
        logging.warning(
            "IP-Adapter: a later node replaced or wrapped %d of %d image-prompted layers; if the image prompt has no effect, "
            "put ApplyIPAdapter after that node.",
            lost,
            len(places),
        )


@dataclass(frozen=True)
class CallShape:
    """All that a model call's branches depend on."""

    device: torch.device
    dtype: torch.dtype
    roles: tuple[int, ...]
    active: tuple[int, ...]
    latent: tuple[int, ...]  # (rows, height, width)


class CallRows:
    """Hands each model call K', V' and mask for its rows, made when a call of that shape first comes.

    Outside its window an application is left out of the call altogether.
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
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Tensor:
        options = transformer_options or {}
        call = self.shape(executor.class_obj, x, t, options)
        if call not in self.made:
            self.made[call] = self.make(call)
        options = options | {CALL_KEY: self.made[call]}
        # torch.compile as the host sets it up does not look into transformer_options: a change of structure (not of
        # numbers) has to show in an argument it does look at.
        structure = self.structure(call)
        return executor(x, t, c_concat, c_crossattn, control, options, **kwargs, **{STRUCTURE: structure})

    def shape(self, model: comfy.model_base.BaseModel, x: Tensor, t: Tensor, options: dict[str, Any]) -> CallShape:
        """Describe a call."""
        run: Run | None = options.get(RUN_KEY)
        windows = run.windows if run else windows_of(self.applications, model.model_sampling)
        if run and "uuids" in options:
            roles = run.roles.rows(options["uuids"])
        else:
            roles = rows_by_position(options.get("cond_or_uncond", (0,)))
        return CallShape(x.device, model.get_dtype_inference(), roles, active(windows, t), (x.shape[0], *x.shape[-2:]))

    def make(self, call: CallShape) -> Branches:
        """Branches of every layer for calls of this shape."""
        branches: dict[Place, tuple[Branch, ...]] = {}
        for index in call.active:
            for place, branch in place_application(self.applications[index], call).items():
                branches[place] = (*branches.get(place, ()), branch)
        return branches

    def structure(self, call: CallShape) -> str:
        """What of a call changes the computation rather than its numbers."""
        tokens = [(self.applications[index].tokens, self.applications[index].mask is not None) for index in call.active]
        return f"{tokens} {len(call.roles)}"

    def release(self) -> None:
        """Drop what was made for a run."""
        self.made = {}


def active(windows: tuple[SigmaWindow | None, ...], t: Tensor) -> tuple[int, ...]:
    """The applications in force at a call. The noise level is read from the device only where one has a window."""
    if not any(windows):
        return tuple(range(len(windows)))
    sigma = float(t[0])
    return tuple(index for index, window in enumerate(windows) if window is None or window.holds(sigma))


def place_application(app: Application, call: CallShape) -> dict[Place, Branch]:
    """One application's branches on the call's device, in its dtype, a row for each of its conditionings."""
    rows = app.packed.to(call.device, call.dtype)
    rows = rows[list(call.roles)]  # (G, Σ layers 2 · T · C)
    mask = None if app.mask is None else place_mask(app.mask, call)
    sizes = [app.tokens * layer.channels for layer in app.layers for _ in range(2)]
    pieces = iter(rows.split(sizes, dim=1))
    return {layer.place: Branch(unpack(pieces, layer), unpack(pieces, layer), mask) for layer in app.layers}


def unpack(pieces: Any, layer: CrossAttentionLayer) -> Tensor:
    """The next piece of a packed row as (G, H, T, d)."""
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
