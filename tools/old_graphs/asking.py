"""What the front end makes of a graph, and what the server says of that."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Page

from ipadapter.legacy.migration.api_format import is_prompt
from ipadapter.legacy.migration.documents import GRAPH_NAMES
from tools.browser import open_workflow

from .prompts import Described, Prompt, faults_of, make_ready

SENT = """async () => {
    const { output } = await window.app.graphToPrompt();
    const kinds = Object.fromEntries(window.app.graph.nodes.map(node => [node.id, node.type]));
    return [output, kinds];
}"""
UNKNOWN = "a node without a class"


@dataclass(frozen=True)
class Verdict:
    """What is in the way of a graph: nothing, other packs' nodes, or what this pack should have made good."""

    reasons: tuple[str, ...]
    foreign: tuple[str, ...]

    @property
    def is_valid(self) -> bool:
        return not self.reasons


def fetch_json(url: str, sent: Any = None) -> Any:
    """What a server answers."""
    body = None if sent is None else json.dumps(sent).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, body, {"Content-Type": "application/json"}), timeout=120) as reply:
        return json.load(reply)


def inner_graph(graph: Mapping[str, Any]) -> Mapping[str, Any]:
    """The workflow of an export, else its prompt, else what it is."""
    return next((graph[name] for name in GRAPH_NAMES if isinstance(graph.get(name), dict)), graph)


def prompt_of(page: Page, graph: Mapping[str, Any]) -> Prompt:
    """A graph as the front end sends it; an export's workflow, and a prompt as it is."""
    inside = inner_graph(graph)
    if is_prompt(inside):
        return dict(inside)
    open_workflow(page, inside)
    output, kinds = page.evaluate(SENT)
    return {
        key: {**node, "class_type": node.get("class_type") or kinds.get(key, UNKNOWN)} for key, node in output.items()
    }


def judge(url: str, prompt: Prompt, described: Described) -> Verdict:
    """Whether the nodes that the old pack's graphs are about would run."""
    ready = make_ready(prompt, described)
    reasons = [f"nothing answers to {name}" for name in ready.left]
    told = fetch_json(f"{url}/validate", {"prompt": ready.prompt})
    reasons += sorted(set(faults_of(told["faults"] or {}, ready.prompt)))
    return Verdict(tuple(reasons), ready.foreign)
