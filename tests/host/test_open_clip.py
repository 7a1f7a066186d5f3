"""open_clip's own models, small and random, as the host's CLIP_VISION."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path

import open_clip
import pytest
import torch
from pack.ipadapter.encoders.image_tower import (
    Architecture,
    OpenCLIPTower,
    build_tower,
    detect_architecture,
    load_tower,
    read_architecture,
)
from pack.ipadapter.host.encoders.encoder import encode_image_prompt, usual_fit
from pack.ipadapter.host.encoders.open_clip import AUTO, OpenCLIPVision, architectures, load_encoder_file
from pack.ipadapter.images.pixels import Fit
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.refusals import file_refusal

ROOT = Path(__file__).resolve().parents[2]

TINY_TEXT = {"context_length": 8, "vocab_size": 16, "width": 64, "heads": 2, "layers": 1}

# One of every kind of tower: open_clip's own ViT and ResNet, and through timm a ViT with a class token and rotary
# positions, one with neither (SigLIP), a hybrid and a convolutional one.
NAMES = ["ViT-S-32-alt", "RN50", "PE-Core-T-16-384", "ViT-B-32-SigLIP2-256", "MobileCLIP2-S0", "convnext_tiny"]
PLAIN, ROTARY = NAMES[0], NAMES[2]


def in_one_process(name: str):
    """A kind whose tests stay together: making a tower takes seconds."""
    return pytest.param(name, marks=pytest.mark.xdist_group(f"tower {name}"))


@pytest.fixture(scope="module", params=map(in_one_process, NAMES))
def name(request) -> str:
    """Each kind in turn, all its tests before the next one's."""
    return request.param


@lru_cache(maxsize=2)
def model(name: str) -> nn.Module:
    """open_clip's own model with the architecture's image tower and a tiny text tower, random weights."""
    config = open_clip.get_model_config(name)
    torch.manual_seed(4)
    made = open_clip.CustomTextCLIP(
        config["embed_dim"], config["vision_cfg"], TINY_TEXT, config.get("quick_gelu", False)
    )
    for key, parameter in made.visual.named_parameters():
        if parameter.ndim == 1:  # scales and biases that start at 0 or 1 would hide mistakes
            parameter.add_(torch.randn_like(parameter) * 0.05)
        parameter.copy_(parameter.half())
        assert torch.isfinite(parameter).all(), key
    return made.eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("clip_vision")


def saved(folder: Path, name: str, ending: str = "safetensors") -> Path:
    """The whole model, text tower included, as open_clip's checkpoints are."""
    path = folder / f"{name}.{ending}"
    if not path.exists():
        state = {key: half(tensor).contiguous().clone() for key, tensor in model(name).state_dict().items()}
        save_file(state, path) if ending == "safetensors" else torch.save(state, path)
    return path


def half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


@lru_cache(maxsize=2)
def loaded(path: Path) -> OpenCLIPVision:
    return load_encoder_file(path, path.name)


def picture(images: int) -> Tensor:
    return torch.rand(images, 80, 60, 3, generator=torch.Generator().manual_seed(2))


def pixels(name: str) -> Tensor:
    size = read_architecture(name).image_size
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(3))


def second_last(visual: nn.Module) -> nn.Module:
    """The block, or the stage of a convolutional tower, before the last."""
    trunk = getattr(visual, "trunk", visual)
    for blocks in ("blocks", "stages"):
        if hasattr(trunk, blocks):
            return getattr(trunk, blocks)[-2]
    return visual.transformer.resblocks[-2] if hasattr(visual, "transformer") else visual.layer3


def as_tokens(states: Tensor) -> Tensor:
    """(N, D, h, w) to (N, h · w, D); tokens stay as they are."""
    return states.flatten(2).transpose(1, 2) if states.ndim == 4 else states


def close(ours: Tensor, theirs: Tensor) -> bool:
    """Equal but for the order of sums."""
    assert ours.shape == theirs.shape
    return bool((ours - theirs).abs().max() <= 1e-5 * max(1, theirs.abs().max().item()))


def test_a_file_is_recognised_by_its_tensors(name, folder):
    found = loaded(saved(folder, name))
    assert found.config["architecture"] == name
    assert found.image_size == read_architecture(name).image_size


def test_the_embedding_equals_open_clips(name, folder):
    found = loaded(saved(folder, name))
    ours = found.model(pixel_values=pixels(name), intermediate_output=-2)
    theirs = model(name).encode_image(pixels(name), normalize=False)
    assert theirs.abs().max() > 1e-3
    assert close(ours.image_embeds, theirs)


