"""What a workflow is, apart from how it is written down: nodes, links by input name, and which stand together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Value = str | int | float | bool


@dataclass(frozen=True)
class ModelFile:
    """A file a workflow needs: its name in the loader, where it can be had, and its folder below `models`."""

    name: str
    url: str
    directory: str


@dataclass(frozen=True, eq=False)
class Node:
    """One node. `inputs` holds a widget's value or another node's output; what is left out has its default."""

    class_type: str
    inputs: Mapping[str, Value | Output] = field(default_factory=dict)
    title: str | None = None
    models: tuple[ModelFile, ...] = ()
    height: int = 0  # at least, in canvas units; 0 for what its slots and widgets need
    grows: int = 0  # what a run adds to its height, in canvas units
    after_run: str = "randomize"  # what the front end does with its seed when the run is queued

    def __getitem__(self, output: str) -> Output:
        return Output(self, output)


@dataclass(frozen=True, eq=False)
class Output:
    """An output of a node, to be linked to other nodes' inputs."""

    node: Node
    name: str


Inputs = Mapping[str, Value | Output]


@dataclass(frozen=True)
class Block:
    """Nodes that stand below each other, framed under a title."""

    title: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Column:
    """Blocks that stand below each other, all nodes equally wide (canvas units)."""

    width: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Headings:
    """What every note says, in a language."""

    change: str
    files: str
    save: str
    folder: str  # between a file's name and that of its folder


ENGLISH = Headings(
    "What to change",
    "Files",
    "Save each under the name shown here, whatever the download is called, then press R.",
    " in models/",
)


@dataclass(frozen=True)
class Note:
    """What a person reads first, in Markdown; the height is in canvas units."""

    title: str
    what: str
    change: tuple[str, ...]
    height: int = 460

    def text(self, files: tuple[ModelFile, ...], headings: Headings = ENGLISH) -> str:
        advice = "\n".join(f"- {sentence}" for sentence in self.change)
        listed = "\n".join(f"- [{file.name}]({file.url}){headings.folder}{file.directory}" for file in files)
        change, places = f"## {headings.change}", f"## {headings.files}"
        return "\n\n".join((f"# {self.title}", self.what, change, advice, places, headings.save, listed)) + "\n"


@dataclass(frozen=True)
class Workflow:
    """A graph with its note. `name` is what code calls it; `titles` says what people do."""

    name: str
    note: Note
    columns: tuple[Column, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """In reading order: column by column, each from top to bottom."""
        return tuple(node for column in self.columns for block in column.blocks for node in block.nodes)

    @property
    def models(self) -> tuple[ModelFile, ...]:
        return tuple(dict.fromkeys(model for node in self.nodes for model in node.models))


def links_of(node: Node) -> Iterator[tuple[str, Output]]:
    """Linked inputs with the outputs they come from."""
    return ((name, value) for name, value in node.inputs.items() if isinstance(value, Output))
