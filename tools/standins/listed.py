"""Every stand-in there is, and the sets that they come in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .adapters import (
    adapter,
    face_adapter,
    full_projection,
    instantid_adapter,
    resampler_projection,
    standard_projection,
)
from .detector import detector
from .flux import flux_controlnet, flux_model, flux_vae, instantx_adapter, xlabs_adapter
from .models import (
    clip_l_state,
    sd15_checkpoint,
    sd15_controlnet,
    sd15_lora,
    sd15_t2i_adapter,
    sdxl_checkpoint,
    sdxl_controlnet,
    siglip,
    vit_h,
    vit_l,
)
from .noise import Noise
from .recogniser import recogniser
from .sd35 import sd35_adapter, sd35_checkpoint
from .unets import SD15, SDXL

SEED = 2308


@dataclass(frozen=True)
class StandIn:
    """One file: where it goes below the models folder, which sets need it, and how it is made."""

    path: str
    sets: tuple[str, ...]
    make: Callable[[Noise], Any]  # what its ending's format writes

    @property
    def seed(self) -> int:
        """Its own, so that no file depends on which others are made."""
        return SEED + int.from_bytes(hashlib.sha256(self.path.encode()).digest()[:4], "big")


STAND_INS = (
    StandIn("checkpoints/v1-5-pruned-emaonly-fp16.safetensors", ("sd15",), sd15_checkpoint),
    StandIn("clip_vision/CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors", ("sd15", "sdxl"), vit_h),
    StandIn("ipadapter/ip-adapter_sd15.safetensors", ("sd15",), adapter(SD15, standard_projection(SD15))),
    StandIn("ipadapter/ip-adapter-plus_sd15.safetensors", ("sd15",), adapter(SD15, resampler_projection(SD15, 768))),
    StandIn("ipadapter/ip-adapter-full-face_sd15.safetensors", ("sd15",), adapter(SD15, full_projection(SD15))),
    StandIn("ipadapter/ip-adapter-faceid-plusv2_sd15.bin", ("sd15",), face_adapter),
    StandIn("insightface/models/buffalo_l/det_10g.onnx", ("sd15", "sdxl"), lambda noise: detector()),
    StandIn("insightface/models/buffalo_l/w600k_r50.onnx", ("sd15", "sdxl"), recogniser),
    StandIn("controlnet/control_v11p_sd15_canny_fp16.safetensors", ("sd15",), sd15_controlnet),
    StandIn("controlnet/t2iadapter_canny_sd15v2.safetensors", ("sd15",), sd15_t2i_adapter),
    StandIn("loras/stand-in_sd15.safetensors", ("sd15",), sd15_lora),
    StandIn("checkpoints/sd_xl_base_1.0.safetensors", ("sdxl",), sdxl_checkpoint),
    StandIn("ipadapter/ip-adapter_sdxl_vit-h.safetensors", ("sdxl",), adapter(SDXL, standard_projection(SDXL))),
    StandIn(
        "ipadapter/ip-adapter-plus_sdxl_vit-h.safetensors", ("sdxl",), adapter(SDXL, resampler_projection(SDXL, 1280))
    ),
    StandIn("ipadapter/instantid-ip-adapter.bin", ("sdxl",), instantid_adapter),
    StandIn("insightface/models/antelopev2/scrfd_10g_bnkps.onnx", ("sdxl",), lambda noise: detector()),
    StandIn("insightface/models/antelopev2/glintr100.onnx", ("sdxl",), recogniser),
    StandIn("controlnet/instantid-controlnet.safetensors", ("sdxl",), sdxl_controlnet),
    StandIn("diffusion_models/flux1-dev.safetensors", ("flux",), flux_model),
    StandIn("text_encoders/clip_l.safetensors", ("flux",), clip_l_state),
    StandIn("vae/ae.safetensors", ("flux",), flux_vae),
    StandIn("clip_vision/clip-vit-large-patch14.safetensors", ("flux",), vit_l),
    StandIn("clip_vision/sigclip_vision_patch14_384.safetensors", ("flux", "sd35"), siglip),
    StandIn("ipadapter/flux-ip-adapter-v2.safetensors", ("flux",), xlabs_adapter),
    StandIn("ipadapter/flux-ip-adapter-instantx.bin", ("flux",), instantx_adapter),
    StandIn("controlnet/flux-canny-controlnet-v3.safetensors", ("flux",), flux_controlnet),
    StandIn("checkpoints/sd3.5_large_fp8_scaled.safetensors", ("sd35",), sd35_checkpoint),
    StandIn("ipadapter/sd3.5-large-ip-adapter-instantx.bin", ("sd35",), sd35_adapter),
)
SETS: dict[str, tuple[StandIn, ...]] = {
    "sd15": tuple(one for one in STAND_INS if "sd15" in one.sets),
    "sdxl": tuple(one for one in STAND_INS if "sdxl" in one.sets),
    "flux": tuple(one for one in STAND_INS if "flux" in one.sets),
    "sd35": tuple(one for one in STAND_INS if "sd35" in one.sets),
    "all": STAND_INS,
}
