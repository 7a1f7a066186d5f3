"""The public adapter files by their exact keys and shapes, and ways to write small ones to disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from pack.ipadapter.adapters.checkpoint import Checkpoint
from pack.ipadapter.errors import IPAdapterError
from safetensors.torch import save_file
from torch import Tensor

from tests.adapters import (
    FACE,
    LAYERS,
    AdapterFile,
    base_shapes,
    character_shapes,
    face_plus_shapes,
    face_shapes,
    full_face_shapes,
    instantx_shapes,
    layer_shapes,
    lora_shapes,
    plus_shapes,
    timed_shapes,
)

Shapes = dict[str, tuple[int, ...]]
Tensors = dict[str, Tensor]

SD15_CHANNELS = (320, 320, 640, 640, 1280, 1280, *[1280] * 3, *[640] * 3, *[320] * 3, 1280)  # down, up, middle
SDXL_CHANNELS = (*[640] * 4, *[1280] * 20, *[1280] * 30, *[640] * 6, *[1280] * 10)

FLUX_CHANNELS = (3072,) * (19 + 38)  # double blocks, single blocks
SD3_CHANNELS = (2432,) * 38

VIT_H, VIT_BIGG, VIT_L_336, VIT_L, SIGLIP = "ViT-H/14", "ViT-bigG/14", "ViT-L/14-336", "ViT-L/14", "SigLIP"


@dataclass(frozen=True)
class Kind:
    """A public file, and what it must be recognised as."""

    image_proj: Shapes
    channels: tuple[int, ...]
    context: int
    family: str
    base: str
    tokens: int | None
    encoder: str
    lora_rank: int = 0
    token_dim: int = 0  # where the tokens are not as wide as the text context
    sizes: dict[str, int] = field(default_factory=dict)  # of the layers, besides

    def tensors(self, make: Callable[[tuple[int, ...]], Tensor]) -> AdapterFile:
        """Both groups, each tensor made by shape."""
        layers = LAYERS.get(self.family, layer_shapes)(self.channels, self.context, **self.sizes)
        layers |= lora_shapes(self.channels, self.context, self.lora_rank) if self.lora_rank else {}
        return AdapterFile(
            {key: make(shape) for key, shape in self.image_proj.items()},
            {key: make(shape) for key, shape in layers.items()},
        )


def on_meta(shape: tuple[int, ...]) -> Tensor:
    """A tensor that is only a shape."""
    return torch.empty(shape, device="meta")


def sd15(shapes: Shapes, family: str, tokens: int | None, encoder: str = VIT_H) -> Kind:
    return Kind(shapes, SD15_CHANNELS, 768, family, "SD1.5", tokens, encoder)


def sdxl(shapes: Shapes, family: str, tokens: int, encoder: str = VIT_H, base: str = "SDXL") -> Kind:
    return Kind(shapes, SDXL_CHANNELS, 2048, family, base, tokens, encoder)


def face(shapes: Shapes, base: Kind, family: str, tokens: int, rank: int = 0, encoder: str = "InsightFace") -> Kind:
    return replace(base, image_proj=shapes, family=family, tokens=tokens, lora_rank=rank, encoder=encoder)


PLUS_SD15 = plus_shapes(768, 1280, 16, 768, 768)
PLUS_SDXL = plus_shapes(2048, 1280, 16, 1280, 1280)
PLUS_KOLORS = plus_shapes(2048, 1024, 16, 2048, 768)

IN_SD15, IN_SDXL = sd15({}, "", None), sdxl({}, "", 0)

KINDS = {
    "ip-adapter_sd15": sd15(base_shapes(768, 1024), "base", 4),
    "ip-adapter_sd15_light": sd15(base_shapes(768, 1024), "base", 4),
    "ip-adapter_sd15_vit-G": sd15(base_shapes(768, 1280), "base", 4, VIT_BIGG),
    "ip-adapter-plus_sd15": sd15(PLUS_SD15, "plus", 16),
    "ip-adapter-plus-face_sd15": sd15(PLUS_SD15, "plus", 16),
    "ip_plus_composition_sd15": sd15(PLUS_SD15, "plus", 16),
    "ip-adapter-full-face_sd15": sd15(full_face_shapes(768, 1280), "full-face", None),
    "ip-adapter_sdxl": sdxl(base_shapes(2048, 1280), "base", 4, VIT_BIGG),
    "ip-adapter_sdxl_vit-h": sdxl(base_shapes(2048, 1024), "base", 4),
    "ip-adapter-plus_sdxl_vit-h": sdxl(PLUS_SDXL, "plus", 16),
    "ip-adapter-plus-face_sdxl_vit-h": sdxl(PLUS_SDXL, "plus", 16),
    "ip_plus_composition_sdxl": sdxl(PLUS_SDXL, "plus", 16),
    "Kolors-IP-Adapter-Plus": sdxl(PLUS_KOLORS, "plus", 16, VIT_L_336, "Kolors"),
    "ip-adapter-faceid_sd15": face(face_shapes(768), IN_SD15, "FaceID", 4, 128),
    "ip-adapter-faceid-plus_sd15": face(face_plus_shapes(768, 1280), IN_SD15, "FaceID Plus", 4, 128, VIT_H),
    "ip-adapter-faceid-plusv2_sd15": face(face_plus_shapes(768, 1280), IN_SD15, "FaceID Plus", 4, 128, VIT_H),
    "ip-adapter-faceid-portrait_sd15": face(face_shapes(768, 16), IN_SD15, "FaceID Portrait", 16),
    "ip-adapter-faceid_sdxl": face(face_shapes(2048), IN_SDXL, "FaceID", 4, 128),
    "ip-adapter-faceid-plusv2_sdxl": face(face_plus_shapes(2048, 1280), IN_SDXL, "FaceID Plus", 4, 128, VIT_H),
    "ip-adapter-faceid-portrait_sdxl": face(face_shapes(2048, 16), IN_SDXL, "FaceID Portrait", 16),
    "ip-adapter-faceid-portrait_sdxl_unnorm": face(
        plus_shapes(2048, FACE, 16, 1280, 1280), IN_SDXL, "FaceID Portrait unnorm", 16
    ),
    "instantid-ip-adapter": face(plus_shapes(2048, FACE, 16, 1280, 1280), IN_SDXL, "InstantID", 16),
    "Kolors-IP-Adapter-FaceID-Plus": replace(
        face(face_plus_shapes(4096, 1024, 6), IN_SDXL, "FaceID Plus", 6, encoder=VIT_L_336),
        base="Kolors",
        token_dim=4096,
    ),
    "flux-ip-adapter": Kind(base_shapes(4096, 768), FLUX_CHANNELS[:19], 4096, "XLabs FLUX", "FLUX.1", 4, VIT_L),
    "flux-ip-adapter-v2": Kind(base_shapes(4096, 768, 16), FLUX_CHANNELS[:19], 4096, "XLabs FLUX", "FLUX.1", 16, VIT_L),
    "FLUX.1-dev-IP-Adapter": Kind(
        instantx_shapes(4096, 1152, 128), FLUX_CHANNELS, 4096, "InstantX FLUX", "FLUX.1", 128, SIGLIP
    ),
    "ai-toolkit flux": Kind(base_shapes(3072, 768), FLUX_CHANNELS, 3072, "ai-toolkit FLUX", "FLUX.1", 4, VIT_L),
    "ai-toolkit flux plus": Kind(
        plus_shapes(3072, 1152, 16, 1280, 1280), FLUX_CHANNELS, 3072, "ai-toolkit FLUX plus", "FLUX.1", 16, SIGLIP
    ),
    "InstantCharacter": Kind(
        character_shapes(4096, 2688, 4, tokens=1024, dim=1280, inner=1280, sines=320),
        FLUX_CHANNELS,
        4096,
        "InstantCharacter",
        "FLUX.1",
        1024,
        SIGLIP,
    ),
    "SD3.5-Large-IP-Adapter": Kind(
        timed_shapes(2432, 1152, 64, 1280, 1280, 4, 320),
        SD3_CHANNELS,
        2432,
        "InstantX SD3.5",
        "SD3.5 Large",
        64,
        SIGLIP,
        sizes={"time": 1280},
    ),
    "sd21": Kind(base_shapes(1024, 1024), SD15_CHANNELS, 1024, "base", "SD2.1", 4, VIT_H),
}


def checkpoint_of(file: AdapterFile, name: str = "adapter.safetensors") -> Checkpoint:
    """A file as it is after reading."""
    return Checkpoint(name, dict(file.image_proj), dict(file.ip_adapter), {})


def contiguous(tensors: Tensors) -> Tensors:
    """As the safetensors writer wants them: each with memory of its own."""
    return {key: tensor.detach().clone(memory_format=torch.contiguous_format) for key, tensor in tensors.items()}


def write_safetensors(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    save_file(contiguous(tensors), path, metadata)
    return path


def write_torch(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def assert_is_a_sentence(error: IPAdapterError, name: str) -> None:
    """One sentence for a person: it names the file, ends, and carries no trace of a program's innards."""
    text = str(error)
    assert name in text
    assert text.endswith(".") and "\n" not in text and len(text) < 500
    assert "Traceback" not in text and "Error(" not in text


def assert_same(checkpoint: Checkpoint, file: AdapterFile) -> None:
    """Tensor for tensor, under the same names."""
    for found, given in ((checkpoint.image_proj, file.image_proj), (checkpoint.ip_adapter, file.ip_adapter)):
        assert found.keys() == given.keys()
        assert all(torch.equal(found[key], tensor) for key, tensor in given.items())
