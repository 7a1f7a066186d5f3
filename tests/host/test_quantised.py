"""FLUX and SD3.5 with their weights in the host's own packed formats: image prompts read none of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength

from tests import flux, sd3
from tests.adapters import AdapterFile
from tests.comfyui import HOST, USUAL, needs
from tests.world import host_adapter

pytestmark = needs("comfy.ops", "mixed_precision_ops")
WEIGHTS_ALONE = ("float8_e4m3fn", "float8_e5m2", "nvfp4", "mxfp8")  # on a CPU unpacked before they are multiplied
WIDE = sd3.Kind(blocks=4)  # 256, for groups of so many
WITH_ACTIVATIONS = ("int8_tensorwise", "convrot_w4a4")  # multiplied as they are

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Base:
    """A small base model, how the host builds it, and adapters for it."""

    config: Callable[[dict[str, Any]], Any]
    model: Callable[..., Any]
    sizes: dict[str, Any]
    weights: Callable[[], Weights]
    adapters: Callable[[], list[AdapterFile]]
    prompt: Callable[[], Any]
    picture: Callable[[ModelPatcher], torch.Tensor]


BASES = {
    "FLUX.1": Base(
        comfy.supported_models.Flux,
        comfy.model_base.Flux,
        flux.host_config(flux.SMALL),
        lambda: flux.host_weights(flux.SMALL),
        lambda: [flux.flux_adapter(family) for family in ("XLabs FLUX", "InstantX FLUX", "InstantCharacter")],
        flux.flux_prompt,
        flux.flux_picture,
    ),
    "SD3.5": Base(
        comfy.supported_models.SD3,
        comfy.model_base.SD3,
        sd3.host_config(WIDE),
        lambda: sd3.host_weights(WIDE),
        lambda: [sd3.sd3_adapter(WIDE)],
        sd3.sd3_prompt,
        sd3.sd3_picture,
    ),
}


@pytest.fixture(params=BASES)
def base(request: pytest.FixtureRequest) -> Base:
    return BASES[request.param]


def layout_of(form: str) -> str:
    """The host's name of how a format lies in memory."""
    from comfy.quant_ops import QUANT_ALGOS

    if form not in QUANT_ALGOS and HOST != USUAL:
        pytest.skip(f"this ComfyUI has no {form}")
    return QUANT_ALGOS[form]["comfy_tensor_layout"]


def packed(base: Base, form: str) -> tuple[Weights, Weights]:
    """A small model's weights as a file of that format has them in the blocks, and the same unpacked."""
    from comfy.quant_ops import QuantizedTensor

    layout, state, plain = layout_of(form), {}, {}
    told = torch.tensor(list(json.dumps({"format": form}).encode()), dtype=torch.uint8)
    for name, weight in base.weights().items():
        if weight.ndim != 2 or "blocks" not in name:
            state[name] = plain[name] = weight
            continue
        small = QuantizedTensor.from_float(weight, layout, scale="recalculate")
        state |= small.state_dict(name) | {f"{name.removesuffix('weight')}comfy_quant": told}
        plain[name] = small.dequantize()
    return state, plain


def loaded(base: Base, state: Weights, is_packed: bool) -> ModelPatcher:
    """As the host loads a file of such tensors."""
    config, device = base.config(base.sizes), comfy.model_management.unet_offload_device()
    config.quant_config = {"mixed_ops": True} if is_packed else None
    config.set_inference_dtype(torch.float32, None)
    with torch.inference_mode(False):
        model = base.model(config, device=device)
        model.diffusion_model.load_state_dict(dict(state), strict=True)
        model.eval().requires_grad_(False)
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=device)


def prompted(base: Base, model: ModelPatcher) -> torch.Tensor:
    """Its picture with an adapter of each family."""
    for file in base.adapters():
        model = apply_image_prompt(model, host_adapter(file), base.prompt(), Strength())
    return base.picture(model)


@pytest.mark.parametrize("form", WEIGHTS_ALONE)
def test_the_picture_is_that_of_the_unpacked_weights(base, form):
    state, plain = packed(base, form)
    model = loaded(base, state, is_packed=True)
    kinds = {type(weight).__name__ for weight in model.model.diffusion_model.parameters()}
    assert "QuantizedTensor" in kinds
    picture = prompted(base, model)
    assert torch.equal(picture, prompted(base, loaded(base, plain, is_packed=False)))
    assert (picture - base.picture(model)).abs().max() > 0.1


@pytest.mark.parametrize("form", WITH_ACTIVATIONS)
def test_where_activations_are_packed_too_the_model_follows_as_well(base, form):
    model = loaded(base, packed(base, form)[0], is_packed=True)
    picture = prompted(base, model)
    assert bool(torch.isfinite(picture).all()) and (picture - base.picture(model)).abs().max() > 0.1
