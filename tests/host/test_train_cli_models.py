"""The model files of a run, and what the host's models make of the cache's rows."""

from __future__ import annotations

import pickle

import pytest
import torch
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.launch import find_host
from pack.ipadapter.host.training.models import HostEncoders, HostText, ModelFiles, open_base, open_text_and_vae
from safetensors.torch import save_file

from tests.comfyui import HOST
from tests.live.files import RAN, RunsCode
from tests.naming import ROOT
from tests.small import POOLED, SD15, SDXL, make_pair

pytestmark = pytest.mark.slow

STAND_IN = ROOT / ".models" / "checkpoints" / "v1-5-pruned-emaonly-fp16.safetensors"


def sinusoids(value: float) -> torch.Tensor:
    """SDXL's embedding of one number, (256,)."""
    angles = value * 10000.0 ** (-torch.arange(128) / 128)
    return torch.cat([angles.cos(), angles.sin()])


def test_sdxl_is_told_the_size_and_crop_of_every_picture():
    generator = torch.Generator().manual_seed(0)
    context, pooled = torch.randn(2, 77, 2048, generator=generator), torch.randn(2, POOLED, generator=generator)
    sizes = torch.tensor([[700, 900, 0, 40], [512, 640, 3, 0]])
    told = HostText(make_pair(SDXL).host, 512)(context, pooled, sizes)
    numbers = [[*row, 512, 512] for row in sizes.tolist()]
    wanted = torch.stack([torch.cat([sinusoids(number) for number in row]) for row in numbers])
    assert torch.equal(told["c_crossattn"], context)
    torch.testing.assert_close(told["y"], torch.cat([pooled, wanted], dim=1), rtol=1e-4, atol=1e-4)
    of_a_bucket = torch.cat([sizes, torch.tensor([[640, 384]] * 2)], dim=1)
    told = HostText(make_pair(SDXL).host, 512)(context, pooled, of_a_bucket)
    wanted = torch.stack([torch.cat([sinusoids(number) for number in row]) for row in of_a_bucket.tolist()])
    torch.testing.assert_close(told["y"], torch.cat([pooled, wanted], dim=1), rtol=1e-4, atol=1e-4)


def test_sd15_is_told_the_text_alone():
    context = torch.randn(2, 77, 768)
    told = HostText(make_pair(SD15).host, 512)(context, None, torch.zeros(2, 4, dtype=torch.long))
    assert {name: tensor.shape for name, tensor in told.items()} == {"c_crossattn": context.shape}


@pytest.fixture(scope="module")
def encoders() -> HostEncoders:
    """The stand-in checkpoint's text encoder and VAE; no image is encoded here."""
    clip, vae = open_text_and_vae(ModelFiles(STAND_IN, checkpoint=STAND_IN))
    return HostEncoders(make_pair(SD15).host, clip, vae, None)  # type: ignore[arg-type]


def test_captions_are_taken_as_they_are_written_and_cut_at_77_tokens(encoders):
    plain, _ = encoders.clip.encode_from_tokens(encoders.clip.tokenize(r"a \(cat:1.4\)"), return_pooled=True)
    assert torch.equal(encoders.text("a (cat:1.4)")[0], plain[0])
    weighted, _ = encoders.clip.encode_from_tokens(encoders.clip.tokenize("a (cat:1.4)"), return_pooled=True)
    assert not torch.equal(weighted, plain)
    assert encoders.text("a very long caption " * 40)[0].shape == (77, 768)


def test_latents_are_in_the_models_own_scale(encoders):
    pixels = torch.rand(1, 64, 64, 3)
    wanted = encoders.vae.encode(pixels) * 0.18215
    torch.testing.assert_close(encoders.latents(pixels), wanted, rtol=1e-4, atol=1e-5)


def test_files_that_are_no_models_are_named(tmp_path):
    with pytest.raises(IPAdapterError, match="nowhere.safetensors' is not a file: a checkpoint is read from there"):
        open_base(ModelFiles(STAND_IN, checkpoint=tmp_path / "nowhere.safetensors"))
    path = tmp_path / "text.safetensors"
    path.write_text("not weights")
    with pytest.raises(IPAdapterError, match="'text.safetensors' is not a readable safetensors or torch file"):
        open_base(ModelFiles(STAND_IN, checkpoint=path))
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(
        IPAdapterError, match="'text.safetensors' is not a checkpoint that ComfyUI knows|cannot be opened"
    ):
        open_base(ModelFiles(STAND_IN, checkpoint=path))


@pytest.mark.parametrize(
    "save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))], ids=["torch", "pickle"]
)
def test_nobody_is_told_to_let_a_pickle_run(save, tmp_path):
    """As torch's own words do, which the host hands on."""
    path = tmp_path / "model.ckpt"
    save({"a": RunsCode(tmp_path)}, path)
    files = ModelFiles(path, checkpoint=path), ModelFiles(path, unet=path, clips=(path,), vae=path)
    for open_one in (open_base, open_text_and_vae):
        for each in files:
            with pytest.raises(IPAdapterError, match="'model.ckpt' is") as refused:
                open_one(each)
            assert "weights_only" not in str(refused.value)
    assert not (tmp_path / RAN).exists()


def test_a_folder_that_is_not_comfyui_is_named(tmp_path, monkeypatch):
    assert find_host(HOST) == HOST.resolve()
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(IPAdapterError, match="is not ComfyUI: set COMFYUI_PATH"):
        find_host()
    monkeypatch.delenv("COMFYUI_PATH")
    with pytest.raises(IPAdapterError, match="ComfyUI was not found: set COMFYUI_PATH"):
        find_host(None)
