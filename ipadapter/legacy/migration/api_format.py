"""Graphs as the server's API takes them: node id to class and inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .forms import GraphJson
from .moving import HANDED_ON, MayMove, always, left_behind, moving
from .recognise import Recognised, Shape, recognise
from .report import Change, describe_change, with_misfits
from .rules import Chosen, MigrationRule


def is_prompt(data: Any) -> bool:
    """Whether this is a graph in the API's format."""
    nodes = isinstance(data, Mapping) and data and all(isinstance(node, Mapping) for node in data.values())
    return bool(nodes) and all("class_type" in node for node in data.values())


def migrate_prompt(
    prompt: Mapping[str, Any], may_move: MayMove = always
) -> tuple[GraphJson, tuple[Change, ...], tuple[str, ...]]:
    """A graph with its old nodes replaced, what was changed, and warnings. Other nodes are the same objects."""
    told = ((key, recognise_api_node(node)) for key, node in prompt.items())
    found = {key: one for key, one in told if one is not None}
    pairs = [*handed_on(prompt, found)]
    moved = moving(found, pairs, may_move)
    made, changes = dict(prompt), []
    for key, rule in moved.items():
        made[key], change = migrate_api_node(key, prompt[key], rule)
        changes.append(change)
    return made, tuple(changes), tuple(f"node {key} {why}" for key, why in left_behind(found, pairs))


def recognise_api_node(node: Any) -> Recognised | None:
    """What of the old pack a node is."""
    if not isinstance(node, Mapping):
        return None
    return recognise(str(node.get("class_type", "")), Shape(inputs_given(node)))


def inputs_given(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values and links by input."""
    return node.get("inputs") or {}


def handed_on(prompt: Mapping[str, Any], found: Mapping[str, Recognised]) -> Iterator[tuple[str, str]]:
    """Pairs of nodes of which one hands something of the old pack to the other."""
    for key, one in found.items():
        for name, value in inputs_given(prompt[key]).items():
            if is_link(value) and one.legacy_form.kinds.get(name) in HANDED_ON:
                yield value[0], key


def migrate_api_node(key: str, node: Mapping[str, Any], rule: MigrationRule) -> tuple[GraphJson, Change]:
    """One node: what it has, carried over; what it lacks, filled in.

    A value that does not fit keeps its name, and so the server refuses it by its name.
    """
    given = inputs_given(node)
    links = {name for name, value in given.items() if is_link(value)}
    chosen = Chosen({name: value for name, value in given.items() if name not in links}, links)
    carried = {
        rule.inputs[name]: rule.translate(name, value)
        for name, value in {**rule.legacy_form.usual, **given}.items()
        if name in rule.inputs and name not in rule.untold(links)
    }
    title = str((node.get("_meta") or {}).get("title", ""))
    made = {**rule.new_form.usual, **rule.filled, **carried}
    values = {name: value for name, value in carried.items() if not is_link(value)}
    change = with_misfits(describe_change(rule, key, title, chosen), rule, values, "choose another.")
    return {**node, "class_type": rule.new, "inputs": made}, change


def is_link(value: Any) -> bool:
    """Whether an input is another node's output: its id and a slot."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)
