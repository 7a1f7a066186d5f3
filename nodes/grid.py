"""Looking: pictures side by side, with what made them written beside."""

from __future__ import annotations

from torch import Tensor

from ..ipadapter.drawing.contact_sheet import draw_sheet, lay_out, read_labels
from ..ipadapter.host.api import io, ui
from ..ipadapter.host.node import Node
from ..ipadapter.host.pictures import from_pil, single_pictures, to_pil
from . import inputs
from .search import WORDS
from .sockets import MEASURING


def label_inputs() -> list[io.Input]:
    """What is written on the sheet."""
    return [
        inputs.long_text(
            "column_labels", "Written above the columns, such as weights: one a line, or separated by commas."
        ),
        inputs.long_text(
            "row_labels", "Written beside the rows, such as names of references: one a line, or separated by commas."
        ),
        io.String.Input("title", default="", tooltip="Written above all."),
    ]


class ImagePromptGrid(Node):
    """A labelled contact sheet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImagePromptGrid",
            display_name="Image Prompt Grid",
            category=MEASURING,
            description="Puts pictures on a labelled contact sheet: weights across, and references, adapters, windows "
            "or anything else down. Pictures come row by row, as a batch or a list.",
            search_aliases=WORDS["ImagePromptGrid"],
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The pictures, row by row: a batch, or a list of any sizes."),
                inputs.whole(
                    "columns",
                    0,
                    (0, 256),
                    "Pictures in a row. 0 takes as many as there are column labels, or makes a square.",
                ),
                *label_inputs(),
                inputs.whole(
                    "cell_size",
                    0,
                    (0, 4096),
                    "Long side of a picture on the sheet in pixels. 0 keeps the size of the largest.",
                ),
                io.Image.Input(
                    "references",
                    optional=True,
                    tooltip="Put before each row as its first picture: one for all rows, or one for each.",
                ),
            ],
            outputs=[io.Image.Output("image", tooltip="The sheet.")],
        )

    @classmethod
    def execute(
        cls,
        images: list[Tensor],
        columns: list[int],
        column_labels: list[str],
        row_labels: list[str],
        title: list[str],
        cell_size: list[int],
        references: list[Tensor] | None = None,
    ) -> io.NodeOutput:
        pictures, heads = ([to_pil(one) for one in single_pictures(given or [])] for given in (images, references))
        labels = (read_labels(row_labels), read_labels(column_labels))
        sheet = from_pil(draw_sheet(lay_out(pictures, heads, columns[0], *labels, title[0]), cell_size[0]))
        return io.NodeOutput(sheet, ui=ui.PreviewImage(sheet, cls=cls))
