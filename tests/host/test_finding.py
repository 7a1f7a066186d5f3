"""Finding files in a user's folders through the host: which are taken, what is remembered, what is refused."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path

import comfy.clip_vision
import comfy.sd
import comfy.utils
import folder_paths
import pytest
import torch
from comfy.clip_model import CLIPVisionModelProjection
from comfy.model_patcher import ModelPatcher
from comfy.ops import manual_cast
from pack.ipadapter.adapters.provenance import Provenance
from pack.ipadapter.adapters.writing import write_adapter
from pack.ipadapter.encoders.image_tower import build_tower, read_architecture
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.files.tensors import shapes
from pack.ipadapter.host.adapters.adapter import load_adapter_file, open_adapter
from pack.ipadapter.host.adapters.describing import describe_loaded
from pack.ipadapter.host.adapters.lora import add_lora, load_lora
from pack.ipadapter.host.files import WEIGHT_ENDINGS
from pack.ipadapter.host.library.finding import Finder, LateProgress, find_files, folders_fingerprint, load_found
from pack.ipadapter.library.beginning import NONE_YET
from pack.nodes.faces import LoadInsightFace
from pack.nodes.find import DescribeIPAdapter, FindIPAdapter
from pack.nodes.load import LoadIPAdapter, LoadOpenCLIPVision, LoadSigLIPVision

from tests.adapters import AdapterFile
from tests.faces import write_pack
from tests.plain.headers import LAYOUTS, SIZES, write_sparse
from tests.plain.public import Shapes, write_safetensors, write_torch
from tests.refusals import refusal
from tests.small import SD15, SDXL, make_pair
from tests.world import adapter_file, host_adapter, lora_file

PLUS, FACE, STANDARD = "PLUS (high strength)", "PLUS FACE (portraits)", "STANDARD (medium strength)"
FACE_ID, FACE_ID_PLUS, FACE_ID_V2 = "FACEID", "FACEID PLUS - SD1.5 only", "FACEID PLUS V2"
FOLDERS = ("ipadapter", "trained", "clip_vision", "loras", "insightface")
SIZES_OF = {
    "base": {"embed": 1024},
    "plus": {"hidden": 1280},
    "full-face": {"hidden": 1280},
    "FaceID Plus": {"hidden": 1280},
}


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch) -> Path:
    """Folders of the user's own: two for adapters, one for encoders."""
    for name in FOLDERS:
        (tmp_path / name).mkdir()
    adapters = [str(tmp_path / "ipadapter"), str(tmp_path / "trained")]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "ipadapter", (adapters, set(WEIGHT_ENDINGS)))
    for name in ("clip_vision", "loras", "insightface"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, name, ([str(tmp_path / name)], set(WEIGHT_ENDINGS)))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return tmp_path


def put(models: Path, name: str, layout=SD15, family: str = "plus", seed: int = 1) -> Path:
    """An adapter of a published encoder's width, in the user's folder."""
    sizes = SIZES_OF.get(family, {})
    path = models / name
    path.parent.mkdir(parents=True, exist_ok=True)
    file = adapter_file(layout, family, seed, **sizes)
    return write_safetensors(path, file.flat()) if path.suffix == ".safetensors" else write_torch(path, file.nested)


def put_encoder(models: Path, name: str = "model.safetensors", short: str = "ViT-H") -> Path:
    return write_sparse(models / "clip_vision" / name, LAYOUTS["transformers"](*SIZES[short]))


def model(layout=SD15):
    return make_pair(layout).host


def test_each_model_gets_the_adapter_for_its_base(models):
    put(models, "ipadapter/a/one.safetensors", SD15)
    put(models, "ipadapter/b/two.bin", SDXL)
    finder = Finder()
    assert Path(finder.find_adapter(model(SD15), PLUS).file.name) == Path("a/one.safetensors")
    assert Path(finder.find_adapter(model(SDXL), PLUS).file.name) == Path("b/two.bin")


def test_trained_adapters_are_found_where_they_are_saved(models):
    put(models, "trained/ip-adapter_00001_.safetensors", family="base")
    assert Finder().find_adapter(model(), STANDARD).file.path.parent.name == "trained"


