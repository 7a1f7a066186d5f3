"""How image prompts get into the host's sampling of a kind of model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from comfy.model_patcher import ModelPatcher

from ...backbones.backbone import Backbone, CrossAttentionLayer, Place
from ...backbones.flux import FLUX
from ...backbones.known import backbone_of
from ...backbones.sd3 import SD3
from ...backbones.unet import UNET
from .feed import Feed
from .flux import FLUX_ATTACHMENT
from .sd3 import SD3_ATTACHMENT
from .unet import UNET_ATTACHMENT


class Attachment(Protocol):
    """What a `Backbone` is to the host."""

    @property
    def displaced(self) -> str:
        """Why a layer did not ask for its image prompts, in a sentence, and what to do."""

    def attach(self, model: ModelPatcher, places: Sequence[Place], feed: Feed) -> None:
        """Put a patch at every place of a model, around what stands there."""

    def own_patches(self, model: ModelPatcher, clone: ModelPatcher) -> None:
        """The host's ON_CLONE callback: patches of its own for a clone, so that what is added there stays there."""

    def settle(self, options: dict[str, Any]) -> None:
        """When a run begins: stand beside what other nodes have put in since."""

    def row_patches(self, options: dict[str, Any]) -> Sequence[Any]:
        """Patches of other packs that may hand a layer other rows than the call has."""


ATTACHMENTS: dict[Backbone, Attachment] = {UNET: UNET_ATTACHMENT, FLUX: FLUX_ATTACHMENT, SD3: SD3_ATTACHMENT}


def attachment_of(layers: Sequence[CrossAttentionLayer]) -> Attachment:
    """That of the kind of model that layers stand in."""
    return ATTACHMENTS[backbone_of(layers)]
