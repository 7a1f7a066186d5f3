"""The published adapters and image encoders this pack reads: their names, what they are, where to get them."""

from __future__ import annotations

from dataclasses import dataclass

from .families import AdapterSpec, Family
from .image_prompt import Feature

ADAPTER_FOLDER = "models/ipadapter"
ENCODER_FOLDER = "models/clip_vision"


def page(repository: str, path: str) -> str:
    """Where a file is published."""
    return f"https://huggingface.co/{repository}/blob/main/{path}"


@dataclass(frozen=True)
class Encoder:
    """A kind of CLIP image encoder by its sizes, and a published file of it under the name to save it by."""

    short: str
    name: str
    address: str
    width: int  # of the hidden states
    embed: int  # of the image embedding
    tokens: int  # a picture, the class token among them
    depth: int  # layers


@dataclass(frozen=True)
class Traits:
    """What users tell adapter files apart by."""

    name: str
    base: str
    family: Family
    encoder: Encoder | None  # None: none of the published ones

    @staticmethod
    def of(spec: AdapterSpec) -> Traits:
        """Those of a file that a user has."""
        return Traits(spec.name, spec.base, spec.family, encoder_for(spec))


@dataclass(frozen=True)
class PublicAdapter(Traits):
    """A published adapter file."""

    address: str


TENCENT, OSTRIS, KOLORS = "h94/IP-Adapter", "ostris/ip-composition-adapter", "Kwai-Kolors/Kolors-IP-Adapter-Plus"

VIT_H = Encoder(
    "ViT-H",
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
    page(TENCENT, "models/image_encoder/model.safetensors"),
    width=1280,
    embed=1024,
    tokens=257,
    depth=32,
)
VIT_BIGG = Encoder(
    "ViT-bigG",
    "CLIP-ViT-bigG-14-laion2B-39B-b160k.safetensors",
    page(TENCENT, "sdxl_models/image_encoder/model.safetensors"),
    width=1664,
    embed=1280,
    tokens=257,
    depth=48,
)
VIT_L_336 = Encoder(
    "ViT-L-336",
    "clip-vit-large-patch14-336.bin",
    page(KOLORS, "image_encoder/pytorch_model.bin"),
    width=1024,
    embed=768,
    tokens=577,
    depth=24,
)
VIT_L = Encoder(
    "ViT-L",
    "clip-vit-large-patch14.safetensors",
    page("openai/clip-vit-large-patch14", "model.safetensors"),
    width=1024,
    embed=768,
    tokens=257,
    depth=24,
)
ENCODERS = (VIT_H, VIT_BIGG, VIT_L_336, VIT_L)

READS = {  # what an adapter reads, and how wide that is -> the encoder that it was made for
    (Feature.IMAGE_EMBEDS, 1024): VIT_H,
    (Feature.PENULTIMATE, 1280): VIT_H,
    (Feature.IMAGE_EMBEDS, 1280): VIT_BIGG,
    (Feature.PENULTIMATE, 1664): VIT_BIGG,
    (Feature.IMAGE_EMBEDS, 768): VIT_L,
    (Feature.PENULTIMATE, 1024): VIT_L_336,
}


def encoder_for(spec: AdapterSpec) -> Encoder | None:
    """The image encoder an adapter needs; None where no published one is as wide."""
    return READS.get((spec.feature, spec.projection.feature_dim))


def sd15(name: str, family: Family, encoder: Encoder = VIT_H, repository: str = TENCENT) -> PublicAdapter:
    """One for SD1.5."""
    folder = "models/" if repository == TENCENT else ""
    return PublicAdapter(name, "SD1.5", family, encoder, page(repository, folder + name))


def sdxl(name: str, family: Family, encoder: Encoder = VIT_H, repository: str = TENCENT) -> PublicAdapter:
    """One for SDXL."""
    folder = "sdxl_models/" if repository == TENCENT else ""
    return PublicAdapter(name, "SDXL", family, encoder, page(repository, folder + name))


ADAPTERS = (
    sd15("ip-adapter_sd15.safetensors", Family.BASE),
    sd15("ip-adapter_sd15_light.safetensors", Family.BASE),
    sd15("ip-adapter_sd15_light_v11.bin", Family.BASE),
    sd15("ip-adapter_sd15_vit-G.safetensors", Family.BASE, VIT_BIGG),
    sd15("ip-adapter-plus_sd15.safetensors", Family.PLUS),
    sd15("ip-adapter-plus-face_sd15.safetensors", Family.PLUS),
    sd15("ip-adapter-full-face_sd15.safetensors", Family.FULL_FACE),
    sdxl("ip-adapter_sdxl_vit-h.safetensors", Family.BASE),
    sdxl("ip-adapter_sdxl.safetensors", Family.BASE, VIT_BIGG),
    sdxl("ip-adapter-plus_sdxl_vit-h.safetensors", Family.PLUS),
    sdxl("ip-adapter-plus-face_sdxl_vit-h.safetensors", Family.PLUS),
    sd15("ip_plus_composition_sd15.safetensors", Family.PLUS, repository=OSTRIS),
    sdxl("ip_plus_composition_sdxl.safetensors", Family.PLUS, repository=OSTRIS),
    PublicAdapter(
        "ip_adapter_plus_general.bin",
        "Kolors",
        Family.PLUS,
        VIT_L_336,
        page(KOLORS, "ip_adapter_plus_general.bin"),
    ),
)
