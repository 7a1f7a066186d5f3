"""An adapter in words: what it is, what it fits, what it needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..adapters.family import Unconditional
from ..adapters.fit import match_layers
from ..adapters.provenance import Provenance
from ..adapters.spec import AdapterSpec
from ..backbones.bases import all_of
from ..backbones.known import model_of
from ..encoders.published import JOINED_BY, Encoder
from ..errors import IPAdapterError
from ..prompts.prompt import Feature
from .published import ENCODER_FOLDER, PACK_FOLDER, encoders_for, pack_address


@dataclass(frozen=True)
class Storage:
    """How an adapter's weights are kept."""

    precision: str
    size: int  # bytes

    @staticmethod
    def of(weights: Iterable[Tensor]) -> Storage:
        """That of some tensors; where their precisions differ, the one of the most numbers comes first."""
        numbers: Counter[torch.dtype] = Counter()
        for tensor in weights:
            numbers[tensor.dtype] += tensor.numel()
        names = [str(dtype).removeprefix("torch.") for dtype, _ in numbers.most_common()]
        return Storage(" and ".join(names), sum(count * dtype.itemsize for dtype, count in numbers.items()))

    def __str__(self) -> str:
        return f"{self.precision}, {self.size / 1e6:.1f} MB"


UNCONDITIONAL = {
    Unconditional.ZERO_EMBEDDING: "an embedding of zeros, sent through the projection",
    Unconditional.ZERO_PIXELS: "what the encoder makes of zeros in place of normalised pixels",
    Unconditional.BLACK_PICTURE: "what the encoder makes of a black picture",
    Unconditional.THE_IMAGE: "nothing of its own: the negative side gets the image too",
}


def describe_adapter(
    spec: AdapterSpec,
    storage: Storage | None = None,
    provenance: Provenance | None = None,
    unet: nn.Module | None = None,
) -> str:
    """What is known of an adapter, a line a fact. What is not given is left out."""
    facts = [
        ("File", spec.name),
        ("Kind", kind(spec)),
        ("Stored as", str(storage) if storage else ""),
        ("Made from", origin(provenance) if provenance else ""),
        ("Fits", fits(spec)),
        ("This model", verdict(spec, unet) if unet is not None else ""),
        ("Needs", needs(spec)),
        ("LoRA", lora(spec)),
        ("No image", UNCONDITIONAL[spec.family.nothing] + ", and a zero face embedding" * reads_both(spec)),
        ("Weight", spec.family.advice),
    ]
    return "\n".join(f"{label}: {fact}" for label, fact in facts if fact)


def kind(spec: AdapterSpec) -> str:
    """Family and sizes."""
    projection = spec.projection
    tokens = f"{projection.tokens} image tokens" if projection.tokens else "an image token for every patch"
    read = " and ".join(f"{feature.value} {width} wide" for feature, width in projection.reads)
    version = f" {spec.version.value}" if spec.version else ""
    changing = ", and makes other tokens at each noise level" if spec.follows_noise else ""
    return f"{spec.family.title}{version}, {tokens} {projection.context_dim} wide, reads {read}{changing}"


def lora(spec: AdapterSpec) -> str:
    """The LoRA an adapter was trained with; nothing where there was none."""
    if spec.lacks_lora:
        return "not in this file: take the adapter from Find IP-Adapter, which looks for it, or add it with Load LoRA"
    return f"in the file, rank {spec.lora_rank}, on every attention at weight {spec.face.lora:g}" * bool(spec.lora_rank)


def reads_both(spec: AdapterSpec) -> bool:
    """Whether a face embedding is read beside an encoder's feature."""
    return len(spec.projection.reads) > 1


def origin(provenance: Provenance) -> str:
    """What the file says it was made from; nothing where it does not."""
    parts = [
        f"{provenance.steps} training steps" if provenance.steps else "",
        f"encoder {provenance.encoder}" if provenance.encoder else "",
        f"licence {provenance.license}" if provenance.license else "",
    ]
    return ", ".join(part for part in parts if part)


def fits(spec: AdapterSpec) -> str:
    """The models it was made for."""
    return f"{all_of(spec.base)}, {len(spec.channels)} cross-attention layers, {spec.context_dim}-wide context"


def verdict(spec: AdapterSpec, unet: nn.Module) -> str:
    """Whether a model is one of them, with both sides."""
    try:
        layers = match_layers(spec, unet)
    except IPAdapterError as error:
        return f"does not fit. {str(error)[:1].upper()}{str(error)[1:]}"
    return f"fits. It is {model_of(unet, layers).name}, and all of its {len(layers)} layers take part"


def needs(spec: AdapterSpec) -> str:
    """The image encoder and the recognition model, and where they are found."""
    return " and ".join(NEEDS[feature](spec) for feature, _ in spec.projection.reads)


def encoder_needed(spec: AdapterSpec) -> str:
    """The image encoders of the right widths, mostly one."""
    encoders = encoders_for(spec)
    if not encoders:
        return f"{spec.encoder}, which is not among the published ones"
    return " and ".join(map(where_to_get, encoders)) + f", put together with {JOINED_BY}" * (len(encoders) > 1)


def where_to_get(encoder: Encoder) -> str:
    """A published encoder, and what opens it."""
    loaded = f", opened with {encoder.loader}" * bool(encoder.loader)
    return f"{encoder.short}: {encoder.name} in {ENCODER_FOLDER}, from {encoder.address}{loaded}"


def needs_faces(spec: AdapterSpec) -> str:
    """A recognition model."""
    pack = spec.family.face_pack
    return f"InsightFace: the Python package insightface, and {pack} in {PACK_FOLDER}, from {pack_address(pack)}"


NEEDS = {feature: encoder_needed for feature in Feature} | {Feature.FACE: needs_faces}
