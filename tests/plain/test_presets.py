"""Which file a preset takes, told from headers of full-size files of the public layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from pack.ipadapter.adapters.checkpoint import checkpoint_header, read_checkpoint
from pack.ipadapter.adapters.families import PLUS
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.adapters.spec import AdapterSpec
from pack.ipadapter.backbones.backbone import CrossAttentionLayer
from pack.ipadapter.backbones.bases import PUBLISHED, USUAL, BaseModel, base_model
from pack.ipadapter.encoders.published import DINOV2, ENCODERS, SIGLIP
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.files.headers import read_header
from pack.ipadapter.library.catalogue import Catalogue, ListedFile, Survey
from pack.ipadapter.library.description import describe_adapter
from pack.ipadapter.library.finding import ModelTarget, choose_adapter, choose_encoders, read_adapter, read_encoder
from pack.ipadapter.library.kinds import PRESETS, TITLES, preset_of, public_file, says
from pack.ipadapter.library.published import ADAPTERS, PublicAdapter, encoders_for
from pack.ipadapter.prompts.prompt import Feature

from tests.adapters import random_adapter
from tests.plain.headers import LAYOUTS, SIZES, dinov2_shapes, siglip_shapes, write_sparse
from tests.plain.public import KINDS, SD15_CHANNELS, SDXL_CHANNELS, Kind, write_safetensors, write_torch

MODELS = Path(__file__).resolve().parents[2] / "docs" / "models.md"
FILES = {  # published names -> a layout of tests/plain/public.py
    **{
        f"{name}.{'bin' if 'faceid' in name else 'safetensors'}": kind
        for name, kind in KINDS.items()
        if not name.startswith(("Kolors", "flux", "FLUX", "ai-toolkit", "SD3.5", "instantid", "Instant"))
        and name != "sd21"
    },
    "ip-adapter-faceid-portrait-v11_sd15.bin": KINDS["ip-adapter-faceid-portrait_sd15"],
    "ipa-faceid-plus.bin": KINDS["Kolors-IP-Adapter-FaceID-Plus"],
    "instantid-ip-adapter.bin": KINDS["instantid-ip-adapter"],
    "flux-ip-adapter.safetensors": KINDS["flux-ip-adapter"],
    "flux-ip-adapter-v2.safetensors": KINDS["flux-ip-adapter-v2"],
    "sd3.5-large-ip-adapter-instantx.bin": KINDS["SD3.5-Large-IP-Adapter"],
    "flux-ip-adapter-instantx.bin": KINDS["FLUX.1-dev-IP-Adapter"],
    "flux-ip-adapter-instantcharacter.bin": KINDS["InstantCharacter"],
    "ip-adapter_sd15_light_v11.bin": KINDS["ip-adapter_sd15_light"],
    "ip_adapter_plus_general.bin": KINDS["Kolors-IP-Adapter-Plus"],
}
BASES = {"SD1.5": (SD15_CHANNELS, 768), "SDXL": (SDXL_CHANNELS, 2048), "Kolors": (SDXL_CHANNELS, 2048)}
BASES["SD2.1"] = (SD15_CHANNELS, 1024)
FLUX_BASE = "FLUX.1"
FLUX_LAYERS = tuple(
    CrossAttentionLayer((part, number, 0), 3072, 4096, 24)
    for part, count in (("double", 19), ("single", 38))
    for number in range(count)
)
TRANSFORMERS = {  # base -> layers
    FLUX_BASE: FLUX_LAYERS,
    "SD3.5 Large": tuple(CrossAttentionLayer(("joint", number, 0), 2432, 2432, 38) for number in range(38)),
}
CASES = {
    ("PLUS (high strength)", "SD1.5"): "ip-adapter-plus_sd15.safetensors",
    ("PLUS (high strength)", "SDXL"): "ip-adapter-plus_sdxl_vit-h.safetensors",
    ("PLUS (high strength)", "Kolors"): "ip_adapter_plus_general.bin",
    ("PLUS FACE (portraits)", "SD1.5"): "ip-adapter-plus-face_sd15.safetensors",
    ("PLUS FACE (portraits)", "SDXL"): "ip-adapter-plus-face_sdxl_vit-h.safetensors",
    ("STANDARD (medium strength)", "SD1.5"): "ip-adapter_sd15.safetensors",
    ("STANDARD (medium strength)", "SDXL"): "ip-adapter_sdxl_vit-h.safetensors",
    ("LIGHT - SD1.5 only (low strength)", "SD1.5"): "ip-adapter_sd15_light_v11.bin",
    ("VIT-G (medium strength)", "SD1.5"): "ip-adapter_sd15_vit-G.safetensors",
    ("VIT-G (medium strength)", "SDXL"): "ip-adapter_sdxl.safetensors",
    ("FULL FACE - SD1.5 only (portraits stronger)", "SD1.5"): "ip-adapter-full-face_sd15.safetensors",
    ("Composition", "SD1.5"): "ip_plus_composition_sd15.safetensors",
    ("Composition", "SDXL"): "ip_plus_composition_sdxl.safetensors",
    ("Kolors", "Kolors"): "ip_adapter_plus_general.bin",
    ("FACEID", "SD1.5"): "ip-adapter-faceid_sd15.bin",
    ("FACEID", "SDXL"): "ip-adapter-faceid_sdxl.bin",
    ("FACEID PLUS - SD1.5 only", "SD1.5"): "ip-adapter-faceid-plus_sd15.bin",
    ("FACEID PLUS V2", "SD1.5"): "ip-adapter-faceid-plusv2_sd15.bin",
    ("FACEID PLUS V2", "SDXL"): "ip-adapter-faceid-plusv2_sdxl.bin",
    ("FACEID PLUS V2", "Kolors"): "ipa-faceid-plus.bin",
    ("FACEID PORTRAIT (style transfer)", "SD1.5"): "ip-adapter-faceid-portrait-v11_sd15.bin",
    ("FACEID PORTRAIT (style transfer)", "SDXL"): "ip-adapter-faceid-portrait_sdxl.bin",
    ("FACEID PORTRAIT UNNORM - SDXL only (strong)", "SDXL"): "ip-adapter-faceid-portrait_sdxl_unnorm.bin",
    ("SDXL InstantID", "SDXL"): "instantid-ip-adapter.bin",
    ("FLUX XLabs", "FLUX.1"): "flux-ip-adapter-v2.safetensors",
    ("FLUX InstantX", "FLUX.1"): "flux-ip-adapter-instantx.bin",
    ("FLUX InstantCharacter", "FLUX.1"): "flux-ip-adapter-instantcharacter.bin",
    ("SD3.5 InstantX", "SD3.5 Large"): "sd3.5-large-ip-adapter-instantx.bin",
}


def sparse_adapter(path: Path, kind: Kind) -> Path:
    """A full-size file that takes no room."""
    flat = {f"image_proj.{key}": shape for key, shape in kind.image_proj.items()}
    layers = kind.tensors(lambda shape: torch.empty(shape, device="meta")).ip_adapter
    return write_sparse(path, flat | {f"ip_adapter.{key}": tuple(tensor.shape) for key, tensor in layers.items()})


def target(base: str) -> ModelTarget:
    if base in TRANSFORMERS:
        return ModelTarget(TRANSFORMERS[base], BaseModel(base, base, published=True))
    channels, context = BASES[base]
    layers = tuple(CrossAttentionLayer(("input", i, 0), c, context, 8) for i, c in enumerate(channels))
    return ModelTarget(layers, base_model(base, context, len(layers), USUAL))


def listing(folder: Path) -> list[ListedFile]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    stats = [(path, path.stat()) for path in files]
    return [
        ListedFile(path.relative_to(folder).as_posix(), path, stat.st_size, stat.st_mtime_ns) for path, stat in stats
    ]


def survey(folder: Path, read=read_adapter) -> Survey:
    return Catalogue(read).survey(listing(folder), lambda done, of: None)


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """A folder with every published adapter, each in a sub-folder."""
    folder = tmp_path_factory.mktemp("ipadapter")
    for name, kind in FILES.items():
        sparse_adapter(folder / "mine" / name, kind)
    return folder


@pytest.fixture(scope="module")
def surveyed(library) -> Survey:
    return survey(library)


def test_a_full_size_file_is_told_from_its_header(surveyed):
    assert not surveyed.useless and len(surveyed.found) == len(FILES)
    for file, spec in surveyed.found:
        kind = FILES[file.path.name]
        assert (spec.family.title, spec.base, spec.projection.tokens) == (kind.family, kind.base, kind.tokens)
        assert spec.channels == kind.channels


@pytest.mark.parametrize(("title", "base"), CASES)
def test_a_preset_takes_its_published_file(title, base, surveyed):
    chosen = choose_adapter(preset_of(title), target(base), surveyed, ["here"])
    assert chosen.file.path.name == CASES[title, base] == public_file(preset_of(title), base).name
    assert chosen.remark == ""


NONE_PUBLISHED = [(p.title, base) for p in PRESETS for base in (*BASES, *TRANSFORMERS) if (p.title, base) not in CASES]


@pytest.mark.parametrize(("title", "base"), NONE_PUBLISHED)
def test_a_preset_that_no_file_is_published_for_says_so(title, base, surveyed):
    assert public_file(preset_of(title), base) is None
    other = f"no such adapter is published for {base}, so choose another preset"
    nothing = "no adapter is published for it, so use a model of SD1.5, SDXL, Kolors, FLUX.1 or SD3.5 Large"
    with pytest.raises(IPAdapterError, match=other if base in PUBLISHED else nothing):
        choose_adapter(preset_of(title), target(base), surveyed, ["here"])


def test_a_preset_nobody_knows_is_refused_with_those_there_are():
    with pytest.raises(IPAdapterError, match="'REGULAR' is not known: choose one of PLUS"):
        preset_of("REGULAR")


def test_the_titles_are_those_of_the_loaders_that_old_graphs_have():
    loaders = {
        "LIGHT - SD1.5 only (low strength)",
        "STANDARD (medium strength)",
        "VIT-G (medium strength)",
        "PLUS (high strength)",
        "PLUS FACE (portraits)",
        "FULL FACE - SD1.5 only (portraits stronger)",
        "FACEID",
        "FACEID PLUS - SD1.5 only",
        "FACEID PLUS V2",
        "FACEID PORTRAIT (style transfer)",
        "FACEID PORTRAIT UNNORM - SDXL only (strong)",
        "Composition",
        "Kolors",
    }
    ours = {"FLUX XLabs", "FLUX InstantX", "SD3.5 InstantX", "SDXL InstantID", "FLUX InstantCharacter"}
    assert set(TITLES) == loaders | ours and len(TITLES) == len(loaders | ours) and TITLES[0] == "PLUS (high strength)"
    assert {*TITLES[-len(ours) :]} == ours


NAMES = {  # user's names -> the published file they are copies of
    "model.safetensors": "ip-adapter-plus_sd15.safetensors",
    "x/Face/1.safetensors": "ip-adapter-plus-face_sd15.safetensors",
    "comp.composition.safetensors": "ip_plus_composition_sd15.safetensors",
    "a lightning one.safetensors": "ip-adapter_sd15.safetensors",
    "SD15LIGHT.safetensors": "ip-adapter_sd15_light.safetensors",
}


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("PLUS (high strength)", "model.safetensors"),
        ("PLUS FACE (portraits)", "x/Face/1.safetensors"),
        ("Composition", "comp.composition.safetensors"),
        ("STANDARD (medium strength)", "a lightning one.safetensors"),
        ("LIGHT - SD1.5 only (low strength)", "SD15LIGHT.safetensors"),
    ],
)
def test_files_may_have_other_names(title, name, tmp_path):
    for mine, published in NAMES.items():
        sparse_adapter(tmp_path / mine, FILES[published])
    assert choose_adapter(preset_of(title), target("SD1.5"), survey(tmp_path), []).file.name == name


@pytest.mark.parametrize(
    ("title", "published", "name"),
    [
        ("PLUS (high strength)", "ip-adapter-plus-face_sd15.safetensors", "face"),
        ("PLUS (high strength)", "ip_plus_composition_sd15.safetensors", "composition"),
        ("STANDARD (medium strength)", "ip-adapter_sd15_light.safetensors", "light"),
    ],
)
def test_a_file_whose_name_says_another_kind_is_the_last_choice_and_it_is_said(title, published, name, tmp_path):
    sparse_adapter(tmp_path / published, FILES[published])
    chosen = choose_adapter(preset_of(title), target("SD1.5"), survey(tmp_path), [])
    assert chosen.remark == f"'{published}' was taken although its name says '{name}': no other file fits."


@pytest.mark.parametrize(
    ("title", "word"),
    [("PLUS FACE (portraits)", "face"), ("Composition", "composition"), ("LIGHT - SD1.5 only (low strength)", "light")],
)
def test_a_kind_that_only_a_name_tells_is_not_taken_without_one(title, word, tmp_path):
    for name in ("plus", "base"):
        published = {"plus": "ip-adapter-plus_sd15.safetensors", "base": "ip-adapter_sd15.safetensors"}[name]
        sparse_adapter(tmp_path / f"{name}.safetensors", FILES[published])
    with pytest.raises(IPAdapterError) as error:
        choose_adapter(preset_of(title), target("SD1.5"), survey(tmp_path), [])
    assert f"does not say '{word}' in its name" in str(error.value)
    assert f"or give yours a name with '{word}' if it is one" in str(error.value)


def test_a_missing_adapter_is_named_with_its_folder_its_address_and_what_was_there(tmp_path):
    for name in ("ip-adapter_sd15.safetensors", "ip-adapter-plus_sdxl_vit-h.safetensors"):
        sparse_adapter(tmp_path / name, FILES[name])
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "ip-adapter_sd15.safetensors").read_bytes()[:5000])
    (tmp_path / "page.safetensors").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(IPAdapterError) as error:
        choose_adapter(preset_of("PLUS (high strength)"), target("SD1.5"), survey(tmp_path), ["/one", "/two"])
    assert str(error.value) == (
        "preset 'PLUS (high strength)' found no adapter for this SD1.5 model in models/ipadapter: put "
        "ip-adapter-plus_sd15.safetensors there, from "
        "https://huggingface.co/h94/IP-Adapter/blob/main/models/ip-adapter-plus_sd15.safetensors, and "
        "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors into models/clip_vision, from "
        "https://huggingface.co/h94/IP-Adapter/blob/main/models/image_encoder/model.safetensors. Searched: /one, /two; "
        "found: 'ip-adapter_sd15.safetensors' is a base adapter, 'ip-adapter-plus_sdxl_vit-h.safetensors' is for SDXL, "
        "'cut.safetensors' is damaged or cut short, 'page.safetensors' is a web page, not weights."
    )


def test_an_adapter_that_reads_two_encoders_is_named_with_both(tmp_path):
    with pytest.raises(IPAdapterError) as error:
        choose_adapter(preset_of("FLUX InstantCharacter"), target("FLUX.1"), survey(tmp_path), [])
    assert all(f"and {encoder.name} into models/clip_vision, from " in str(error.value) for encoder in (SIGLIP, DINOV2))


def test_a_model_of_nobody_elses_is_named_in_a_whole_sentence(tmp_path):
    layers = (CrossAttentionLayer(("input", 1, 0), 64, 128, 2),)
    unknown = ModelTarget(layers, base_model("a UNet with 128-wide text context", 128, 1, USUAL))
    with pytest.raises(IPAdapterError, match="found no adapter for this model, a UNet with 128-wide text context, in "):
        choose_adapter(preset_of("Composition"), unknown, survey(tmp_path), [])


def test_a_sentence_names_a_few_files_and_counts_the_rest(tmp_path):
    for number in range(9):
        sparse_adapter(tmp_path / f"{number}.safetensors", FILES["ip-adapter_sd15.safetensors"])
    with pytest.raises(IPAdapterError, match="'5.safetensors' is a base adapter, 3 more do not fit either"):
        choose_adapter(preset_of("Composition"), target("SD1.5"), survey(tmp_path), [])


def test_damaged_files_and_checkpoints_in_the_folder_are_passed_over_with_a_reason(tmp_path):
    faceid = {"image_proj.proj.0.weight": (1024, 512), "image_proj.proj.2.weight": (3072, 1024)}
    faceid |= {"image_proj.norm.weight": (768,), "ip_adapter.0.to_q_lora.down.weight": (128, 320)}
    write_sparse(tmp_path / "faceid.safetensors", faceid)
    write_sparse(tmp_path / "sd.safetensors", {"model.diffusion_model.out.2.weight": (4, 320, 3, 3)})
    write_torch(tmp_path / "list.bin", [1, 2])
    (tmp_path / "empty.bin").touch()
    assert dict(survey(tmp_path).useless) == {
        "empty.bin": "is empty (0 bytes)",
        "faceid.safetensors": "is incomplete",
        "list.bin": "holds a list, not named tensors",
        "sd.safetensors": "is a checkpoint",
    }


def test_a_file_that_mixes_two_adapters_is_passed_over(tmp_path):
    flat = random_adapter("plus", (8, 8), 32, dim=64, inner=64, depth=1).flat()
    flat["image_proj.proj_out.weight"] = torch.zeros(16, 64)
    write_safetensors(tmp_path / "mixed.safetensors", flat)
    flat = random_adapter("base", (8, 8), 32).flat()
    flat["ip_adapter.1.to_k_ip.weight"] = flat["ip_adapter.1.to_k_ip.weight"].to(torch.int8)
    write_safetensors(tmp_path / "whole.safetensors", flat)
    reasons = dict(survey(tmp_path).useless)
    assert reasons["mixed.safetensors"].startswith("image_proj.proj_out.weight is [16, 64]")
    assert reasons["whole.safetensors"].startswith("ip_adapter.1.to_k_ip.weight holds torch.int8")


@pytest.mark.parametrize("family", ["base", "plus", "full-face"])
@pytest.mark.parametrize("container", ["safetensors", "bin", "old bin", "trainer"])
def test_a_header_says_what_the_whole_file_says(family, container, tmp_path):
    file = random_adapter(family, (8, 16, 8), 32)
    path = tmp_path / f"a.{container.split()[-1]}"
    if container == "safetensors":
        write_safetensors(path, file.flat())
    elif container == "trainer":
        write_torch(path, file.flat("image_proj_model.", "adapter_modules."))
    else:
        torch.save(file.nested, path, _use_new_zipfile_serialization=container == "bin")
    assert identify(checkpoint_header(read_header(path, "a"))) == identify(read_checkpoint(path, "a"))


def test_a_file_cut_anywhere_is_passed_over(tmp_path):
    flat = random_adapter("base", (8, 8), 16, embed=8).flat()
    for name, write in {"a.safetensors": write_safetensors, "a.bin": write_torch}.items():
        whole = write(tmp_path / name, flat).read_bytes()
        for length in (*range(1, len(whole), max(1, len(whole) // 50)), len(whole) - 1):
            (tmp_path / name).write_bytes(whole[:length])
            with pytest.raises(IPAdapterError):
                read_adapter(tmp_path / name, name)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("short", SIZES)
def test_an_image_encoder_is_told_by_its_sizes_in_either_layout(short, layout, tmp_path):
    path = write_sparse(tmp_path / "model.safetensors", LAYOUTS[layout](*SIZES[short]))
    assert read_encoder(path, "model.safetensors").short == short


SIGLIP_SIZES = (1152, 1152, 729, 27)
WORDS = "text_model.embeddings.token_embedding.weight"


@pytest.mark.parametrize("text", [{}, {WORDS: (32000, 1152), "logit_bias": (1,)}], ids=["alone", "both towers"])
def test_a_siglip_is_told_by_its_sizes_and_its_head(text, tmp_path):
    path = write_sparse(tmp_path / "model.safetensors", {**siglip_shapes(*SIGLIP_SIZES), **text})
    assert read_encoder(path, "model.safetensors") is SIGLIP


def test_a_siglip_that_no_adapter_reads_is_passed_over(tmp_path):
    whole = siglip_shapes(*SIGLIP_SIZES)
    write_sparse(tmp_path / "bare.safetensors", {key: whole[key] for key in whole if ".head." not in key})
    write_sparse(tmp_path / "model.safetensors", {**whole, WORDS: (256000, 1152)})
    write_sparse(tmp_path / "siglip2-so400m-patch14-384.safetensors", whole)
    write_sparse(tmp_path / "base.safetensors", siglip_shapes(768, 768, 196, 12))
    found = survey(tmp_path, read_encoder)
    reasons = dict(found.useless)
    assert not found.found and "no projection" in reasons["bare.safetensors"]
    assert reasons["model.safetensors"] == reasons["siglip2-so400m-patch14-384.safetensors"]
    assert reasons["model.safetensors"] == "is a SigLIP 2, which no published adapter reads"
    assert reasons["base.safetensors"].startswith("is an image encoder of 12 layers, 768 wide, with 196 tokens")


def chosen_encoder(spec: AdapterSpec, folder: Path) -> str:
    ((file, encoder),) = choose_encoders(spec, survey(folder, read_encoder), [])
    assert (encoder,) == encoders_for(spec)
    return file.name


@pytest.mark.parametrize(("family", "sizes"), [("base", {"embed": 1152}), ("plus", {"hidden": 1152})])
def test_what_reads_siglip_finds_it_or_says_where_it_is(family, sizes, tmp_path):
    write_safetensors(tmp_path / "a.safetensors", random_adapter(family, (8,), 32, **sizes).flat())
    spec = read_adapter(tmp_path / "a.safetensors", "a.safetensors")
    with pytest.raises(IPAdapterError, match="needs the image encoder SigLIP, which no file in models/clip_vision is"):
        choose_encoders(spec, Survey((), ()), [])
    write_sparse(tmp_path / "any.safetensors", siglip_shapes(*SIGLIP_SIZES))
    assert chosen_encoder(spec, tmp_path) == "any.safetensors"
    assert f"SigLIP: {SIGLIP.name} in models/clip_vision, from {SIGLIP.address}" in describe_adapter(spec)
    assert "opened with Load SigLIP Vision" in describe_adapter(spec)


def test_what_reads_two_encoders_finds_both_or_says_which_is_missing(surveyed, tmp_path):
    spec = next(spec for file, spec in surveyed.found if "instantcharacter" in file.path.name)
    write_sparse(tmp_path / "any.safetensors", siglip_shapes(*SIGLIP_SIZES))
    with pytest.raises(IPAdapterError) as error:
        choose_encoders(spec, survey(tmp_path, read_encoder), ["/clip"])
    assert "needs the image encoder DINOv2-giant, which no file in models/clip_vision is" in str(error.value)
    assert f"is: get it from {DINOV2.address} and save it there as {DINOV2.name}. Searched: /clip; " in str(error.value)
    write_sparse(tmp_path / "other.safetensors", dinov2_shapes(40))
    write_sparse(tmp_path / "large.safetensors", dinov2_shapes(24))
    found = choose_encoders(spec, survey(tmp_path, read_encoder), [])
    assert [(file.name, encoder) for file, encoder in found] == [
        ("any.safetensors", SIGLIP),
        ("other.safetensors", DINOV2),
    ]
    said = describe_adapter(spec)
    assert f"SigLIP: {SIGLIP.name}" in said and f"DINOv2-giant: {DINOV2.name}" in said
    assert (
        "put together with Join Image Encoders" in said and "1024 image tokens 4096 wide, reads hidden states" in said
    )


def test_an_image_encoder_that_no_adapter_reads_is_passed_over(tmp_path):
    write_sparse(tmp_path / "b32.safetensors", LAYOUTS["transformers"](768, 512, 50, 12))
    write_sparse(tmp_path / "text.safetensors", {"text_model.embeddings.token_embedding.weight": (49408, 768)})
    shapes = LAYOUTS["transformers"](*SIZES["ViT-H"])
    del shapes["visual_projection.weight"]
    write_sparse(tmp_path / "bare.safetensors", shapes)
    reasons = dict(survey(tmp_path, read_encoder).useless)
    assert reasons["b32.safetensors"].startswith("is an image encoder of 12 layers, 768 wide, with 50 tokens and a 512")
    assert reasons["text.safetensors"] == "holds no CLIP image encoder"
    assert "no projection, which no published adapter reads" in reasons["bare.safetensors"]


@pytest.mark.parametrize(
    ("published", "short"),
    [
        ("ip-adapter_sd15.safetensors", "ViT-H"),
        ("ip-adapter-plus_sdxl_vit-h.safetensors", "ViT-H"),
        ("ip-adapter_sdxl.safetensors", "ViT-bigG"),
        ("ip_adapter_plus_general.bin", "ViT-L-336"),
    ],
)
def test_the_encoder_an_adapter_needs_is_taken_and_none_of_another_size(published, short, surveyed, tmp_path):
    spec = next(spec for file, spec in surveyed.found if file.path.name == published)
    for name, size in SIZES.items():
        write_sparse(tmp_path / f"any {name}.safetensors", LAYOUTS["transformers"](*size))
    assert chosen_encoder(spec, tmp_path) == f"any {short}.safetensors"
    (tmp_path / f"any {short}.safetensors").unlink()
    with pytest.raises(IPAdapterError) as error:
        choose_encoders(spec, survey(tmp_path, read_encoder), ["/clip"])
    (encoder,) = encoders_for(spec)
    missing = f"needs the image encoder {short}, which no file in models/clip_vision is: get it from {encoder.address}"
    assert f"{missing} and save it there as {encoder.name}. Searched: /clip; found: " in str(error.value)
    assert "'any ViT-L.safetensors' is ViT-L" in str(error.value)


def test_of_two_copies_of_an_encoder_the_published_name_and_then_the_smaller_is_taken(surveyed, tmp_path):
    spec = next(spec for file, spec in surveyed.found if file.path.name == "ip-adapter_sd15.safetensors")
    large = LAYOUTS["open_clip"](*SIZES["ViT-H"])
    write_sparse(tmp_path / "a.safetensors", large)
    write_sparse(tmp_path / "b.safetensors", LAYOUTS["transformers"](*SIZES["ViT-H"]))
    assert chosen_encoder(spec, tmp_path) == "b.safetensors"
    write_sparse(tmp_path / "x" / "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", large)
    assert chosen_encoder(spec, tmp_path).startswith("x/CLIP")


def test_an_adapter_for_an_encoder_of_no_published_width_is_told_apart(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", random_adapter("base", (8,), 32, embed=96).flat())
    with pytest.raises(IPAdapterError, match="reads image embedding 96 wide, which no published image encoder makes"):
        choose_encoders(read_adapter(tmp_path / "a.safetensors", "a.safetensors"), Survey((), ()), [])


def test_a_file_that_stays_as_it_is_is_not_opened_again(tmp_path):
    path = write_safetensors(tmp_path / "a.safetensors", random_adapter("base", (8,), 32).flat())
    opened = []
    catalogue = Catalogue(lambda path, name: opened.append(name) or read_adapter(path, name))
    first = catalogue.survey(listing(tmp_path), lambda done, of: None)
    again = catalogue.survey(listing(tmp_path), lambda done, of: None)
    assert first == again and opened == ["a.safetensors"]
    write_safetensors(path, random_adapter("plus", (8,), 32).flat())
    changed = catalogue.survey(listing(tmp_path), lambda done, of: None)
    assert changed.found[0][1].family is PLUS and opened == ["a.safetensors"] * 2
    path.unlink()
    assert catalogue.survey(listing(tmp_path), lambda done, of: None) == Survey((), ()) and not catalogue.known


def test_a_catalogue_keeps_no_tensor(tmp_path):
    write_safetensors(tmp_path / "a.safetensors", random_adapter("base", (8,), 32).flat())
    catalogue = Catalogue(read_adapter)
    catalogue.survey(listing(tmp_path), lambda done, of: None)
    assert "tensor(" not in repr(catalogue.known)


def test_a_word_is_looked_for_at_the_end_of_the_names_words():
    assert says("ip-adapter-plusface_sd15.bin", "face") and says("Face/x.safetensors", "face")
    assert not says("facets.bin", "face") and not says("lightning.bin", "light") and not says("a.light", "light")


def reads(adapter: PublicAdapter) -> str:
    """What an adapter reads, as the page on models says it."""
    encoder = [adapter.encoder.short] if adapter.encoder else []
    encoder += [DINOV2.short] * (Feature.CHARACTER in adapter.family.reads)
    return " and ".join(encoder + ["face"] * (Feature.FACE in adapter.family.reads))


def test_the_tables_of_the_page_on_models_and_of_the_code_are_one():
    text = MODELS.read_text(encoding="utf-8")
    for public in (*ADAPTERS, *ENCODERS):
        row = next(line for line in text.splitlines() if line.startswith(f"| {public.name} |"))
        assert f"({public.address})" in row
        short = public.short if public in ENCODERS else reads(public)
        assert f"| {short} |" in row or f"| {short}, for measuring |" in row
    rows = [line for line in text.splitlines() if line.startswith("| ") and "huggingface.co" in line]
    assert len(rows) == len(ADAPTERS) + len(ENCODERS)
    assert {adapter.name for adapter in ADAPTERS} == set(FILES)
