"""Image prompts in the cross-attention layers of a UNet: patches in the place of the host's `attn2`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.ldm.modules.attention
import comfy.ldm.modules.diffusionmodules.openaimodel
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...attention.decoupled import (
    Added,
    Branch,
    HeadsAttention,
    TextAttention,
    add_image,
    branches_at,
    image_attention,
    join_heads,
    masked,
    refuse_other_rows,
    split_heads,
    text_attention,
)
from ...attention.masks import LayerMask
from ...backbones.backbone import Grid, Place
from ...backbones.unet import TEXT_ATTENTION
from .feed import Feed, Measure, forward_call
from .text_attention import host_text_attention

REPEATABLE = (  # blocks that may be computed again in the backward pass
    comfy.ldm.modules.attention.BasicTransformerBlock,
    comfy.ldm.modules.diffusionmodules.openaimodel.ResBlock,
)


class CrossAttentionPatch:
    """What the host calls in place of one layer's text attention. Immutable but for what other packs add.

    `text` is that text attention: the host's, or another pack's patch that stood here before. `call_end` drops what
    was made for the run.
    """

    def __init__(
        self, place: Place, text: TextAttention, call_end: Callable[[], None], added: Sequence[Added] = ()
    ) -> None:
        self.place = place
        self.text = text
        self.call_end = call_end
        self.added = [*added]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        out = self.attend(q, k, v, extra_options)
        for added in self.added:
            out = added(out, q, k, v, extra_options) if added.acts(extra_options) else out
        return out

    def attend(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        """Text and images, (R, L, H · d)."""
        if isinstance(self.text, HeadsAttention):
            refuse_other_rows(q, k)
        branches = branches_at(self.place, q, extra_options)
        if not branches:
            return self.text(q, k, v, extra_options)
        query = split_heads(q, extra_options["n_heads"])
        text = text_attention(self.text, query, q, k, v, extra_options)
        return join_heads(self.add_branches(text, query, branches, extra_options))

    def add(self, function: Callable[..., Tensor], **settings: Any) -> None:
        """Take another pack's attention behind this one, as its nodes ask of whatever stands at a layer."""
        self.added.append(Added(function, settings))

    def add_branches(
        self, text: Tensor, query: Tensor, branches: tuple[Branch, ...], options: dict[str, Any]
    ) -> Tensor:
        """The text attention's output plus every image branch, each within its mask."""
        for branch in branches:
            text = add_image(text, image_attention(query, branch), mask_over(branch.mask, options))
        return text

    def to(self, device_or_dtype: Any) -> CrossAttentionPatch:
        """Follow the host's move: only a wrapped patch holds anything to move."""
        moved = forward_call(self.text, "to", device_or_dtype)
        if moved is None or moved is self.text:
            return self
        return self.around(moved)

    def around(self, text: TextAttention) -> CrossAttentionPatch:
        """The same patch over another text attention, with a list of its own of what is added."""
        return CrossAttentionPatch(self.place, text, self.call_end, self.added)

    def models(self) -> list[Any]:
        """Patchers of a wrapped patch, for the host to load."""
        return forward_call(self.text, "models") or []

    def cleanup(self) -> None:
        """After a run, finished, failed or interrupted: drop what was made for it."""
        self.call_end()
        forward_call(self.text, "cleanup")


def grid_of(options: dict[str, Any]) -> Grid:
    """Height and width of a layer's activations, (b, c, h, w)."""
    _, _, height, width = options["activations_shape"]
    return height, width


def mask_over(mask: LayerMask | None, options: dict[str, Any]) -> Tensor | None:
    """A mask over a layer's activations, (1 or R, 1, L, 1)."""
    return None if mask is None else mask.at(grid_of(options))


