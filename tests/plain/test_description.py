"""An adapter in words, for every public layout."""

from __future__ import annotations

import pytest
import torch
from pack.ipadapter.adapters.family import Unconditional
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.adapters.provenance import Provenance
from pack.ipadapter.library.description import Storage, describe_adapter
from pack.ipadapter.library.published import encoders_for
from torch import nn

from tests.adapters import random_adapter
from tests.plain.public import KINDS, checkpoint_of, on_meta


def lines(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.splitlines())


@pytest.mark.parametrize("name", KINDS)
def test_a_public_file_is_described_by_its_spec_alone(name):
    kind = KINDS[name]
    spec = identify(checkpoint_of(kind.tensors(on_meta), f"{name}.safetensors"))
    said = lines(describe_adapter(spec))
    assert said["File"] == f"{name}.safetensors"
    tokens = f"{kind.tokens} image tokens" if kind.tokens else "an image token for every patch"
    version = f" {spec.face.version.value}" if kind.family == "FaceID Plus" else ""
    assert said["Kind"].startswith(f"{kind.family}{version}, {tokens} {kind.token_dim or kind.context} wide, reads ")
    assert said["Fits"] == f"{kind.base} models, {len(kind.channels)} cross-attention layers, {kind.context}" + (
        "-wide context"
    )
    for encoder in encoders_for(spec):
        assert f"{encoder.short}: {encoder.name} in models/clip_vision, from {encoder.address}" in said["Needs"]
    assert ("in models/insightface/models, from" in said["Needs"]) == spec.reads_face
    pixels = spec.family.nothing is Unconditional.ZERO_PIXELS
    assert ("zeros in place of normalised pixels" in said["No image"]) == pixels
    assert ("LoRA" in said) == bool(kind.lora_rank)
    assert said["Weight"]
    assert said.keys().isdisjoint({"Stored as", "Made from", "This model"})


def test_what_is_known_besides_is_said():
    spec = identify(checkpoint_of(random_adapter("base", (8,), 32, embed=96)))
    weights = [torch.zeros(1000, 1000, dtype=torch.float16), torch.zeros(10)]
    said = lines(describe_adapter(spec, Storage.of(weights), Provenance("ViT-X", 1200, "CC0"), nn.Linear(1, 1)))
    assert said["Stored as"] == "float16 and float32, 2.0 MB"
    assert said["Made from"] == "1200 training steps, encoder ViT-X, licence CC0"
    assert said["This model"].startswith("does not fit. 'adapter.safetensors' is for a UNet with 32-wide text context")
    assert said["Needs"].endswith("which is not among the published ones")
