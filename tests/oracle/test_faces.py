"""FaceID adapters against diffusers: its projections, its attention, and the LoRA in the file through peft."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import pytest
import torch
from pack.ipadapter.adapters.face_settings import FaceSettings, FaceVersion
from pack.ipadapter.host.adapters.adapter import Adapter
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.prompts.prompt import ImagePrompt
from pack.ipadapter.strength.strength import Strength
from torch import Tensor
from torch.nn.functional import normalize

from tests.adapters import AdapterFile
from tests.image_prompts import face_prompt, image_prompt
from tests.oracle.reference import Reference, reference_with, roles_by_cfg, set_scales
from tests.small import SD15, SHALLOW_SDXL, Layout, make_pair, make_reference_unet
from tests.world import DEFAULTS, Settings, adapter_file, host_adapter, sample

TOLERANCE = 1e-5
FAMILIES = ["FaceID", "FaceID Plus", "FaceID Portrait"]
NAME = "faceid_0"  # of the LoRA, as diffusers calls it


@dataclass(frozen=True)
class Rows:
    """What diffusers is given for one conditioning: faces (n, 512) and hidden states (n, S, D)."""

    face: Tensor
    hidden: Tensor


def rows_of(prompt: ImagePrompt, raw: bool) -> dict[int, Rows]:
    """Images and what stands for none, by role."""
    part, images = prompt.parts[0], len(prompt.parts[0].positive)
    face = part.positive.face if raw else normalize(part.positive.face, dim=-1)
    zero = prompt.zero_pixels.penultimate.expand(images, -1, -1)
    return {0: Rows(face, part.positive.penultimate), 1: Rows(torch.zeros_like(face), zero)}


def reference_faces(layout: Layout, file: AdapterFile, scale: float, face: FaceSettings) -> Reference:
    """diffusers' side, the settings where its pipelines keep them."""
    reference = reference_with_lora(layout, file)
    set_scales(reference.unet, [scale])
    if any("lora" in key for key in file.ip_adapter):
        reference.unet.set_adapters([NAME], [face.lora])
    module = projection_of(reference)
    module.shortcut, module.shortcut_scale = face.version is FaceVersion.V2, face.structure
    return reference


@lru_cache(maxsize=1)
def reference_with_lora(layout: Layout, file: AdapterFile) -> Reference:
    """The adapter by its loader, its LoRA by peft, in a UNet of their own."""
    reference = reference_with(layout, [file], 1.0, make_reference_unet(layout))
    add_loras(reference, file)
    return reference


def add_loras(reference: Reference, file: AdapterFile) -> None:
    """What diffusers' pipelines do with the LoRA in a file."""
    loras = reference.unet._load_ip_adapter_loras([file.nested])
    with torch.inference_mode(False):
        for lora in loras.values():
            reference.unet.load_lora_adapter(lora, prefix="unet", adapter_name=NAME)


def projection_of(reference: Reference):
    return reference.unet.encoder_hid_proj.image_projection_layers[0]


def noise(reference: Reference, call, given: dict[int, Rows]) -> Tensor:
    """The noise prediction of a recorded call, one conditioning at a time."""
    roles = roles_by_cfg(call)
    inputs = [tensor.chunk(len(roles)) for tensor in (call.x, call.timestep, call.context)]
    pooled = [None] * len(roles) if call.y is None else call.y.chunk(len(roles))
    made = []
    for x, timestep, context, y, role in zip(*inputs, pooled, roles, strict=True):
        rows = given[role]
        projection_of(reference).clip_embeds = rows.hidden.unsqueeze(0).repeat(len(x), 1, 1, 1)
        made.append(reference.predict(x, timestep, context, y, [rows.face], None, {}))
    return torch.cat(made)


def adapter_with(file: AdapterFile, face: FaceSettings) -> Adapter:
    adapter = host_adapter(file)
    return replace(adapter, spec=replace(adapter.spec, face=face))


def worst(
    layout, file, face, prompt, weight=1.0, settings: Settings = DEFAULTS, apply: Callable | None = None
) -> float:
    """The largest difference between the two noise predictions over all calls of a run."""
    adapter = adapter_with(file, face)
    applied = (apply or apply_once)(make_pair(layout).host, adapter, prompt, weight)
    _, calls = sample(applied, layout, settings)
    reference = reference_faces(layout, file, weight, face)
    given = rows_of(prompt, adapter.spec.family.raw_face)
    assert calls
    return max((noise(reference, call, given) - call.output).abs().max().item() for call in calls)


def apply_once(model, adapter, prompt, weight):
    return apply_image_prompt(model, adapter, prompt, Strength(weight))


