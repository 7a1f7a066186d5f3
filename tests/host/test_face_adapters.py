"""FaceID adapters on a model of the host: the LoRA goes on once and comes off with its model."""

from __future__ import annotations

from dataclasses import replace

import comfy.sd
import folder_paths
import pack.ipadapter.backbones.unet as layers
import pytest
import torch
from comfy.weight_adapter import LoRAAdapter
from pack.ipadapter.adapters.face_settings import FaceSettings, FaceVersion
from pack.ipadapter.adapters.features import features_for
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.adapters.adapter import load_adapter_file, with_face
from pack.ipadapter.host.adapters.saving import save_to_output
from pack.ipadapter.host.sampling import application
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.prompts.prompt import ImagePrompt, Order
from pack.ipadapter.strength.strength import Strength
from pack.nodes.face_settings import AS_NAMED, FaceIDSettings

from tests.adapters import random_adapter
from tests.image_prompts import face_prompt
from tests.plain.public import write_torch
from tests.small import SD15, SDXL, host_model, make_pair, reference_weights
from tests.world import Settings, adapter_file, channels_of, host_adapter, lora_file, picture

ONE_STEP = Settings(steps=1)


def model(layout=SD15):
    return make_pair(layout).host


def apply(adapter, prompt: ImagePrompt | None = None, weight: float = 1.0, on=None, layout=SD15):
    return apply_image_prompt(on or model(layout), adapter, prompt or face_prompt(), Strength(weight))


def changes(patched) -> int:
    return sum(len(patches) for patches in patched.patches.values())


@pytest.mark.parametrize("layout", [SD15, SDXL], ids=lambda layout: layout.name)
def test_the_lora_changes_every_attention_once(layout):
    applied = apply(host_adapter(adapter_file(layout, "FaceID")), layout=layout)
    assert len(applied.patches) == changes(applied) == 8 * layout.expected_layers
    assert all(isinstance(patch[0][1], LoRAAdapter) for patch in applied.patches.values())
    assert not model(layout).patches


def test_a_second_prompt_of_the_same_adapter_does_not_add_its_lora_again():
    adapter = host_adapter(adapter_file(SD15, "FaceID"))
    once = apply(adapter)
    twice = apply(adapter, face_prompt(seed=8), on=once)
    assert changes(twice) == changes(once)


def test_nor_does_another_copy_of_the_file():
    file = adapter_file(SD15, "FaceID")
    half = replace(file, ip_adapter={key: tensor.half() for key, tensor in file.ip_adapter.items()})
    once = apply(host_adapter(file))
    assert changes(apply(host_adapter(half), on=once)) == changes(once)


def test_two_adapters_bring_two_loras():
    once = apply(host_adapter(adapter_file(SD15, "FaceID", seed=1)))
    twice = apply(host_adapter(adapter_file(SD15, "FaceID Plus", seed=5)), on=once)
    assert changes(twice) == 2 * changes(once)


def test_a_lora_that_load_lora_has_loaded_is_not_added_again():
    file = adapter_file(SD15, "FaceID")
    loaded, _ = comfy.sd.load_lora_for_models(model(), None, lora_file(file), 0.6, 0)
    applied = apply(host_adapter(file), on=loaded)
    assert changes(applied) == changes(loaded) > 0
    assert {patches[0][0] for patches in applied.patches.values()} == {0.6}


