"""A MODEL of the host as the frozen base of a training run.

The host runs graphs in inference mode and its weights are inference tensors, which gradients cannot flow past; its
blocks look patches up by where the forward pass is, which has moved on when a checkpointed block is run again; some
change what they are given. All is put right here for the length of a run, and nothing of the model's numbers is
changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import comfy.model_management
import comfy.model_sampling
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from comfy.quant_ops import QuantizedTensor
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...adapters.families import BASE, TRAINABLE, reads_faces
from ...adapters.family import Family
from ...adapters.fit import acting_layers
from ...attention.decoupled import CALL_KEY, Branches, CallBranches
from ...backbones.backbone import CrossAttentionLayer, Place
from ...backbones.bases import BaseModel
from ...backbones.known import CONNECT, NO_LAYERS, backbone_of, find_blocks, find_layers, model_of
from ...errors import IPAdapterError
from ...training.fresh import LayerMatrices
from ...training.module import ModelText
from ...training.objective import Prediction
from ..backbones.attachment import Attachment, attachment_of
from ..backbones.feed import Feed
from ..backbones.flux import IN_PLACE
from ..backbones.replaced import own_attentions
from ..backbones.unet import REPEATABLE
from ..sampling.patching import applications_of
from .in_place import Forward, on_copies, wrapped
from .low_rank import LearnedChanges

# By the host's class, the most derived first; None is a kind that the paper's loss says nothing about.
PREDICTIONS: dict[type, Prediction | None] = {
    comfy.model_sampling.EPS: Prediction.EPSILON,
    comfy.model_sampling.V_PREDICTION: Prediction.VELOCITY,
    comfy.model_sampling.CONST: Prediction.FLOW,
    comfy.model_sampling.EDM: None,
    comfy.model_sampling.X0: None,
    comfy.model_sampling.IMG_TO_IMG_FLOW: None,
}


@dataclass(frozen=True)
class FrozenUNet:
    """`FrozenModel` of the trainer, over a loaded model."""

    patcher: ModelPatcher
    layers: tuple[CrossAttentionLayer, ...]
    prediction: Prediction
    device: torch.device
    options: dict[str, Any]  # transformer_options with a patch in every cross-attention layer
    sigma: Callable[[float], float]  # the noise level for a uniform draw
    changes: LearnedChanges = field(default_factory=LearnedChanges)

    def learn(self, lora: Mapping[str, Tensor]) -> None:
        """Let a LoRA act until the run ends."""
        self.changes.put_on(self.patcher.model.diffusion_model, lora)

    def add_noise(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """The host's own forward process."""
        out: Tensor = self.patcher.model.model_sampling.noise_scaling(sigma, noise, clean)
        return out

    def denoise(self, noisy: Tensor, sigma: Tensor, text: ModelText, branches: Branches) -> Tensor:
        """The host's own model call."""
        dtype = self.patcher.model.get_dtype_inference()
        placed = {place: tuple(branch_to(branch, dtype) for branch in row) for place, row in branches.items()}
        call = CallBranches(len(noisy), placed, latent=(noisy.shape[-2], noisy.shape[-1]))
        options = self.options | {CALL_KEY: call, "sigmas": sigma, "cond_or_uncond": [0]}
        out: Tensor = self.patcher.model.apply_model(noisy, sigma, transformer_options=options, **text)
        return out

    def layer_weights(self) -> LayerMatrices:
        """What W'_k and W'_v of every layer begin with, in float32."""
        attentions = {block.layer: block.attention for block in find_blocks(self.patcher.model.diffusion_model)}
        return [text_matrices(attentions[layer], layer) for layer in self.layers]

    def load(self) -> None:
        """Bring all of the model to its device (again, where something else took the room)."""
        comfy.model_management.load_models_gpu([self.patcher], memory_required=1e20, force_full_load=True)
        self.patcher.pre_run()


