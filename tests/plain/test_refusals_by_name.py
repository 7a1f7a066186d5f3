"""Files of families that come later, and of other kinds, are refused by what they are."""

from __future__ import annotations

import pytest
import torch
from pack.ipadapter.adapters.checkpoint import read_checkpoint
from pack.ipadapter.adapters.identify import identify

from tests.adapters import base_shapes, layer_shapes, linear, plus_shapes
from tests.plain.public import SD15_CHANNELS, SDXL_CHANNELS, Shapes
from tests.refusals import file_refusal


def prefixed(prefix: str, shapes: Shapes) -> Shapes:
    return {prefix + key: shape for key, shape in shapes.items()}


def layers(channels: tuple[int, ...], context: int, prefix: str = "ip_adapter.") -> Shapes:
    return prefixed(prefix, layer_shapes(channels, context))


FAMILIES_TO_COME: dict[str, tuple[Shapes, str]] = {
    "PuLID-FLUX": (
        {"pulid_encoder.proj_out": (1024, 2048)}
        | {f"pulid_ca.{i}.{name}.weight": (2048, 3072) for i in range(20) for name in ("to_q", "to_kv", "to_out")},
        "a PuLID adapter for FLUX, which is not supported: it would need EVA02-CLIP-L-336",
    ),
    "PuLID for SDXL, as its authors have it": (
        {f"id_adapter.mapping_{i}.0.weight": (1024, 1024) for i in range(5)}
        | {f"id_adapter_attn_layers.{i}.id_to_{m}.weight": (640, 2048) for i in range(1, 140, 2) for m in "kv"},
        "a PuLID adapter for SDXL, which is not supported: it would need EVA02-CLIP-L-336",
    ),
    "PuLID for SDXL, as other packs read it": (
        {f"image_proj.mapping_{i}.0.weight": (1024, 1024) for i in range(5)} | layers(SDXL_CHANNELS, 2048),
        "a PuLID adapter for SDXL, which is not supported: it would need EVA02-CLIP-L-336",
    ),
    "IP-Adapter-Instruct for SD3": (
        {f"ip_adapter.{i}.add_{m}_proj_ip.weight": (1536, 1536) for i in range(24) for m in "kv"}
        | prefixed("image_proj.", plus_shapes(1536, 1280, 16, 1280, 1280)),
        "an IP-Adapter-Instruct for SD3, which is not supported: it would need an instruction in words",
    ),
    "HunyuanDiT": (
        {f"blocks.{i}.attn2.kv_proj_ip_adapter.weight": (2816, 1024) for i in range(40)}
        | prefixed("image_proj.", linear("proj", 8 * 1024, 1024)),
        "an IP-Adapter for HunyuanDiT, which is not supported: it would need the cross-attentions of that model",
    ),
    "Anima with PE-Core": (
        {f"ip_gate.{i}": (1,) for i in range(28)} | {"ip_centroid": (1024,)},
        "an IP-Adapter for Anima that reads PE-Core, which is not supported: it would need that image encoder",
    ),
    "Anima with SigLIP2": (
        {"resampler.time_proj.weight": (768, 256)}
        | {f"ip_cross_attns.{i}.to_k_ip.weight": (2048, 2048) for i in range(28)},
        "an IP-Adapter for Anima that reads SigLIP2, which is not supported: it would need siglip2-base-patch16-512",
    ),
    "CSGO": (
        prefixed("content_image_proj.", plus_shapes(2048, 1280, 4, 1280, 1280))
        | prefixed("style_image_proj.", plus_shapes(2048, 1280, 16, 1280, 1280))
        | layers(SDXL_CHANNELS, 2048),
        "CSGO",
    ),
}

OTHER_KINDS: dict[str, tuple[Shapes, str]] = {
    "LoRA of kohya": (
        {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight": (320, 4)},
        "Load LoRA",
    ),
    "LoRA of peft": ({"unet.down_blocks.0.attentions.0.proj_in.lora_A.weight": (4, 320)}, "Load LoRA"),
    "ControlNet": ({"control_model.zero_convs.0.0.weight": (320, 320, 1, 1)}, "Load ControlNet Model"),
    "ControlNet of diffusers": ({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3)}, "Load ControlNet Model"),
    "checkpoint": (
        {
            "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
            "first_stage_model.decoder.conv_in.bias": (4,),
        },
        "Load Checkpoint",
    ),
    "CLIP of transformers": ({"vision_model.embeddings.class_embedding": (1280,)}, "models/clip_vision"),
    "CLIP of open_clip": ({"visual.conv1.weight": (1280, 3, 14, 14)}, "models/clip_vision"),
    "VAE": ({"decoder.conv_in.weight": (512, 4, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3)}, "Load VAE"),
    "only the projection": (prefixed("image_proj.", base_shapes(768, 1024)), "no ip_adapter tensors"),
    "only the layers": (layers(SD15_CHANNELS, 768), "no image_proj tensors"),
    "something else": ({"weight": (4, 4)}, "not an IP-Adapter"),
    "an unknown projection": (prefixed("image_proj.", linear("mapper", 8, 8)) | layers((8,), 8), "no known family"),
}


@pytest.mark.parametrize("name", FAMILIES_TO_COME | OTHER_KINDS)
def test_a_file_of_another_kind_is_refused_by_name(name, tmp_path):
    shapes, expected = (FAMILIES_TO_COME | OTHER_KINDS)[name]
    # one number a tensor: only names and shapes matter, and real files of these kinds take gigabytes
    tensors = {key: torch.zeros(()).expand(shape).to("meta") for key, shape in shapes.items()}
    assert expected in file_refusal("somebody's file.bin", identify, read_unread(tensors))


def read_unread(tensors):
    """A file's tensors grouped as reading groups them, without writing gigabytes first."""
    from pack.ipadapter.adapters.checkpoint import group

    return group(tensors, "somebody's file.bin")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 44642768\n"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (LFS, "Git LFS pointer"),
        (b"<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>", "web page"),
        (b"<html><body>404</body></html>", "web page"),
        (b"\xef\xbb\xbf\n\n  <!doctype HTML>", "web page"),
    ],
)
def test_what_a_failed_download_leaves_is_refused_by_name(content, expected, tmp_path):
    path = tmp_path / "ip-adapter_sd15.safetensors"
    path.write_bytes(content)
    assert expected in file_refusal(path.name, read_checkpoint, path)
