"""What a loaded UNet is, in users' words: a base that adapters are published for, or a relative of one.

Told by the width of its text context, by how many cross-attention layers it has, and by how many channels its latents
have: inpainting models read a mask and a masked picture beside the noise. Sources: the configurations of the models
named, as the host's `model_detection.py` lists them.
"""

from __future__ import annotations

from dataclasses import dataclass

KOLORS = "Kolors"
FLUX_1 = "FLUX.1"
SD35_LARGE = "SD3.5 Large"
BASES = {768: "SD1.5", 1024: "SD2.1", 2048: "SDXL"}  # by the width of the text context
PUBLISHED = ("SD1.5", "SDXL", KOLORS, FLUX_1, SD35_LARGE)  # bases that adapters are published for
WHOLE_LAYERS = {768: 16, 1024: 16, 2048: 70}  # cross-attention layers of each base, by the width of its text context
PRUNED = {(2048, 34): "SSD-1B", (2048, 15): "Segmind Vega", (2048, 21): "KOALA-700M", (2048, 30): "KOALA-1B"}
USUAL = 4  # channels of the latents
OTHERS = {  # models with other latents, by the width of their text context and their channels
    (768, 8): "SD1.5 with a second picture (InstructPix2Pix, Stable Zero123)",
    (768, 9): "SD1.5 inpainting",
    (1024, 5): "SD2 depth",
    (1024, 7): "the SD2 x4 upscaler",
    (1024, 8): "Stable Video Diffusion",
    (1024, 9): "SD2 inpainting",
    (2048, 8): "SDXL InstructPix2Pix",
    (2048, 9): "SDXL inpainting",
}
REFINER = 1280  # width of the refiner's text context, of its second text encoder alone


@dataclass(frozen=True)
class BaseModel:
    """A model's base, which an adapter names too, what it is, and whether adapters for it are published."""

    base: str
    name: str
    published: bool
    remark: str = ""  # what an adapter for its base does less well in it, in a sentence


def base_for(context_dim: int) -> str:
    """The base model with a text context of a width, in users' words. Kolors' is as wide as SDXL's."""
    return BASES.get(context_dim, f"a UNet with {context_dim}-wide text context")


def one_of(base: str) -> str:
    """A model of a base, as in "use … "."""
    if is_unknown(base):
        return base
    return f"{'an' if base.startswith('S') else 'a'} {base} model"  # an SD1.5 model, an SDXL model


def all_of(base: str) -> str:
    """The models of a base."""
    return f"UNets{base.removeprefix('a UNet')}" if is_unknown(base) else f"{base} models"


def is_unknown(base: str) -> bool:
    """Whether a base is called by its width, for want of a name."""
    return base.startswith("a UNet")


def base_model(base: str, context_dim: int, layers: int, channels: int) -> BaseModel:
    """What a UNet of a base is, by its number of cross-attention layers and the channels of its latents."""
    if context_dim == REFINER:
        return BaseModel(base, "the SDXL refiner", published=False)
    name, whole = OTHERS.get((context_dim, channels), base), WHOLE_LAYERS.get(context_dim, layers)
    if layers < whole:
        like = PRUNED.get((context_dim, layers))
        kin = f", as {like} has" if like else ""
        return BaseModel(base, f"a pruned {BASES[context_dim]} ({layers} of {whole} layers{kin})", published=False)
    return BaseModel(base, name, base in PUBLISHED)


def other_model(model: BaseModel, wanted: str) -> str:
    """What to do where an adapter is for another model than this."""
    if model.published:
        return f"use an adapter made for {model.base}, or {one_of(wanted)}"
    whole = " as it was published" * (model.base == wanted)
    return f"no adapter is published for {model.name}, so use {one_of(wanted)}{whole}"
