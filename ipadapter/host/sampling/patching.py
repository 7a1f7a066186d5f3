"""An image prompt attached to a MODEL: a patch in every cross-attention layer and the wrappers that feed it.

Nothing here is changed in place: applying a second adapter builds everything anew from the first one's parts, because
the host's `clone()` shares these objects between the models of a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import CallbacksMP, WrappersMP
from torch import Tensor

from ...adapters.fit import match_layers, narrowing_of
from ...attention.application import EXACT, Application, ApplyTarget, Fitting
from ...backbones.backbone import Place
from ...backbones.known import model_of
from ...prompts.prompt import ImagePrompt
from ...strength.layers import weigh_layers
from ...strength.strength import Strength
from ..adapters.adapter import Adapter
from ..adapters.lora import add_lora
from ..backbones.attachment import attachment_of
from ..backbones.replaced import own_attentions, refuse_replaced
from .application import make_applications
from .calls import RUN_KEY, CallRows, Run
from .roles import Roles
from .step_clock import clock_for
from .watch import RunCounter, RunWatch, tell
from .windows import timings_of

APPLY_KEY, RECORD_KEY = "ip_adapter", "ip_adapter_record"  # of this pack's own wrappers
# What of others may call the model at another noise level than the sampler asks for: the host's wrappers, and functions
# in its model options.
MOVING_WRAPPERS = (WrappersMP.PREDICT_NOISE, WrappersMP.CALC_COND_BATCH)
MOVING_FUNCTIONS = {"model_function_wrapper", "sampler_calc_cond_batch_function"}


def apply_image_prompt(
    model: ModelPatcher,
    adapter: Adapter,
    prompt: ImagePrompt,
    strength: Strength,
    mask: Tensor | None = None,
    bound: str | None = None,
    fitting: Fitting = EXACT,
) -> ModelPatcher:
    """A model that follows the prompt; the one given is untouched. Weight 0 patches nothing.

    The LoRA of a FaceID adapter acts in every layer and step. With `bound` only conditionings that carry this name
    follow the prompt. `fitting` deals frames and masks out to pictures.
    Raises IPAdapterError where adapter, model, encoder and mask do not fit each other.
    """
    dtype = model.model.get_dtype_inference()
    with own_attentions(model) as unet:
        layers, narrow = match_layers(adapter.spec, unet), narrowing_of(adapter.spec, unet)
        remark = model_of(unet, layers).remark
    tell([remark] if remark else [])
    target = ApplyTarget(layers, weigh_layers(strength.layers, layers), strength, dtype, bound, narrow, fitting)
    made, rows = make_applications(adapter, prompt, target, mask), rows_of(model)
    if not made:
        return model.clone()
    return add_lora(attach(model, rows.with_applications((*rows.applications, *made))), adapter, adapter.spec.face.lora)


def applications_of(model: ModelPatcher) -> tuple[Application, ...]:
    """What has been applied to a model before."""
    return rows_of(model).applications


def rows_of(model: ModelPatcher) -> CallRows:
    """What feeds a model's patches; one without applications where it has none."""
    return next(iter(model.get_wrappers(WrappersMP.APPLY_MODEL, APPLY_KEY)), CallRows(()))


def attach(model: ModelPatcher, rows: CallRows) -> ModelPatcher:
    """A clone with a patch in every layer and the wrappers that feed it."""
    clone, applications = model.clone(), rows.applications
    attachment = attachment_of(applications[0].layers)
    attachment.attach(clone, places_of(applications), rows.feed)
    clone.remove_callbacks_with_key(CallbacksMP.ON_CLONE, APPLY_KEY)
    clone.add_callback_with_key(CallbacksMP.ON_CLONE, APPLY_KEY, attachment.own_patches)
    wrappers: tuple[tuple[str, Callable[..., Any]], ...] = (
        (WrappersMP.SAMPLER_SAMPLE, sample_run(applications)),
        (WrappersMP.PREDICT_NOISE, count_call),
        (WrappersMP.APPLY_MODEL, rows),
    )
    for kind, wrapper in wrappers:
        clone.remove_wrappers_with_key(kind, APPLY_KEY)
        clone.add_wrapper_with_key(kind, APPLY_KEY, wrapper)
    return clone


def places_of(applications: tuple[Application, ...]) -> tuple[Place, ...]:
    """Every layer that some application reaches, once."""
    return tuple(dict.fromkeys(layer.place for app in applications for layer in app.layers))


def sample_run(applications: tuple[Application, ...]) -> Callable[..., Any]:
    """The host's SAMPLER_SAMPLE wrapper: check what only the run knows, record its roles and windows, and tell what
    became of its image prompts."""
    masked, counter = any(app.mask is not None for app in applications), RunCounter()
    attachment = attachment_of(applications[0].layers)

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
        for app in applications:
            app.fitting.refuse(app, noise.shape[0])
        refuse_replaced(guider.model_patcher)
        options = extra_args["model_options"]["transformer_options"]
        attachment.settle(options)
        clock = clock_for(executor.class_obj, sigmas.tolist()) if needs_clock(applications) else None
        sigmas_known = clock.sigmas if clock and clock.keeps else ()
        timings = timings_of(applications, guider.inner_model.model_sampling, sigmas_known)
        latent = (noise.shape[-2], noise.shape[-1])
        watch = RunWatch(attachment.displaced, pieces=counter.is_second() and masked)
        as_asked = calls_as_asked(extra_args["model_options"])
        options[RUN_KEY] = Run(Roles.of(guider.conds, latent), timings, clock, latent, noise.shape[0], watch, as_asked)
        callback = clock.listen(callback) if clock else callback
        sampled = executor(guider, sigmas, extra_args, callback, noise, *args, **kwargs)
        tell(watch.sentences())
        return sampled

    return wrapper


def calls_as_asked(model_options: dict[str, Any]) -> bool:
    """Whether nothing of others stands between sampler and model that may change the noise level."""
    wrappers = model_options["transformer_options"].get("wrappers", {})
    others = [key for kind in MOVING_WRAPPERS for key in wrappers.get(kind, {}) if key not in (APPLY_KEY, RECORD_KEY)]
    return not others and not MOVING_FUNCTIONS & model_options.keys()


def count_call(executor: Any, x: Tensor, timestep: Tensor, options: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
    """The host's PREDICT_NOISE wrapper: a sampler calls the guider, which may call the model several times."""
    run: Run | None = options.get("transformer_options", {}).get(RUN_KEY)
    if run is not None and run.clock is not None:
        run.clock.count()
    return executor(x, timestep, options, *args, **kwargs)


def needs_clock(applications: tuple[Application, ...]) -> bool:
    """Whether calls differ with the time."""
    return any(not app.strength.always or app.strength.curves or app.packed.models for app in applications)
