"""A labelled contact sheet: pictures in rows and columns, what each row and column is written beside them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from PIL import Image, ImageDraw, ImageFont

from ..errors import IPAdapterError
from .plots import INK, PAPER, Font, font, text_size

EMPTY_CELL = (240, 240, 240)  # where a picture is missing
LARGEST_SIDE = 16384  # pixels of a sheet
SMALLEST_CELL = 16
SMALLEST_TEXT = 12  # pixels
REFERENCE = "reference"

# Tried in turn for what Pillow's own font lacks: Greek, Cyrillic, Chinese and so on.
SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "arial.ttf",
    "Arial.ttf",
    "NotoSansCJK-Regular.ttc",
    "msyh.ttc",
    "PingFang.ttc",
    "Arial Unicode.ttf",
)


@dataclass(frozen=True)
class Sheet:
    """What goes on a sheet: pictures row by row. Lists of labels are empty or have one for each row or column."""

    pictures: Sequence[Image.Image]
    columns: int
    natural: tuple[int, int]  # width and height of a cell where nobody asks for another
    row_labels: Sequence[str] = ()
    column_labels: Sequence[str] = ()
    title: str = ""

    @property
    def rows(self) -> int:
        return math.ceil(len(self.pictures) / self.columns)


def read_labels(texts: Sequence[str]) -> list[str]:
    """Labels of a text: one a line, or in a single line separated by commas. A list of texts has one label each."""
    if len(texts) > 1:
        return [text.strip() for text in texts]
    text = "".join(texts).strip()
    parts = text.splitlines() if "\n" in text else text.split(",")
    return [part.strip() for part in parts] if text else []


def lay_out(
    pictures: Sequence[Image.Image],
    references: Sequence[Image.Image],
    columns: int,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str,
) -> Sheet:
    """Decide rows and columns (0: as many as labels, else about square), and put references into a first column.

    Raises IPAdapterError where the numbers of pictures, labels and references do not fit.
    """
    if not pictures:
        raise IPAdapterError("images is empty: a sheet needs at least one picture.")
    columns = columns or len(column_labels) or guess_columns(len(pictures), len(row_labels))
    natural = largest_sides([picture.size for picture in pictures])
    sheet = Sheet(pictures, columns, natural, row_labels, column_labels, title)
    refuse_counts(sheet)
    return with_references(sheet, references) if references else sheet


def largest_sides(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The largest width and the largest height, in pixels."""
    widths, heights = zip(*sizes, strict=True)
    return max(widths), max(heights)


def guess_columns(pictures: int, rows: int) -> int:
    """As many columns as make these rows; about as many as rows where there is no number of rows."""
    return math.ceil(pictures / rows) if rows else math.ceil(math.sqrt(pictures))


def refuse_counts(sheet: Sheet) -> None:
    """Refuse labels that are not one for each row or column."""
    given = (("row", sheet.row_labels, sheet.rows), ("column", sheet.column_labels, sheet.columns))
    for what, labels, needed in given:
        if labels and len(labels) != needed:
            raise IPAdapterError(
                f"{what}_labels has {len(labels)} label(s), where {len(sheet.pictures)} picture(s) in {sheet.columns} "
                f"column(s) make {needed} {what}(s): give one label for each {what}, or none."
            )


def with_references(sheet: Sheet, references: Sequence[Image.Image]) -> Sheet:
    """The sheet with a reference at the head of each row."""
    if len(references) not in (1, sheet.rows):
        raise IPAdapterError(
            f"references has {len(references)} picture(s) for {sheet.rows} row(s): give one for all rows, or one for "
            "each."
        )
    heads = list(references) * (sheet.rows if len(references) == 1 else 1)
    rows = [sheet.pictures[at : at + sheet.columns] for at in range(0, len(sheet.pictures), sheet.columns)]
    pictures = [picture for head, row in zip(heads, rows, strict=True) for picture in (head, *row)]
    labels = [REFERENCE, *(sheet.column_labels or [""] * sheet.columns)]
    return replace(sheet, pictures=pictures, columns=sheet.columns + 1, column_labels=labels)


