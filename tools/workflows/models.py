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
FLUX_DEV = ModelFile(
    "flux1-dev.safetensors", f"{HUB}/Comfy-Org/flux1-dev/resolve/main/flux1-dev.safetensors", "diffusion_models"
)
CLIP_L, T5_XXL = (
    ModelFile(name, f"{HUB}/comfyanonymous/flux_text_encoders/resolve/main/{name}", "text_encoders")
    for name in ("clip_l.safetensors", "t5xxl_fp16.safetensors")
)
FLUX_VAE = ModelFile(
    "ae.safetensors",
    f"{HUB}/Comfy-Org/Lumina_Image_2.0_Repackaged/resolve/main/split_files/vae/ae.safetensors",
    "vae",
)
FLUX_XLABS = ModelFile(
    "flux-ip-adapter-v2.safetensors",
    f"{HUB}/XLabs-AI/flux-ip-adapter-v2/resolve/main/ip_adapter.safetensors",
    "ipadapter",
)
FLUX_CANNY = ModelFile(
    "flux-canny-controlnet-v3.safetensors",
    f"{HUB}/XLabs-AI/flux-controlnet-collections/resolve/main/flux-canny-controlnet-v3.safetensors",
    "controlnet",
)
FLUX_CHARACTER = ModelFile(
    "flux-ip-adapter-instantcharacter.bin",
    f"{HUB}/tencent/InstantCharacter/resolve/main/instantcharacter_ip-adapter.bin",
    "ipadapter",
)
SD35_LARGE = ModelFile(
    "sd3.5_large_fp8_scaled.safetensors",
    f"{HUB}/Comfy-Org/stable-diffusion-3.5-fp8/resolve/main/sd3.5_large_fp8_scaled.safetensors",
    "checkpoints",
)
SD35_INSTANTX = ModelFile(
    "sd3.5-large-ip-adapter-instantx.bin",
    f"{HUB}/InstantX/SD3.5-Large-IP-Adapter/resolve/main/ip-adapter.bin",
    "ipadapter",
)
SIGLIP = ModelFile(
    "sigclip_vision_patch14_384.safetensors",
    f"{HUB}/Comfy-Org/sigclip_vision_384/resolve/main/sigclip_vision_patch14_384.safetensors",
    "clip_vision",
)
DINOV2 = ModelFile(
    "dinov2-giant.safetensors", f"{HUB}/facebook/dinov2-giant/resolve/main/model.safetensors", "clip_vision"
)
INSTANTID = ModelFile("instantid-ip-adapter.bin", f"{HUB}/InstantX/InstantID/resolve/main/ip-adapter.bin", "ipadapter")
INSTANTID_CONTROLNET = ModelFile(
    "instantid-controlnet.safetensors",
    f"{HUB}/InstantX/InstantID/resolve/main/ControlNetModel/diffusion_pytorch_model.safetensors",
    "controlnet",
)
