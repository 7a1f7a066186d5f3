"""Which nodes of a graph move: those that hand things of the old pack to one another move, or stay, together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from .recognise import Kept, Recognised
from .rules import MigrationRule

HANDED_ON = frozenset(
    ("IPADAPTER", "EMBEDS", "INSIGHTFACE", "IPADAPTER_PARAMS", "WEIGHTS_STRATEGY", "CLIP_VISION_OUTPUT")
)
NodeKey = TypeVar("NodeKey")
MayMove = Callable[[Sequence[MigrationRule]], bool]


def always(rules: Sequence[MigrationRule]) -> bool:
    """Whether nodes may move, where nothing is known of the server that will run them."""
    return True


def groups_of(keys: Iterable[NodeKey], pairs: Iterable[tuple[NodeKey, NodeKey]]) -> Iterator[set[NodeKey]]:
    """Keys that pairs connect, near or far, together."""
    near: dict[NodeKey, set[NodeKey]] = {key: set() for key in keys}
    for one, other in pairs:
        if one in near and other in near:
            near[one].add(other)
            near[other].add(one)
    while near:
        group, ahead = set(), [next(iter(near))]
        while ahead:
            key = ahead.pop()
            group.add(key)
            ahead += near.pop(key, set()) - group
        yield group


def moving(
    found: Mapping[NodeKey, Recognised], pairs: Iterable[tuple[NodeKey, NodeKey]], may_move: MayMove = always
) -> dict[NodeKey, MigrationRule]:
    """The nodes that move, in their order. Pairs are links that hand on something of the old pack."""
    moved: set[NodeKey] = set()
    for group in groups_of(found, pairs):
        rules = [one for one in (found[key] for key in group) if isinstance(one, MigrationRule)]
        if len(rules) == len(group) and may_move(rules):
            moved |= group
    return {key: one for key, one in found.items() if key in moved and isinstance(one, MigrationRule)}


def left_behind(
    found: Mapping[NodeKey, Recognised], pairs: Iterable[tuple[NodeKey, NodeKey]]
) -> Iterator[tuple[NodeKey, str]]:
    """A sentence for each node that cannot move and should not go unsaid, to be read behind `node` and its number."""
    stuck = {
        key for group in groups_of(found, pairs) if any(isinstance(found[key], Kept) for key in group) for key in group
    }
    for key, one in found.items():
        if isinstance(one, Kept) and one.why:
            yield key, f"({one.legacy_form.id}) {one.why}"
        elif isinstance(one, MigrationRule) and key in stuck:
            why = "is left as it is too, since it is linked to a node that cannot be replaced."
            yield key, f"({one.legacy_form.id}) {why}"
