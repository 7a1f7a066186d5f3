"""Evaluate Image Prompt in a real host: small random towers in its model folder, its node called as it calls it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.samplers
import execution
import folder_paths
import open_clip
import pytest
import torch
import torchvision
from comfy.model_sampling import ModelSamplingDiscrete
from diffusers import DDIMScheduler
from pack.ipadapter.commands.evaluate.graph import DrawingRecipe
from pack.ipadapter.encoders.two_towers import Towers
from pack.nodes.evaluate import EvaluateImagePrompt
from pack.nodes.load import LoadOpenCLIPVision
from safetensors.torch import save_file
from torch import Tensor

import nodes
from tests.host.test_encoder import encoder as random_encoder
from tests.refusals import refusal

SIDE = 32
MODEL = {
    "embed_dim": 48,
    "vision_cfg": {"image_size": SIDE, "layers": 2, "width": 64, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
CAPTIONS = ["a red star", "two dogs"]
FILE, SMALL_DINO = "small.safetensors", "DINOv2"


@pytest.fixture(autouse=True)
def encoders(tmp_path, monkeypatch) -> Path:
    """A clip_vision folder with a small model and an image tower alone."""
    torch.manual_seed(2)
    state = open_clip.CLIP(**MODEL).state_dict()
    for name, part in (("small", ""), ("images-only", "visual.")):
        chosen = {key: tensor.contiguous().clone() for key, tensor in state.items() if key.startswith(part)}
        save_file(chosen, tmp_path / f"{name}.safetensors")
        (tmp_path / f"{name}.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}))
    _, endings = folder_paths.folder_names_and_paths["clip_vision"]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "clip_vision", ([str(tmp_path)], endings))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    return tmp_path


def batch(count: int, seed: int = 0, height: int = 48) -> Tensor:
    return torch.rand(count, height, 40, 3, generator=torch.Generator().manual_seed(seed))


def measure(generated: list[Tensor], references: list[Tensor], captions: str = "", name: str = FILE, **more: Any):
    """The node's outputs and what it shows, its inputs lists as the host gives them."""
    made = EvaluateImagePrompt.execute(
        generated=generated,
        references=references,
        clip_name=[name],
        architecture=["auto"],
        captions=[captions],
        caption_prefix=[""],
        **more,
    )
    text, data, plot = made.result
    return text, json.loads(data), plot, made.ui


def expected_embeddings(pictures: Tensor) -> Tensor:
    vision = LoadOpenCLIPVision.execute(FILE, "auto").result[0]
    return vision.encode_image(pictures, crop=True)["image_embeds"]


def test_clip_i_is_the_cosine_of_the_hosts_own_embeddings():
    generated, references = batch(4), batch(2, seed=1)
    _, data, _, _ = measure([generated], [references])
    cosines = torch.nn.functional.cosine_similarity(
        expected_embeddings(generated), expected_embeddings(references).repeat_interleave(2, 0)
    )
    assert [row["clip_i"] for row in data["rows"]] == pytest.approx(cosines.tolist(), abs=1e-5)
    assert [row["reference"] for row in data["rows"]] == [0, 0, 1, 1]
    assert data["summary"]["clip_i"]["mean"] == pytest.approx(cosines.mean().item(), abs=1e-5)


def test_a_picture_against_itself_scores_one_and_captions_score_as_open_clip_does():
    pictures = batch(2)
    text, data, plot, ui = measure([pictures], [pictures], "\n".join(CAPTIONS))
    assert [row["clip_i"] for row in data["rows"]] == pytest.approx([1, 1], abs=1e-6)
    torch.manual_seed(2)
    model = open_clip.CLIP(**MODEL).eval()
    texts = model.encode_text(open_clip.SimpleTokenizer(context_length=20)(CAPTIONS), normalize=True)
    images = torch.nn.functional.normalize(expected_embeddings(pictures), dim=-1)
    cosines = (images * texts).sum(-1).tolist()
    assert [row["clip_t"] for row in data["rows"]] == pytest.approx(cosines, abs=1e-5)
    assert [row["clip_score"] for row in data["rows"]] == pytest.approx([2.5 * max(0, c) for c in cosines], abs=1e-5)
    assert text.startswith("2 picture(s) of 2 reference(s), measured with small (small.safetensors)")
    assert "score high on CLIP metrics" in text
    assert plot.shape[0] == 1 and plot.shape[-1] == 3 and 0 <= plot.min() < plot.max() <= 1
    assert ui["text"] == (text,) and len(ui["images"]) == 1


