"""An image prompt attached to a MODEL: a patch in every cross-attention layer and the wrappers that feed it.

Nothing here is changed in place: applying a second adapter builds everything anew from the first one's parts, because
the host's `clone()` shares these objects between the models of a graph.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..attention import CrossAttentionPatch, TextAttention
from ..errors import IPAdapterError
from ..image_prompt import ImagePrompt
from ..layer_weights import weigh_layers
from ..layers import Place, match_layers, narrowing_of
from ..strength import Strength
from .adapter import Adapter
from .application import Application, Target, make_applications
from .calls import RUN_KEY, CallRows, Run
from .lora import add_lora
from .roles import Roles
from .text_attention import host_text_attention
from .windows import clock_for, timings_of

KEY = "ip_adapter"


def apply_image_prompt(
    model: ModelPatcher,
    adapter: Adapter,
    prompt: ImagePrompt,
    strength: Strength,
    mask: Tensor | None = None,
    bound: str | None = None,
    spare: bool = False,
) -> ModelPatcher:
    """A model that follows the prompt; the one given is untouched. Weight 0 patches nothing.

    The LoRA of a FaceID adapter acts in every layer and step. With `bound` only conditionings that carry this name
    follow the prompt. With `spare` frames and masks may be of another number than the pictures, as in old graphs.
    Raises IPAdapterError where adapter, model, encoder and mask do not fit each other.
    """
    unet, dtype = model.model.diffusion_model, model.model.get_dtype_inference()
    layers, narrow = match_layers(adapter.spec, unet), narrowing_of(adapter.spec, unet)
    target = Target(layers, weigh_layers(strength.layers, layers), strength, dtype, bound, narrow, spare)
    made, rows = make_applications(adapter, prompt, target, mask), rows_of(model)
    if not made:
        return model.clone()
    return add_lora(attach(model, rows.with_applications((*rows.applications, *made))), adapter, adapter.spec.face.lora)


def applications_of(model: ModelPatcher) -> tuple[Application, ...]:
    """What has been applied to a model before."""
    return rows_of(model).applications


def rows_of(model: ModelPatcher) -> CallRows:
    """What feeds a model's patches; one without applications where it has none."""
    return next(iter(model.get_wrappers(WrappersMP.APPLY_MODEL, KEY)), CallRows(()))


def attach(model: ModelPatcher, rows: CallRows) -> ModelPatcher:
    """A clone with a patch in every layer and the wrappers that feed it."""
    clone, applications = model.clone(), rows.applications
    for place in places_of(applications):
        clone.set_model_attn2_replace(rows.patch(place, text_attention_of(clone, place)), *place)
    wrappers: tuple[tuple[str, Callable[..., Any]], ...] = (
        (WrappersMP.SAMPLER_SAMPLE, begin_run(applications)),
        (WrappersMP.APPLY_MODEL, rows),
    )
    for kind, wrapper in wrappers:
        clone.remove_wrappers_with_key(kind, KEY)
        clone.add_wrapper_with_key(kind, KEY, wrapper)
    return clone


def places_of(applications: tuple[Application, ...]) -> tuple[Place, ...]:
    """Every layer that some application reaches, once."""
    return tuple(dict.fromkeys(layer.place for app in applications for layer in app.layers))


def text_attention_of(model: ModelPatcher, place: Place) -> TextAttention:
    """What attends to the text at a layer: another pack's patch where there is one, else the host's own function."""
    patches = model.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
    existing = patches.get(place) or patches.get(place[:2])
    if isinstance(existing, CrossAttentionPatch):
        return existing.text
    return existing or host_text_attention


def begin_run(applications: tuple[Application, ...]) -> Callable[..., Any]:
    """The host's SAMPLER_SAMPLE wrapper: check what only the run knows, and record its roles and windows."""

    def wrapper(
        executor: Any,
        guider: Any,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        refuse_batches(applications, noise.shape[0])
        options = extra_args["model_options"]["transformer_options"]
        warn_if_displaced(applications, options)
        clock = clock_for(executor.class_obj, sigmas.tolist()) if needs_clock(applications) else None
        timings = timings_of(applications, guider.inner_model.model_sampling, clock.sigmas if clock else ())
        latent = (noise.shape[-2], noise.shape[-1])
        options[RUN_KEY] = Run(Roles.of(guider.conds, latent), timings, clock, latent, noise.shape[0])
        callback = clock.listen(callback) if clock else callback
        return executor(guider, sigmas, extra_args, callback, noise, *args, **kwargs)

    return wrapper


def needs_clock(applications: tuple[Application, ...]) -> bool:
    """Whether calls differ with the time."""
    return any(not app.strength.always or app.strength.curves for app in applications)


def refuse_batches(applications: tuple[Application, ...], batch: int) -> None:
    """A batch of masks must have one for each picture; frames must not be more than pictures."""
    for app in (app for app in applications if not app.spare):
        frames = max(app.packed.positives, len(app.frames or ()))
        if frames > batch:
            raise IPAdapterError(
                f"the image prompt of '{app.name}' has {frames} frames, but {batch} picture(s) are sampled: sample as "
                "many, or give fewer frames (the last one is held)."
            )
        if app.mask is not None and app.mask.shape[0] not in (1, batch):
            raise IPAdapterError(
                f"the mask of '{app.name}' is a batch of {app.mask.shape[0]}, but {batch} picture(s) are sampled: "
                f"give one mask, or {batch}."
            )


def warn_if_displaced(applications: tuple[Application, ...], options: dict[str, Any]) -> None:
    """Another node's patch put in our place after ours cannot be undone, but it can be said."""
    patches = options.get("patches_replace", {}).get("attn2", {})
    places = places_of(applications)
    lost = sum(not isinstance(patches.get(place), CrossAttentionPatch) for place in places)
    if lost:
        logging.warning(
            "IP-Adapter: a later node replaced or wrapped %d of %d image-prompted layers; if the image prompt has no "
            "effect, put ApplyIPAdapter after that node.",
            lost,
            len(places),
        )
