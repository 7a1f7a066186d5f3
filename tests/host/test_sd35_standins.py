"""The stand-ins for SD3.5 are what the host's and the pack's own loaders take for the public files."""

from __future__ import annotations

import comfy.sd
import pytest
import torch
from pack.ipadapter.backbones.sd3 import SD3
from pack.ipadapter.host.adapters.adapter import load_adapter_file

from tools.standins.formats import write
from tools.standins.noise import Noise
from tools.standins.sd35 import BLOCKS, sd35_adapter, sd35_checkpoint


@pytest.fixture(scope="module")
def noise() -> Noise:
    return Noise.seeded(1)


def test_the_host_opens_the_checkpoint_as_sd35_large_with_few_blocks(noise):
    model, _, vae, _ = comfy.sd.load_state_dict_guess_config(sd35_checkpoint(noise), output_clip=False)
    layers = [block.layer for block in SD3.find_blocks(model.model.diffusion_model)]
    base = SD3.identify(model.model.diffusion_model, layers)
    assert (base.base, len(layers)) == ("SD3.5 Large", BLOCKS)
    assert vae.decode(torch.zeros(1, 16, 4, 4)).shape == (1, 32, 32, 3)


def test_the_adapter_is_read_as_the_public_one(noise, tmp_path):
    write(tmp_path / "a.bin", sd35_adapter(noise))
    spec = load_adapter_file(tmp_path / "a.bin", "a.bin").spec
    assert (spec.family.title, spec.projection.tokens, len(spec.channels)) == ("InstantX SD3.5", 64, BLOCKS)
