"""The world's models: the host's and open_clip's own classes with small configurations. The host must be started."""

from __future__ import annotations

from typing import Any, TypeVar

import comfy.latent_formats
import comfy.model_base
import comfy.ops
import comfy.sd1_clip
import comfy.supported_models_base
import open_clip
import torch
from comfy.cldm.cldm import ControlNet
from comfy.taesd.taesd import TAESD
from torch import Tensor, nn

CONTEXT = 24  # tokens of a caption, the start and the end among them
EMBED = 128

# open_clip's public form of a configuration; `preprocess_cfg` holds the usual normalisation of CLIP.
CLIP_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": EMBED,
        "vision_cfg": {"image_size": 64, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
        "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": EMBED, "heads": 4, "layers": 3},
    },
    "preprocess_cfg": {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}

TEXT_CONFIG: dict[str, Any] = {
    "num_hidden_layers": CLIP_CONFIG["model_cfg"]["text_cfg"]["layers"],
    "hidden_size": EMBED,
    "num_attention_heads": CLIP_CONFIG["model_cfg"]["text_cfg"]["heads"],
    "intermediate_size": 4 * EMBED,
    "hidden_act": "gelu",
    "max_position_embeddings": CONTEXT,
    "eos_token_id": 49407,
}

UNET_CONFIG: dict[str, Any] = {
    "image_size": 8,
    "in_channels": 4,
    "model_channels": 64,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1] * 4,
    "transformer_depth_middle": 1,
    "context_dim": EMBED,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "num_heads": -1,
    "num_head_channels": 32,
    "legacy": False,
    "use_temporal_attention": False,
}


def make_clip() -> open_clip.CLIP:
    """Both towers."""
    return open_clip.CLIP(**CLIP_CONFIG["model_cfg"])


def make_vae() -> TAESD:
    """The autoencoder: the host's smallest, which has no norms and so keeps colours with few channels."""
    return TAESD(latent_channels=4)


class LabLatent(comfy.latent_formats.LatentFormat):
    """Latents of the world's autoencoder; the numbers are fitted when it is trained."""

    def __init__(self, scale: float, rgb_factors: list[list[float]], rgb_bias: list[float]) -> None:
        self.scale_factor = scale
        self.latent_rgb_factors = rgb_factors
        self.latent_rgb_factors_bias = rgb_bias


class LabModel(comfy.supported_models_base.BASE):
    """The world's diffusion model, as the host describes the models it supports."""

    unet_config = UNET_CONFIG
    unet_extra_config = {"num_heads": -1, "num_head_channels": 32}
    memory_usage_factor = 1.0

    def __init__(self, latent_format: LabLatent) -> None:
        self.latent_format = lambda: latent_format
        super().__init__(dict(UNET_CONFIG, out_channels=4))


def make_model(latent_format: LabLatent, dtype: torch.dtype = torch.float32) -> comfy.model_base.BaseModel:
    """The diffusion model with weights still to come: epsilon prediction on Stable Diffusion's noise schedule."""
    config = LabModel(latent_format)
    config.set_inference_dtype(dtype, None)
    return config.get_model({}, device="cpu")


def make_control_net(dtype: torch.dtype = torch.float32) -> ControlNet:
    """A ControlNet beside the UNet, its hint a picture of the pixels' size."""
    return ControlNet(hint_channels=3, dtype=dtype, operations=comfy.ops.disable_weight_init, **UNET_CONFIG)


class LabTokenizer(comfy.sd1_clip.SDTokenizer):
    """CLIP's words, short sentences."""

    def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict[str, Any] | None = None) -> None:
        super().__init__(
            max_length=CONTEXT,
            embedding_directory=embedding_directory,
            embedding_size=EMBED,
            tokenizer_data=tokenizer_data or {},
        )


class LabTextModel(comfy.sd1_clip.SDClipModel):
    """CLIP's text tower as the host runs it."""

    def __init__(
        self, device: str = "cpu", dtype: torch.dtype | None = None, model_options: dict[str, Any] | None = None
    ) -> None:
        super().__init__(
            device=device,
            max_length=CONTEXT,
            textmodel_json_config=dict(TEXT_CONFIG),
            dtype=dtype,
            model_options=model_options or {},
        )


class LabTokenizers(comfy.sd1_clip.SD1Tokenizer):
    """What the host's CLIP asks for tokens."""

    def __init__(self, embedding_directory: str | None = None, tokenizer_data: dict[str, Any] | None = None) -> None:
        super().__init__(embedding_directory, tokenizer_data or {}, tokenizer=LabTokenizer)


class LabTextModels(comfy.sd1_clip.SD1ClipModel):
    """What the host's CLIP asks for embeddings."""

    def __init__(
        self, device: str = "cpu", dtype: torch.dtype | None = None, model_options: dict[str, Any] | None = None
    ) -> None:
        super().__init__(device, dtype, model_options or {}, clip_model=LabTextModel)


ZERO = ("out.2", "out_layers.3", "proj_out", "zero_convs", "middle_block_out")  # start as nothing, as in training
RESET: tuple[type[Any], ...] = (nn.Linear, nn.Conv2d, nn.GroupNorm, nn.LayerNorm)
Network = TypeVar("Network", bound=nn.Module)


def initialise(module: Network) -> Network:
    """Fresh weights: the host's layers leave theirs unset."""
    for name, layer in module.named_modules():
        for kind in RESET:
            if isinstance(layer, kind):
                kind.reset_parameters(layer)
        if name.endswith(ZERO) or any(f"{part}." in name for part in ZERO[3:]):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
    return module


def pixels_of(pictures: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to what the autoencoder reads, (N, 3, H, W) from -1 to 1."""
    return pictures.movedim(-1, 1).float().div(127.5).sub(1)
