"""Whose each row is, where other packs lay rows out otherwise than the host said.

Two things happen to the rows between the host's call and a layer. A wrapper around the model stacks tiles along the
batch, or calls with some of the conditionings only, and leaves the names of the rows as they were; then a row is known
by its text. And a patch before the attention repeats rows, once for each region; then the patch itself is asked, with
numbers in place of the activations, where each row went. Both are asked once for a shape of call, because reading the
answer makes the host wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...attention.packing import NEGATIVE, POSITIVE
from ...errors import IPAdapterError
from .roles import Group, GroupText

CallOptions = dict[str, Any]
RowPatch = Callable[[Tensor, Tensor, Tensor, CallOptions], tuple[Tensor, Tensor, Tensor]]  # the host's attn2_patch
RowOrder = tuple[int, ...]  # for each of a layer's rows, the row of the call that it is

EXACT_INTEGERS = 256  # up to which every type has every whole number
INSTEAD = "use one of the two, for example with masks on Apply IP-Adapter in place of regional prompts"


def groups_by_text(
    x: Tensor, context: Tensor, texts: Sequence[GroupText], pictures: int, places: Sequence[int]
) -> tuple[Group, ...]:
    """The groups of a call's rows, in blocks of as many rows as there are pictures, or row by row.

    `x` (R, C, h, w) are the latents, `context` (R, T, C) the text. Raises IPAdapterError where two conditionings say
    the same and nothing else tells whose a row is.
    """
    could_be = candidates(context, texts)
    found = [same_group(groups) for groups in could_be]
    if None in found:
        found = list(only_order(could_be, orders(x, texts, pictures, places)))
    return in_blocks(found, pictures)  # type: ignore[arg-type]


def candidates(context: Tensor, texts: Sequence[GroupText]) -> list[list[Group]]:
    """The groups each row could be of: those whose text it holds, else those whose text is not known."""
    unknown = [one.group for one in texts if one.text is None]
    known = [(one.group, one.text) for one in texts if one.text is not None]
    if not known:
        return [unknown] * len(context)
    told = torch.stack([holds(context, text) for _, text in known], dim=1).tolist()  # the wait
    return [[group for (group, _), held in zip(known, row, strict=True) if held] or unknown for row in told]


def holds(context: Tensor, text: Tensor) -> Tensor:
    """Which rows (R, T, C) begin with a text (n, t, C); the host repeats a text to the length of its neighbours."""
    length = text.shape[1]
    if length > context.shape[1] or text.shape[2] != context.shape[2]:
        return torch.zeros(len(context), dtype=torch.bool, device=context.device)
    same = context[:, None, :length] == text.to(context)[None]  # (R, n, t, C)
    return same.flatten(2).all(-1).any(-1)


def same_group(groups: Iterable[Group]) -> Group | None:
    """What all are, where they are one and the same."""
    different = set(groups)
    return different.pop() if len(different) == 1 else None


def orders(x: Tensor, texts: Sequence[GroupText], pictures: int, places: Sequence[int]) -> list[list[Group]]:
    """In which order the rows can stand: tile by tile, conditioning by conditioning, or only those of some places.

    All conditionings are asked about the same latents, which tells the first two apart where no two tiles are alike.
    """
    groups = [one.group for one in texts]
    tiles, more = divmod(len(x), len(groups) * pictures)
    if not more:
        by_tile, by_group = x.unflatten(0, (tiles, len(groups), -1)), x.unflatten(0, (len(groups), tiles, -1))
        stacked = [groups * tiles] * all_alike(by_tile, 1)
        stacked += [[group for group in groups for _ in range(tiles)]] * all_alike(by_group, 0)
    else:
        stacked = [cut] if (cut := at_places(groups, places)) and len(cut) * pictures == len(x) else []
    return [[group for group in order for _ in range(pictures)] for order in stacked]


def all_alike(x: Tensor, dim: int) -> bool:
    """Whether a tensor says the same all along a dimension."""
    return bool((x == x.narrow(dim, 0, 1)).all())


def at_places(groups: Sequence[Group], places: Sequence[int]) -> list[Group]:
    """The group that stands at each place, the host's 0 being the positive; none where that tells not which."""
    roles = [NEGATIVE if place else POSITIVE for place in places]
    found = [same_group(group for group in groups if group.role == role) for role in roles]
    return [] if None in found else found  # type: ignore[return-value]


def only_order(could_be: list[list[Group]], orders: list[list[Group]]) -> list[Group]:
    """The one order that agrees with what each row can be. Raises IPAdapterError where none or several do."""
    fitting = {tuple(one) for one in orders if all(g in c for g, c in zip(one, could_be, strict=True))}
    if len(fitting) != 1 or not all(could_be):
        raise IPAdapterError(
            f"a node between Apply IP-Adapter and the sampler calls the model on {len(could_be)} rows and does not say "
            "whose they are (a tiled sampler, say), and their texts do not tell, because the positive and the negative "
            f"prompt are the same or are changed on the way: give them different texts, or {INSTEAD}."
        )
    return list(fitting.pop())


def in_blocks(rows: list[Group], pictures: int) -> tuple[Group, ...]:
    """One group for each block of as many rows as there are pictures, where rows stand in such blocks."""
    blocks = [rows[first : first + pictures] for first in range(0, len(rows), pictures)]
    whole = all(len(block) == pictures and same_group(block) for block in blocks)
    return tuple(block[0] for block in blocks) if whole else tuple(rows)


def origins(patches: Sequence[RowPatch], rows: int, query: Tensor, context: Tensor, options: CallOptions) -> RowOrder:
    """The row of the call that each row of a layer's query (R', L, C) is, after other packs' patches before it.

    `context` is the call's text (R, T, C), `options` what the host hands a patch. Raises IPAdapterError where the
    rows have been repeated by something else than these.
    """
    exact = query.dtype if rows <= EXACT_INTEGERS else torch.float32
    moved = (
        torch.arange(rows, device=query.device, dtype=exact).view(-1, 1, 1).expand(-1, *query.shape[1:])
    )  # (R, L, C)
    key, value = context, context
    for patch in patches:
        moved, key, value = patch(moved, key, value, options)
    order = moved[:, 0, 0].round().long()
    is_moved = len(moved) == len(query) and bool((moved == order.view(-1, 1, 1)).all())
    if not is_moved:
        raise IPAdapterError(
            f"a cross-attention layer was given {len(query)} rows in a call of {rows}: a node that repeats rows (for "
            "regional prompts, say) works on the same model, and the image prompt cannot tell whose they are; "
            f"{INSTEAD}."
        )
    return tuple(order.tolist())
