"""The image encoders that published adapters read: their sizes, their names, where to get them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from ..prompts.prompt import Feature


def page(repository: str, path: str) -> str:
    """Where a file is published."""
    return f"https://huggingface.co/{repository}/blob/main/{path}"


@dataclass(frozen=True)
class Encoder:
    """A kind of image encoder by its sizes, and a published file of it under the name to save it by."""

    short: str
    model: str  # as its makers call it
    name: str
    address: str
    width: int  # of the hidden states
    embed: int | None  # of the image embedding, where there is a projection
    tokens: int  # a picture, the class token among them
    depth: int  # layers
    maker: str = "CLIP"
    loader: str = ""  # the node that opens it, where the host's own does not give all of it

    @property
    def title(self) -> str:
        """In users' words."""
        return f"{self.maker} {self.model} ({PurePath(self.name).stem})" + f" from {self.loader}" * bool(self.loader)


VIT_H = Encoder(
    "ViT-H",
    "ViT-H/14",
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
    page("h94/IP-Adapter", "models/image_encoder/model.safetensors"),
    width=1280,
    embed=1024,
    tokens=257,
    depth=32,
)
VIT_BIGG = Encoder(
    "ViT-bigG",
    "ViT-bigG/14",
    "CLIP-ViT-bigG-14-laion2B-39B-b160k.safetensors",
    page("h94/IP-Adapter", "sdxl_models/image_encoder/model.safetensors"),
    width=1664,
    embed=1280,
    tokens=257,
    depth=48,
)
VIT_L_336 = Encoder(
    "ViT-L-336",
    "ViT-L/14-336",
    "clip-vit-large-patch14-336.bin",
    page("Kwai-Kolors/Kolors-IP-Adapter-Plus", "image_encoder/pytorch_model.bin"),
    width=1024,
    embed=768,
    tokens=577,
    depth=24,
)
VIT_L = Encoder(
    "ViT-L",
    "ViT-L/14",
    "clip-vit-large-patch14.safetensors",
    page("openai/clip-vit-large-patch14", "model.safetensors"),
    width=1024,
    embed=768,
    tokens=257,
    depth=24,
)
SIGLIP = Encoder(
    "SigLIP",
    "so400m/14-384",
    "sigclip_vision_patch14_384.safetensors",
    page("Comfy-Org/sigclip_vision_384", "sigclip_vision_patch14_384.safetensors"),
    width=1152,
    embed=1152,
    tokens=729,
    depth=27,
    maker="SigLIP",
    loader="Load SigLIP Vision",
)
DINOV2 = Encoder(
    "DINOv2-giant",
    "giant/14",
    "dinov2-giant.safetensors",
    page("facebook/dinov2-giant", "model.safetensors"),
    width=1536,
    embed=None,
    tokens=1370,
    depth=40,
    maker="DINOv2",
)
ENCODERS = (VIT_H, VIT_BIGG, VIT_L_336, VIT_L, SIGLIP, DINOV2)
JOINED_BY = "Join Image Encoders"  # the node that puts two beside each other

READS = {  # what an adapter reads, and how wide that is -> the encoders that it was made for
    (Feature.IMAGE_EMBEDS, 1024): (VIT_H,),
    (Feature.PENULTIMATE, 1280): (VIT_H,),
    (Feature.IMAGE_EMBEDS, 1280): (VIT_BIGG,),
    (Feature.PENULTIMATE, 1664): (VIT_BIGG,),
    (Feature.IMAGE_EMBEDS, 768): (VIT_L,),
    (Feature.PENULTIMATE, 1024): (VIT_L_336,),
    (Feature.IMAGE_EMBEDS, 1152): (SIGLIP,),
    (Feature.PENULTIMATE, 1152): (SIGLIP,),
    (Feature.CHARACTER, 2688): (SIGLIP, DINOV2),
}
