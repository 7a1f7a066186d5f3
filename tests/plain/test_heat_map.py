"""Maps of numbers: where activations fall on them, and their colours over a picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pack.ipadapter.attention.maps import Sight, footprint, map_size, share
from pack.ipadapter.attention.selection import resize
from pack.ipadapter.drawing.heat_map import (
    SCALES,
    SMALLEST_PICTURE,
    colour,
    colour_scale,
    draw_heat_map,
    legend_for,
    marks,
)
from PIL import Image
from torch.nn.functional import avg_pool2d

CPU = torch.device("cpu")


def sight(rows, columns, pictures=(0,)) -> Sight:
    return Sight(tuple(pictures), tuple(rows), tuple(columns))


def spread(values: torch.Tensor, seen: Sight, latent: tuple[int, int], pictures: int = 1) -> torch.Tensor:
    """The mean of a call's values (b, h, w) on maps of whole pictures; NaN where nothing fell."""
    activations = (values.shape[1], values.shape[2])
    maps = (pictures, *map_size(seen, activations, latent))
    at = footprint(seen, activations, latent, maps, CPU)
    return (torch.zeros(len(at.count)).index_add_(0, at.index, values.flatten()) / at.count).reshape(maps)


@pytest.mark.parametrize("latent", [(64, 64), (64, 96), (65, 47), (33, 127), (128, 128), (9, 5)], ids=str)
@pytest.mark.parametrize("level", range(4))
def test_a_call_of_the_whole_picture_fills_its_maps(latent, level):
    height, width = (-(-side // 2**level) for side in latent)
    values = torch.rand(1, height, width)
    found = spread(values, sight(range(latent[0]), range(latent[1])), latent)
    assert max(found.shape) <= 64 and not found.isnan().any()
    if max(height, width) <= 64:
        assert torch.equal(found, values)


def test_a_map_that_would_be_too_large_has_means():
    values = torch.rand(1, 128, 96)
    found = spread(values, sight(range(128), range(96)), (128, 96))
    assert torch.allclose(found, avg_pool2d(values, 2), atol=1e-6)


def test_a_part_of_the_picture_falls_where_it_is():
    values = torch.rand(2, 8, 16)
    found = spread(values, sight(range(16, 32), range(32), pictures=(3, 1)), (48, 32), pictures=4)
    assert torch.equal(found[3, 8:16], values[0]) and torch.equal(found[1, 8:16], values[1])
    assert int((~found.isnan()).sum()) == values.numel()


def test_nothing_beside_nothing_is_no_share():
    assert share(torch.zeros(2), torch.tensor([0.0, 1.0])).tolist() == [0.0, 1.0]


def test_a_resized_map_keeps_its_lowest_and_highest():
    maps = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.2, 0.4], [0.4, 0.4]]])
    large = resize(maps, (50, 70))
    assert large.amin((1, 2)).tolist() == pytest.approx([0.0, 0.2], abs=0.02)
    assert large.amin() >= 0 and large.amax() <= 1 and large[1].amax() <= 0.4


def lightness(levels: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB levels (n, 3)."""
    srgb = levels / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)


def test_colours_grow_lighter_evenly():
    found = lightness(colour_scale())
    assert (np.diff(found) > 0).all() and found[0] < 10 and found[-1] > 90
    even = np.linspace(found[0], found[-1], len(found))
    assert np.abs(found - even).max() < 4


def test_the_ends_of_the_scale_are_the_ends_of_the_colours_and_beyond_it_nothing_changes():
    levels = np.asarray(colour(np.array([[-1.0, 0.2, 0.8, 3.0]]), (0.2, 0.8)))[0]
    assert (levels[:2] == colour_scale()[0]).all() and (levels[2:] == colour_scale()[-1]).all()


def test_each_scale_runs_between_the_numbers_it_is_named_after():
    maps = torch.tensor([[[0.1, 0.3]], [[0.2, 0.6]]])
    spans = {name: [tuple(round(end, 3) for end in span) for span in of(maps)] for name, of in SCALES.items()}
    assert spans == {
        "lowest to highest": [(0.1, 0.3), (0.2, 0.6)],
        "lowest to highest of all": [(0.1, 0.6)] * 2,
        "0 to highest": [(0.0, 0.3), (0.0, 0.6)],
        "0 to 1": [(0.0, 1.0)] * 2,
    }


def heated(size: tuple[int, int], opacity: float, span=(0.0, 1.0)) -> np.ndarray:
    picture = Image.new("RGB", size, (200, 40, 90))
    values = np.tile(np.linspace(0, 1, size[0]), (size[1], 1))
    return np.asarray(draw_heat_map(picture, values, span, opacity))


def test_opacity_0_shows_the_picture_and_1_the_colours():
    assert (heated((320, 300), 0.0)[:300] == (200, 40, 90)).all()
    assert (heated((320, 300), 1.0)[0, (0, -1)] == colour_scale()[[0, -1]]).all()


@pytest.mark.parametrize("size", [(1024, 512), (512, 768), (64, 64), (300, 1200)], ids=str)
def test_the_bar_is_below_the_picture_and_can_be_read(size):
    sheet = heated(size, 0.6)
    factor = -(-SMALLEST_PICTURE // min(size))
    assert sheet.shape[1] == size[0] * factor
    strip = sheet[size[1] * factor :]
    assert 40 <= len(strip) <= 0.25 * sheet.shape[1]
    assert (strip[:, (0, -1)] == 255).all() and (strip[(0, -1), :] == 255).all()
    assert (strip.max(-1) < 120).sum() > 150  # letters


@pytest.mark.parametrize("span", [(0.0, 0.63), (0.0, 1.0), (0.571, 0.661), (0.3, 0.3), (0.0, 0.0)], ids=str)
def test_numbers_below_the_bar_name_its_ends_and_do_not_touch(span):
    face = legend_for(256).face
    found = marks(span, 10, 246, face)
    assert float(found[0][0]) == pytest.approx(span[0], abs=0.005)
    assert float(found[-1][0]) == pytest.approx(span[1], abs=0.005)
    middles = sorted(at for _, at, anchor in found if anchor == "mt")
    width = face.getlength("0.000")
    assert all(10 + 1.5 * width < at < 246 - 1.5 * width for at in middles)