@pytest.mark.parametrize(
    ("preset", "name", "family"),
    [
        (PLUS, "x.safetensors", "plus"),
        (FACE, "plus-face.safetensors", "plus"),
        (STANDARD, "x.safetensors", "base"),
        ("LIGHT - SD1.5 only (low strength)", "light.safetensors", "base"),
        ("FULL FACE - SD1.5 only (portraits stronger)", "x.safetensors", "full-face"),
        ("Composition", "composition.safetensors", "plus"),
    ],
)
def test_a_preset_finds_its_kind_among_others(preset, name, family, models):
    for other in {"base", "plus", "full-face"} - {family}:
        put(models, f"ipadapter/{other}.safetensors", family=other)
    put(models, f"ipadapter/mine/{name}", family=family)
    assert Path(Finder().find_adapter(model(), preset).file.name) == Path("mine", name)


def test_a_second_search_opens_no_file(models):
    path = put(models, "ipadapter/a.safetensors")
    encoder = put_encoder(models)
    finder = Finder()
    first = finder.find_adapter(model(), PLUS)
    assert [file.name for file, _ in finder.find_encoders(first.spec)] == ["model.safetensors"]
    for file in (path, encoder):  # of the same size and time, but nothing that could be read
        status = file.stat()
        with file.open("rb+") as stream:
            stream.write(b"\0" * 4096)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert finder.find_adapter(model(), PLUS) == first
    assert [file.name for file, _ in finder.find_encoders(first.spec)] == ["model.safetensors"]
    with pytest.raises(IPAdapterError, match="'a.safetensors' is not a readable safetensors"):
        Finder().find_adapter(model(), PLUS)


def test_a_changed_file_is_read_again(models):
    path = put(models, "ipadapter/a.safetensors", family="base")
    finder = Finder()
    with pytest.raises(IPAdapterError, match="'a.safetensors' is a base adapter"):
        finder.find_adapter(model(), PLUS)
    put(models, "ipadapter/a.safetensors", family="plus")
    os.utime(path, ns=(1, 1))
    assert finder.find_adapter(model(), PLUS).file.name == "a.safetensors"


