"""The published adapters, their LoRAs and model packs: their names, what they are, where to get them."""

from __future__ import annotations

from dataclasses import dataclass

from ..adapters.face_settings import FaceVersion
from ..adapters.families import FAMILIES
from ..adapters.family import Family
from ..adapters.spec import AdapterSpec
from ..encoders.published import READS, Encoder

ADAPTER_FOLDER = "models/ipadapter"
ENCODER_FOLDER = "models/clip_vision"
LORA_FOLDER = "models/loras"
PACK_FOLDER = "models/insightface/models"


@dataclass(frozen=True)
class Traits:
    """What users tell adapter files apart by."""

    name: str
    base: str
    family: Family
    encoder: Encoder | None  # the first, where two are read; None: none of the published ones, or only a face is read
    version: FaceVersion | None  # of FaceID Plus

    @staticmethod
    def of(spec: AdapterSpec) -> Traits:
        """Those of a file that a user has."""
        return Traits(spec.name, spec.base, spec.family, next(iter(encoders_for(spec)), None), spec.version)


@dataclass(frozen=True)
class PublicAdapter(Traits):
    """A published adapter file."""

    address: str


ADAPTERS = tuple(
    PublicAdapter(file.name, file.base, family, file.encoder, file.version, file.address)
    for family in FAMILIES
    for file in family.published
)


def pack_address(name: str) -> str:
    """Where an InsightFace model pack is published; nothing for an unknown one."""
    known = name in {family.face_pack for family in FAMILIES}
    return f"https://github.com/deepinsight/insightface/releases/download/model-zoo/{name}.zip" * known


def encoders_for(spec: AdapterSpec) -> tuple[Encoder, ...]:
    """The image encoders an adapter needs, mostly one; none where no published one is as wide."""
    return READS.get((spec.feature, spec.projection.feature_dim), ())


def encoders_of(adapter: PublicAdapter) -> tuple[Encoder, ...]:
    """The same of a published one: the encoder of its row, and what is read beside it; none where only a face is."""
    together = [
        encoders
        for (feature, _), encoders in READS.items()
        if feature in adapter.family.reads and adapter.encoder in encoders
    ]
    return max(together, key=len, default=())


def public_adapter(spec: AdapterSpec) -> PublicAdapter | None:
    """The published file of the same kind; None where there is none."""
    kind = (spec.base, spec.family, spec.version)
    return next((one for one in ADAPTERS if (one.base, one.family, one.version) == kind), None)
