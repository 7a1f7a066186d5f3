"""Image prompts in the joint blocks of SD3.5: around each block, through the attention function that it is given.

The host has no patch within these blocks. What stands in the place of one hands the block options of its own, with an
attention function in them that knows which block it is in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor
from torch.nn.functional import pad, rms_norm

from ...attention.decoupled import Branch, OwnKeys, add_image, branches_at, call_of, masked
from ...backbones.backbone import Grid, Place
from ...backbones.sd3 import SD3
from .blocks import BlockOutput, BlockPatch, options_given, stand_around
from .feed import Feed
from .text_attention import OVERRIDE

BLOCK_SLOT = "double_block"  # the host's name of a block's place

Attend = Callable[..., Tensor]


@dataclass(frozen=True)
class PictureRows:
    """The picture's rows of a joint attention: queries, keys and values (R, H, L, d), normalised by the model, and what
    it scales queries and keys by, (d,)."""

    query: Tensor
    key: Tensor
    value: Tensor
    scales: tuple[Tensor, Tensor]

    def asking(self, own: OwnKeys) -> tuple[Tensor, Tensor]:
        """Queries and keys with an adapter's scales in place of the model's."""
        pairs = zip((self.query, self.key), self.scales, (own.query, own.key), strict=True)
        query, key = (rms_norm(x / theirs, x.shape[-1:], eps=1e-6) * ours for x, theirs, ours in pairs)
        return query, key


def image_and_own(rows: PictureRows, branch: Branch, attend: Attend) -> Tensor:
    """Attn(Q, [K; K'], [V; V']) of the picture's rows, (R, L, H · d), unweighed."""
    assert branch.own is not None
    query, key = rows.asking(branch.own)
    keys, values = (torch.cat(pair, dim=2) for pair in ((key, branch.keys), (rows.value, branch.values)))
    hidden = None if branch.hidden is None else pad(branch.hidden, (key.shape[2], 0))
    return attend(query, keys, values, heads=query.shape[1], mask=hidden, skip_reshape=True)


def weight_of(branch: Branch, grid: Grid) -> Tensor:
    """What a branch weighs in each of the picture's rows, (R, 1 or L, 1)."""
    assert branch.own is not None
    return branch.own.weight if branch.mask is None else branch.own.weight * branch.mask.at(grid).squeeze(1)


class BlockAttention:
    """The host's attention override within one block of one call: `theirs` is a user's."""

    def __init__(self, place: Place, feed: Feed, options: dict[str, Any], pictures: int) -> None:
        self.place = place
        self.feed = feed
        self.options = options
        self.pictures = pictures  # rows of the picture
        self.theirs: Callable[..., Tensor] | None = options.get(OVERRIDE)

    def __call__(self, function: Attend, q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Queries and keys (R, N, H · d), text before picture, and values (R, N, H, d) to (R, N, H · d)."""
        given = (q, k, v, *args)
        out = self.theirs(function, *given, **kwargs) if self.theirs else function(*given, **kwargs)
        text = q.shape[1] - self.pictures
        if not text:  # SD3.5 Medium's second attention, of the picture alone
            return out
        branches = branches_at(self.place, q, self.options)
        if not branches:
            return out
        image = self.add(out[:, text:], branches, self.rows(q, k, v, text), function)
        return torch.cat([out[:, :text], image], dim=1)

    def rows(self, q: Tensor, k: Tensor, v: Tensor, text: int) -> PictureRows:
        """The picture's."""
        width = v.shape[-1]
        apart = [x[:, text:].unflatten(-1, (-1, width)) if x.ndim == 3 else x[:, text:] for x in (q, k, v)]
        query, key, value = (x.transpose(1, 2) for x in apart)
        return PictureRows(query, key, value, self.scales(query))

    def scales(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """What the model scales queries and keys by once they have length √d: ones in are these out.

        Its weights are not read: they may be elsewhere, and patched on the way.
        """
        model: Any = call_of(self.options).model
        half = model.joint_blocks[self.place[1]].x_block.attn
        ones = like.new_ones(like.shape[-1])
        return half.ln_q(ones), half.ln_k(ones)

    def add(self, picture: Tensor, branches: Sequence[Branch], rows: PictureRows, function: Attend) -> Tensor:
        """The picture's rows plus every branch, (R, L, H · d)."""
        grid = SD3.grids(call_of(self.options).latent)[0]
        said = [(image_and_own(rows, branch, function), weight_of(branch, grid)) for branch in branches]
        if self.feed.measure:
            self.feed.measure(self.place, picture, [masked(*one) for one in said], grid)
        for image, weight in said:
            picture = add_image(picture, image, weight)
        return picture


class JointBlockPatch(BlockPatch):
    """A joint block, with an attention function of ours in its options."""

    def __call__(self, args: dict[str, Any], extra_options: dict[str, Any]) -> BlockOutput:
        options = options_given(args)
        attention = BlockAttention(self.place, self.feed, options, args["img"].shape[1])
        return self.run(args | {"transformer_options": options | {OVERRIDE: attention}}, extra_options)


class SD3Attachment:
    """The `Attachment` of SD3 and SD3.5."""

    displaced = (
        "a later node replaces these blocks, or the forward that calls them; put Apply IP-Adapter after that node, or "
        "leave it out"
    )

    def attach(self, model: ModelPatcher, places: Sequence[Place], feed: Feed) -> None:
        stand_around(model, BLOCK_SLOT, places, feed, JointBlockPatch)

    def own_patches(self, model: ModelPatcher, clone: ModelPatcher) -> None:
        """Nothing is added to patches of ours."""

    def settle(self, options: dict[str, Any]) -> None:
        """What other nodes put in stands around ours."""

    def row_patches(self, options: dict[str, Any]) -> Sequence[Any]:
        return ()


SD3_ATTACHMENT = SD3Attachment()