@pytest.mark.parametrize("weight", [0.5, 1.0])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("layout", [SD15, SHALLOW_SDXL], ids=lambda layout: layout.name)
def test_the_noise_prediction_equals_the_reference(layout, family, weight):
    file = adapter_file(layout, family)
    assert worst(layout, file, FaceSettings(), face_prompt(), weight) <= TOLERANCE


def test_the_unnorm_portrait_equals_the_reference():
    file = adapter_file(SHALLOW_SDXL, "FaceID Portrait unnorm")
    adapter, prompt = host_adapter(file), face_prompt()
    _, calls = sample(apply_once(make_pair(SHALLOW_SDXL).host, adapter, prompt, 1.0), SHALLOW_SDXL)
    reference, part = reference_with(SHALLOW_SDXL, [file], 1.0), prompt.parts[0]
    sequence = part.positive.face.unsqueeze(1)  # diffusers reads a sequence of one
    given = {0: sequence, 1: torch.zeros_like(sequence)}
    for call in calls:
        parts = [
            reference.predict(x, t, c, y, [given[role]], None, {})
            for x, t, c, y, role in zip(
                *(tensor.chunk(2) for tensor in (call.x, call.timestep, call.context, call.y)),
                roles_by_cfg(call),
                strict=True,
            )
        ]
        assert (torch.cat(parts) - call.output).abs().max() <= TOLERANCE


@pytest.mark.parametrize("structure", [0.0, 0.4, 1.5])
@pytest.mark.parametrize("version", FaceVersion, ids=lambda version: version.value)
def test_versions_and_their_structure_equal_the_reference(version, structure):
    file = adapter_file(SD15, "FaceID Plus")
    assert worst(SD15, file, FaceSettings(version, structure), face_prompt()) <= TOLERANCE


@pytest.mark.parametrize("lora", [0.0, 0.6, -0.5])
def test_the_weight_of_the_lora_equals_the_reference(lora):
    assert worst(SD15, adapter_file(SD15, "FaceID"), FaceSettings(lora=lora), face_prompt()) <= TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_several_faces_and_a_batch_equal_the_reference(family):
    file = adapter_file(SD15, family)
    assert worst(SD15, file, FaceSettings(), face_prompt(images=3), settings=Settings(batch=2)) <= TOLERANCE


def test_the_comparison_would_notice_a_missing_lora():
    file = adapter_file(SD15, "FaceID")
    bare = replace(file, ip_adapter={key: tensor for key, tensor in file.ip_adapter.items() if "lora" not in key})

    def without_lora(model, adapter, prompt, weight):
        return apply_once(model, host_adapter(bare), prompt, weight)

    assert worst(SD15, file, FaceSettings(), face_prompt(), apply=without_lora) > 100 * TOLERANCE


def test_a_face_beside_another_adapter_equals_the_reference():
    face_file, plus_file = adapter_file(SD15, "FaceID"), adapter_file(SD15, "plus", seed=9)
    face, seen = face_prompt(), image_prompt(seed=6)
    with_face = apply_once(make_pair(SD15).host, host_adapter(face_file), face, 0.7)
    _, calls = sample(apply_once(with_face, host_adapter(plus_file), seen, 0.9), SD15)
    reference = reference_with(SD15, [face_file, plus_file], [0.7, 0.9], make_reference_unet(SD15))
    add_loras(reference, face_file)
    faces, hidden = rows_of(face, raw=False), seen.parts[0].positive.penultimate
    given = {0: [faces[0].face, hidden], 1: [faces[1].face, seen.zero_pixels.penultimate]}
    for call in calls:
        inputs = [tensor.chunk(2) for tensor in (call.x, call.timestep, call.context)]
        rows = zip(*inputs, roles_by_cfg(call), strict=True)
        made = [reference.predict(x, t, c, None, given[role], None, {}) for x, t, c, role in rows]
        assert (torch.cat(made) - call.output).abs().max() <= TOLERANCE


def test_the_lora_acts_outside_the_window_and_in_every_layer():
    """As the reference's does: it is part of the UNet, whatever the image prompt does."""
    file, prompt = adapter_file(SD15, "FaceID"), face_prompt()
    late = Strength(1.0, 0.99, 1.0)
    applied = apply_image_prompt(make_pair(SD15).host, host_adapter(file), prompt, late)
    _, calls = sample(applied, SD15, Settings(steps=3))
    reference = reference_faces(SD15, file, 0.0, FaceSettings())
    given = rows_of(prompt, raw=False)
    assert (noise(reference, calls[0], given) - calls[0].output).abs().max() <= TOLERANCE
