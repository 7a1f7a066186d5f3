"""Graphs in the API's format, built and changed node by node."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

PROMPTS = Path(__file__).resolve().parent.parent / "prompts"

Link = list[str | int]  # node id, output slot


@dataclass
class Graph:
    """A prompt that is being put together."""

    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def shipped(cls, name: str) -> Graph:
        """The API twin of a shipped workflow."""
        return cls(json.loads((PROMPTS / f"{name}.json").read_text(encoding="utf-8")))

    def copy(self) -> Graph:
        return Graph(copy.deepcopy(self.nodes))

    def ids(self, class_type: str) -> list[str]:
        return [node_id for node_id, node in self.nodes.items() if node["class_type"] == class_type]

    def only(self, class_type: str) -> str:
        """The id of the one node of a class."""
        (node_id,) = self.ids(class_type)
        return node_id

    def output(self, class_type: str, slot: int = 0) -> Link:
        """A link from the one node of a class."""
        return [self.only(class_type), slot]

    def inputs(self, class_type: str) -> dict[str, Any]:
        """The inputs of the one node of a class, to be read and changed."""
        return self.nodes[self.only(class_type)]["inputs"]

    def add(self, class_type: str, **inputs: Any) -> Link:
        """Add a node; a link from its first output."""
        node_id = next(str(number) for number in count(len(self.nodes) + 100) if str(number) not in self.nodes)
        self.nodes[node_id] = {"class_type": class_type, "inputs": inputs, "_meta": {"title": class_type}}
        return [node_id, 0]

    def change(self, class_type: str, **inputs: Any) -> Graph:
        """A copy with these inputs on every node of a class."""
        changed = self.copy()
        for node_id in changed.ids(class_type):
            changed.nodes[node_id]["inputs"] |= inputs
        return changed