def test_damaged_files_never_break_the_search(models):
    whole = put(models, "ipadapter/good.safetensors").read_bytes()
    for name, content in {
        "cut.safetensors": whole[: len(whole) // 2],
        "empty.safetensors": b"",
        "page.bin": b"<html>",
        "noise.ckpt": bytes(range(256)) * 8,
        "header.safetensors": (1 << 60).to_bytes(8, "little") + b"{}",
        "pickle.pt": b"cos\nsystem\n(S'true'\ntR.",
    }.items():
        (models / "ipadapter" / name).write_bytes(content)
    (models / "ipadapter" / "gone.safetensors").symlink_to(models / "nowhere")
    (models / "ipadapter" / "folder.safetensors").mkdir()
    finder = Finder()
    assert finder.find_adapter(model(), PLUS).file.name == "good.safetensors"
    text = refusal(finder.find_adapter, model(), "Composition")
    for name in ("cut", "empty", "header", "noise", "page"):
        assert f"'{name}." in text


def test_an_empty_folder_gives_the_name_the_folder_and_the_address_of_the_file(models):
    text = refusal(Finder().find_adapter, model(SDXL), FACE)
    assert text.endswith(f" Searched: {models / 'ipadapter'}, {models / 'trained'}; found: no files.")
    assert "put ip-adapter-plus-face_sdxl_vit-h.safetensors there, from https://huggingface.co/h94/IP-Adapter/" in text


def test_a_missing_encoder_is_said_before_anything_is_loaded(models):
    put(models, "ipadapter/a.safetensors")
    put_encoder(models, "clip.safetensors", "ViT-L")
    text = refusal(load_found, Finder(), model(), PLUS)
    assert "'a.safetensors' needs the image encoder ViT-H" in text
    assert text.endswith(f" Searched: {models / 'clip_vision'}; found: 'clip.safetensors' is ViT-L.")


def test_a_model_without_a_unet_is_refused_by_its_class(models):
    whole = torch.nn.Module()
    whole.diffusion_model = torch.nn.Linear(2, 2)
    transformer = ModelPatcher(whole, torch.device("cpu"), torch.device("cpu"))
    with pytest.raises(IPAdapterError, match=r"this model \(Linear\) has no UNet cross-attention or"):
        Finder().find_adapter(transformer, PLUS)


def test_the_node_runs_again_when_a_file_comes_goes_or_changes(models):
    marks = [FindIPAdapter.fingerprint_inputs(preset=PLUS)]
    path = put(models, "ipadapter/a.safetensors")
    marks.append(FindIPAdapter.fingerprint_inputs(preset=PLUS))
    os.utime(path, ns=(1, 1))
    marks.append(FindIPAdapter.fingerprint_inputs(preset=PLUS))
    put_encoder(models)
    marks.append(FindIPAdapter.fingerprint_inputs(preset=PLUS))
    assert len(set(marks)) == 4 and folders_fingerprint("ipadapter", "clip_vision") == marks[-1]
    path.unlink()
    assert FindIPAdapter.fingerprint_inputs(preset=PLUS) != marks[-1]


LOADERS = {
    "adapter": (LoadIPAdapter, "ip_adapter_name", "ipadapter/a.safetensors"),
    "encoder": (LoadOpenCLIPVision, "clip_name", "clip_vision/a.safetensors"),
    "SigLIP": (LoadSigLIPVision, "clip_name", "clip_vision/a.safetensors"),
    "faces": (LoadInsightFace, "model_name", "insightface/models/a/recognition.onnx"),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_a_loader_runs_again_when_its_file_is_replaced_under_its_name(kind, models):
    node, given, name = LOADERS[kind]
    path = models / name
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = "a" if kind == "faces" else path.name
    marks = [node.fingerprint_inputs(**{given: listed})]
    for content, changed in ((b"one", 1), (b"two", 2), (b"three", 2)):
        path.write_bytes(content)
        os.utime(path, ns=(changed, changed))
        marks.append(node.fingerprint_inputs(**{given: listed}))
    assert len(set(marks)) == 4
    (path.parent / "another.safetensors").write_bytes(b"another")
    assert (node.fingerprint_inputs(**{given: listed}) == marks[-1]) is (kind != "faces")
    assert node.fingerprint_inputs() == "", "a name that comes through a link is not known yet"


def test_progress_is_shown_only_for_what_takes_long():
    told: list[tuple[int, int]] = []
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, node_id=None: told.append((value, total)))
    try:
        progress = LateProgress()
        progress(1, 3)
        progress.began -= 3
        progress(2, 3)
    finally:
        comfy.utils.set_progress_bar_global_hook(None)
    assert told == [(2, 3)]


def host_layout() -> Shapes:
    """Every tensor of the host's smallest encoder that a published adapter reads."""
    folder = Path(comfy.clip_vision.__file__).parent
    config = json.loads((folder / "clip_vision_config_vitl_336.json").read_text(encoding="utf-8"))
    return shapes(CLIPVisionModelProjection(config, torch.float16, "meta", manual_cast).state_dict())


def open_clip_layout() -> Shapes:
    """Every tensor of the same encoder as open_clip has it."""
    tower = shapes(build_tower(read_architecture("ViT-L-14-336")).state_dict())
    return {f"visual.{key}": shape for key, shape in tower.items()}


@pytest.mark.parametrize("layout", [host_layout, open_clip_layout])
def test_the_node_gives_the_model_the_adapter_and_its_encoder(layout, models, caplog):
    write_sparse(models / "clip_vision" / "large.safetensors", layout())
    file = adapter_file(SD15, "plus", 4, hidden=1024)
    write_safetensors(models / "ipadapter" / "a.safetensors", file.flat())
    given = model()
    node = FindIPAdapter.PREPARE_CLASS_CLONE({"hidden_inputs": {}})
    passed, adapter, clip_vision, insightface = node.execute(given, PLUS).args
    assert passed is given and adapter.clip_vision is clip_vision and insightface is None
    assert isinstance(clip_vision, comfy.clip_vision.ClipVisionModel) and clip_vision.image_size == 336
    assert torch.equal(adapter.patcher.model.state_dict()["image_proj.latents"], file.image_proj["latents"])
    assert "missing clip vision" not in caplog.text


def test_an_adapter_is_described_with_the_model_it_fits_and_the_one_it_does_not(models):
    path = put(models, "ipadapter/a.safetensors", family="base")
    adapter = load_adapter_file(path, "a.safetensors")
    text = describe_loaded(adapter, model(SD15))
    assert "This model: fits. It is SD1.5, and all of its 16 layers take part" in text
    assert "Stored as: float32, " in text
    other = describe_loaded(adapter, model(SDXL))
    assert "This model: does not fit. 'a.safetensors' is for SD1.5 (16 layers, 768-wide context)" in other
    assert "but the model is SDXL (70 layers, 2048-wide context)" in other
    assert "This model" not in describe_loaded(adapter)


def test_what_a_trained_file_says_of_itself_is_described(models):
    adapter = host_adapter(adapter_file(SD15, "base"))
    path = write_adapter(models / "b.safetensors", adapter.patcher.model, Provenance("ViT-X", 9, "CC0"), torch.float16)
    out = DescribeIPAdapter.execute(load_adapter_file(path, "b.safetensors"))
    assert "Made from: 9 training steps, encoder ViT-X, licence CC0" in out.args[0]
    assert "Stored as: float16" in out.args[0]
    assert out.ui["text"] == (out.args[0],)


# FaceID


def put_pack(models: Path, name: str = "buffalo_l") -> None:
    write_pack(models / "insightface" / "models" / name)


def put_stripped(models: Path, name: str, family: str = "FaceID") -> AdapterFile:
    """A FaceID adapter whose LoRA was left out; gives it whole."""
    file = adapter_file(SD15, family, **SIZES_OF.get(family, {}))
    bare = replace(file, ip_adapter={key: tensor for key, tensor in file.ip_adapter.items() if "lora" not in key})
    write_safetensors(models / "ipadapter" / name, bare.flat())
    return file


@pytest.mark.parametrize(
    ("preset", "name", "family"),
    [
        (FACE_ID, "x.safetensors", "FaceID"),
        (FACE_ID_PLUS, "plus.safetensors", "FaceID Plus"),
        (FACE_ID_V2, "plusv2.safetensors", "FaceID Plus"),
        ("FACEID PORTRAIT (style transfer)", "x.safetensors", "FaceID Portrait"),
    ],
)
def test_a_face_preset_finds_its_kind_among_others(preset, name, family, models):
    for other, file in {"FaceID": "a", "FaceID Portrait": "b", "plus": "face"}.items():
        if other != family:
            put(models, f"ipadapter/{file}.safetensors", family=other)
    for version in {"plus.safetensors", "plusv2.safetensors"} - {name}:
        put(models, f"ipadapter/other/{version}", family="FaceID Plus")
    put(models, f"ipadapter/mine/{name}", family=family)
    assert Path(Finder().find_adapter(model(), preset).file.name) == Path("mine", name)


def test_an_adapter_of_faces_alone_needs_no_encoder_and_brings_its_lora(models):
    put(models, "ipadapter/faceid.bin", family="FaceID")
    put_pack(models)
    given = model()
    found = load_found(Finder(), given, FACE_ID)
    assert found.model is given and found.adapter.clip_vision is None
    assert found.adapter.insightface.models.keys() == {"detection", "recognition"}
    assert found.text.splitlines() == ["faceid.bin", "with the LoRA in the adapter's file", "InsightFace buffalo_l"]


def test_a_missing_pack_is_said_before_anything_is_loaded(models):
    put(models, "ipadapter/faceid.bin", family="FaceID")
    with pytest.raises(
        IPAdapterError, match="InsightFace model pack 'buffalo_l' is not there .*unpack https://github.com/"
    ):
        load_found(Finder(), model(), FACE_ID)


@pytest.mark.parametrize(
    ("family", "preset", "name", "lora"),
    [
        ("FaceID", FACE_ID, "x.safetensors", "ip-adapter-faceid_sd15_lora.safetensors"),
        ("FaceID Plus", FACE_ID_PLUS, "plus.safetensors", "ip-adapter-faceid-plus_sd15_lora.safetensors"),
        ("FaceID Plus", FACE_ID_V2, "v2.safetensors", "mine/ip-adapter-faceid-plusv2_sd15_lora.safetensors"),
    ],
)
def test_a_lora_that_the_adapter_has_lost_is_found_and_put_on_the_model(family, preset, name, lora, models):
    file = put_stripped(models, name, family)
    put_pack(models)
    put_encoder(models)
    for other in (
        "ip-adapter-faceid_sd15_lora",
        "ip-adapter-faceid-plus_sd15_lora",
        "ip-adapter-faceid-plusv2_sd15_lora",
    ):
        if Path(lora).stem != other:
            write_safetensors(models / "loras" / f"{other}.safetensors", lora_file(file))
    (models / "loras" / lora).parent.mkdir(exist_ok=True)
    write_safetensors(models / "loras" / lora, lora_file(file))
    files = find_files(Finder(), model(), preset)
    assert Path(files.lora.name) == Path(lora)
    changed = load_lora(model(), models / "loras" / lora, lora, 0.6)
    assert changed.patches.keys() == add_lora(model(), host_adapter(file), 1.0).patches.keys()


WAYS = {  # of a FaceID adapter's LoRA onto a model
    "the user's Load LoRA": lambda on, path, file: comfy.sd.load_lora_for_models(on, None, lora_file(file), 1.0, 0)[0],
    "Find IP-Adapter": lambda on, path, file: load_lora(on, path, path.name, 1.0),
    "Apply IP-Adapter": lambda on, path, file: add_lora(on, host_adapter(file), 1.0),
}


@pytest.mark.parametrize("first", WAYS)
@pytest.mark.parametrize("then", ["Find IP-Adapter", "Apply IP-Adapter"])
def test_a_lora_goes_onto_a_model_once_whichever_ways_it_comes(first, then, models):
    file = adapter_file(SD15, "FaceID")
    path = write_safetensors(models / "loras" / "x.safetensors", lora_file(file))
    once = WAYS[first](model(), path, file)
    twice = WAYS[then](once, path, file)
    assert twice.patches.keys() == once.patches.keys()
    assert {len(patches) for patches in twice.patches.values()} == {1}
    other = write_safetensors(models / "loras" / "y.safetensors", lora_file(adapter_file(SD15, "FaceID", seed=2)))
    assert {len(patches) for patches in WAYS["Find IP-Adapter"](twice, other, file).patches.values()} == {2}


def test_a_lora_that_is_nowhere_is_named_with_its_folder_and_its_address(models):
    put_stripped(models, "x.safetensors")
    write_safetensors(models / "loras" / "style.safetensors", {"lora_unet_proj_in.lora_up.weight": torch.zeros(4, 4)})
    text = refusal(find_files, Finder(), model(), FACE_ID)
    assert f" Searched: {models / 'loras'}; found: 'style.safetensors' is no LoRA of attentions alone" in text
    address = "https://huggingface.co/h94/IP-Adapter-FaceID/blob/main/ip-adapter-faceid_sd15_lora.safetensors"
    assert f"put ip-adapter-faceid_sd15_lora.safetensors there, from {address}, or use ip-adapter-faceid_sd15" in text


def test_a_lora_for_another_model_is_refused(models):
    path = write_safetensors(models / "loras" / "x.safetensors", {"nothing.lora_up.weight": torch.zeros(4, 4)})
    with pytest.raises(IPAdapterError, match="the LoRA 'x.safetensors' changes nothing in this model"):
        load_lora(model(), path, path.name, 1.0)


def test_an_adapter_without_its_lora_is_described_as_such_and_said_when_it_is_loaded(models, caplog):
    put_stripped(models, "x.safetensors")
    with caplog.at_level(logging.WARNING):
        adapter = open_adapter("x.safetensors")
    assert "'x.safetensors' was trained with a LoRA that its file does not hold" in caplog.text
    assert "LoRA: not in this file: take the adapter from Find IP-Adapter" in describe_loaded(adapter)


def test_a_machine_without_any_adapter_is_told_what_to_get_before_a_run(models):
    words = ("ip-adapter_sd15.safetensors into models/ipadapter", "into models/clip_vision", "https://huggingface.co/")
    assert [word for word in words if word not in FindIPAdapter.validate_inputs(PLUS)] == []
    assert [word for word in words if word not in LoadIPAdapter.validate_inputs(NONE_YET)] == []
    put(models, "ipadapter/mine.safetensors")
    assert FindIPAdapter.validate_inputs(PLUS) is True
    assert "choose one of" in FindIPAdapter.validate_inputs("none")


def test_a_fresh_loader_names_the_adapter_for_pictures(models):
    for name in ("faceid.safetensors", "ip-adapter_sd15.safetensors"):
        put(models, f"ipadapter/{name}")
    (menu,) = LoadIPAdapter.define_schema().inputs
    assert (menu.options, menu.default) == (["faceid.safetensors", "ip-adapter_sd15.safetensors"], menu.options[1])
