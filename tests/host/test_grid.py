"""Image Prompt Grid: every picture in its place, labels readable, wrong numbers refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import pytest
import torch
from pack.ipadapter.drawing.contact_sheet import (
    Measures,
    cell_size,
    draw_sheet,
    font_that_has,
    has_every_letter,
    lay_out,
)
from pack.ipadapter.drawing.plots import font, text_size
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.pictures import from_pil, to_pil
from pack.nodes.grid import ImagePromptGrid
from PIL import Image
from torch import Tensor

from tests.refusals import refusal

SIDE = 32


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path))
    return tmp_path


def colour(index: int) -> tuple[int, int, int]:
    return (10 + 7 * index, 250 - 9 * index, 40 + 3 * index)


def flat(index: int, width: int = SIDE, height: int = SIDE) -> Tensor:
    return from_pil(Image.new("RGB", (width, height), colour(index)))


def grid(images: list[Tensor], **more: Any) -> Tensor:
    settings = {"columns": 0, "column_labels": "", "row_labels": "", "title": "", "cell_size": 0}
    lists = {name: more.pop(name, value) for name, value in settings.items()}
    lists = {name: value if isinstance(value, list) else [value] for name, value in lists.items()}
    made = ImagePromptGrid.execute(images=images, **lists, **more)
    assert len(made.ui.as_dict()["images"]) == 1
    return made.result[0]


def order(sheet: Tensor, count: int) -> list[int]:
    """Which flat pictures are on a sheet, from its upper left to its lower right."""
    levels = (sheet[0] * 255).round().int()
    places = {index: (levels == torch.tensor(colour(index))).all(-1).nonzero() for index in range(count)}
    assert all(len(found) for found in places.values())
    return sorted(places, key=lambda index: tuple(places[index][0].tolist()))


def test_pictures_are_placed_row_by_row_and_whole():
    sheet = grid([torch.cat([flat(index) for index in range(6)])], columns=3)
    assert order(sheet, 6) == [0, 1, 2, 3, 4, 5]
    for index in range(6):
        assert ((sheet[0] * 255).round().int() == torch.tensor(colour(index))).all(-1).sum() == SIDE * SIDE


def test_a_list_gives_the_same_sheet_as_a_batch():
    pictures = [flat(index) for index in range(4)]
    assert torch.equal(grid(pictures), grid([torch.cat(pictures)]))


def test_columns_follow_the_labels_and_labels_cost_room():
    pictures = [flat(index) for index in range(6)]
    plain = grid(pictures, columns=3)
    labelled = grid(pictures, column_labels="0, 0.5, 1", row_labels="cat\ndog", title="Weights")
    assert order(labelled, 6) == [0, 1, 2, 3, 4, 5]
    assert labelled.shape[1] > plain.shape[1] and labelled.shape[2] > plain.shape[2]
    assert (labelled[0] < 0.3).all(-1).sum() > (plain[0] < 0.3).all(-1).sum() + 50  # letters


def test_a_list_of_labels_is_one_label_each():
    assert torch.equal(
        grid([flat(index) for index in range(2)], column_labels=["a, b", "c"]),
        grid([flat(index) for index in range(2)], column_labels="a, b\nc"),
    )


def test_references_head_the_rows():
    pictures = [flat(index) for index in range(4)]
    heads = [flat(4), flat(5)]
    assert order(grid(pictures, columns=2, references=heads), 6) == [4, 0, 1, 5, 2, 3]
    (one,) = [grid(pictures, columns=2, references=[flat(4)])]
    assert ((one[0] * 255).round().int() == torch.tensor(colour(4))).all(-1).sum() == 2 * SIDE * SIDE


def test_pictures_of_other_sizes_are_fitted_and_a_large_reference_makes_no_large_sheet():
    sheet = grid([flat(0), flat(1, 16, 32)], references=[flat(2, 640, 640)])
    assert order(sheet, 3) == [2, 0, 1]
    assert sheet.shape[2] < 5 * SIDE


def test_the_last_row_may_be_short():
    assert order(grid([flat(index) for index in range(5)], columns=2), 5) == [0, 1, 2, 3, 4]


def test_wrong_numbers_are_refused():
    pictures = [flat(index) for index in range(4)]
    assert "column_labels has 3 label(s)" in refusal(grid, pictures, columns=2, column_labels="a,b,c")
    assert "row_labels has 1 label(s)" in refusal(grid, pictures, columns=2, row_labels="a")
    assert "references has 3 picture(s) for 2 row(s)" in refusal(
        grid, pictures, columns=2, references=[flat(0), flat(1), flat(2)]
    )
    assert "row_labels has 3 label(s)" in refusal(grid, pictures, columns=3, row_labels="a,b,c")


def test_too_many_pictures_for_a_sheet_are_refused():
    pictures = [Image.new("RGB", (8, 8))] * 3000
    with pytest.raises(IPAdapterError, match="3000 pictures in 1 column"):
        draw_sheet(lay_out(pictures, [], 1, [], [], ""))
    with pytest.raises(IPAdapterError, match="at least one picture"):
        lay_out([], [], 0, [], [], "")


@pytest.mark.parametrize("side", [64, 512, 2048])
def test_text_is_readable_at_any_size_and_stays_on_the_sheet(side):
    pictures = [Image.new("RGB", (side, side))] * 4
    sheet = lay_out(pictures, [], 2, ["a very long name of a reference image", "b"], ["0", "1"], "A long title " * 9)
    measures = Measures(sheet, cell_size(sheet, 0))
    assert measures.text >= 12 and side / 20 <= max(measures.text, side / 16) <= max(12, side / 12)
    image = np.asarray(draw_sheet(sheet))
    assert image.shape[1] < 3 * side + 60
    assert (image[:, -1] == 255).all() and (image[-1] == 255).all()


def test_every_label_keeps_within_its_room():
    pictures = [Image.new("RGB", (64, 64))] * 2
    sheet = lay_out(pictures, [], 2, [], ["a label that is much wider than a small cell", "b"], "")
    measures = Measures(sheet, cell_size(sheet, 0))
    text = measures.wrap(sheet.column_labels[0])
    assert text.count("\n") >= 2
    assert text_size(text, measures.face(text))[1] <= measures.column_label_height


def test_letters_that_pillows_font_lacks_are_taken_from_another_where_there_is_one():
    own = font(20)
    assert has_every_letter(own, "weight 0.5") and not has_every_letter(own, "λ = 0.5")
    assert font_that_has("weight 0.5", 20).getname() == own.getname()
    found = font_that_has("λ = 0.5", 20)
    assert has_every_letter(found, "λ = 0.5") or found.getname() == own.getname()


def test_grey_and_transparent_pictures_are_shown():
    grey, clear = torch.full((1, 9, 9, 1), 0.5), torch.zeros(1, 9, 9, 4)
    assert to_pil(grey).getpixel((0, 0)) == (128, 128, 128)
    assert to_pil(clear).getpixel((0, 0)) == (255, 255, 255)
