"""Image prompts in the joint attentions of FLUX, through the host's hooks in every block.

The host asks an `attn1_patch` before an attention, an `attn1_output_patch` after it, and what stands in the place of a
whole block. The first keeps the query, and the others add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.ldm.flux.layers
import torch
from comfy.ldm.flux.math import apply_rope1
from comfy.model_patcher import ModelPatcher
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from ...attention.decoupled import (
    Asking,
    Branch,
    CallBranches,
    add_image,
    call_of,
    image_attention,
    join_heads,
    masked,
)
from ...backbones.backbone import Grid, Place
from ...backbones.flux import DOUBLE, FLUX
from ...backbones.joint import Joining, Query
from .blocks import BlockOutput, BlockPatch, options_given, stand_around
from .feed import Feed, Measure

IN_PLACE = (comfy.ldm.flux.layers.DoubleStreamBlock, comfy.ldm.flux.layers.SingleStreamBlock)
CHANGED = ("img", "txt")  # what such a block changes of what it is given
BEFORE, AFTER = "attn1_patch", "attn1_output_patch"  # the host's names of its hooks
DOUBLE_BLOCK = f"{DOUBLE}_block"  # and of what stands in the place of one
SMALLEST = 1e-12  # beside a query's mean square


def unscaled(asking: Asking) -> Tensor:
    """The query as it was before the model's norm scaled it.

    The norm's weights are not read: they may be elsewhere, and patched on the way. Ones in are their scale out.
    """
    assert asking.norm is not None
    width = asking.query.shape[-1]
    return rms_norm(asking.query / asking.norm(asking.query.new_ones(width)), (width,), eps=SMALLEST)


QUERIES: Mapping[Query, Callable[[Asking], Tensor]] = {
    Query.NORMED: lambda asking: asking.query,
    Query.UNSCALED: unscaled,
    Query.PLACED: lambda asking: apply_rope1(asking.query, asking.positions),
}


def place_of(options: dict[str, Any]) -> Place:
    """The block that is running; none of ours where another node's forward does not say."""
    return options.get("block_type", ""), options.get("block_index", 0), 0


def query_norm(model: Any, place: Place) -> nn.Module:
    """What normalises the picture's queries in a block."""
    part, number, _ = place
    half = model.double_blocks[number].img_attn if part == DOUBLE else model.single_blocks[number]
    norm: nn.Module = half.norm.query_norm
    return norm


@dataclass(frozen=True)
class JointRows:
    """Rows of a sequence of text, picture and, behind it, pictures that are only looked at."""

    text: int  # how many are text
    picture: Grid  # those of the picture that is made

    def of(self, branch: Branch, part: str) -> slice:
        """Where a branch acts: within a mask only in the picture that is made, which the mask is of."""
        if branch.mask is not None:
            return slice(self.text, self.text + self.picture[0] * self.picture[1])
        joining = branch.joining or Joining()
        return slice(0 if part in joining.to_text else self.text, None)


def say(branch: Branch, asking: Asking, rows: slice, grid: Grid) -> tuple[Tensor, Tensor | None]:
    """What a branch says in some rows, (R, L, C), and its mask there, (1 or R, L, 1)."""
    query = some_rows(QUERIES[(branch.joining or Joining()).query](asking), rows, 2)  # (R, H, L, d)
    mask = None if branch.mask is None else branch.mask.at(grid).squeeze(1)
    return join_heads(image_attention(query, branch)), mask


def add_to_rows(out: Tensor, image: Tensor, within: Tensor | None, rows: slice) -> Tensor:
    """(R, N, C) with what a branch says in some of its rows, (R, L, C)."""
    first, last, _ = rows.indices(out.shape[1])
    more = add_image(some_rows(out, rows, 1), image, within)
    before = [out[:, :first]] if first else []
    behind = [out[:, last:]] if last < out.shape[1] else []
    return torch.cat([*before, more, *behind], dim=1) if before or behind else more


def some_rows(x: Tensor, rows: slice, dim: int) -> Tensor:
    """Some rows of a sequence, which stays as it is where they are all of them."""
    first, last, _ = rows.indices(x.shape[dim])
    return x if (first, last) == (0, x.shape[dim]) else x.narrow(dim, first, last - first)


def add_branches(
    out: Tensor, branches: Sequence[Branch], asking: Asking, span: JointRows, offset: int, place: Place
) -> Tensor:
    """A sequence (R, N, C), which begins with row `offset` of the query's, plus every branch."""
    for branch in branches:
        rows = span.of(branch, place[0])
        image, mask = say(branch, asking, rows, span.picture)
        out = add_to_rows(
            out, image, mask, slice(rows.start - offset, None if rows.stop is None else rows.stop - offset)
        )
    return out