def noise_levels(sampling: nn.Module) -> Callable[[float], float]:
    """A discrete model's noise levels are equally likely, as in the reference; a flow's times are.

    The host's shift of a flow's times (1.15 for FLUX) makes noise likelier than in x-flux, which draws the sigmoid of
    a normal number.

    A copy in main memory is asked, so that no step waits for the device.
    """
    asked: Any = copy.deepcopy(sampling).cpu()
    steps = getattr(asked, "num_timesteps", None)
    if steps is None:
        return lambda time: float(asked.percent_to_sigma(time))
    sigmas = asked.sigmas.tolist()
    return lambda time: sigmas[int(time * steps)]


def text_matrices(attention: Any, layer: CrossAttentionLayer) -> tuple[Tensor, Tensor]:
    """W_k and W_v of a layer's text, LoRAs included; zeros where text and picture attend to each other.

    There the text's keys are not what image tokens are read with, and x-flux (`layers.py`) begins with zeros too.
    """
    if hasattr(attention, "to_k"):
        return plain(attention.to_k.weight), plain(attention.to_v.weight)
    nothing = torch.zeros(()).expand(layer.channels, layer.context_dim)
    return nothing, nothing


def branch_to(branch: Any, dtype: torch.dtype) -> Any:
    """K' and V' in the model's compute dtype; they are learned in float32."""
    return branch._replace(keys=branch.keys.to(dtype), values=branch.values.to(dtype))


def plain(weight: Tensor) -> Tensor:
    """A float32 copy of a weight that may be quantised or an inference tensor."""
    weight = weight.dequantize() if isinstance(weight, QuantizedTensor) else weight
    return weight.detach().float().cpu().clone()


def prediction_of(model: ModelPatcher) -> Prediction:
    """What a model predicts. Raises IPAdapterError for one that the paper's loss is not defined for."""
    sampling = type(model.get_model_object("model_sampling"))
    prediction = next((PREDICTIONS[base] for base in sampling.__mro__ if base in PREDICTIONS), None)
    if prediction is None:
        kinds = ", ".join(base.__name__ for base in sampling.__mro__[1:3])
        raise IPAdapterError(
            f"the model predicts in a way ({kinds}) that has no training loss here: use one that predicts noise, "
            "velocity or flow, such as SD1.5, SD2.1 or SDXL."
        )
    return prediction


def trainable_layers(model: ModelPatcher, kind: Family = BASE) -> tuple[CrossAttentionLayer, ...]:
    """The layers an adapter is trained for.

    Raises IPAdapterError where there are none, the kind is for another model, or an adapter is at work already.
    """
    with own_attentions(model) as unet:
        layers = find_layers(unet)
        if not layers:
            raise IPAdapterError(f"the model ({type(unet).__name__}) {NO_LAYERS} to train an adapter for: {CONNECT}.")
        refuse_kind_of_other_model(kind, layers, model_of(unet, layers))
    if applications_of(model):
        raise IPAdapterError(
            "the model already follows an image prompt: connect it from before Apply IP-Adapter, and an adapter to "
            "go on from to ip_adapter."
        )
    return acting_layers(kind, layers)


def refuse_kind_of_other_model(kind: Family, layers: tuple[CrossAttentionLayer, ...], model: BaseModel) -> None:
    """Refuse to train what could not be applied to the model afterwards."""
    backbone, width = backbone_of(layers), layers[0].context_dim
    fitting = [
        title
        for title, one in TRAINABLE.items()
        if one.backbone is backbone and made_for(one, width) == model.base and reads_faces(one) <= reads_faces(kind)
    ]
    if kind.title in fitting:
        return
    wanted = made_for(kind, width) if kind.backbone is backbone else kind.backbone.models
    other = f"set kind to {' or '.join(fitting)}, or " if fitting else ""
    raise IPAdapterError(
        f"kind is {kind.title}, which is for {wanted}, but the model is {model.name}: {other}use {wanted}."
    )


def made_for(kind: Family, context_dim: int) -> str:
    """The base model that an adapter of a kind would be for, by the width of its text context."""
    return kind.base(kind.start.projection(kind.start.tokens, 1, context_dim))