@dataclass(frozen=True)
class Measures:
    """Sizes of a sheet in pixels."""

    sheet: Sheet
    cell: tuple[int, int]  # width, height

    @cached_property
    def text(self) -> int:
        """Height of the letters."""
        return max(SMALLEST_TEXT, round(max(self.cell) / 16))

    @property
    def gap(self) -> int:
        return max(2, self.text // 3)

    @cached_property
    def row_label_width(self) -> int:
        return self.widest(self.sheet.row_labels) + 2 * self.gap if self.sheet.row_labels else 0

    @cached_property
    def column_label_height(self) -> int:
        return self.tallest(self.sheet.column_labels) + 2 * self.gap if any(self.sheet.column_labels) else 0

    @cached_property
    def title_height(self) -> int:
        return round(self.text * 1.5) + 3 * self.gap if self.sheet.title else 0

    def widest(self, labels: Sequence[str]) -> int:
        return max(text_size(self.wrap(label), self.face(label))[0] for label in labels)

    def tallest(self, labels: Sequence[str]) -> int:
        return max(text_size(self.wrap(label), self.face(label))[1] for label in labels)

    def wrap(self, label: str) -> str:
        """A label in lines about as wide as a cell."""
        letter = text_size("n", font(self.text))[0]
        return "\n".join(textwrap.wrap(label, max(4, self.cell[0] // max(1, letter)))) or label

    def face(self, label: str) -> Font:
        return font_that_has(label, self.text)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the whole."""
        step_x, step_y = (side + self.gap for side in self.cell)
        width = self.row_label_width + self.sheet.columns * step_x + self.gap
        return width, self.title_height + self.column_label_height + self.sheet.rows * step_y + self.gap

    def corner(self, index: int) -> tuple[int, int]:
        """Upper left corner of a cell."""
        row, column = divmod(index, self.sheet.columns)
        left = self.row_label_width + self.gap + column * (self.cell[0] + self.gap)
        return left, self.title_height + self.column_label_height + self.gap + row * (self.cell[1] + self.gap)


def font_that_has(text: str, size: float) -> Font:
    """Pillow's own font, or the first installed one that has every letter of a text."""
    own = font(size)
    if has_every_letter(own, text):
        return own
    installed = (load_installed(name, size) for name in SYSTEM_FONTS)
    return next((face for face in installed if face and has_every_letter(face, text)), own)


def fitting_face(text: str, size: float, width: int) -> Font:
    """A font of this size, or so much smaller that a line of text is no wider than `width` pixels."""
    needed = text_size(text, font_that_has(text, size))[0]
    return font_that_has(text, size * min(1.0, 0.97 * width / max(1, needed)))


def load_installed(name: str, size: float) -> Font | None:
    """A font of the machine by its file name, or None."""
    try:
        return ImageFont.truetype(name, round(size))
    except OSError:
        return None


def has_every_letter(face: Font, text: str) -> bool:
    """Whether no letter is drawn as the box that stands for missing ones."""
    box = bytes(face.getmask("\uffff"))
    return not any(bytes(face.getmask(letter)) == box for letter in set(text) if letter.isprintable())


def cell_size(sheet: Sheet, side: int) -> tuple[int, int]:
    """Width and height of every cell: the natural one, its long side made `side` where that is not 0.

    Raises IPAdapterError where a sheet of so many pictures would have no room for them.
    """
    width, height = sheet.natural
    most = LARGEST_SIDE // max(sheet.rows + 1, sheet.columns + 1)
    wanted = min(side or max(width, height), most)
    if wanted < SMALLEST_CELL:
        raise IPAdapterError(
            f"{len(sheet.pictures)} pictures in {sheet.columns} column(s) leave {wanted} pixels for each on a sheet of "
            f"{LARGEST_SIDE}: choose fewer pictures, or other columns."
        )
    scale = wanted / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def draw_sheet(sheet: Sheet, side: int = 0) -> Image.Image:
    """The sheet as a picture. `side` is the long side of a cell in pixels; 0 keeps the largest picture's size."""
    measures = Measures(sheet, cell_size(sheet, side))
    image = Image.new("RGB", measures.size, PAPER)
    draw = ImageDraw.Draw(image)
    for index in range(sheet.rows * sheet.columns):
        corner = measures.corner(index)
        draw.rectangle((*corner, corner[0] + measures.cell[0] - 1, corner[1] + measures.cell[1] - 1), fill=EMPTY_CELL)
        if index < len(sheet.pictures):
            put(image, sheet.pictures[index], corner, measures.cell)
    draw_labels(draw, measures)
    return image


def put(image: Image.Image, picture: Image.Image, corner: tuple[int, int], cell: tuple[int, int]) -> None:
    """A picture in the middle of its cell, scaled to fit."""
    scale = min(cell[0] / picture.width, cell[1] / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    fitted = picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)
    image.paste(fitted, (corner[0] + (cell[0] - size[0]) // 2, corner[1] + (cell[1] - size[1]) // 2))


def draw_labels(draw: ImageDraw.ImageDraw, measures: Measures) -> None:
    """Title, row labels to the left, column labels above."""
    sheet, gap = measures.sheet, measures.gap
    title = fitting_face(sheet.title, measures.text * 1.5, measures.size[0] - 2 * gap)
    draw.text((gap, measures.title_height // 2), sheet.title, fill=INK, font=title, anchor="lm")
    for column, label in enumerate(sheet.column_labels):
        left, top = measures.corner(column)
        above = (left + measures.cell[0] / 2, top - gap)
        draw.multiline_text(above, measures.wrap(label), INK, measures.face(label), anchor="md", align="center")
    for row, label in enumerate(sheet.row_labels):
        _, top = measures.corner(row * sheet.columns)
        beside = (measures.row_label_width - gap, top + measures.cell[1] / 2)
        draw.multiline_text(beside, measures.wrap(label), INK, measures.face(label), anchor="rm", align="right")
