"""What diffusers itself saves of a UNet with an adapter is read as the adapter's own file."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pack.ipadapter.adapters.checkpoint import read_checkpoint

from tests.oracle.reference import reference_with
from tests.plain.public import assert_same, write_safetensors, write_torch
from tests.small import SD15, SDXL
from tests.world import adapter_file


@pytest.mark.parametrize("prefix", ["", "unet."])
@pytest.mark.parametrize("family", ["base", "plus", "full-face", "FaceID", "FaceID Plus", "FaceID Portrait"])
def test_a_diffusers_unet_gives_its_adapter_back(family, prefix, tmp_path):
    file = adapter_file(SD15, family)
    state = reference_with(SD15, [file], 1.0).unet.state_dict()
    path = write_safetensors(tmp_path / "a.safetensors", {prefix + key: tensor for key, tensor in state.items()})
    assert_same(read_checkpoint(path), without_lora(file))


def without_lora(file):
    """A UNet holds it as a LoRA of its own, if at all."""
    return replace(file, ip_adapter={key: tensor for key, tensor in file.ip_adapter.items() if "_lora." not in key})


def test_a_diffusers_sdxl_unet_gives_its_seventy_layers_back_in_order(tmp_path):
    file = adapter_file(SDXL, "base")
    state = reference_with(SDXL, [file], 1.0).unet.state_dict()
    kept = {key: tensor for key, tensor in state.items() if "processor" in key or "encoder_hid_proj" in key}
    assert_same(read_checkpoint(write_torch(tmp_path / "a.bin", kept)), file)