@contextmanager
def frozen_unet(
    model: ModelPatcher, dtype: torch.dtype | None, gradient_checkpointing: bool, kind: Family = BASE
) -> Iterator[FrozenUNet]:
    """A model ready to be trained against, with gradients on, until the block ends. `dtype` None is the model's own."""
    with ExitStack() as stack:
        stack.enter_context(in_training())
        frozen = not_loaded(model, dtype, kind)
        stack.callback(frozen.patcher.cleanup)
        stack.callback(frozen.changes.take_off)
        frozen.load()
        make_ordinary(frozen.patcher.model)
        stack.enter_context(on_copies(frozen.patcher.model.diffusion_model))
        if gradient_checkpointing:
            stack.enter_context(checkpointed(frozen.patcher.model.diffusion_model))
        yield frozen


def not_loaded(model: ModelPatcher, dtype: torch.dtype | None, kind: Family = BASE) -> FrozenUNet:
    """A model as a run sees it, before it is on its device."""
    layers, prediction = trainable_layers(model, kind), prediction_of(model)
    patcher = own_clone(model, dtype)
    places = [layer.place for layer in layers]
    feed = Feed(behind=frozenset(places if kind.joining and kind.joining.behind else ()))
    options = patched_options(patcher, attachment_of(layers), places, feed)
    sigma = noise_levels(model.get_model_object("model_sampling"))
    return FrozenUNet(patcher, layers, prediction, patcher.load_device, options, sigma)


def own_clone(model: ModelPatcher, dtype: torch.dtype | None) -> ModelPatcher:
    """A clone whose weights stay where they are: weights that come and go cannot be trained against."""
    refuse_unrepeatable(model)
    clone = model.clone(disable_dynamic=True)
    if dtype is not None and dtype != clone.model.get_dtype_inference():
        clone.set_model_compute_dtype(dtype)
    return clone


def refuse_unrepeatable(model: ModelPatcher) -> None:
    """With dynamic VRAM such a clone is the file loaded again, which not every loader has told the host how to do."""
    if model.is_dynamic() and model.cached_patcher_init is None:
        raise IPAdapterError(
            "the model comes from a loader that ComfyUI cannot repeat, and training needs it once more without dynamic "
            "VRAM: load it with Load Checkpoint or Load Diffusion Model, or start ComfyUI with --disable-dynamic-vram."
        )


def patched_options(model: ModelPatcher, attachment: Attachment, places: Sequence[Place], feed: Feed) -> dict[str, Any]:
    """The model's options with the sampler's own attention patch at every place."""
    clone = model.clone()
    attachment.attach(clone, places, feed)
    attachment.settle(clone.model_options["transformer_options"])
    comfy.samplers.cast_to_load_options(clone.model_options, device=model.load_device, dtype=model.model_dtype())
    made: dict[str, Any] = clone.model_options["transformer_options"]
    return made


def make_ordinary(model: nn.Module) -> None:
    """Replace inference tensors by copies of the same numbers, which gradients may flow past."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_inference():
                module._parameters[name] = nn.Parameter(parameter.detach().clone(), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_inference():
                module._buffers[name] = buffer.clone()


@contextmanager
def in_training() -> Iterator[None]:
    """Gradients on, and the host told to keep to operations that have them."""
    before = comfy.model_management.in_training
    comfy.model_management.in_training = True
    try:
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        comfy.model_management.in_training = before


@contextmanager
def checkpointed(unet: nn.Module) -> Iterator[None]:
    """Recompute each transformer and residual block in the backward pass instead of keeping what it computed."""
    blocks = [module for module in unet.modules() if isinstance(module, (*REPEATABLE, *IN_PLACE))]
    with wrapped(blocks, recomputed):
        yield


def recomputed(forward: Forward) -> Forward:
    """A block's forward pass under checkpointing, with the options as they are now: the host's go on changing."""

    def run(*args: Any, **kwargs: Any) -> Any:
        as_now = {key: dict(value) if isinstance(value, dict) else value for key, value in kwargs.items()}
        return checkpoint(partial(forward, **as_now), *args, use_reentrant=False)

    return run
