"""The pictures of the documents are those that the command draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import ROOT
from tests.plain.test_links import DOCUMENTS, links, place, read
from tools.pictures.catalogue import PICTURES

IMAGES = ROOT / "docs" / "images"
ELSEWHERE = {"graph"}  # by make screenshot


def drawn_names() -> set[str]:
    """Every picture of docs/images but those of the evidence."""
    files = [path.relative_to(IMAGES) for path in IMAGES.rglob("*.*")]
    return {file.with_suffix("").as_posix() for file in files if file.parts[0] != "evidence"}


def test_every_picture_is_drawn_by_the_command():
    assert drawn_names() - ELSEWHERE == set(PICTURES)


def test_every_picture_is_shown_somewhere():
    shown = {place(document, target) for document in DOCUMENTS for target in links(read(document))}
    registry = {"docs/images/icon.png", "docs/images/banner.png"}
    assert {f"docs/images/{name}.png" for name in PICTURES} - shown == registry


@pytest.mark.parametrize("name", ["icon", "recipes/regions"])
def test_a_picture_is_drawn_again_as_it_is(name):
    with torch.inference_mode(), Image.open(IMAGES / f"{name}.png") as kept:
        made = PICTURES[name]().convert("RGB")
        assert made.size == kept.size
        assert np.abs(np.asarray(made, int) - np.asarray(kept.convert("RGB"), int)).mean() < 1