class RecordingPatch(CrossAttentionPatch):
    """A layer's patch that hands on what its branches have added. The output is the other patch's to the bit."""

    def __init__(
        self,
        place: Place,
        text: TextAttention,
        call_end: Callable[[], None],
        measure: Measure,
        added: Sequence[Added] = (),
    ) -> None:
        super().__init__(place, text, call_end, added)
        self.measure = measure

    def attend(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        out = super().attend(q, k, v, extra_options)
        if not branches_at(self.place, q, extra_options):
            self.measure(self.place, out, [], grid_of(extra_options))
        return out

    def add_branches(
        self, text: Tensor, query: Tensor, branches: tuple[Branch, ...], options: dict[str, Any]
    ) -> Tensor:
        """Measure what is added, and add it."""
        images = [image_attention(query, branch) for branch in branches]
        masks = [mask_over(branch.mask, options) for branch in branches]
        added = [join_heads(masked(image, mask)) for image, mask in zip(images, masks, strict=True)]
        self.measure(self.place, join_heads(text), added, grid_of(options))
        for image, mask in zip(images, masks, strict=True):
            text = add_image(text, image, mask)
        return text

    def around(self, text: TextAttention) -> RecordingPatch:
        return RecordingPatch(self.place, text, self.call_end, self.measure, self.added)


def patch_for(feed: Feed, place: Place, text: TextAttention, added: Sequence[Added]) -> CrossAttentionPatch:
    """What stands in a layer."""
    if feed.measure is None:
        return CrossAttentionPatch(place, text, feed.release, added)
    return RecordingPatch(place, text, feed.release, feed.measure, added)


class UNetAttachment:
    """The `Attachment` of a UNet."""

    displaced = "a later node replaces the attention of the others; put Apply IP-Adapter after that node"

    def attach(self, model: ModelPatcher, places: Sequence[Place], feed: Feed) -> None:
        for place in places:
            there = standing_at(model, place)
            patch = patch_for(feed, place, text_attention_of(there), added_to(there))
            model.set_model_attn2_replace(patch, *place)

    def own_patches(self, model: ModelPatcher, clone: ModelPatcher) -> None:
        for place, patch in patches_of(clone.model_options["transformer_options"]).items():
            if isinstance(patch, CrossAttentionPatch):
                clone.set_model_attn2_replace(patch.around(patch.text), *place)

    def settle(self, options: dict[str, Any]) -> None:
        """Attend to the text as another pack's patch for a whole block does, before ours or behind it.

        The host asks for a layer's patch first, and such a pack for the block's: on SD1.5 theirs would be lost. A
        patch that stands at a layer below ours goes before one for its block, as without ours.
        """
        patches = patches_of(options)
        found = {
            place: patch.around(block)
            for place, patch in patches.items()
            if isinstance(patch, CrossAttentionPatch)
            and patch.text is host_text_attention
            and (block := patches.get(place[:2])) is not None
        }
        if found:
            options["patches_replace"] = options["patches_replace"] | {TEXT_ATTENTION: patches | found}

    def row_patches(self, options: dict[str, Any]) -> Sequence[Any]:
        patches: Sequence[Any] = options.get("patches", {}).get(f"{TEXT_ATTENTION}_patch", ())
        return patches


def patches_of(options: dict[str, Any]) -> dict[Any, Any]:
    """What stands in the place of text attentions, by layer or by block."""
    made: dict[Any, Any] = options.get("patches_replace", {}).get(TEXT_ATTENTION, {})
    return made


def standing_at(model: ModelPatcher, place: Place) -> Any:
    """What stands at a layer in the place of its own attention; None where there is nothing."""
    return patches_of(model.model_options["transformer_options"]).get(place)


def text_attention_of(there: Any) -> TextAttention:
    """What attends to the text at a layer: another pack's patch where there is one, else the host's own function."""
    if isinstance(there, CrossAttentionPatch):
        return there.text
    return there or host_text_attention


def added_to(there: Any) -> Sequence[Added]:
    """What other packs have added to a patch of ours."""
    return there.added if isinstance(there, CrossAttentionPatch) else ()


UNET_ATTACHMENT = UNetAttachment()
