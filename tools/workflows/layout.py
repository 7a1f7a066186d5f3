"""Where everything stands on the canvas: columns from left to right, blocks and nodes from top to bottom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .graph import Block, Column, Node, Workflow, links_of
from .schema import NodeSchema, Schemas

NODE_TITLE = 30  # a node's title bar stands above its position
BLOCK_TITLE = 40
NOTE_WIDTH = 460
MARGIN = 20  # between a block's frame and its nodes
NODE_GAP = 16
BLOCK_GAP = 40
COLUMN_GAP = 60
SLOT, WIDGET, END = 20, 24, 6  # heights the canvas gives a row of slots, a widget and a node's lower edge
WIDGETS_END = 8
SPARE = 36  # by how much the front end's other renderer may draw the same node taller


@dataclass(frozen=True)
class Box:
    """A rectangle, in canvas units."""

    x: int
    y: int
    width: int
    height: int

    @property
    def pos(self) -> list[int]:
        return [self.x, self.y]

    @property
    def size(self) -> list[int]:
        return [self.width, self.height]


@dataclass(frozen=True)
class Placed:
    """A workflow's boxes: its note's, its nodes' (title bars excluded) and its blocks'."""

    note: Box
    nodes: Mapping[Node, Box]
    blocks: tuple[tuple[Block, Box], ...]


def natural_height(node: Node, schema: NodeSchema) -> int:
    """What slots and widgets need."""
    sockets = schema.sockets_shown({name for name, _ in links_of(node)})
    rows = max(len(sockets), len(schema.outputs))
    widgets = sum(1 + one.has_control + one.has_upload for one in schema.widgets)
    return rows * SLOT + widgets * WIDGET + (WIDGETS_END if widgets else 0) + END


def height_of(node: Node, schemas: Schemas) -> int:
    return max(node.height, natural_height(node, schemas[node.class_type]))


def room_for(node: Node, schemas: Schemas) -> int:
    """The height to keep free, whichever way the front end draws the node."""
    return height_of(node, schemas) + SPARE


def stack(block: Block, x: int, y: int, width: int, schemas: Schemas) -> Iterator[tuple[Node, Box]]:
    """The nodes of a block whose frame begins at x, y."""
    y += BLOCK_TITLE
    for node in block.nodes:
        y += NODE_TITLE
        yield node, Box(x + MARGIN, y, width, height_of(node, schemas))
        y += room_for(node, schemas) + NODE_GAP


def block_height(block: Block, schemas: Schemas) -> int:
    rooms = (NODE_TITLE + room_for(node, schemas) for node in block.nodes)
    return BLOCK_TITLE + sum(rooms) + NODE_GAP * (len(block.nodes) - 1) + MARGIN


def frames(column: Column, x: int, schemas: Schemas) -> Iterator[tuple[Block, Box]]:
    y = 0
    for block in column.blocks:
        box = Box(x, y, column.width + 2 * MARGIN, block_height(block, schemas))
        yield block, box
        y += box.height + BLOCK_GAP


def place(workflow: Workflow, schemas: Schemas) -> Placed:
    """Place a workflow with the top left of its first block at the origin, its note to the left of that."""
    x = 0
    nodes: dict[Node, Box] = {}
    blocks: list[tuple[Block, Box]] = []
    for column in workflow.columns:
        framed = tuple(frames(column, x, schemas))
        blocks += framed
        for block, box in framed:
            nodes |= dict(stack(block, box.x, box.y, column.width, schemas))
        x += column.width + 2 * MARGIN + COLUMN_GAP
    return Placed(Box(-NOTE_WIDTH - COLUMN_GAP, NODE_TITLE, NOTE_WIDTH, workflow.note.height), nodes, tuple(blocks))
