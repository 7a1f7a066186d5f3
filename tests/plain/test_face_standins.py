"""The stand-in for InsightFace's models, and what becomes of a file somebody has put in its place."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx.helper import set_model_props

from tests.faces import PACK_FILES, write_pack
from tools.standins.formats import RECIPE_KEY, is_there, write
from tools.standins.listed import SETS, StandIn
from tools.standins.make import missing

PACK = [one for one in SETS["all"] if "/buffalo_l/" in one.path]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models folder with the pack in it."""
    write_pack((tmp_path / PACK[0].path).parent)
    return tmp_path


def changed(path: Path, **properties: str) -> Path:
    """The file with other properties, as another program might have written it."""
    model = onnx.load_model(path)
    del model.metadata_props[:]
    set_model_props(model, properties)
    path.write_bytes(model.SerializeToString())
    return path


def test_the_pack_is_small_and_in_every_set(models: Path):
    assert tuple(Path(one.path).name for one in PACK) == PACK_FILES
    assert all(one in SETS[name] for one in PACK for name in ("sd15", "sdxl"))
    assert all((models / one.path).stat().st_size < 1_000_000 for one in PACK)


def test_the_pack_is_not_made_again(models: Path):
    assert missing(PACK, models) == []


@pytest.mark.parametrize("one", PACK)
def test_a_real_model_is_left_as_it_is(models: Path, one: StandIn):
    assert is_there(changed(models / one.path))


@pytest.mark.parametrize("one", PACK)
def test_an_older_recipe_is_made_again(models: Path, one: StandIn):
    assert not is_there(changed(models / one.path, **{RECIPE_KEY: "0"}))


@pytest.mark.parametrize("content", [b"", b"half a file"])
def test_what_is_not_whole_is_made_again(models: Path, content: bytes):
    path = models / PACK[0].path
    path.write_bytes(content)
    assert not is_there(path)


def test_a_file_that_cannot_be_made_leaves_nothing(tmp_path: Path):
    path = tmp_path / "det_10g.onnx"
    with pytest.raises(AttributeError):
        write(path, "no model")
    assert list(tmp_path.iterdir()) == []