def test_the_separate_file_makes_the_same_picture():
    file = adapter_file(SD15, "FaceID")
    inside = apply(host_adapter(file))
    loaded, _ = comfy.sd.load_lora_for_models(model(), None, lora_file(file), 1.0, 0)
    adapter = host_adapter(file)
    outside = apply(with_face(adapter, replace(adapter.spec.face, lora=0.0)), on=loaded)
    assert torch.allclose(picture(inside, SD15, ONE_STEP), picture(outside, SD15, ONE_STEP), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("family", ["FaceID", "FaceID Plus", "FaceID Portrait"])
def test_weight_0_is_the_base_model_to_the_bit(family):
    before = picture(model(), SD15, ONE_STEP)
    applied = apply(host_adapter(adapter_file(SD15, family)), weight=0.0)
    assert not applied.patches
    assert torch.equal(picture(applied, SD15, ONE_STEP), before)


def test_a_branch_of_the_graph_without_the_adapter_stays_the_base_model():
    before = picture(model(), SD15, ONE_STEP)
    with_lora = picture(apply(host_adapter(adapter_file(SD15, "FaceID"))), SD15, ONE_STEP)
    assert not torch.allclose(with_lora, before, atol=1e-2)
    assert torch.allclose(picture(model(), SD15, ONE_STEP), before, atol=1e-6)


def test_the_weight_of_the_lora_changes_the_picture_and_0_leaves_it_out():
    adapter = host_adapter(adapter_file(SD15, "FaceID"))
    pictures = {}
    for lora in (0.0, 0.5, 1.0):
        applied = apply(with_face(adapter, replace(adapter.spec.face, lora=lora)))
        assert bool(applied.patches) == bool(lora)
        pictures[lora] = picture(applied, SD15, ONE_STEP)
    assert not torch.allclose(pictures[0.0], pictures[0.5], atol=1e-3)
    assert not torch.allclose(pictures[0.5], pictures[1.0], atol=1e-3)


def test_faces_can_go_frame_by_frame():
    """On a UNet that computes in float64: these pictures have numbers up to 500, which float32 rounds to 1e-3."""
    exact = host_model(SD15, reference_weights(SD15), torch.float64)
    prompt = face_prompt(images=2)
    framed = replace(prompt, parts=(replace(prompt.parts[0], order=Order.FRAME_BY_FRAME),))
    adapter = host_adapter(adapter_file(SD15, "FaceID Plus"))
    both = picture(apply(adapter, framed, on=exact), SD15, Settings(steps=1, batch=2))
    part = prompt.parts[0]
    for index in range(2):
        one = replace(prompt, parts=(replace(part, positive=part.positive[index : index + 1]),))
        alone = picture(apply(adapter, one, on=exact), SD15, Settings(steps=1, batch=2))
        assert torch.allclose(both[index], alone[index], rtol=1e-4, atol=1e-3)


def kolors_adapter():
    """Its perceiver is as wide as the real one, and a quarter as deep."""
    file = random_adapter("FaceID Plus", channels_of(SDXL), 4096, depth=1)
    layers = random_adapter("FaceID Portrait", channels_of(SDXL), 2048).ip_adapter
    return host_adapter(replace(file, ip_adapter=layers))


def test_kolors_tokens_go_through_the_narrowing_of_its_unet(monkeypatch):
    """By hand: the tokens narrowed first, then through each layer's to_k_ip and to_v_ip."""
    adapter, prompt = kolors_adapter(), face_prompt()
    assert adapter.spec.base == "Kolors" and adapter.spec.context_dim == 2048 and not adapter.spec.lacks_lora
    unet = model(SDXL).model.diffusion_model
    narrowing = torch.nn.Linear(4096, 2048)
    monkeypatch.setattr(unet, "encoder_hid_proj", narrowing, raising=False)
    monkeypatch.setattr(layers, "adm_width", lambda unet: layers.KOLORS_ADM)
    seen = []
    original = application.make_application
    monkeypatch.setattr(application, "make_application", lambda *args: seen.append(args[2]) or original(*args))
    apply(adapter, prompt, layout=SDXL)
    (positive, negative) = features_for(adapter.spec, prompt, prompt.parts[0])
    module = adapter.patcher.model
    expected = torch.cat([narrowing(module.tokens(*positive)), narrowing(module.tokens(*negative))])
    assert not any(tensor.any() for tensor in negative[:2])  # nothing is encoded for "no image"
    assert torch.allclose(seen[0].rows, expected, atol=1e-5)


def test_a_kolors_model_without_that_layer_is_refused(monkeypatch):
    monkeypatch.setattr(layers, "adm_width", lambda unet: layers.KOLORS_ADM)
    with pytest.raises(IPAdapterError, match="narrows to 2048 with a layer of its own"):
        apply(kolors_adapter(), layout=SDXL)


def settings(adapter, version=AS_NAMED, structure=1.0, lora_weight=1.0):
    return FaceIDSettings.execute(adapter, version, structure, lora_weight).args[0].spec.face


def test_settings_left_alone_change_nothing():
    adapter = host_adapter(adapter_file(SD15, "FaceID Plus"), "plusv2.bin")
    assert settings(adapter) == adapter.spec.face == FaceSettings(FaceVersion.V2)
    assert settings(adapter, "v1", lora_weight=0.6) == FaceSettings(FaceVersion.V1, 1.0, 0.6)
    assert settings(adapter, structure=0.4) == FaceSettings(FaceVersion.V2, 0.4)


@pytest.mark.parametrize(
    ("family", "wrong", "sentence"),
    [
        ("plus", {}, "is a plus adapter, which has no FaceID Settings: connect a FaceID adapter"),
        ("FaceID", {"structure": 0.5}, "is a FaceID adapter, which has no structure: set structure to 1."),
        ("FaceID", {"version": "v2"}, "is a FaceID adapter, which has no versions"),
        ("FaceID Plus", {"structure": 0.5}, "used as v1, which has no structure: set structure to 1, or version to v2"),
        ("FaceID Portrait", {"lora_weight": 0.5}, "which has no LoRA in its file: set lora_weight to 1"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(family, wrong, sentence):
    with pytest.raises(IPAdapterError, match=sentence):
        settings(host_adapter(adapter_file(SD15, family)), **wrong)


def test_a_saved_face_adapter_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path))
    path = write_torch(tmp_path / "ip-adapter-faceid-plusv2_sd15.bin", adapter_file(SD15, "FaceID Plus").nested)
    adapter = load_adapter_file(path, path.name)
    saved = save_to_output(adapter, "mine")
    again = load_adapter_file(saved, saved.name)
    assert again.spec.face.version is FaceVersion.V2 and again.spec.lora_rank == adapter.spec.lora_rank
    assert torch.equal(picture(apply(again), SD15, ONE_STEP), picture(apply(adapter), SD15, ONE_STEP))
