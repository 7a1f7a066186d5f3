"""The public files that the shipped workflows name."""

from __future__ import annotations

from .graph import ModelFile

HUB = "https://huggingface.co"
ADAPTERS = f"{HUB}/h94/IP-Adapter/resolve/main"

SD15 = ModelFile(
    "v1-5-pruned-emaonly-fp16.safetensors",
    f"{HUB}/Comfy-Org/stable-diffusion-v1-5-archive/resolve/main/v1-5-pruned-emaonly-fp16.safetensors",
    "checkpoints",
)
SDXL = ModelFile(
    "sd_xl_base_1.0.safetensors",
    f"{HUB}/stabilityai/stable-diffusion-xl-base-1.0/resolve/main/sd_xl_base_1.0.safetensors",
    "checkpoints",
)
VIT_H = ModelFile(
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
    f"{ADAPTERS}/models/image_encoder/model.safetensors",
    "clip_vision",
)
VIT_L = ModelFile(
    "clip-vit-large-patch14.safetensors",
    f"{HUB}/openai/clip-vit-large-patch14/resolve/main/model.safetensors",
    "clip_vision",
)
BASE = ModelFile("ip-adapter_sd15.safetensors", f"{ADAPTERS}/models/ip-adapter_sd15.safetensors", "ipadapter")
PLUS = ModelFile("ip-adapter-plus_sd15.safetensors", f"{ADAPTERS}/models/ip-adapter-plus_sd15.safetensors", "ipadapter")
SDXL_PLUS = ModelFile(
    "ip-adapter-plus_sdxl_vit-h.safetensors",
    f"{ADAPTERS}/sdxl_models/ip-adapter-plus_sdxl_vit-h.safetensors",
    "ipadapter",
)
FACE_ID = ModelFile(
    "ip-adapter-faceid-plusv2_sd15.bin",
    f"{HUB}/h94/IP-Adapter-FaceID/resolve/main/ip-adapter-faceid-plusv2_sd15.bin",
    "ipadapter",
)
CANNY = ModelFile(
    "control_v11p_sd15_canny_fp16.safetensors",
    f"{HUB}/comfyanonymous/ControlNet-v1-1_fp16_safetensors/resolve/main/control_v11p_sd15_canny_fp16.safetensors",
    "controlnet",
)
