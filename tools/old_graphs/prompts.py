"""Graphs as the front end would send them, made fit to be validated on a machine that lacks other packs and files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ipadapter.legacy.migration.api_format import recognise_api_node
from ipadapter.legacy.migration.recognise import CANDIDATES, OURS
from ipadapter.legacy.migration.rules import MigrationRule
from ipadapter.legacy.migration.ui_format import recognise_ui_node

Described = Mapping[str, Any]  # node class -> what the server says of it
Prompt = dict[str, dict[str, Any]]
ANY, LOOK = "AnyNode", "PreviewAny"


@dataclass(frozen=True)
class ReadyPrompt:
    """A prompt with somebody else's nodes taken as given, and who they are."""

    prompt: Prompt
    foreign: tuple[str, ...]  # classes of other packs
    left: tuple[str, ...]  # classes of the old pack that nothing answers to


def make_ready(prompt: Prompt, described: Described) -> ReadyPrompt:
    """A prompt in which nothing is missing but what the old pack's nodes are about."""
    absent = sorted({str(node["class_type"]) for node in prompt.values() if node["class_type"] not in described})
    ready = {node_id: known_node(node, described) for node_id, node in prompt.items()}
    looked_at = {f"look-{node_id}": look(node_id) for node_id, node in ready.items() if has_outputs(node, described)}
    left = tuple(name for name in absent if name in CANDIDATES)
    return ReadyPrompt({**ready, **looked_at}, tuple(name for name in absent if name not in left), left)


def is_old(graph: Mapping[str, Any]) -> bool:
    """Whether a graph holds nodes of the old pack; another pack's node may have a name of theirs."""
    found = (recognise_ui_node(node) for node in ui_nodes(graph))
    told = (recognise_api_node(node) for node in graph.values())
    return any(isinstance(one, MigrationRule) or (one is not None and bool(one.why)) for one in (*found, *told))


def ui_nodes(graph: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All nodes of a workflow, its subgraphs' too."""
    subgraphs = (graph.get("definitions") or {}).get("subgraphs") or ()
    for nodes in (graph.get("nodes"), *(one.get("nodes") for one in subgraphs)):
        yield from (node for node in nodes or () if isinstance(node, dict))


def known_node(node: Mapping[str, Any], described: Described) -> dict[str, Any]:
    """A node that the server has, with files that it has."""
    name = node["class_type"]
    if name not in described:
        return {"class_type": ANY, "inputs": {}}
    menus = dict(menus_of(described[name]))
    inputs = {key: with_file(value, menus.get(key)) for key, value in node["inputs"].items()}
    return {"class_type": name, "inputs": inputs}


def menus_of(node: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    """The options of each input that has some."""
    for inputs in node["input"].values():
        for name, spec in inputs.items() if isinstance(inputs, dict) else ():
            kind, settings = spec[0], spec[1] if len(spec) > 1 else {}
            options = kind if isinstance(kind, list) else settings.get("options") if kind == "COMBO" else None
            if isinstance(options, list):
                yield name, options


def with_file(value: Any, options: list[Any] | None) -> Any:
    """Another file in the place of one that is not here. What is no file stays."""
    if options is None or not isinstance(value, str) or value in options or not is_file(value):
        return value
    return next((option for option in options if is_file(str(option))), value)


def is_file(name: str) -> bool:
    """Whether an option names a file."""
    stem, dot, ending = name.rpartition(".")
    return bool(stem and dot) and ending.isalnum() and " " not in ending


def has_outputs(node: Mapping[str, Any], described: Described) -> bool:
    """Whether there is something of it to look at."""
    return node["class_type"] != ANY and bool(described[node["class_type"]]["output"])


def look(node_id: str) -> dict[str, Any]:
    """A node that looks at another, so that it is validated whatever it feeds."""
    return {"class_type": LOOK, "inputs": {"source": [node_id, 0]}}


def faults_of(faults: Mapping[str, Any], prompt: Prompt) -> Iterator[str]:
    """What the server says of nodes of the old pack or of this one."""
    for node_id, told in faults.items():
        name = prompt[node_id]["class_type"]
        if name in CANDIDATES or name in OURS:
            yield from (f"{name}: {one['message']}: {one['details']}"[:160] for one in told["errors"])
