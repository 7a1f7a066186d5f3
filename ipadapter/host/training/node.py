"""A training run inside a graph: from pictures to an adapter, watched, interruptible, and never lost."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import comfy.clip_vision
import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher

from ...adapters.face_settings import FaceSettings
from ...adapters.fit import match_layers
from ...adapters.module import IPAdapter
from ...adapters.provenance import Provenance
from ...adapters.spec import AdapterSpec
from ...backbones.backbone import CrossAttentionLayer
from ...errors import IPAdapterError
from ...training.fresh import continued, new_adapter, new_spec
from ...training.loop import DivergedError, train
from ...training.module import AdapterTraining
from ...training.objective import refuse_min_snr
from ...training.recipe import Recipe
from ..adapters.adapter import Adapter, trained_adapter
from ..adapters.saving import save_to_output
from ..backbones.replaced import own_attentions
from .data import GraphPictures, buckets_of, encode_pictures, refuse_mixed_texts
from .frozen import FrozenUNet, frozen_unet, prediction_of, trainable_layers
from .sight import training_sight
from .watching import TrainingWatch

RESCUED = "ipadapter/unfinished"
PRECISIONS: dict[str, torch.dtype | None] = {"auto": None, "bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Trained:
    """What a run leaves."""

    adapter: Adapter
    losses: list[float]


def train_adapter(
    model: ModelPatcher,
    clip_vision: comfy.clip_vision.ClipVisionModel | None,
    pictures: GraphPictures,
    recipe: Recipe,
    precision: str,
    gradient_checkpointing: bool,
    start: Adapter | None,
    watch: TrainingWatch,
    insightface: object = None,
) -> Trained:
    """Train as the paper does. Raises IPAdapterError where the parts do not fit, before anything is computed."""
    layers = trainable_layers(model, recipe.kind)
    refuse_min_snr(prediction_of(model), recipe.min_snr)
    if start is not None:
        refuse_other_start(start.spec, model, recipe)
    sight = training_sight(recipe.kind, clip_vision, insightface)
    features, nothing, encoder = sight.features(pictures.images), sight.no_picture(), sight.label
    spec = spec_for(recipe, features[-1].shape[-1], layers, start)
    with frozen_unet(model, compute_dtype(model, precision), gradient_checkpointing, recipe.kind) as frozen:
        training = AdapterTraining(first_adapter(spec, frozen, recipe, start), frozen, recipe.min_snr)
        data = encode_pictures(frozen.patcher.model, pictures, features, nothing)
        refuse_mixed_texts([*data.conds, *data.empty], recipe.batch_size)
        before = start.provenance.steps if start else 0

        def snapshot(steps: int) -> Adapter:
            return trained_adapter(training.adapter, Provenance(encoder, before + steps))

        with rescuing(watch, snapshot), watch.running(frozen, data, snapshot):
            losses = train(training, data, recipe, watch.after_step, buckets_of(pictures.latents, recipe))
        return Trained(snapshot(recipe.steps), losses)


def refuse_other_base(spec: AdapterSpec, model: ModelPatcher) -> None:
    """An adapter to go on from must be for this model."""
    with own_attentions(model) as unet:
        match_layers(spec, unet)


def refuse_other_start(spec: AdapterSpec, model: ModelPatcher, recipe: Recipe) -> None:
    """An adapter to go on from must be for this model and of the kind that is trained."""
    refuse_other_base(spec, model)
    recipe.refuse_other_kind(spec, f"ip_adapter '{spec.name}'", "", "disconnect it")


def spec_for(
    recipe: Recipe, feature_dim: int, layers: tuple[CrossAttentionLayer, ...], start: Adapter | None
) -> AdapterSpec:
    """The sizes of what is trained; an adapter to go on from has its own, which the encoder must fit."""
    if start is None:
        return new_spec("trained here", recipe.kind, recipe.token_count, feature_dim, layers)
    if start.spec.projection.feature_dim != feature_dim:
        raise IPAdapterError(
            f"ip_adapter '{start.spec.name}' reads {start.spec.feature.value} {start.spec.projection.feature_dim} "
            f"wide, but clip_vision gives {feature_dim}: connect {start.spec.encoder}."
        )
    return start.spec


def first_adapter(spec: AdapterSpec, frozen: FrozenUNet, recipe: Recipe, start: Adapter | None) -> IPAdapter:
    """What the first step starts from. FaceID Plus goes on in the version that it is used as."""
    if start is None:
        return new_adapter(spec, frozen.layer_weights(), recipe.seed)
    adapter = continued(start.patcher.model)
    adapter.spec = replace(adapter.spec, face=FaceSettings(start.spec.face.version))
    return adapter


def compute_dtype(model: ModelPatcher, precision: str) -> torch.dtype | None:
    """The base model's precision in the run, None for its own. Half precision is too narrow for gradients."""
    if precision != "auto":
        return PRECISIONS[precision]
    if model.model.get_dtype_inference() != torch.float16:
        return None
    bf16 = comfy.model_management.should_use_bf16(model.load_device)
    return torch.bfloat16 if bf16 else torch.float32


@contextmanager
def rescuing(watch: TrainingWatch, snapshot: Callable[[int], Adapter]) -> Iterator[None]:
    """However a run ends early, what was learned is saved first."""
    try:
        yield
    except BaseException as error:  # the host's interrupt is none of Exception's
        if watch.steps == 0:
            raise
        path = save_to_output(snapshot(watch.steps), RESCUED)
        kept = f"the adapter of step {watch.steps} was saved as {path.name} in output/ipadapter; load it to go on"
        logging.warning("IP-Adapter: training ended early; %s.", kept)
        watch.text(f"Ended early: {kept}.")
        if isinstance(error, DivergedError):
            raise DivergedError(f"{error} ({kept[0].upper()}{kept[1:]}.)") from error
        raise
