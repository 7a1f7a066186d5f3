"""What an adapter is: its family, its sizes, what it reads, and the rules that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..backbones.bases import BASES
from ..numbers import WEIGHT, require
from ..prompts.prompt import Feature

DIM_HEAD = 64  # of every public Resampler
KOLORS_TEXT = 4096  # width of Kolors' text features, and of the tokens of its FaceID adapter: its UNet narrows both


class Unconditional(Enum):
    """What stands for "no image" (reference `get_image_embeds`). A face embedding is zero in either."""

    ZERO_EMBEDDING = "a zero embedding through the projection"
    ZERO_PIXELS = "the penultimate states of zero normalised pixels"


class Family(Enum):
    """The projections of public adapters."""

    BASE = "base"
    FULL_FACE = "full-face"
    PLUS = "plus"
    FACE_ID = "FaceID"
    FACE_ID_PLUS = "FaceID Plus"
    PORTRAIT = "FaceID Portrait"
    PORTRAIT_UNNORM = "FaceID Portrait unnorm"


@dataclass(frozen=True)
class ProjectionSpec:
    """Sizes of the image projection. `tokens` is None where there is one token a patch (full-face).

    `feature_dim` is the width of the image encoder's feature, or of the face embedding where only that is read;
    `face_dim` that of a face embedding read beside it (FaceID Plus). `context_dim` is the width of the tokens.
    """

    family: Family
    feature_dim: int
    context_dim: int
    tokens: int | None
    dim: int = 0
    inner_dim: int = 0
    depth: int = 0
    ff_dim: int = 0
    face_dim: int = 0

    @property
    def reads(self) -> tuple[tuple[Feature, int], ...]:
        """What the projection reads, in the order in which it takes them, and how wide each is."""
        widths = (self.face_dim, self.feature_dim)[-len(FEATURES[self.family]) :]
        return tuple(zip(FEATURES[self.family], widths, strict=True))


FEATURES: dict[Family, tuple[Feature, ...]] = {
    Family.BASE: (Feature.IMAGE_EMBEDS,),
    Family.FULL_FACE: (Feature.PENULTIMATE,),
    Family.PLUS: (Feature.PENULTIMATE,),
    Family.FACE_ID: (Feature.FACE,),
    Family.FACE_ID_PLUS: (Feature.FACE, Feature.PENULTIMATE),
    Family.PORTRAIT: (Feature.FACE,),
    Family.PORTRAIT_UNNORM: (Feature.FACE,),
}


class FaceVersion(str, Enum):
    """The two versions of FaceID Plus, which have the same tensors."""

    V1 = "v1"  # the tokens are what the perceiver makes of identity and picture
    V2 = "v2"  # the identity's own tokens are added to them ("shortcut" in the reference)


@dataclass(frozen=True)
class FaceSettings:
    """How a FaceID adapter is used.

    `structure` scales the picture's share of FaceID Plus v2 (reference `s_scale`), `lora` the LoRA in the file
    (reference `lora_scale`), `narrowed` the tokens that Kolors' UNet has narrowed.
    """

    version: FaceVersion = FaceVersion.V1
    structure: float = 1.0
    lora: float = 1.0
    narrowed: float = 1.0

    def __post_init__(self) -> None:
        require(self.structure, "structure", WEIGHT)
        require(self.lora, "lora_weight", WEIGHT)
        require(self.narrowed, "weight_kolors", WEIGHT)

    @property
    def shares(self) -> tuple[float, float]:
        """Of the identity's own tokens, and of the perceiver's."""
        return (0.0, 1.0) if self.version is FaceVersion.V1 else (1.0, self.structure)


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
        return FEATURES[self.family][-1]

    @property
    def reads_face(self) -> bool:
        """Whether a face embedding is read."""
        return Feature.FACE in FEATURES[self.family]

    @property
    def reads_raw_face(self) -> bool:
        """Whether it is read as the recognition model makes it; else it is normalised to length 1."""
        return self.family is Family.PORTRAIT_UNNORM or self.widens_tokens

    @property
    def lacks_lora(self) -> bool:
        """Whether the LoRA it was trained with is missing from the file. Kolors' had none."""
        return self.family in TRAINED_WITH_LORA and not self.lora_rank and not self.widens_tokens

    @property
    def unconditional(self) -> Unconditional:
        """The reference's rule for a dropped image. Kolors' FaceID encodes nothing either."""
        if self.feature is Feature.PENULTIMATE and not self.widens_tokens:
            return Unconditional.ZERO_PIXELS
        return Unconditional.ZERO_EMBEDDING

    @property
    def widens_tokens(self) -> bool:
        """Whether the tokens are as wide as Kolors' text, and go through its UNet's own narrowing."""
        return self.projection.context_dim == KOLORS_TEXT

    @property
    def context_dim(self) -> int:
        """Width of the UNet's text context, which `to_k_ip` and `to_v_ip` read."""
        return 2048 if self.widens_tokens else self.projection.context_dim

    @property
    def base(self) -> str:
        """The base model it was made for, in users' words."""
        if self.widens_tokens or (self.context_dim == 2048 and self.projection.dim == 2048):
            return "Kolors"
        return BASES.get(self.context_dim, f"a UNet with {self.context_dim}-wide text context")

    @property
    def encoder(self) -> str:
        """What it was made to read images with, in users' words."""
        names = [ENCODERS.get(read, "an encoder of that width") for read in self.projection.reads]
        return " and ".join(names) + (", through Encode Face Prompt" if self.reads_face else "")

    def __str__(self) -> str:
        tokens = self.projection.tokens or "one a patch"
        return f"{self.family.value} adapter for {self.base}, {len(self.channels)} layers, tokens: {tokens}"


TRAINED_WITH_LORA = (Family.FACE_ID, Family.FACE_ID_PLUS)

ENCODERS = {
    (Feature.IMAGE_EMBEDS, 1024): "CLIP ViT-H/14 (CLIP-ViT-H-14-laion2B-s32B-b79K)",
    (Feature.PENULTIMATE, 1280): "CLIP ViT-H/14 (CLIP-ViT-H-14-laion2B-s32B-b79K)",
    (Feature.IMAGE_EMBEDS, 1280): "CLIP ViT-bigG/14 (CLIP-ViT-bigG-14-laion2B-39B-b160k)",
    (Feature.PENULTIMATE, 1664): "CLIP ViT-bigG/14 (CLIP-ViT-bigG-14-laion2B-39B-b160k)",
    (Feature.IMAGE_EMBEDS, 768): "CLIP ViT-L/14 (clip-vit-large-patch14)",
    (Feature.PENULTIMATE, 1024): "CLIP ViT-L/14-336 (clip-vit-large-patch14-336)",
    (Feature.FACE, 512): "InsightFace",
}
