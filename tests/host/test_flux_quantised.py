"""FLUX with its weights in the host's own packed formats: image prompts read none of them."""

from __future__ import annotations

import json

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models
import pytest
import torch
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength

from tests.comfyui import HOST, USUAL, needs
from tests.flux import SMALL, flux_adapter, flux_picture, flux_prompt, host_config, host_weights
from tests.world import host_adapter

pytestmark = needs("comfy.ops", "mixed_precision_ops")
WEIGHTS_ALONE = ("float8_e4m3fn", "float8_e5m2", "nvfp4", "mxfp8")  # on a CPU unpacked before they are multiplied
WITH_ACTIVATIONS = ("int8_tensorwise", "convrot_w4a4")  # multiplied as they are
FAMILIES = ("XLabs FLUX", "InstantX FLUX", "InstantCharacter")


def layout_of(form: str) -> str:
    """The host's name of how a format lies in memory."""
    from comfy.quant_ops import QUANT_ALGOS

    if form not in QUANT_ALGOS and HOST != USUAL:
        pytest.skip(f"this ComfyUI has no {form}")
    return QUANT_ALGOS[form]["comfy_tensor_layout"]


def packed(form: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A small model's weights as a file of that format has them in the blocks, and the same unpacked."""
    from comfy.quant_ops import QuantizedTensor

    layout, state, plain = layout_of(form), {}, {}
    told = torch.tensor(list(json.dumps({"format": form}).encode()), dtype=torch.uint8)
    for name, weight in host_weights(SMALL).items():
        if weight.ndim != 2 or "blocks" not in name:
            state[name] = plain[name] = weight
            continue
        small = QuantizedTensor.from_float(weight, layout, scale="recalculate")
        state |= small.state_dict(name) | {f"{name.removesuffix('weight')}comfy_quant": told}
        plain[name] = small.dequantize()
    return state, plain


def loaded(state: dict[str, torch.Tensor], is_packed: bool) -> comfy.model_patcher.ModelPatcher:
    """As the host loads a file of such tensors."""
    config, device = comfy.supported_models.Flux(host_config(SMALL)), comfy.model_management.unet_offload_device()
    config.quant_config = {"mixed_ops": True} if is_packed else None
    config.set_inference_dtype(torch.float32, None)
    with torch.inference_mode(False):
        model = comfy.model_base.Flux(config, device=device)
        model.diffusion_model.load_state_dict(dict(state), strict=True)
        model.eval().requires_grad_(False)
    return comfy.model_patcher.CoreModelPatcher(model, load_device=device, offload_device=device)


def prompted(model: comfy.model_patcher.ModelPatcher) -> torch.Tensor:
    """Its picture with an adapter of each family."""
    for family in FAMILIES:
        model = apply_image_prompt(model, host_adapter(flux_adapter(family)), flux_prompt(), Strength())
    return flux_picture(model)


@pytest.mark.parametrize("form", WEIGHTS_ALONE)
def test_the_picture_is_that_of_the_unpacked_weights(form):
    state, plain = packed(form)
    model = loaded(state, is_packed=True)
    assert type(model.model.diffusion_model.double_blocks[0].img_attn.qkv.weight).__name__ == "QuantizedTensor"
    picture = prompted(model)
    assert torch.equal(picture, prompted(loaded(plain, is_packed=False)))
    assert (picture - flux_picture(model)).abs().max() > 0.1


@pytest.mark.parametrize("form", WITH_ACTIVATIONS)
def test_where_activations_are_packed_too_the_model_follows_as_well(form):
    model = loaded(packed(form)[0], is_packed=True)
    picture = prompted(model)
    assert bool(torch.isfinite(picture).all()) and (picture - flux_picture(model)).abs().max() > 0.1