def measure_branches(
    measure: Measure,
    out: Tensor,
    branches: Sequence[Branch],
    asking: Asking,
    span: JointRows,
    offset: int,
    place: Place,
) -> None:
    """Tell what branches add to the picture that is made."""
    count = span.picture[0] * span.picture[1]
    rows = slice(span.text, span.text + count)
    said = [masked(*say(branch, asking, rows, span.picture)) for branch in branches]
    measure(place, out[:, span.text - offset :][:, :count], said, span.picture)


class Hook:
    """A patch of ours that a later application of ours replaces."""

    def __init__(self, places: frozenset[Place], feed: Feed) -> None:
        self.places = places
        self.feed = feed

    def models(self) -> list[Any]:
        """Patchers for the host to load: of adapters whose K' and V' are made in a run."""
        return [*self.feed.models]

    def cleanup(self) -> None:
        """After a run, finished, failed or interrupted: drop what was made for it."""
        self.feed.release()


class KeepQuery(Hook):
    """The host's attn1_patch: the query (R, H, N, d), normalised, over text and picture."""

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        pe: Tensor | None = None,
        attn_mask: Tensor | None = None,
        extra_options: dict[str, Any] | None = None,
    ) -> dict[str, Tensor]:
        options = extra_options or {}
        place = place_of(options)
        if place in self.places:
            call = call_of(options)
            norm = None if call.model is None else query_norm(call.model, place)
            call.asking = Asking(q, pe, norm)
        return {}


class AddBeforeProjection(Hook):
    """The host's attn1_output_patch: the attention's output (R, N, C)."""

    def __call__(self, attn: Tensor, extra_options: dict[str, Any]) -> Tensor:
        place, call = place_of(extra_options), call_of(extra_options)
        if place not in self.places or call.asking is None:
            return attn
        span = JointRows(extra_options["img_slice"][0], grid_of_call(call))
        if place in self.feed.behind:  # whose patch asks for what acts there, as it may have been displaced
            branches = [one for one in call.seen(place, attn, extra_options) if not is_behind(one)]
            return add_branches(attn, branches, call.asking, span, 0, place)
        asking, call.asking = call.asking, None
        branches = [*call.at(place, attn, extra_options)]
        if self.feed.measure:
            measure_branches(self.feed.measure, attn, branches, asking, span, 0, place)
        return add_branches(attn, branches, asking, span, 0, place)


class AddBehindBlock(BlockPatch):
    """A double block, and what is added to its picture (R, L, C)."""

    def __call__(self, args: dict[str, Any], extra_options: dict[str, Any]) -> BlockOutput:
        options = options_given(args)
        call = call_of(options)
        call.asking = None
        out = self.run(args, extra_options)
        if call.asking is None:  # the block's attention has not run
            return out
        asking, call.asking = call.asking, None
        found, span = call.at(self.place, out["img"], options), JointRows(args["txt"].shape[1], grid_of_call(call))
        if self.feed.measure:  # what has been added within the attention counts too
            measure_branches(self.feed.measure, out["img"], found, asking, span, span.text, self.place)
        behind = [one for one in found if is_behind(one)]
        return out | {"img": add_branches(out["img"], behind, asking, span, span.text, self.place)}


def is_behind(branch: Branch) -> bool:
    """Whether it is added to what the whole block gives."""
    return branch.joining is not None and branch.joining.behind


def grid_of_call(call: CallBranches) -> Grid:
    """Rows and columns of the picture that is made."""
    return FLUX.grids(call.latent)[0]


class FluxAttachment:
    """The `Attachment` of FLUX."""

    displaced = (
        "a later node replaces these blocks, or the forward that calls them (caches such as TeaCache do so); put Apply "
        "IP-Adapter after that node, or leave it out"
    )

    def attach(self, model: ModelPatcher, places: Sequence[Place], feed: Feed) -> None:
        everywhere = frozenset(places)
        hooks: dict[str, Hook] = {BEFORE: KeepQuery(everywhere, feed), AFTER: AddBeforeProjection(everywhere, feed)}
        options = model.model_options["transformer_options"]
        there: dict[str, list[Any]] = options.get("patches", {})
        ours = {name: [*others(there.get(name, [])), hook] for name, hook in hooks.items()}
        model.model_options["transformer_options"] = options | {"patches": there | ours}
        stand_around(model, DOUBLE_BLOCK, sorted(feed.behind), feed, AddBehindBlock)

    def own_patches(self, model: ModelPatcher, clone: ModelPatcher) -> None:
        """Nothing is added to patches of ours."""

    def settle(self, options: dict[str, Any]) -> None:
        """What other nodes put in stands beside ours, or around it."""

    def row_patches(self, options: dict[str, Any]) -> Sequence[Any]:
        return ()


def others(patches: Sequence[Any]) -> list[Any]:
    """Patches that are not ours."""
    return [patch for patch in patches if not isinstance(patch, Hook)]


FLUX_ATTACHMENT = FluxAttachment()
