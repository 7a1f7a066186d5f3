"""Means and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from pack.ipadapter.evaluation.statistics import RESAMPLES, bootstrap_mean
from scipy import stats


def test_the_interval_is_the_normal_one_where_values_are_normal():
    values = np.random.default_rng(1).normal(0.8, 0.1, 400)
    made = bootstrap_mean(values.tolist(), range(400))
    half = 1.96 * values.std(ddof=1) / 20
    assert made.mean == pytest.approx(values.mean())
    assert made.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert made.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_it_is_scipys_percentile_bootstrap():
    values = np.random.default_rng(2).gamma(2, size=60)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20000, rng=3).confidence_interval
    made = bootstrap_mean(values.tolist(), range(60))
    width = theirs.high - theirs.low
    assert abs(made.low - theirs.low) < 0.05 * width and abs(made.high - theirs.high) < 0.05 * width


def test_pictures_of_one_reference_do_not_count_as_independent():
    """Four equal pictures of each reference say no more than one."""
    values = np.random.default_rng(3).normal(size=50)
    alone, four = bootstrap_mean(values.tolist(), range(50)), bootstrap_mean(values.repeat(4), np.arange(50).repeat(4))
    assert (four.low, four.high) == pytest.approx((alone.low, alone.high))
    assert (four.count, four.groups) == (200, 50)


def test_the_mean_is_over_pictures_when_groups_differ():
    made = bootstrap_mean([1, 1, 1, 0], [7, 7, 7, 9])
    assert made.mean == 0.75
    assert made.low == 0 and made.high == 1


def test_the_same_values_give_the_same_interval_and_another_seed_another():
    values = np.random.default_rng(4).normal(size=30)
    one, two, three = (bootstrap_mean(values, range(30), seed) for seed in (0, 0, 1))
    assert one == two != three


@pytest.mark.parametrize("groups", [[0], [0, 0]])
def test_one_group_has_no_interval(groups):
    made = bootstrap_mean([0.5] * len(groups), groups)
    assert (made.mean, made.low, made.high) == (0.5, None, None)
    assert "no interval" in str(made)


def test_many_groups_take_little_memory():
    made = bootstrap_mean(np.ones(30000), np.arange(30000))
    assert made.low == made.high == 1 and RESAMPLES * 30000 > 50_000_000