def test_the_penultimate_states_are_the_second_last_blocks_output(name, folder):
    seen: list[Tensor] = []
    hook = second_last(model(name).visual).register_forward_hook(lambda module, args, out: seen.append(out))
    model(name).encode_image(pixels(name))
    hook.remove()
    found = loaded(saved(folder, name))
    ours = found.model(pixel_values=pixels(name), intermediate_output=-2)
    assert close(ours.penultimate, as_tokens(seen[0]))
    assert ours.last_hidden_state.shape[0] == 1 and ours.last_hidden_state.ndim == 3


def test_the_class_token_comes_first(folder):
    """Before the blocks it is the same for every picture, which no patch is."""
    visual = loaded(saved(folder, PLAIN)).model.visual
    seen: list[Tensor] = []
    hook = visual.transformer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    visual(torch.randn(2, 3, 224, 224))
    hook.remove()
    assert seen[0].shape[1] == (224 // 32) ** 2 + 1
    assert torch.equal(seen[0][0, 0], seen[0][1, 0]) and not torch.equal(seen[0][0, 1], seen[0][1, 1])


def test_a_tower_is_usable_wherever_the_hosts_own_is(name, folder):
    from nodes import CLIPVisionEncode

    (out,) = CLIPVisionEncode().encode(loaded(saved(folder, name)), picture(2), "none")
    assert out["image_embeds"].shape == (2, read_architecture(name).embed_dim)
    assert out["penultimate_hidden_states"].shape[0] == out["last_hidden_state"].shape[0] == 2
    ours = encode_image_prompt(loaded(saved(folder, name)), picture(2), Fit.STRETCH).parts[0].positive
    assert torch.allclose(ours.image_embeds, out["image_embeds"], atol=1e-5)
    assert torch.allclose(ours.penultimate, out["penultimate_hidden_states"], atol=1e-5)


def test_a_picture_is_fitted_as_the_towers_weights_were_trained(name, folder):
    fits = {"ViT-B-32-SigLIP2-256": Fit.STRETCH, ROTARY: Fit.STRETCH}
    assert usual_fit(loaded(saved(folder, name))) is fits.get(name, Fit.CROP)


def test_a_tower_encodes_an_image_prompt(folder):
    name = PLAIN
    prompt = encode_image_prompt(loaded(saved(folder, name)), picture(2), Fit.PAD, negative_image=picture(1))
    assert prompt.parts[0].positive.image_embeds.shape == (2, read_architecture(name).embed_dim)
    assert prompt.encoder.startswith(f"{name} (")
    assert prompt.parts[0].negative is not None


@pytest.mark.parametrize("name", [PLAIN, ROTARY, "RN50"])
def test_half_precision_is_close_to_full(name):
    """As on a GPU, where the host keeps encoders in half precision."""
    tower = {key: tensor for key, tensor in model(name).visual.state_dict().items()}
    half_tower = load_tower(read_architecture(name), tower, "a", torch.bfloat16)
    ours = half_tower(pixels(name)).image_embeds
    theirs = model(name).encode_image(pixels(name))
    assert ours.dtype == torch.bfloat16
    assert nn.functional.cosine_similarity(ours.float(), theirs).min() > 0.98


@pytest.mark.parametrize("prefix", ["", "module.", "state_dict.module."])
def test_torch_files_and_training_checkpoints_are_read(prefix, folder):
    state = {key: tensor for key, tensor in model(PLAIN).state_dict().items()}
    nested: dict = {f"{prefix.removeprefix('state_dict.')}{key}": tensor for key, tensor in state.items()}
    path = folder / f"training-{len(prefix)}.bin"
    torch.save({"state_dict": nested, "epoch": 3} if prefix.startswith("state_dict") else nested, path)
    found = load_encoder_file(path, path.name)
    assert close(found.model(pixels(PLAIN)).image_embeds, model(PLAIN).encode_image(pixels(PLAIN)))


def test_a_file_of_the_image_tower_alone_is_read(folder):
    path = folder / "tower.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in model(PLAIN).visual.state_dict().items()}, path)
    assert load_encoder_file(path, path.name).config["architecture"] == PLAIN


def test_an_architecture_may_be_chosen_by_name(folder):
    path = saved(folder, ROTARY)
    assert load_encoder_file(path, path.name, ROTARY).config["architecture"] == ROTARY


def only_shapes(architecture: Architecture) -> dict[str, Tensor]:
    """A tower's tensors, of any size, in no memory."""
    state = build_tower(architecture).state_dict()
    return {key: torch.zeros(()).expand(tensor.shape) for key, tensor in state.items()}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("open_clip_pytorch_model.bin", "ViT-B-32"),
        ("CLIP-ViT-B-32-laion2B.safetensors", "ViT-B-32"),
        ("clip-vit-base-patch32-openai.safetensors", "ViT-B-32-quickgelu"),
        ("ViT-B-32-quickgelu.safetensors", "ViT-B-32-quickgelu"),
        ("metaclip_b32.safetensors", "ViT-B-32-quickgelu"),
    ],
)
def test_quick_gelu_is_chosen_by_the_files_name(file, expected):
    """No tensor tells the two apart."""
    found = detect_architecture(only_shapes(read_architecture("ViT-B-32")), file)
    assert found.name == expected
    kinds = {type(module).__name__ for module in build_tower(found).modules()}
    assert ("QuickGELU" in kinds) == found.quick_gelu == expected.endswith("quickgelu")


