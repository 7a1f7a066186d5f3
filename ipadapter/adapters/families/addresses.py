"""Where adapters are published."""

from __future__ import annotations

from ...encoders.published import VIT_H, Encoder, page
from ..face_settings import FaceVersion
from ..family import PublishedFile

TENCENT, OSTRIS, KOLORS_PLUS = "h94/IP-Adapter", "ostris/ip-composition-adapter", "Kwai-Kolors/Kolors-IP-Adapter-Plus"
TENCENT_FACES, KOLORS_FACES = "h94/IP-Adapter-FaceID", "Kwai-Kolors/Kolors-IP-Adapter-FaceID-Plus"


def for_sd15(name: str, encoder: Encoder = VIT_H) -> PublishedFile:
    """One of the paper's authors for SD1.5."""
    return PublishedFile(name, "SD1.5", page(TENCENT, f"models/{name}"), encoder)


def for_sdxl(name: str, encoder: Encoder = VIT_H) -> PublishedFile:
    """One of the paper's authors for SDXL."""
    return PublishedFile(name, "SDXL", page(TENCENT, f"sdxl_models/{name}"), encoder)


def for_faces(
    name: str, base: str, encoder: Encoder | None = None, version: FaceVersion | None = None
) -> PublishedFile:
    """One of the paper's authors that reads faces."""
    return PublishedFile(name, base, page(TENCENT_FACES, name), encoder, version)
