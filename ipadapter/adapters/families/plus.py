"""The plus adapter: sixteen learned queries read the encoder's hidden states (the paper's "fine-grained features")."""

from __future__ import annotations

from ...backbones.bases import KOLORS
from ...encoders.published import VIT_H, VIT_L_336, page
from ...errors import IPAdapterError
from ...prompts.prompt import Feature
from ..checkpoint import Checkpoint, shape
from ..family import Family, Offer, ProjectionSpec, PublishedFile, TrainingStart, Unconditional, base_by_width
from ..projection import DIM_HEAD, Resampler
from ..reading import read_perceiver
from . import addresses
from .addresses import for_sd15, for_sdxl

TRAINED_DEPTH = 4  # perceiver layers of the reference's adapters
WIDEST = 1280  # of a Resampler that is trained: SDXL's, whose token width is larger
FACE, COMPOSITION = "face", "composition"  # words of files that no tensor tells
KOLORS_WIDTH = 2048  # of Kolors' Resampler


def read_plus(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """The Resampler, over the encoder's hidden states."""
    _, tokens, dim = shape(checkpoint, "image_proj", "latents", 3)
    feature_dim, inner_dim, depth, ff_dim = read_perceiver(checkpoint, "")
    return ProjectionSpec(PLUS, feature_dim, context_dim, tokens, dim, inner_dim, depth, ff_dim)


def start_plus(tokens: int, feature_dim: int, context_dim: int) -> ProjectionSpec:
    """`tutorial_train_plus.py`: a Resampler as wide as the text context, with heads of 64."""
    refuse_width(PLUS, dim := min(context_dim, WIDEST), "base")
    return ProjectionSpec(PLUS, feature_dim, context_dim, tokens, dim, dim, TRAINED_DEPTH, 4 * dim)


def refuse_width(family: Family, width: int, instead: str) -> None:
    """Refuse a perceiver for a text whose width is no number of heads."""
    if width % DIM_HEAD:
        raise IPAdapterError(
            f"a {family.title} adapter's width is its text context's, which must be a multiple of {DIM_HEAD}, but this "
            f"model's is {width}: train a {instead} adapter."
        )


def base_of(projection: ProjectionSpec) -> str:
    """Kolors' text is as wide as SDXL's, but its Resampler is wider."""
    width = projection.context_dim
    return KOLORS if width == projection.dim == KOLORS_WIDTH else base_by_width(projection)


PLUS = Family(
    title="plus",
    reads=(Feature.PENULTIMATE,),
    nothing=Unconditional.ZERO_PIXELS,
    recognise=lambda checkpoint, context_dim: "latents" in checkpoint.image_proj,
    read=read_plus,
    projection=Resampler,
    advice="1 for an image prompt alone, 0.4 to 0.6 beside a text prompt, as it keeps much of the picture",
    base=base_of,
    training=TrainingStart(16, start_plus),
    offers=(
        Offer(1, "PLUS (high strength)", other=(FACE, COMPOSITION)),
        Offer(2, "PLUS FACE (portraits)", word=FACE),
        Offer(7, "Composition", word=COMPOSITION),
        Offer(8, KOLORS, other=(FACE, COMPOSITION), base=KOLORS),
    ),
    published=(
        for_sd15("ip-adapter-plus_sd15.safetensors"),
        for_sd15("ip-adapter-plus-face_sd15.safetensors"),
        for_sdxl("ip-adapter-plus_sdxl_vit-h.safetensors"),
        for_sdxl("ip-adapter-plus-face_sdxl_vit-h.safetensors"),
        *(
            PublishedFile(name, base, page(addresses.OSTRIS, name), VIT_H)
            for name, base in (
                ("ip_plus_composition_sd15.safetensors", "SD1.5"),
                ("ip_plus_composition_sdxl.safetensors", "SDXL"),
            )
        ),
        PublishedFile(
            "ip_adapter_plus_general.bin", KOLORS, page(addresses.KOLORS_PLUS, "ip_adapter_plus_general.bin"), VIT_L_336
        ),
    ),
)
