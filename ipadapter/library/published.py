"""The published adapters, their LoRAs and image encoders: their names, what they are, where to get them."""

from __future__ import annotations

from dataclasses import dataclass

from ..adapters.spec import AdapterSpec, FaceVersion, Family
from ..prompts.prompt import Feature

ADAPTER_FOLDER = "models/ipadapter"
ENCODER_FOLDER = "models/clip_vision"
LORA_FOLDER = "models/loras"
PACK_FOLDER = "models/insightface/models"


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
    encoder: Encoder | None  # None: none of the published ones, or only a face is read
    version: FaceVersion | None  # of FaceID Plus

    @staticmethod
    def of(spec: AdapterSpec) -> Traits:
        """Those of a file that a user has."""
        version = spec.face.version if spec.family is Family.FACE_ID_PLUS else None
        return Traits(spec.name, spec.base, spec.family, encoder_for(spec), version)


@dataclass(frozen=True)
class PublicAdapter(Traits):
    """A published adapter file."""

    address: str


TENCENT, OSTRIS, KOLORS = "h94/IP-Adapter", "ostris/ip-composition-adapter", "Kwai-Kolors/Kolors-IP-Adapter-Plus"
PACK, KOLORS_PACK = "buffalo_l", "antelopev2"  # InsightFace model packs that adapters were made with
TENCENT_FACES, KOLORS_FACES = "h94/IP-Adapter-FaceID", "Kwai-Kolors/Kolors-IP-Adapter-FaceID-Plus"

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


def pack_for(spec: AdapterSpec) -> str:
    """The InsightFace model pack an adapter was made with."""
    return KOLORS_PACK if spec.widens_tokens else PACK


def pack_address(name: str) -> str:
    """Where a model pack is published; nothing for an unknown one."""
    known = name in (PACK, KOLORS_PACK)
    return f"https://github.com/deepinsight/insightface/releases/download/model-zoo/{name}.zip" * known


def encoder_for(spec: AdapterSpec) -> Encoder | None:
    """The image encoder an adapter needs; None where no published one is as wide."""
    return READS.get((spec.feature, spec.projection.feature_dim))


def sd15(name: str, family: Family, encoder: Encoder = VIT_H, repository: str = TENCENT) -> PublicAdapter:
    """One for SD1.5."""
    folder = "models/" if repository == TENCENT else ""
    return PublicAdapter(name, "SD1.5", family, encoder, None, page(repository, folder + name))


def sdxl(name: str, family: Family, encoder: Encoder = VIT_H, repository: str = TENCENT) -> PublicAdapter:
    """One for SDXL."""
    folder = "sdxl_models/" if repository == TENCENT else ""
    return PublicAdapter(name, "SDXL", family, encoder, None, page(repository, folder + name))


def face(
    name: str,
    base: str,
    family: Family,
    encoder: Encoder | None = None,
    version: FaceVersion | None = None,
    repository: str = TENCENT_FACES,
) -> PublicAdapter:
    """One that reads faces."""
    return PublicAdapter(name, base, family, encoder, version, page(repository, name))


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
        None,
        page(KOLORS, "ip_adapter_plus_general.bin"),
    ),
    face("ip-adapter-faceid_sd15.bin", "SD1.5", Family.FACE_ID),
    face("ip-adapter-faceid-plus_sd15.bin", "SD1.5", Family.FACE_ID_PLUS, VIT_H, FaceVersion.V1),
    face("ip-adapter-faceid-plusv2_sd15.bin", "SD1.5", Family.FACE_ID_PLUS, VIT_H, FaceVersion.V2),
    face("ip-adapter-faceid-portrait_sd15.bin", "SD1.5", Family.PORTRAIT),
    face("ip-adapter-faceid-portrait-v11_sd15.bin", "SD1.5", Family.PORTRAIT),
    face("ip-adapter-faceid_sdxl.bin", "SDXL", Family.FACE_ID),
    face("ip-adapter-faceid-plusv2_sdxl.bin", "SDXL", Family.FACE_ID_PLUS, VIT_H, FaceVersion.V2),
    face("ip-adapter-faceid-portrait_sdxl.bin", "SDXL", Family.PORTRAIT),
    face("ip-adapter-faceid-portrait_sdxl_unnorm.bin", "SDXL", Family.PORTRAIT_UNNORM),
    face("ipa-faceid-plus.bin", "Kolors", Family.FACE_ID_PLUS, VIT_L_336, FaceVersion.V2, KOLORS_FACES),
)


def public_adapter(spec: AdapterSpec) -> PublicAdapter | None:
    """The published file of the same kind; None where there is none."""
    traits = Traits.of(spec)
    kind = (traits.base, traits.family, traits.version)
    return next((one for one in ADAPTERS if (one.base, one.family, one.version) == kind), None)
