"""Where everything stands on the canvas: columns from left to right, blocks and nodes from top to bottom.

The note and the blocks of a workflow keep their order. Where a column ends is chosen so that the whole is seen as large
as can be, and what is written down besides is where to look at it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise, product

from .graph import Block, Node, Workflow, links_of
from .schema import NodeSchema, Schemas

NODE_TITLE = 30  # a node's title bar stands above its position
BLOCK_TITLE = 36
NOTE_WIDTH = 400
MARGIN = 15  # between a block's frame and its nodes
NODE_GAP = 12
BLOCK_GAP = 30
COLUMN_GAP = 40
SLOT, WIDGET, END = 20, 24, 6  # heights the canvas gives a row of slots, a widget and a node's lower edge
WIDGETS_END = 8
SPARE = 36  # by how much the front end's other renderer may draw the same node taller

# Pixels of a window of 1440 x 900 that the front end's bars leave to the canvas: left, top, width, height.
SCREEN = (76, 96, 1344, 776)
SMALLEST = 0.6  # of the canvas' scale: below it texts are grey lines, and a graph begins at its start instead


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
class View:
    """What of the canvas is seen first: canvas units to pixels, and what is added to a place before."""

    scale: float
    offset: tuple[int, int]


@dataclass(frozen=True)
class Tile:
    """A block, or the note where there is no block, with its size, frame included."""

    block: Block | None
    width: int
    height: int


Pile = tuple[Tile, ...]  # from top to bottom, all as wide as the widest


@dataclass(frozen=True)
class Placed:
    """A workflow's boxes: its note's, its nodes' (title bars excluded) and its blocks'; and where to look at them."""

    note: Box
    nodes: Mapping[Node, Box]
    blocks: tuple[tuple[Block, Box], ...]
    view: View


def natural_height(node: Node, schema: NodeSchema) -> int:
    """What slots and widgets need."""
    sockets = schema.sockets_shown({name for name, _ in links_of(node)})
    rows = max(len(sockets), len(schema.outputs))
    widgets = sum(1 + one.has_control + one.has_upload for one in schema.widgets)
    return rows * SLOT + widgets * WIDGET + (WIDGETS_END if widgets else 0) + END


def height_of(node: Node, schemas: Schemas) -> int:
    return max(node.height, natural_height(node, schemas[node.class_type]))


def room_for(node: Node, schemas: Schemas) -> int:
    """The height to keep free, whichever way the front end draws the node, before a run and after it."""
    return height_of(node, schemas) + max(SPARE, node.grows)


def block_height(block: Block, schemas: Schemas) -> int:
    rooms = (NODE_TITLE + room_for(node, schemas) for node in block.nodes)
    return BLOCK_TITLE + sum(rooms) + NODE_GAP * (len(block.nodes) - 1) + MARGIN


def tiles_of(workflow: Workflow, schemas: Schemas) -> Pile:
    """The note and the blocks in reading order."""
    note = Tile(None, NOTE_WIDTH, NODE_TITLE + workflow.note.height)
    blocks = ((block, column.width + 2 * MARGIN) for column in workflow.columns for block in column.blocks)
    return (note, *(Tile(block, width, block_height(block, schemas)) for block, width in blocks))


def width_of(pile: Pile) -> int:
    return max(tile.width for tile in pile)


def extent(piles: tuple[Pile, ...]) -> tuple[int, int]:
    """Width and height of piles beside each other."""
    width = sum(map(width_of, piles)) + COLUMN_GAP * (len(piles) - 1)
    return width, max(sum(tile.height for tile in pile) + BLOCK_GAP * (len(pile) - 1) for pile in piles)


def scale_of(piles: tuple[Pile, ...]) -> float:
    """The largest scale at which all of it is seen."""
    width, height = extent(piles)
    return min(SCREEN[2] / width, SCREEN[3] / height)


def cuts(tiles: Pile) -> Iterator[tuple[Pile, ...]]:
    """Every way to end columns somewhere, the order kept."""
    for ends in product((False, True), repeat=len(tiles) - 1):
        places = (0, *(place for place, end in enumerate(ends, start=1) if end), len(tiles))
        yield tuple(tiles[start:end] for start, end in pairwise(places))


def piles_of(workflow: Workflow, schemas: Schemas) -> tuple[Pile, ...]:
    """The columns in which most is seen; the note is above the first block, or below it."""
    note, first, *rest = tiles_of(workflow, schemas)
    orders = ((note, first, *rest), (first, note, *rest))
    return max((cut for order in orders for cut in cuts(order)), key=scale_of)


def stack(pile: Pile, x: int) -> Iterator[tuple[Tile, Box]]:
    y, width = 0, width_of(pile)
    for tile in pile:
        yield tile, Box(x, y, width, tile.height)
        y += tile.height + BLOCK_GAP


def beside(piles: Iterable[Pile]) -> Iterator[tuple[Tile, Box]]:
    x = 0
    for pile in piles:
        yield from stack(pile, x)
        x += width_of(pile) + COLUMN_GAP


def inside(block: Block, frame: Box, schemas: Schemas) -> Iterator[tuple[Node, Box]]:
    """The nodes of a block within its frame."""
    y = frame.y + BLOCK_TITLE
    for node in block.nodes:
        y += NODE_TITLE
        yield node, Box(frame.x + MARGIN, y, frame.width - 2 * MARGIN, height_of(node, schemas))
        y += room_for(node, schemas) + NODE_GAP


def view_of(piles: tuple[Pile, ...]) -> View:
    """All of it, or its beginning at the smallest scale."""
    scale = round(max(SMALLEST, min(1.0, scale_of(piles))), 3)
    return View(scale, (round(SCREEN[0] / scale), round(SCREEN[1] / scale)))


def place(workflow: Workflow, schemas: Schemas) -> Placed:
    """Place a workflow with the top left of its first column at the origin."""
    piles = piles_of(workflow, schemas)
    framed = tuple(beside(piles))
    blocks = tuple((tile.block, box) for tile, box in framed if tile.block)
    note = next(box for tile, box in framed if not tile.block)
    nodes = dict(pair for block, box in blocks for pair in inside(block, box, schemas))
    return Placed(Box(note.x, note.y + NODE_TITLE, note.width, note.height - NODE_TITLE), nodes, blocks, view_of(piles))
