"""What a family of adapters is: one row, which says everything that is not the same for all of them.

The rows are in `families`, a file each. Sources of what they say: tencent-ailab/IP-Adapter `ip_adapter.py`,
`ip_adapter_faceid.py`, `resampler.py`; diffusers `loaders/unet.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from torch import Tensor, nn

from ..backbones.backbone import Backbone
from ..backbones.bases import base_for
from ..backbones.joint import Joining
from ..backbones.unet import UNET
from ..encoders.published import Encoder
from ..errors import IPAdapterError
from ..prompts.prompt import Feature
from .checkpoint import Checkpoint
from .face_settings import FaceSettings, FaceVersion
from .layer import LayerProjection
from .layout import UNET_LAYERS, LayerLayout

USUAL_PACK = "buffalo_l"  # the InsightFace model pack that most adapters were made with


class Unconditional(Enum):
    """What stands for "no image" (reference `get_image_embeds`). A face embedding is zero in either."""

    ZERO_EMBEDDING = "a zero embedding through the projection"
    ZERO_PIXELS = "the penultimate states of zero normalised pixels"
    BLACK_PICTURE = "the embedding of a black picture through the projection"
    THE_IMAGE = "the image, as on the other side"


@dataclass(frozen=True)
class ProjectionSpec:
    """Sizes of the image projection. `tokens` is None where there is one token a patch (full-face).

    `feature_dim` is the width of the image encoder's feature, or of the face embedding where only that is read;
    `face_dim` that of a face embedding read beside it (FaceID Plus). `context_dim` is the width of the tokens.
    `time_dim` is how many sines tell the noise level, where the tokens follow it; `blocks` are those that read the
    features before, at no noise level.
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
    time_dim: int = 0
    blocks: int = 0

    @property
    def time_width(self) -> int:
        """The width of what tells the layers the noise level; 0 where nothing does."""
        return self.dim if self.time_dim else 0

    @property
    def reads(self) -> tuple[tuple[Feature, int], ...]:
        """What the projection reads, in the order in which it takes them, and how wide each is."""
        widths = (self.face_dim, self.feature_dim)[-len(self.family.reads) :]
        return tuple(zip(self.family.reads, widths, strict=True))


def base_by_width(projection: ProjectionSpec) -> str:
    """The base model whose text context is as wide as the tokens."""
    return base_for(projection.context_dim)


@dataclass(frozen=True)
class TrainingStart:
    """How many tokens an adapter of a family is trained with where nobody says, its projection's sizes for
    (tokens, width of the feature, width of the text context), the rank of its LoRA, 0 where it has none, and how a
    face is used, where it reads one."""

    tokens: int
    projection: Callable[[int, int, int], ProjectionSpec]
    lora_rank: int = 0
    face: FaceSettings = FaceSettings()


@dataclass(frozen=True)
class PublishedFile:
    """An adapter file that is published. `encoder` is None where only a face is read, `version` of FaceID Plus."""

    name: str
    base: str
    address: str
    encoder: Encoder | None = None
    version: FaceVersion | None = None


@dataclass(frozen=True)
class Offer:
    """A name by which users choose files of a family, and which of them it means.

    Titles that loaders of other packs have are theirs to the letter: their graphs come with them. Words are looked for
    in file names, where nothing else tells.
    """

    place: int  # in the menu
    title: str
    word: str = ""  # the name must have
    other: tuple[str, ...] = ()  # words of other kinds: files with them are the last choice
    better: str = ""  # a word of a better version
    base: str = ""  # the only base there is
    encoder: Encoder | None = None  # the only encoder
    version: FaceVersion | None = None  # of FaceID Plus


@dataclass(frozen=True, eq=False)
class Family:
    """A kind of adapter. Each is there once: no two are equal, and a copy is the same."""

    title: str  # in users' words, and in the metadata of our files
    reads: tuple[Feature, ...]  # of an image, in the order in which the projection takes them
    nothing: Unconditional  # the reference's rule for a dropped image
    recognise: Callable[[Checkpoint, int], bool]  # by its tensors and the width of the text context; asked in order
    read: Callable[[Checkpoint, int], ProjectionSpec]  # the projection's sizes; raises IPAdapterError
    projection: Callable[[ProjectionSpec, Any], nn.Module]  # from features to tokens
    advice: str  # which weight to begin with
    backbone: Backbone = UNET  # the kind of model it is for
    layers: LayerLayout = UNET_LAYERS  # how a file holds them
    layer: Callable[[int, int, int, Any], LayerProjection] = LayerProjection  # from tokens to K' and V', by widths
    parts: tuple[str, ...] = ()  # of the model, in which it acts; none are all
    joining: Joining | None = None  # how it comes into a joint attention
    file_name: Callable[[str], str] = lambda name: name  # what a file calls a tensor, from its public name
    base: Callable[[ProjectionSpec], str] = base_by_width  # the base model it was made for, in users' words
    settings: Callable[[FaceSettings], tuple[Tensor, ...]] = lambda face: ()  # what the projection takes besides
    raw_face: bool = False  # a face is read as the recognition model makes it; else it is normalised to length 1
    with_lora: bool = False  # it was trained with a LoRA
    versions: bool = False  # there are two versions of it with the same tensors
    narrowed_to: int = 0  # its tokens go through the UNet's own narrowing of the text, to this width
    face_pack: str = USUAL_PACK  # the InsightFace model pack it was made with, where it reads faces
    training: TrainingStart | None = None  # None: it cannot be trained here
    published: tuple[PublishedFile, ...] = ()
    offers: tuple[Offer, ...] = ()

    @property
    def start(self) -> TrainingStart:
        """What training begins with. Raises IPAdapterError for a family that is not trained here."""
        if self.training is None:
            raise IPAdapterError(f"{self.title} adapters cannot be trained here.")
        return self.training

    def __str__(self) -> str:
        return self.title

    __repr__ = __str__

    def __copy__(self) -> Family:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Family:
        return self
