"""FaceID adapters: their versions, their LoRA, and what they read of a face."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.ipadapter.adapters.checkpoint import read_checkpoint
from pack.ipadapter.adapters.face_settings import FaceSettings, FaceVersion
from pack.ipadapter.adapters.features import features_for
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.adapters.lora import changes_of
from pack.ipadapter.adapters.module import load_adapter
from pack.ipadapter.adapters.provenance import Provenance
from pack.ipadapter.adapters.spec import AdapterSpec
from pack.ipadapter.adapters.writing import write_adapter
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.files.tensors import read_metadata
from torch.nn.functional import normalize

from tests.adapters import FACE, random_adapter
from tests.image_prompts import face_prompt, image_prompt
from tests.plain.public import checkpoint_of, write_safetensors, write_torch
from tests.refusals import file_refusal

FEW = (8, 16, 8)
NAMES = {
    "ip-adapter-faceid-plus_sd15.bin": FaceVersion.V1,
    "ip-adapter-faceid-plusv2_sd15.bin": FaceVersion.V2,
    "portraits/FaceID_PlusV2.safetensors": FaceVersion.V2,
    "plusv2/mine.safetensors": FaceVersion.V1,  # a folder's name says nothing
}


def small(family: str = "FaceID", context: int = 64, **sizes: int):
    return random_adapter(family, FEW, context, **sizes)


def spec_of(family: str = "FaceID", name: str = "adapter.safetensors", context: int = 64, **sizes: int) -> AdapterSpec:
    return identify(checkpoint_of(small(family, context, **sizes), name))


@pytest.mark.parametrize("name", NAMES)
def test_only_the_files_own_name_tells_the_versions_of_face_id_plus(name):
    assert spec_of("FaceID Plus", name).face.version is NAMES[name]


def test_for_sdxl_there_has_only_been_the_second_version():
    assert spec_of("FaceID Plus", "mine.bin", context=2048, depth=1).face.version is FaceVersion.V2


def test_the_first_version_has_no_part_of_the_identity_itself():
    assert FaceSettings(FaceVersion.V1, structure=0.3).shares == (0.0, 1.0)
    assert FaceSettings(FaceVersion.V2, structure=0.3).shares == (1.0, 0.3)


@pytest.mark.parametrize("family", ["FaceID", "FaceID Plus"])
def test_the_lora_is_told_from_the_layers(family):
    file = small(family)
    checkpoint = checkpoint_of(file)
    spec = identify(checkpoint)
    adapter = load_adapter(checkpoint, spec)
    assert (spec.lora_rank, spec.lacks_lora, spec.channels) == (8, False, FEW)
    assert adapter.lora.keys() == {key for key in file.ip_adapter if "lora" in key}
    assert not any("lora" in key for key in adapter.state_dict())


def test_a_change_is_up_times_down_of_the_weight_that_its_number_says():
    file = small()
    lora = {key: tensor for key, tensor in file.ip_adapter.items() if "lora" in key}
    changes = changes_of(lora, [f"{block}.attn{n}" for block in "abc" for n in (1, 2)])
    assert len(changes) == 3 * 2 * 4
    assert torch.equal(changes["b.attn1.to_out.0.weight"].up, lora["2.to_out_lora.up.weight"])
    assert torch.equal(changes["b.attn2.to_k.weight"].down, lora["3.to_k_lora.down.weight"])


def test_a_file_without_its_lora_is_read_and_says_so():
    file = small()
    stripped = {key: tensor for key, tensor in file.ip_adapter.items() if "lora" not in key}
    assert identify(checkpoint_of(replace(file, ip_adapter=stripped))).lacks_lora
    assert not spec_of("FaceID Portrait").lacks_lora


@pytest.mark.parametrize("key", ["0.to_q_lora.down.weight", "5.to_v_lora.up.weight"])
def test_an_incomplete_lora_is_refused(key):
    file = small()
    del file.ip_adapter[key]
    assert key in file_refusal("face.bin", identify, checkpoint_of(file, "face.bin"))


@pytest.mark.parametrize("key", ["1.to_k_lora.down.weight", "6.to_q_lora.up.weight"])
def test_a_misshapen_or_superfluous_lora_is_refused(key):
    file = small()
    file.ip_adapter[key] = torch.zeros(8, 63)
    assert key in file_refusal("face.bin", identify, checkpoint_of(file, "face.bin"))


def test_kolors_layers_stand_at_the_top_of_its_torch_file(tmp_path):
    file = random_adapter("FaceID Plus", FEW, 64)
    content = {"image_proj": file.image_proj, "adapter_modules": file.ip_adapter}
    assert identify(read_checkpoint(write_torch(tmp_path / "kolors.bin", content))).channels == FEW


def test_tokens_of_another_width_than_the_layers_read_are_refused():
    file = replace(small(), ip_adapter=random_adapter("FaceID", FEW, 32).ip_adapter)
    with pytest.raises(IPAdapterError, match="its tokens are 64 wide, where its to_k_ip reads 32"):
        identify(checkpoint_of(file))


@pytest.mark.parametrize("family", ["FaceID", "FaceID Plus", "FaceID Portrait"])
def test_a_face_is_read_at_length_one_and_no_face_is_zero(family):
    spec, prompt = spec_of(family), face_prompt(images=2)
    positive, nothing = features_for(spec, prompt, prompt.parts[0])
    assert torch.allclose(positive[0], normalize(prompt.parts[0].positive.face, dim=-1))
    assert torch.equal(nothing[0], torch.zeros(1, FACE))


def test_face_id_plus_reads_the_face_and_the_picture_of_it():
    spec, prompt = spec_of("FaceID Plus"), face_prompt()
    (_, hidden, shares), (_, zero, _) = features_for(spec, prompt, prompt.parts[0])
    assert torch.equal(hidden, prompt.parts[0].positive.penultimate)
    assert torch.equal(zero, prompt.zero_pixels.penultimate)
    assert shares.tolist() == [0.0, 1.0]


def test_the_unnorm_portrait_reads_the_face_as_it_is_and_refuses_one_of_length_one():
    spec, prompt = spec_of("FaceID Portrait unnorm", context=2048), face_prompt()
    (face,), _ = features_for(spec, prompt, prompt.parts[0])
    assert torch.equal(face, prompt.parts[0].positive.face)
    part = prompt.parts[0]
    normal = replace(part, positive=replace(part.positive, face=normalize(part.positive.face, dim=-1)))
    with pytest.raises(IPAdapterError, match="normalised to length 1"):
        features_for(spec, prompt, normal)


def test_a_prompt_without_faces_is_refused_with_what_would_do():
    prompt = image_prompt()
    with pytest.raises(IPAdapterError, match="reads face embedding 512 wide, but .* Encode Face Prompt"):
        features_for(spec_of(), prompt, prompt.parts[0])


@pytest.mark.parametrize("version", FaceVersion)
def test_a_saved_adapter_keeps_its_lora_and_its_version(version, tmp_path):
    file = small("FaceID Plus")
    path = write_safetensors(tmp_path / "one.safetensors", file.flat())
    checkpoint = read_checkpoint(path)
    spec = identify(checkpoint)
    used = replace(spec, face=replace(spec.face, version=version))
    saved = write_adapter(tmp_path / "two.safetensors", load_adapter(checkpoint, spec), Provenance().of(used))
    again = read_checkpoint(saved)
    assert again.ip_adapter.keys() == file.ip_adapter.keys()
    assert all(torch.equal(again.ip_adapter[key], tensor) for key, tensor in file.ip_adapter.items())
    assert Provenance.read(read_metadata(saved)).told(identify(again)).face.version is version
