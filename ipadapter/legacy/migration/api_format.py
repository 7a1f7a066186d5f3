"""Graphs as the server's API takes them: node id to class and inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .forms import GraphJson
from .report import Change, describe_change, first_version, unusual_choices
from .rules import MIGRATION_RULES, RENAMED_OPTIONS, Chosen, MigrationRule


def is_prompt(data: Any) -> bool:
    """Whether this is a graph in the API's format."""
    nodes = isinstance(data, Mapping) and data and all(isinstance(node, Mapping) for node in data.values())
    return bool(nodes) and all("class_type" in node for node in data.values())


def migrate_prompt(
    prompt: Mapping[str, Any], replaceable: Callable[[MigrationRule], bool] = lambda rule: True
) -> tuple[GraphJson, tuple[Change, ...], tuple[str, ...]]:
    """A graph with its old nodes replaced, what was changed, and warnings. Other nodes are the same objects."""
    made, changes, warnings = {}, [], []
    for key, node in prompt.items():
        rule = MIGRATION_RULES.get(node.get("class_type", "")) if isinstance(node, Mapping) else None
        if rule is None or not replaceable(rule):
            made[key] = node
            warnings.append(first_version(key, kind_of(node)))
        else:
            made[key], change = migrate_api_node(key, node, rule)
            changes.append(change)
    return made, tuple(changes), tuple(warning for warning in warnings if warning)


def kind_of(node: Any) -> str:
    """A node's class, where it says one."""
    return str(node.get("class_type", "")) if isinstance(node, Mapping) else ""


def migrate_api_node(key: str, node: Mapping[str, Any], rule: MigrationRule) -> tuple[GraphJson, Change]:
    """One node: what it has, carried over; what the new one has besides, filled in."""
    given: Mapping[str, Any] = node.get("inputs") or {}
    carried = {rule.inputs[name]: renamed(value) for name, value in given.items() if name in rule.inputs}
    chosen = Chosen(
        {name: value for name, value in given.items() if not is_link(value)},
        {name for name, value in given.items() if is_link(value)},
    )
    title = str((node.get("_meta") or {}).get("title", ""))
    change = unusual_choices(describe_change(rule, key, title, chosen), carried, rule)
    return {**node, "class_type": rule.new, "inputs": {**rule.filled, **carried}}, change


def renamed(value: Any) -> Any:
    """A choice under its later name."""
    return RENAMED_OPTIONS.get(value, value) if isinstance(value, str) else value


def is_link(value: Any) -> bool:
    """Whether an input is another node's output: its id and a slot."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)