def test_lists_of_pictures_of_any_size_are_one_comparison():
    one, other = batch(1), batch(2, seed=3, height=64)
    _, data, _, _ = measure([one, other], [batch(1, seed=1)], "a red star")
    _, alone, _, _ = measure([other], [batch(1, seed=1)], "a red star")
    assert len(data["rows"]) == 3
    ours, theirs = ([row["clip_i"] for row in rows] for rows in (data["rows"][1:], alone["rows"]))
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_a_prefix_is_put_before_every_caption():
    made = [
        json.loads(
            EvaluateImagePrompt.execute([batch(1)], [batch(1)], [FILE], ["auto"], [caption], [prefix]).result[1]
        )["rows"][0]["clip_t"]
        for caption, prefix in (("two dogs", "A photo depicts"), ("A photo depicts two dogs", ""), ("two dogs", ""))
    ]
    assert made[0] == pytest.approx(made[1], abs=1e-6) and abs(made[0] - made[2]) > 1e-4


def test_dino_is_measured_with_the_hosts_class_token():
    dino = random_encoder(SMALL_DINO)
    generated, references = batch(2), batch(2, seed=1)
    text, data, _, _ = measure([generated], [references], dino=[dino])
    tokens = [dino.encode_image(given, crop=True)["last_hidden_state"][:, 0] for given in (generated, references)]
    cosines = torch.nn.functional.cosine_similarity(*(token.float() for token in tokens)).tolist()
    assert [row["dino_i"] for row in data["rows"]] == pytest.approx(cosines, abs=1e-4)
    assert "DINO-I: measured with dinov2 (518 px)." in text


def test_other_judges_measure_what_clip_measured(encoders, hub):
    """Each beside its reference, with files from the encoders' folder; fid over all."""
    generated, references = batch(4), batch(2, seed=1)
    measures = "hpsv2=small.safetensors\n\npickscore=small.safetensors\nlpips=squeeze"
    text, data, plot, _ = measure([generated], [references], "\n".join(CAPTIONS), measures=[measures])
    rows = data["rows"]
    assert [row["hps_v2"] for row in rows] == pytest.approx([row["clip_t"] for row in rows], abs=0.2)
    assert [row["pick_score"] for row in rows] == pytest.approx([row["clip_t"] / 0.07 for row in rows], rel=1e-3)
    assert len({row["lpips"] for row in rows}) == 4 and all(row["lpips"] > 0 for row in rows)
    assert "LPIPS: " in text and "Measured too with PickScore (small.safetensors)." in text
    assert data["summary"]["lpips"]["groups"] == 2 and data["sets"] == {}
    assert data["judges"][-1] == "LPIPS (squeeze)" and plot.shape[-1] == 3
    same = measure([references], [references], measures=["lpips=squeeze"])[1]
    assert [row["lpips"] for row in same["rows"]] == pytest.approx([0, 0], abs=1e-6)
    assert "no measure 'ssim'" in refusal(measure, [generated], [references], measures=["ssim"])
    assert "'gone.pth' is not in the model folder" in refusal(
        measure, [generated], [references], measures=["csd=gone.pth"]
    )


def test_a_judge_says_of_each_picture_its_own_where_captions_repeat(encoders):
    one, other = CAPTIONS[:2]
    given = "\n".join([one, other, one])
    data = measure([batch(3)], [batch(1, seed=1)], given, measures=["pickscore=small.safetensors"])[1]
    by_clip = [row["clip_t"] / 0.07 for row in data["rows"]]
    assert [row["pick_score"] for row in data["rows"]] == pytest.approx(by_clip, rel=1e-3)
    assert by_clip[1] != pytest.approx(by_clip[2], rel=1e-2)


@pytest.fixture
def hub(tmp_path, monkeypatch) -> None:
    """torch's own cache with random weights of LPIPS' smallest network, which would else be fetched."""
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(folder.parent))
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), folder / "squeezenet1_1-b8a52dc0.pth")


