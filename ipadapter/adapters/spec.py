"""What an adapter file turned out to be, and how it is to be used."""

from __future__ import annotations

from dataclasses import dataclass

from ..encoders.published import JOINED_BY, READS
from ..errors import IPAdapterError
from ..prompts.prompt import FACE_WIDTH, Feature
from .face_settings import FaceSettings, FaceVersion
from .family import Family, ProjectionSpec


@dataclass(frozen=True)
class AdapterSpec:
    """What a file turned out to be. `channels` is each cross-attention layer's width, in the reference's order.

    `lora_rank` is 0 where the file has no LoRA.
    """

    name: str
    projection: ProjectionSpec
    channels: tuple[int, ...]
    lora_rank: int = 0
    face: FaceSettings = FaceSettings()

    @property
    def family(self) -> Family:
        """The kind of projection."""
        return self.projection.family

    @property
    def feature(self) -> Feature:
        """What this family reads of an image: of FaceID Plus what it reads beside the face."""
        return self.family.reads[-1]

    @property
    def reads_face(self) -> bool:
        """Whether a face embedding is read."""
        return Feature.FACE in self.family.reads

    @property
    def follows_noise(self) -> bool:
        """Whether its tokens are other ones at each noise level."""
        return bool(self.projection.time_dim)

    @property
    def version(self) -> FaceVersion | None:
        """Which of two versions it is used as, where its family has two."""
        return self.face.version if self.family.versions else None

    @property
    def lacks_lora(self) -> bool:
        """Whether the LoRA it was trained with is missing from the file."""
        return self.family.with_lora and not self.lora_rank

    @property
    def context_dim(self) -> int:
        """Width of the UNet's text context, which `to_k_ip` and `to_v_ip` read."""
        return self.family.narrowed_to or self.projection.context_dim

    @property
    def base(self) -> str:
        """The base model it was made for, in users' words."""
        return self.family.base(self.projection)

    @property
    def encoder(self) -> str:
        """What it was made to read images with, in users' words."""
        names = [reader_of(*read) for read in self.projection.reads]
        return " and ".join(names) + (", through Encode Face Prompt" if self.reads_face else "")

    def __str__(self) -> str:
        tokens = self.projection.tokens or "one a patch"
        return f"{self.family.title} adapter for {self.base}, {len(self.channels)} layers, tokens: {tokens}"


def reader_of(feature: Feature, width: int) -> str:
    """What makes a feature of a width, in users' words."""
    if feature is Feature.FACE and width == FACE_WIDTH:
        return "InsightFace"
    encoders = READS.get((feature, width), ())
    titles = " and ".join(encoder.title for encoder in encoders) or "an encoder of that width"
    return titles + f", through {JOINED_BY}" * (feature is Feature.CHARACTER)


def refuse_settings(spec: AdapterSpec, face: FaceSettings) -> None:
    """Raises IPAdapterError for an adapter without a face, and for settings it does not have."""
    plus = spec.family.versions
    kind = f"{spec.family.title} adapter" + (f" used as {face.version.value}" if plus else "")
    structured = plus and face.version is FaceVersion.V2
    objections = (
        (spec.reads_face, "FaceID Settings", "connect a FaceID adapter, or leave this node out"),
        (plus or face.version is spec.face.version, "versions", "leave version as the file is named"),
        (structured or face.structure == 1.0, "structure", f"set structure to 1{', or version to v2' if plus else ''}"),
        (bool(spec.lora_rank) or face.lora == 1.0, "LoRA in its file", "set lora_weight to 1"),
    )
    for good, what, advice in objections:
        if not good:
            raise IPAdapterError(f"'{spec.name}' is a {kind}, which has no {what}: {advice}.")
