"""Checkpoints, what goes beside them and the image encoder, in the shapes of the host's own modules."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from .noise import Noise, Shapes, State, fill, shapes_of
from .unets import SD15, SDXL, UNetShape, unet_shapes

LORA_RANK = 4


def vae_state(noise: Noise, prefix: str = "first_stage_model.", channels: int = 4) -> State:
    """The host's smallest autoencoder (TAESD), its last layer tamed so that pictures stay between black and white."""
    from comfy.taesd.taesd import TAESD

    with torch.device("meta"):
        shapes = shapes_of(TAESD(latent_channels=channels), prefix, ("vae_scale", "vae_shift"))
    state = fill(shapes, noise)
    last = [name for name in state if "decoder" in name][-1].rpartition(".")[0]
    weight = state[f"{last}.weight"].float()
    # What comes in is never negative, so weights of mean zero are what keeps the channels around mid-grey.
    state[f"{last}.weight"] = ((weight - weight.mean((1, 2, 3), keepdim=True)) * 0.15).half()
    state[f"{last}.bias"] = torch.full_like(state[f"{last}.bias"], 0.5)
    scalars = {"vae_scale": torch.tensor(1.0), "vae_shift": torch.tensor(0.0)}
    return {**state, **{f"{prefix}{name}": value.half() for name, value in scalars.items()}}


def clip_l_state(noise: Noise, prefix: str = "") -> State:
    """CLIP-L's text model, without the projection that checkpoints leave out."""
    from comfy.sd1_clip import SDClipModel

    text = SDClipModel(device="meta", dtype=torch.float16)
    return fill(shapes_of(text.transformer.text_model, f"{prefix}text_model."), noise)


def clip_g_state(noise: Noise) -> State:
    """CLIP-bigG's text model under the names an SDXL checkpoint has for it."""
    from comfy.diffusers_convert import convert_text_enc_state_dict_v20
    from comfy.sdxl_clip import SDXLClipG
    from comfy.utils import state_dict_prefix_replace

    text = SDXLClipG(device="meta", dtype=torch.float16)
    state = fill(shapes_of(text.transformer, "clip_g.transformer."), noise)
    converted = convert_text_enc_state_dict_v20(state, "clip_g")
    return state_dict_prefix_replace(converted, {"clip_g": "conditioner.embedders.1.model"})


def sd15_checkpoint(noise: Noise) -> State:
    unet = fill(unet_shapes(SD15), noise)
    return {**unet, **vae_state(noise), **clip_l_state(noise, "cond_stage_model.transformer.")}


def sdxl_checkpoint(noise: Noise) -> State:
    unet = fill(unet_shapes(SDXL), noise)
    text = {**clip_l_state(noise, "conditioner.embedders.0.transformer."), **clip_g_state(noise)}
    return {**unet, **vae_state(noise), **text}


def sd15_controlnet(noise: Noise) -> State:
    return controlnet(SD15, noise)


def sdxl_controlnet(noise: Noise) -> State:
    """In InstantID's shape: what it reads in the text's place has the text's width."""
    return controlnet(SDXL, noise)


def controlnet(shape: UNetShape, noise: Noise) -> State:
    """A ControlNet for a UNet above, its zero convolutions made weak instead of zero."""
    from comfy.cldm.cldm import ControlNet

    net = ControlNet(hint_channels=3, device="meta", dtype=torch.float16, **shape.config())
    state = fill(shapes_of(net), noise)
    return {name: value * 0.2 if name.startswith(("zero_convs", "middle_block_out")) else value
            for name, value in state.items()}  # fmt: skip


def sd15_t2i_adapter(noise: Noise) -> State:
    """A light T2I-Adapter. The host fixes its widths to 320, 640, 1280, 1280, so here its first level alone fits."""
    from comfy.t2i_adapter.adapter import Adapter_light

    with torch.device("meta"):
        shapes = shapes_of(Adapter_light(cin=64, nums_rb=4))
    return {name: value * 0.5 for name, value in fill(shapes, noise).items()}


def sd15_lora(noise: Noise) -> State:
    """Rank-4 changes to every attention projection of the UNet above."""
    from comfy.utils import unet_to_diffusers

    weights = unet_shapes(SD15)
    state: State = {}
    for theirs, ours in unet_to_diffusers(SD15.config()).items():
        if ".attn" in ours and ours.endswith("weight"):
            rows, columns = weights["model.diffusion_model." + ours]
            name = "lora_unet_" + theirs.removesuffix(".weight").replace(".", "_")
            state |= lora_pair(name, rows, columns, noise)
    return state


def lora_pair(name: str, rows: int, columns: int, noise: Noise) -> State:
    shapes = {f"{name}.lora_down.weight": (LORA_RANK, columns), f"{name}.lora_up.weight": (rows, LORA_RANK)}
    return {**fill(shapes, noise), f"{name}.alpha": torch.tensor(float(LORA_RANK) / 2).half()}


def vit_h(noise: Noise) -> State:
    """The image tower of OpenCLIP ViT-H/14."""
    return image_tower(noise, "clip_vision_config_h.json")


def vit_l(noise: Noise) -> State:
    """The image tower of CLIP ViT-L/14."""
    return image_tower(noise, "clip_vision_config_vitl.json")


def image_tower(noise: Noise, sizes: str) -> State:
    """A CLIP image encoder in the layout of transformers, by the host's file of its sizes."""
    import comfy.clip_vision
    from comfy.clip_model import CLIPVisionModelProjection
    from comfy.ops import manual_cast

    config = json.loads((Path(comfy.clip_vision.__file__).parent / sizes).read_text())
    with torch.device("meta"):
        encoder = CLIPVisionModelProjection(config, torch.float16, "meta", manual_cast)
    return fill(shapes_of(encoder), noise)


def siglip(noise: Noise) -> State:
    """SigLIP so400m/14-384's image tower with its pooling head under the public names: as wide, but two layers deep and
    with narrow perceptrons.
    """
    from comfy.clip_model import CLIPVisionModelProjection
    from comfy.ops import manual_cast

    from ipadapter.encoders.siglip import SigLIPSizes
    from ipadapter.host.encoders.siglip import model_config

    sizes = SigLIPSizes(width=1152, depth=2, inner=64, patch=14, side=27)
    with torch.device("meta"):
        tower = CLIPVisionModelProjection(model_config(sizes), torch.float16, "meta", manual_cast)
    return fill({**shapes_of(tower), **head_shapes(sizes.width, sizes.inner)}, noise)


def head_shapes(width: int, inner: int) -> Shapes:
    """Of SigLIP's pooling head."""
    shapes = {
        "probe": (1, 1, width),
        "attention.in_proj_weight": (3 * width, width),
        "attention.in_proj_bias": (3 * width,),
        "attention.out_proj.weight": (width, width),
        "attention.out_proj.bias": (width,),
        "layernorm.weight": (width,),
        "layernorm.bias": (width,),
        "mlp.fc1.weight": (inner, width),
        "mlp.fc1.bias": (inner,),
        "mlp.fc2.weight": (width, inner),
        "mlp.fc2.bias": (width,),
    }
    return {f"vision_model.head.{name}": shape for name, shape in shapes.items()}
