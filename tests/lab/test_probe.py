"""What the probe says there is to carry."""

from __future__ import annotations

import pytest
import torch

from lab import store
from lab.probe import COLOUR, EMBEDDING, PATCHES, PLACES, explained, left_over, probe, ridge
from lab.wide import held_out_wide, train_wide


@pytest.fixture(scope="module")
def found():
    """Few scenes."""
    return probe(train_wide(500, 1008), held_out_wide(120, 700))


def test_patches_tell_the_place_and_the_embedding_little(found):
    assert found[PATCHES]["place"].low > 0.6 > 0.45 > found[EMBEDDING]["place"].high


def test_the_report_has_every_feature_and_all_that_is_asked(found):
    kept = store.read_report()["probe"]
    assert kept.keys() == found.keys()
    assert all(told.keys() == {*PLACES, COLOUR} for told in kept.values())
    assert kept[PATCHES]["place"][0] > found[PATCHES]["place"].mean  # more scenes tell more


def test_a_linear_map_is_found_again_and_noise_tells_nothing():
    generator = torch.Generator().manual_seed(0)
    rows, others = (torch.randn(count, 20, generator=generator, dtype=torch.float64) for count in (400, 200))
    through = torch.randn(20, 2, generator=generator, dtype=torch.float64)
    said = ridge(rows, rows @ through + 3, others, 1.0)
    assert explained(said, others @ through + 3).mean > 0.999
    noise = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    assert explained(said - 3, noise).mean < 0.1


def test_what_is_wholly_known_is_not_apart():
    assert (left_over(1.0), left_over(0.75), left_over(0.0)) == (0.0, 0.5, 1.0)
