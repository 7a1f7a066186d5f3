"""What was drawn, for looking: methods beside each other, a row an image prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ...drawing.contact_sheet import EMPTY_CELL, draw_sheet, lay_out
from .folder import CaptionedImage, open_image
from .run import picture_name
from .systems import System

SHEET_ROWS, SHEET_CELL = 8, 256  # image prompts, pixels


def draw_comparison(
    pictures: Path, items: Sequence[CaptionedImage], systems: Sequence[System], labels: Sequence[str], seed: int
) -> Image.Image:
    """The first picture of the first few image prompts by every system, each prompt at the head of its row."""
    shown = items[:SHEET_ROWS]
    cells = [open_kept(pictures / picture_name(system.name, item, seed)) for item in shown for system in systems]
    sheet = lay_out(cells, [open_image(item.path) for item in shown], len(systems), (), labels, "")
    return draw_sheet(sheet, SHEET_CELL)


def open_kept(path: Path) -> Image.Image:
    """A kept picture, or an empty cell where another machine has it."""
    return open_image(path) if path.is_file() else Image.new("RGB", (SHEET_CELL, SHEET_CELL), EMPTY_CELL)
