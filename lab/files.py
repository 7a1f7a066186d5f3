"""The laboratory's weights as the host's own objects: MODEL, CLIP, VAE, CLIP_VISION, CONTROL_NET.

The host must be importable and started (see `lab.host`). Weights that a stage has not made yet are an error that names
the stage.
"""

from __future__ import annotations

import json
from pathlib import Path

import comfy.controlnet
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models_base
import comfy.utils
import open_clip
import torch
from comfy.model_patcher import ModelPatcher
from safetensors.torch import save_file

from ipadapter.encoders.image_tower import Architecture, load_tower
from ipadapter.files.tensors import Tensors
from ipadapter.host.encoders.open_clip import OpenCLIPVision

from . import store
from .classifier import load_classifier
from .models import (
    CLIP_CONFIG,
    LabLatent,
    LabTextModels,
    LabTokenizers,
    make_clip,
    make_control_net,
    make_model,
)

__all__ = [
    "MODELS",
    "load_classifier",
    "load_clip",
    "load_clip_vision",
    "load_control_net",
    "load_model",
    "load_open_clip",
    "load_vae",
    "unpack_clip",
]

MODELS = ("base", "fine-tuned")
CLIP_NAME = "lab-clip"


def load_latent_format() -> LabLatent:
    """Scale and preview colours of the latents, as fitted with the autoencoder."""
    latent = store.load_metadata("vae")["latent"]
    return LabLatent(latent["scale"], latent["rgb_factors"], latent["rgb_bias"])


def load_model(name: str = "base", disable_dynamic: bool = False) -> ModelPatcher:
    """One of MODELS: the base model, or the same fine-tuned on the night domain."""
    model = make_model(load_latent_format())
    model.diffusion_model.load_state_dict({**store.load("base"), **store.load(name)})
    model.eval().requires_grad_(False)
    kind = ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher
    patcher = kind(model, comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device())
    patcher.cached_patcher_init = (load_model, (name,))
    return patcher


def load_vae() -> comfy.sd.VAE:
    """Pictures of 64 pixels to latents of 8 and back."""
    return comfy.sd.VAE(sd=store.load("vae"), dtype=torch.float32)


def clip_state() -> Tensors:
    """Both towers in open_clip's layout; words that no caption has are zero."""
    stored = store.load("clip")
    ids, rows = stored.pop("token_embedding.ids"), stored.pop("token_embedding.rows")
    words = torch.zeros(CLIP_CONFIG["model_cfg"]["text_cfg"]["vocab_size"], rows.shape[1])
    words[ids] = rows
    return {**stored, "token_embedding.weight": words}


def load_clip() -> comfy.sd.CLIP:
    """The text tower as the host's text encoder."""
    text = {key: tensor for key, tensor in clip_state().items() if not key.startswith("visual.")}
    converted = comfy.utils.clip_text_transformers_convert(text, "", "")
    target = comfy.supported_models_base.ClipTarget(LabTokenizers, LabTextModels)
    return comfy.sd.CLIP(target, state_dict=[converted])


def load_clip_vision() -> OpenCLIPVision:
    """The image tower as the host's CLIP_VISION."""
    chosen = CLIP_CONFIG["model_cfg"]
    architecture = Architecture(CLIP_NAME, chosen["embed_dim"], False, chosen["vision_cfg"])
    tower = {key.removeprefix("visual."): t for key, t in clip_state().items() if key.startswith("visual.")}
    return OpenCLIPVision(architecture, load_tower(architecture, tower, CLIP_NAME, torch.float32), torch.float32)


def load_open_clip() -> open_clip.CLIP:
    """Both towers, to compare pictures with texts."""
    clip = make_clip()
    clip.load_state_dict(clip_state())
    return clip.eval().requires_grad_(False)


def load_control_net() -> comfy.controlnet.ControlNet:
    """Structure from a picture of edges."""
    net = make_control_net()
    net.load_state_dict(store.load("controlnet"))
    net.eval().requires_grad_(False)
    return comfy.controlnet.ControlNet(net, load_device=comfy.model_management.get_torch_device())


def unpack_clip(folder: Path) -> Path:
    """Write CLIP as an ordinary open_clip checkpoint with its configuration beside it; returns the checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{CLIP_NAME}.safetensors"
    save_file({key: store.halved(tensor) for key, tensor in clip_state().items()}, path, {"format": "pt"})
    path.with_suffix(".json").write_text(json.dumps(CLIP_CONFIG, indent=2) + "\n")
    return path
