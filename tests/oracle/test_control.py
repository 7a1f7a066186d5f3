"""Beside ControlNet, T2I-Adapter and LoRA: the host's own, and the reference given the same residuals and weights."""

from __future__ import annotations

import comfy.cldm.cldm
import comfy.controlnet
import comfy.t2i_adapter.adapter
import pytest
import torch
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength

from nodes import ControlNetApplyAdvanced
from tests.image_prompts import image_prompt
from tests.oracle.reference import Features, reference_with, roles_by_cfg
from tests.small import SD15, make_pair, scatter
from tests.world import Settings, adapter_file, conditioning, host_adapter, picture, sample

CPU = torch.device("cpu")
LORA_KEY = "middle_block.1.transformer_blocks.0.attn2.to_q.weight"
LORA_NAME = "mid_block.attentions.0.transformer_blocks.0.attn2.to_q.weight"


def control_net() -> comfy.controlnet.ControlNet:
    """The host's ControlNet for the small SD1.5 UNet, random weights."""
    with torch.inference_mode(False):
        model = comfy.cldm.cldm.ControlNet(hint_channels=3, **(SD15.host_config | {"num_heads": 8})).eval()
        scatter(model, 70, std=0.04)
    return comfy.controlnet.ControlNet(model.requires_grad_(False), load_device=CPU)


def t2i_adapter() -> comfy.controlnet.T2IAdapter:
    """The host's T2I-Adapter for the small SD1.5 UNet, random weights."""
    with torch.inference_mode(False):
        model = comfy.t2i_adapter.adapter.Adapter(
            list(SD15.channels), nums_rb=2, cin=3 * 64, ksize=1, sk=True, use_conv=False, xl=False
        )
        scatter(model, 71, std=0.04)
    return comfy.controlnet.T2IAdapter(model.eval().requires_grad_(False), 3, 8, "nearest-exact", CPU)


def lora_patch(weights) -> torch.Tensor:
    """What a LoRA adds to one weight."""
    return torch.randn(weights.shape, generator=torch.Generator().manual_seed(72)) * 0.1


CONTROLS = {"ControlNet": (control_net,), "T2I-Adapter": (t2i_adapter,), "both": (control_net, t2i_adapter)}


def controlled(makers) -> tuple:
    """Both conditionings with the controls attached by the host's node."""
    conds = (conditioning(SD15, 11), conditioning(SD15, 12))
    hint = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(73))
    for make in makers:
        conds = ControlNetApplyAdvanced().apply_controlnet(*conds, make(), hint, 0.8, 0.0, 1.0)
    return conds


@pytest.mark.parametrize("name", CONTROLS)
def test_with_controls_it_equals_the_reference(name):
    file, prompt = adapter_file(SD15, "base"), image_prompt()
    applied = apply_image_prompt(make_pair(SD15).host, host_adapter(file), prompt, Strength(0.8))
    conds = controlled(CONTROLS[name])
    result, calls = sample(applied, SD15, Settings(batch=2), conds=conds)
    assert (result - picture(applied, SD15, Settings(batch=2))).abs().max() > 1e-2 * result.abs().max()
    embeds = prompt.parts[0].positive.image_embeds
    given = [Features(embeds, torch.zeros_like(embeds))]
    reference = reference_with(SD15, [file], 0.8)
    for call in calls:
        assert (reference.noise(call, roles_by_cfg(call), given) - call.output).abs().max() <= 1e-5


def test_lora_two_adapters_and_two_controls_in_one_graph_equal_the_reference():
    base = make_pair(SD15).host
    patch = lora_patch(base.model.diffusion_model.get_parameter(LORA_KEY))
    model = base.clone()
    model.add_patches({f"diffusion_model.{LORA_KEY}": ("diff", (patch,))}, 1.0)
    files = [adapter_file(SD15, "base", 1), adapter_file(SD15, "plus", 2)]
    prompts = [image_prompt(seed=3), image_prompt(seed=4)]
    for file, prompt, weight in zip(files, prompts, (0.7, 0.4), strict=True):
        model = apply_image_prompt(model, host_adapter(file), prompt, Strength(weight))
    _, calls = sample(model, SD15, conds=controlled(CONTROLS["both"]))
    given = [
        Features(
            prompts[0].parts[0].positive.image_embeds, torch.zeros_like(prompts[0].parts[0].positive.image_embeds)
        ),
        Features(prompts[1].parts[0].positive.penultimate, prompts[1].zero_pixels.penultimate),
    ]
    reference = reference_with(SD15, files, [0.7, 0.4])
    weight = reference.unet.get_parameter(LORA_NAME)
    kept = weight.data.clone()
    try:
        weight.data += patch
        for call in calls:
            assert (reference.noise(call, roles_by_cfg(call), given) - call.output).abs().max() <= 1e-5
    finally:
        weight.data.copy_(kept)
