"""Every public kind of adapter file is recognised, in every layout it is published in."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.ipadapter.adapters.checkpoint import Checkpoint, read_checkpoint
from pack.ipadapter.adapters.family import Unconditional
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.adapters.module import load_adapter
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.library.finding import read_adapter
from pack.ipadapter.prompts.prompt import Feature

from tests.adapters import AdapterFile, random_adapter, random_read
from tests.plain.public import (
    KINDS,
    SD15_CHANNELS,
    SDXL_CHANNELS,
    Kind,
    assert_same,
    checkpoint_of,
    on_meta,
    write_safetensors,
    write_torch,
)

INSTANTID = "instantid-ip-adapter"
PACKS = {"InstantID": "antelopev2", "FaceID Portrait unnorm": "buffalo_l"}  # InsightFace's
FEW = (8, 16, 8)  # widths of three layers, for files where only the layout matters


def small_file(family: str = "base", **sizes: int) -> AdapterFile:
    return random_adapter(family, FEW, 64, **sizes)


def bytes_in_half_precision(kind: Kind) -> int:
    file = kind.tensors(on_meta)
    return 2 * sum(tensor.numel() for tensor in (*file.image_proj.values(), *file.ip_adapter.values()))


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("ip-adapter_sd15", 2 * 22_319_616),  # the paper's 22 million
        ("ip-adapter-plus_sd15", 98_174_976),
        ("ip-adapter-full-face_sd15", 43_588_608),
        ("ip-adapter-plus_sdxl_vit-h", 847_497_728),
        ("ip-adapter-faceid_sd15", 96_709_632),
        ("ip-adapter-faceid-plusv2_sd15", 156_521_472),
        ("ip-adapter-faceid-portrait_sd15", 64_582_656),
        ("ip-adapter-faceid_sdxl", 1_071_015_936),
        ("ip-adapter-faceid-plusv2_sdxl", 1_487_415_296),
        ("ip-adapter-faceid-portrait_sdxl", 749_807_616),
    ],
)
def test_the_shapes_used_here_add_up_to_the_published_sizes(name, size):
    assert bytes_in_half_precision(KINDS[name]) == size


@pytest.mark.parametrize("name", [name for name in KINDS if name != INSTANTID])
def test_a_public_file_is_recognised_by_its_tensors(name):
    kind = KINDS[name]
    spec = identify(checkpoint_of(kind.tensors(on_meta), "renamed-by-its-user.safetensors"))
    assert (spec.family.title, spec.base, spec.projection.tokens) == (kind.family, kind.base, kind.tokens)
    assert kind.encoder in spec.encoder
    assert (spec.channels, spec.context_dim) == (kind.channels, kind.context)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("ip-adapter.bin", "InstantID"),
        ("sdxl/ip-adapter.safetensors", "InstantID"),
        ("InstantID/face.bin", "InstantID"),
        ("ip-adapter_instant_id_sdxl.bin", "InstantID"),
        ("ip-adapter-faceid-portrait_sdxl_unnorm.bin", "FaceID Portrait unnorm"),
        ("instant/face.bin", "FaceID Portrait unnorm"),
    ],
)
def test_only_a_name_tells_instantid_from_the_unnorm_portrait_and_both_act_alike(name, family):
    spec = identify(checkpoint_of(KINDS[INSTANTID].tensors(on_meta), name))
    other = identify(checkpoint_of(KINDS["ip-adapter-faceid-portrait_sdxl_unnorm"].tensors(on_meta), "a.bin"))
    assert spec.family.title == family and spec.family.face_pack == PACKS[family]
    assert replace(spec.projection, family=other.family) == other.projection
    kept = ("reads", "nothing", "projection", "raw_face", "layers")
    assert all(getattr(spec.family, one) == getattr(other.family, one) for one in kept)


def test_no_other_tensors_are_instantids_whatever_their_name():
    for name, kind in KINDS.items():
        found = identify(checkpoint_of(kind.tensors(on_meta), "ip-adapter.bin")).family.title
        assert (found == "InstantID") is (name in (INSTANTID, "ip-adapter-faceid-portrait_sdxl_unnorm"))


@pytest.mark.parametrize("name", KINDS)
def test_a_public_file_becomes_a_module_that_makes_its_tokens(name):
    kind = KINDS[name]
    checkpoint = checkpoint_of(kind.tensors(on_meta))
    spec = identify(checkpoint)
    adapter = load_adapter(checkpoint, spec)
    tokens = adapter.tokens(*random_read(spec, 2, 257, "meta"))
    width = kind.token_dim or kind.context
    assert tokens.shape == (1, 2 * (kind.tokens or 257), width)
    tokens = tokens[..., : kind.context]
    assert len(adapter.lora) == 16 * len(kind.channels) * bool(kind.lora_rank)
    assert [layer.to_k_ip(tokens).shape[-1] for layer in adapter.layers] == list(kind.channels)


@pytest.mark.parametrize(
    ("family", "feature", "unconditional"),
    [
        ("base", Feature.IMAGE_EMBEDS, Unconditional.ZERO_EMBEDDING),
        ("plus", Feature.PENULTIMATE, Unconditional.ZERO_PIXELS),
        ("full-face", Feature.PENULTIMATE, Unconditional.ZERO_PIXELS),
        ("FaceID", Feature.FACE, Unconditional.ZERO_EMBEDDING),
        ("FaceID Plus", Feature.PENULTIMATE, Unconditional.ZERO_PIXELS),
        ("FaceID Portrait", Feature.FACE, Unconditional.ZERO_EMBEDDING),
    ],
)
def test_a_family_states_what_it_reads_and_what_no_image_is(family, feature, unconditional):
    spec = identify(checkpoint_of(small_file(family)))
    assert (spec.family.title, spec.feature, spec.family.nothing) == (family, feature, unconditional)


@pytest.mark.parametrize("tokens", [1, 4, 16, 20, 257])
@pytest.mark.parametrize("family", ["base", "plus"])
def test_any_token_count_is_read_from_the_tensors(family, tokens):
    checkpoint = checkpoint_of(small_file(family, tokens=tokens))
    spec = identify(checkpoint)
    shape = (1, 96) if family == "base" else (1, 17, 80)
    assert spec.projection.tokens == tokens
    assert load_adapter(checkpoint, spec).tokens(torch.randn(shape)).shape == (1, tokens, 64)


@pytest.mark.parametrize("name", ["ip-adapter_sd15", "ip-adapter_sdxl"])
def test_layers_keep_the_order_of_their_numbers(name):
    kind = KINDS[name]
    assert len(kind.channels) == {"ip-adapter_sd15": 16, "ip-adapter_sdxl": 70}[name]
    shuffled = kind.tensors(on_meta)
    layers = dict(sorted(shuffled.ip_adapter.items()))  # as text: 1, 101, 103, 11 ...
    assert identify(Checkpoint("a", shuffled.image_proj, layers, {})).channels == kind.channels


PREFIXES = {
    "public": ("image_proj.", "ip_adapter."),
    "NoobAI": ("image_proj_model.", "adapter_modules."),
    "half converted": ("image_proj.", "adapter_modules."),
}


@pytest.mark.parametrize("family", ["base", "plus", "full-face"])
@pytest.mark.parametrize("layout", PREFIXES)
def test_flat_safetensors_are_read_under_every_published_prefix(layout, family, tmp_path):
    file = small_file(family)
    path = write_safetensors(tmp_path / "a.safetensors", file.flat(*PREFIXES[layout]))
    assert_same(read_checkpoint(path), file)


@pytest.mark.parametrize("family", ["base", "plus", "full-face"])
def test_nested_torch_files_are_read(family, tmp_path):
    file = small_file(family)
    assert_same(read_checkpoint(write_torch(tmp_path / "a.bin", file.nested)), file)


def test_torch_files_of_the_old_format_are_read(tmp_path):
    file = small_file()
    torch.save(file.nested, tmp_path / "a.bin", _use_new_zipfile_serialization=False)
    assert_same(read_checkpoint(tmp_path / "a.bin"), file)


def test_adapter_modules_at_the_top_of_a_torch_file_are_read(tmp_path):
    file = small_file()
    nested = {"image_proj": file.image_proj, "adapter_modules": file.ip_adapter}
    assert_same(read_checkpoint(write_torch(tmp_path / "a.bin", nested)), file)


def test_the_trainers_raw_file_is_read_with_the_unet_beside_it(tmp_path):
    file = small_file()
    unet = {
        "unet.conv_in.weight": torch.randn(4, 4, 3, 3),
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_ip.weight": torch.randn(8, 64),
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q.weight": torch.randn(8, 8),
    }
    path = write_torch(tmp_path / "pytorch_model.bin", unet | file.flat("image_proj_model.", "adapter_modules."))
    checkpoint = read_checkpoint(path)
    assert_same(checkpoint, file)
    assert identify(checkpoint).channels == FEW


ATTENTION = "unet.{}.attentions.0.transformer_blocks.0.attn{}.processor"
PLACES = ("down_blocks.1", "up_blocks.0", "mid_block")  # in the order of the files' numbers


def processors(file: AdapterFile) -> dict[str, torch.Tensor]:
    """The layers under the names of the trainer's UNet, from its end to its beginning, with the UNet's own."""
    named = {}
    for key, tensor in reversed(file.ip_adapter.items()):
        number, rest = key.split(".", 1)
        named[f"{ATTENTION.format(PLACES[int(number) // 2], int(number) % 2 + 1)}.{rest}"] = tensor
    return named | {"unet.conv_in.weight": torch.randn(4, 4, 3, 3), "unet.up_blocks.0.resnets.0.bias": torch.ones(8)}


@pytest.mark.parametrize("family", ["base", "plus", "full-face", "FaceID"])
@pytest.mark.parametrize("write", [write_safetensors, write_torch])
def test_the_trainers_checkpoint_is_read_where_only_the_unet_names_the_layers(write, family, tmp_path):
    file = small_file(family)
    flat = {f"image_proj_model.{key}": tensor for key, tensor in file.image_proj.items()}
    path = write(tmp_path / "model.safetensors", processors(file) | flat)
    assert_same(read_checkpoint(path), file)
    spec = read_adapter(path, "a")
    assert spec.channels == FEW and spec.lora_rank == identify(read_checkpoint(path, "a")).lora_rank
    assert bool(spec.lora_rank) == (family == "FaceID")


WRAPPINGS = {
    "ema": lambda flat: {"ema": flat},
    "state_dict": lambda flat: {"state_dict": flat, "epoch": 3},
    "module": lambda flat: {f"module.{key}": tensor for key, tensor in flat.items()},
    "_orig_mod": lambda flat: {f"_orig_mod.{key}": tensor for key, tensor in flat.items()},
    "inside": lambda flat: {key.replace(".", "._orig_mod.module.", 1): tensor for key, tensor in flat.items()},
    "all": lambda flat: {"state_dict": {"ema": {f"module._orig_mod.{k}": t for k, t in flat.items()}}, "step": 9},
}


@pytest.mark.parametrize("layout", [*PREFIXES, "processors"])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_weights_are_read_through_what_a_training_script_wraps_them_in(wrapping, layout, tmp_path):
    file = small_file("plus")
    flat = (
        file.flat(*PREFIXES[layout])
        if layout in PREFIXES
        else processors(file) | {f"image_proj_model.{key}": tensor for key, tensor in file.image_proj.items()}
    )
    path = write_torch(tmp_path / "a.bin", WRAPPINGS[wrapping](flat))
    assert_same(read_checkpoint(path), file)
    assert read_adapter(path, "a") == identify(read_checkpoint(path, "a"))


def test_weights_with_their_average_beside_them_are_refused_as_either_may_be_meant(tmp_path):
    flat = small_file().flat()
    with pytest.raises(IPAdapterError, match=r"holds .* twice"):
        read_checkpoint(write_torch(tmp_path / "a.bin", {"state_dict": flat, "ema": flat}))


def test_the_ending_of_a_name_does_not_matter(tmp_path):
    file = small_file()
    assert_same(read_checkpoint(write_safetensors(tmp_path / "a.bin", file.flat())), file)
    assert_same(read_checkpoint(write_torch(tmp_path / "b.safetensors", file.nested)), file)


def test_a_full_size_file_is_read_and_keeps_its_precision(tmp_path):
    file = KINDS["ip-adapter_sd15"].tensors(lambda shape: torch.full(shape, 0.5, dtype=torch.float16))
    checkpoint = read_checkpoint(write_safetensors(tmp_path / "ip-adapter_sd15.safetensors", file.flat()))
    spec = identify(checkpoint)
    adapter = load_adapter(checkpoint, spec)
    assert str(spec) == "base adapter for SD1.5, 16 layers, tokens: 4"
    assert sum(parameter.numel() for parameter in adapter.parameters()) == 22_319_616
    assert {parameter.dtype for parameter in adapter.parameters()} == {torch.float16}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_weights_may_be_stored_in_any_floating_precision(dtype, tmp_path):
    file = small_file("plus")
    stored = {key: tensor.to(dtype) for key, tensor in file.flat().items()}
    checkpoint = read_checkpoint(write_safetensors(tmp_path / "a.safetensors", stored))
    adapter = load_adapter(checkpoint, identify(checkpoint)).float()
    assert torch.isfinite(adapter.tokens(torch.randn(1, 17, 80))).all()


def test_the_public_layouts_have_the_layers_of_their_unets():
    assert (len(SD15_CHANNELS), len(SDXL_CHANNELS)) == (16, 70)