@pytest.mark.parametrize(
    "name", ["ViT-H-14", "ViT-bigG-14", "ViT-L-14", "ViT-L-14-336", "ViT-g-14", "ViT-SO400M-14-SigLIP"]
)
def test_the_encoders_of_public_adapters_are_recognised(name):
    assert detect_architecture(only_shapes(read_architecture(name)), "model.safetensors").name == name


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("ViT-H-14", 0.48145466),
        ("ViT-B-16-SigLIP", 0.5),
        ("ViT-SO400M-14-SigLIP2", 0.5),
        ("PE-Core-T-16-384", 0.5),
        ("MobileCLIP-S2", 0.0),
        ("ViT-L-14-CLIPA", 0.485),
        ("RN50", 0.48145466),
        ("ViT-M-16", 0.48145466),
    ],
)
def test_pixels_are_normalised_as_the_architectures_weights_were_trained(name, mean):
    assert read_architecture(name).normalisation[0][0] == mean


RANDOM = ("normal", "uniform", "rand", "bernoulli", "exponential")


class Watch(TorchDispatchMode):
    """Every random number drawn into real memory."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.name().partition("::")[2]
        if name.startswith(RANDOM) and isinstance(out, Tensor) and not out.is_meta:
            self.drawn.append(name)
        return out


@pytest.mark.parametrize("name", ["ViT-L-14", "EVA02-L-14", "convnext_base"])
def test_nothing_is_initialised_that_the_file_then_overwrites(name):
    architecture = read_architecture(name)
    tower = only_shapes(architecture)
    began = time.process_time()
    with Watch() as watch:
        made = load_tower(architecture, tower, "a", torch.float32)
    assert isinstance(made, OpenCLIPTower)
    assert not watch.drawn
    assert not any(tensor.is_meta for tensor in (*made.parameters(), *made.buffers()))
    assert time.process_time() - began < 10


def test_the_watch_above_would_see_an_initialisation():
    with Watch() as watch:
        nn.Linear(2, 2)
    assert watch.drawn


def refused(path: Path, architecture: str = AUTO) -> str:
    return file_refusal(path.name, load_encoder_file, path, path.name, architecture)


def test_another_architecture_than_the_files_is_refused(folder):
    for wrong in ("ViT-B-32", "RN50", ROTARY):
        assert f"is not a {wrong}" in refused(saved(folder, PLAIN), wrong)


def test_a_tower_of_no_known_architecture_is_refused(folder):
    tower = {f"visual.{key}": tensor.clone() for key, tensor in model(PLAIN).visual.state_dict().items()}
    tower["visual.ln_post.weight"] = torch.ones(385)
    save_file(tower, folder / "unknown.safetensors")
    assert "fits none of the" in refused(folder / "unknown.safetensors")


def test_an_encoder_in_the_hosts_own_layout_is_sent_to_the_hosts_loader(folder):
    save_file({"vision_model.embeddings.class_embedding": torch.zeros(8)}, folder / "clip_vision_h.safetensors")
    assert "Load CLIP Vision" in refused(folder / "clip_vision_h.safetensors")


def test_damaged_files_are_refused(folder):
    whole = saved(folder, PLAIN).read_bytes()
    for cut in (0, 5, 100, len(whole) // 2):
        path = folder / "cut.safetensors"
        path.write_bytes(whole[:cut])
        refused(path)


WITHOUT_OPEN_CLIP = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "open_clip" else super().find_spec(name, path, target)

sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
from tests.comfyui import start_host
start_host()
from pathlib import Path
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.encoders.open_clip import architectures, load_encoder_file
from pack.nodes.load import LoadOpenCLIPVision

LoadOpenCLIPVision.define_schema()
print(architectures())
for architecture in ("auto", "ViT-H-14"):
    try:
        load_encoder_file(Path(sys.argv[1]), "encoder.safetensors", architecture)
    except IPAdapterError as error:
        print(error)
"""


def test_a_missing_open_clip_is_said_in_a_sentence(folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", WITHOUT_OPEN_CLIP, str(saved(folder, PLAIN))]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names, *sentences = done.stdout.strip().splitlines()
    assert names == "[]"
    assert len(sentences) == 2 and all("pip install open_clip_torch" in sentence for sentence in sentences)


def test_the_menu_lists_open_clips_names():
    assert set(architectures()) == set(open_clip.list_models())
