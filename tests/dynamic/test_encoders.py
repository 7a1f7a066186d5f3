"""Image encoders, kept prompts and measurements with dynamic VRAM: the same features and numbers as without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.clip_vision
import folder_paths
import pytest
import torch
from pack.ipadapter.encoders.two_towers import open_towers
from pack.ipadapter.host.encoders.encoder import encode_image_prompt
from pack.ipadapter.host.encoders.open_clip import load_encoder_file
from pack.ipadapter.host.encoders.siglip import load_siglip_file
from pack.ipadapter.host.prompts.files import load_prompt, save_prompt
from pack.ipadapter.host.training.models import open_image_encoder
from pack.ipadapter.images.pixels import Fit
from pack.ipadapter.prompts.prompt import ImagePrompt

from tests.dynamic.vram import both_ways, dynamic_vram
from tests.host.test_encoder import CONFIGS, random_encoder, vision_model
from tests.host.test_open_clip import PLAIN, ROTARY, saved
from tests.host.test_siglip import saved as whole_siglip
from tests.live.files import write_tower


def photo(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 64, 80, 3, generator=torch.Generator().manual_seed(4))


def encoded(clip_vision: Any) -> ImagePrompt:
    return encode_image_prompt(clip_vision, photo(), Fit.CROP, photo(1))


def equal(one: ImagePrompt, other: ImagePrompt) -> bool:
    """Whether two prompts hold the same features to the bit."""
    pairs = [(one.zero_pixels, other.zero_pixels)]
    for ours, theirs in zip(one.parts, other.parts, strict=True):
        pairs += [(ours.positive, theirs.positive), (ours.negative, theirs.negative)]
    outputs = [(getattr(a, of), getattr(b, of)) for a, b in pairs for of in ("image_embeds", "penultimate")]
    both = [(ours, theirs) for ours, theirs in outputs if ours is not None or theirs is not None]
    return one.encoder == other.encoder and len(both) >= len(pairs) and all(torch.equal(*pair) for pair in both)


def host_encoder(name: str, state: dict[str, torch.Tensor]) -> comfy.clip_vision.ClipVisionModel:
    """Built and loaded as the host's loader does it."""
    made = vision_model(CONFIGS[name])
    missing, _ = made.load_sd(state)
    assert not missing
    return made


@pytest.mark.parametrize("name", CONFIGS)
def test_the_hosts_encoders_give_the_same_features(name):
    with dynamic_vram(False):
        state = random_encoder(name).get_sd()
    assert equal(*both_ways(lambda: encoded(host_encoder(name, dict(state)))))


@pytest.mark.parametrize("name", [PLAIN, ROTARY])
def test_open_clips_towers_give_the_same_features(name, tmp_path):
    path = saved(tmp_path, name)
    assert equal(*both_ways(lambda: encoded(load_encoder_file(path, path.name, name))))


def test_a_siglip_gives_the_same_features(tmp_path):
    path = whole_siglip(tmp_path)
    assert equal(*both_ways(lambda: encoded(load_siglip_file(path, path.name))))


def test_the_training_command_opens_the_same_encoder(tmp_path):
    path = saved(tmp_path, PLAIN)
    assert equal(*both_ways(lambda: encoded(open_image_encoder(path))))


def test_both_towers_of_the_measurements_give_the_same_embeddings(tmp_path):
    path = tmp_path / "tower.pt"
    write_tower(path)

    def embedded() -> tuple[torch.Tensor, torch.Tensor]:
        encoder = open_towers(path, path.name)
        size = encoder.form.size
        pixels = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(5))
        return encoder.towers.embed_pixels(pixels), encoder.towers.embed_tokens(torch.arange(154).reshape(2, 77))

    dynamic, plain = both_ways(embedded)
    assert all(map(torch.equal, dynamic, plain))


@pytest.fixture
def folders(output: Path, monkeypatch) -> Path:
    """The user's input and output folder."""
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(output / "input"))
    (output / "input").mkdir()
    return output


def test_a_kept_prompt_reads_as_it_was_saved(folders):
    with dynamic_vram(False):
        state = random_encoder("CLIP").get_sd()
    prompt = encoded(host_encoder("CLIP", state))
    path = save_prompt(prompt, "image_prompts/prompt")
    kept = f"image_prompts/{path.name} [output]"
    dynamic, plain = both_ways(lambda: load_prompt(kept))
    assert equal(dynamic, prompt) and equal(plain, prompt)
