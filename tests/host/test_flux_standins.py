"""The stand-ins for FLUX are what the host's and the pack's own loaders take for the public files."""

from __future__ import annotations

from functools import cache

import comfy.controlnet
import comfy.sd
import pytest
import torch
from pack.ipadapter.backbones.flux import FLUX, WHOLE_BLOCKS
from pack.ipadapter.host.adapters.adapter import load_adapter_file

from tools.standins.flux import flux_controlnet, flux_model, flux_vae, instantx_adapter, xlabs_adapter
from tools.standins.formats import write
from tools.standins.noise import Noise


@cache
def noise() -> Noise:
    return Noise.seeded(1)


def test_the_host_opens_the_model_as_flux_dev_with_all_its_blocks():
    model = comfy.sd.load_diffusion_model_state_dict(flux_model(noise())).model.diffusion_model
    layers = [block.layer for block in FLUX.find_blocks(model)]
    base = FLUX.identify(model, layers)
    assert (base.name, len(layers)) == ("FLUX.1", sum(WHOLE_BLOCKS.values()))


@pytest.mark.parametrize(
    ("file", "made", "family", "tokens", "layers"),
    [
        ("xlabs.safetensors", xlabs_adapter, "XLabs FLUX", 16, 19),
        ("instantx.bin", instantx_adapter, "InstantX FLUX", 128, 57),
    ],
)
def test_an_adapter_is_read_as_the_public_one(file, made, family, tokens, layers, tmp_path):
    write(tmp_path / file, made(noise()))
    spec = load_adapter_file(tmp_path / file, file).spec
    assert (spec.family.title, spec.projection.tokens, len(spec.channels)) == (family, tokens, layers)


def test_the_host_opens_the_controlnet_and_the_autoencoder(tmp_path):
    write(tmp_path / "controlnet.safetensors", flux_controlnet(noise()))
    control = comfy.controlnet.load_controlnet(str(tmp_path / "controlnet.safetensors"))
    assert len(control.control_model.double_blocks) == 2
    vae = comfy.sd.VAE(sd=flux_vae(noise()))
    assert vae.decode(torch.zeros(1, 16, 4, 4)).shape == (1, 32, 32, 3)
