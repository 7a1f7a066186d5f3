"""How a FaceID adapter is used, beside its weight."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..numbers import WEIGHT, require


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