def test_an_encoder_that_is_no_dino_is_refused():
    clip = LoadOpenCLIPVision.execute(FILE, "auto").result[0]
    assert "dino is given a open_clip" in refusal(measure, [batch(1)], [batch(1)], dino=[clip])


def test_captions_need_a_text_tower_and_pictures_do_not():
    name = "images-only.safetensors"
    assert f"'{name}' has no text tower" in refusal(measure, [batch(1)], [batch(1)], "a star", name)
    _, data, _, _ = measure([batch(1)], [batch(1)], "", name)
    assert data["rows"][0]["clip_i"] == pytest.approx(1, abs=1e-6)


def test_numbers_that_do_not_fit_are_refused_before_a_file_is_read():
    assert "3 generated picture(s) and 2 reference(s)" in refusal(measure, [batch(3)], [batch(2)], name="not there")
    assert "2 generated picture(s) and 3 caption(s)" in refusal(measure, [batch(2)], [batch(2)], "a\nb\nc", "not there")


def test_pictures_that_are_none_are_refused():
    assert "too little" in refusal(measure, [torch.zeros(1, 2, 2, 3)], [batch(1)])
    assert "NaN" in refusal(measure, [torch.full((1, 40, 40, 3), torch.nan)], [batch(1)])


def test_an_interrupt_is_honoured():
    comfy.model_management.interrupt_current_processing(True)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        measure([batch(1)], [batch(1)])


def test_the_hosts_memory_management_knows_the_towers(monkeypatch):
    seen: list[Any] = []
    load = comfy.model_management.load_models_gpu
    monkeypatch.setattr(comfy.model_management, "load_models_gpu", lambda models: (seen.extend(models), load(models)))
    measure([batch(1)], [batch(1)])
    assert [type(model.model).__name__ for model in seen] == ["Towers"]
    assert all(isinstance(model, comfy.model_patcher.ModelPatcher) for model in seen)


def validated(monkeypatch: pytest.MonkeyPatch, **inputs: Any) -> str:
    """What the host's own validation says of a node in a prompt; nothing where it is content."""
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "EvaluateImagePrompt", EvaluateImagePrompt)
    blank = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}}
    settings = {"clip_name": FILE, "architecture": "auto", "captions": "", "caption_prefix": ""} | inputs
    node = {"class_type": "EvaluateImagePrompt", "inputs": settings | {"generated": ["1", 0], "references": ["1", 0]}}
    valid, _, _, errors = asyncio.run(execution.validate_prompt("id", {"1": blank, "2": node}, None))
    assert valid == (not errors)
    return "; ".join(error["details"] for found in errors.values() for error in found["errors"])


def test_a_missing_file_is_named_while_the_graph_is_validated(monkeypatch):
    assert validated(monkeypatch) == ""
    assert "'gone.safetensors' is not in the model folder 'clip_vision'" in validated(
        monkeypatch, clip_name="gone.safetensors"
    )


def test_the_commands_own_schedule_is_the_references():
    """DDIM as SD1.5's own scheduler configuration spaces 50 steps: every 20th timestep, from 981 to 1."""
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, steps_offset=1)
    scheduler.set_timesteps(50)
    sampling = ModelSamplingDiscrete()
    sigmas = comfy.samplers.calculate_sigmas(sampling, DrawingRecipe().scheduler, DrawingRecipe().steps)
    assert sampling.timestep(sigmas[:-1]).tolist() == scheduler.timesteps.tolist()


def test_the_host_knows_of_the_encoder_as_long_as_it_measures(monkeypatch):
    """What nobody holds is out of the host's sight: it could neither count nor evict it."""
    known = []

    def looking(towers: Towers, pixels: Tensor) -> Tensor:
        patchers = comfy.model_management.loaded_models()  # None for one that was collected together with its clone
        known.append(any(patcher is not None and patcher.model is towers for patcher in patchers))
        return embed(towers, pixels)

    embed = Towers.embed_pixels
    monkeypatch.setattr(Towers, "embed_pixels", looking)
    measure([batch(2)], [batch(1)])
    assert known and all(known)
