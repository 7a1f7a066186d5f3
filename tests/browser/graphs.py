"""Graphs in the front end, and questions to them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tools.browser import open_workflow
from tools.server import PACK_FOLDER
from tools.workflows.titles import TITLES, graph_file

ROOT = Path(__file__).resolve().parents[2]
NAMES = [name for name in TITLES if graph_file(name).exists()]

SIDE, STEPS = 64, 2  # of a quick picture
OURS = (PACK_FOLDER, "IPAdapter", "ImagePrompt", "OpenCLIPVision")

NODES = """() => window.app.graph.nodes.map(node => ({
    type: node.type,
    known: node.type in window.LiteGraph.registered_node_types,
    errors: Boolean(node.has_errors),
}))"""


# Nodes whose boxes, title bars included, lie over each other.
OVERLAPS = """() => {
    const boxes = window.app.graph.nodes.map(node => [node.title, ...node.getBounding()])
    const apart = (a, b, axis) => a[axis] + a[axis + 2] <= b[axis] + 1 || b[axis] + b[axis + 2] <= a[axis] + 1
    return boxes.flatMap((one, index) => boxes.slice(index + 1)
        .filter(other => !apart(one, other, 1) && !apart(one, other, 2))
        .map(other => [one[0], other[0]]))
}"""
# Groups whose titles lie under a node.
COVERED = """() => window.app.graph.groups.filter(group => window.app.graph.nodes.some(node => {
    const [x, y, width, height] = node.getBounding()
    const [left, top] = group.pos
    return x < left + group.size[0] && left < x + width && y < top + group.titleHeight && top < y + height
})).map(group => group.title)"""
DRAWN = """() => new Promise(drawn => {
    const frames = () => requestAnimationFrame(() => requestAnimationFrame(drawn))
    // Nodes 2.0 measures its nodes after they are there.
    setTimeout(frames, window.LiteGraph.vueNodesMode ? 500 : 0)
})"""
AS_TEMPLATE = "async graph => { await window.app.loadGraphData(graph, true, true, null, { openSource: 'template' }) }"


class Faults:
    """What a page complained of."""

    def __init__(self, page: Page) -> None:
        self.exceptions: list[str] = []
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.exceptions.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.errors.append(message.text))

    @property
    def of_ours(self) -> list[str]:
        """Exceptions of any kind, and errors that name this pack."""
        return self.exceptions + [error for error in self.errors if any(word in error for word in OURS)]


def workflow(name: str) -> dict[str, Any]:
    """A shipped workflow, as its file has it."""
    found: dict[str, Any] = json.loads(graph_file(name).read_text(encoding="utf-8"))
    return found


def quick(found: dict[str, Any]) -> dict[str, Any]:
    """The same workflow small and in few steps."""
    values = {"EmptyLatentImage": {0: SIDE, 1: SIDE}, "KSampler": {2: STEPS}}
    for node in found["nodes"]:
        for place, value in values.get(node["type"], {}).items():
            node["widgets_values"][place] = value
    return found


def open_clean(page: Page, name: str) -> None:
    """Open a shipped workflow, and wait until the front end has looked for what is missing."""
    expected = len(workflow(name)["nodes"])
    open_workflow(page, workflow(name))
    page.wait_for_function("count => window.app.graph.nodes.length === count", arg=expected)
    page.wait_for_timeout(500)


@dataclass(frozen=True)
class Opened:
    """What the front end makes of a workflow that was just opened."""

    nodes: list[dict[str, Any]]
    prompt: dict[str, dict[str, Any]]  # as it would queue it
    faults: int  # reports of them that it shows


@dataclass(frozen=True)
class Started:
    """The front end, and what it complained of as it started."""

    page: Page
    faults: list[str]


@dataclass(frozen=True)
class EveryWorkflow:
    """Each shipped workflow as it was opened, and what the front end complained of meanwhile."""

    opened: Mapping[str, Opened]
    faults: list[str]


def look_at(page: Page, name: str) -> Opened:
    """Open a shipped workflow, and see what has become of it."""
    open_clean(page, name)
    return Opened(nodes(page), prompt(page), page.get_by_test_id("error-overlay").count())


def open_template(page: Page, name: str) -> None:
    """Open a shipped workflow as choosing it among the templates does."""
    page.evaluate(AS_TEMPLATE, workflow(name))
    page.evaluate(DRAWN)


def overlaps(page: Page) -> list[list[str]]:
    """Titles of nodes that lie over each other, in pairs."""
    found: list[list[str]] = page.evaluate(OVERLAPS)
    return found


def covered(page: Page) -> list[str]:
    """Titles of groups that cannot be read for a node over them."""
    found: list[str] = page.evaluate(COVERED)
    return found


def nodes(page: Page) -> list[dict[str, Any]]:
    """What the front end makes of each node of its graph."""
    found: list[dict[str, Any]] = page.evaluate(NODES)
    return found


def prompt(page: Page) -> dict[str, dict[str, Any]]:
    """The graph as the front end would queue it: node id -> class and inputs."""
    output = page.evaluate("async () => (await window.app.graphToPrompt()).output")
    return bare(output)


def bare(output: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A prompt without titles."""
    return {node_id: {"class_type": node["class_type"], "inputs": node["inputs"]} for node_id, node in output.items()}
