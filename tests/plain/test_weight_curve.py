"""Weights over the sampling: keyframes as typed, and what lies between them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.strength.curve import Interpolation, WeightCurve, read_keyframes, tabulate
from pack.ipadapter.strength.strength import Strength, StrengthParts

LINEAR = Interpolation.LINEAR


def test_keyframes_are_read_in_any_form():
    expected = ((0.0, 1.0), (0.5, 0.3), (1.0, -0.2))
    for text in ("0: 1, 0.5: 0.3, 1: -0.2", "100%: -.2\n0%:1\n50% = 0.3", "1:-0.2; .5:.3; 0:1"):
        assert read_keyframes(text, LINEAR).points == expected


def test_of_two_keyframes_at_one_position_the_later_counts():
    assert read_keyframes("0.5: 1, 0.5: 2", LINEAR).points == ((0.5, 2.0),)


@pytest.mark.parametrize("text", ["", "  ,\n", "0.5", "a: 1", "0.5: x", "0.5: 1: 2", "nan: 1", "0: inf"])
def test_what_cannot_be_read_is_refused(text):
    with pytest.raises(IPAdapterError, match="keyframe"):
        read_keyframes(text, LINEAR)


@pytest.mark.parametrize("text", ["1.5: 1", "-0.1: 1", "101%: 1", "20: 1"])
def test_a_position_outside_the_sampling_is_refused(text):
    with pytest.raises(IPAdapterError, match="outside the sampling"):
        read_keyframes(text, LINEAR)


MIDDLE = {
    Interpolation.LINEAR: 0.5,
    Interpolation.SMOOTH: 0.5,
    Interpolation.EASE_IN: 1 - math.cos(math.pi / 4),
    Interpolation.EASE_OUT: math.sin(math.pi / 4),
    Interpolation.STEP: 0.0,
}


@pytest.mark.parametrize("interpolation", list(Interpolation))
def test_between_two_keyframes(interpolation):
    curve = WeightCurve(((0.2, 0.0), (0.6, 1.0)), interpolation)
    assert curve.value(0.4) == pytest.approx(MIDDLE[interpolation])
    assert (curve.value(0.0), curve.value(0.2), curve.value(0.6), curve.value(1.0)) == (0.0, 0.0, 1.0, 1.0)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-5, 5)), min_size=1, max_size=8, unique_by=lambda point: point[0]))
def test_a_curve_passes_its_points_and_stays_between_them(points):
    curve = WeightCurve(tuple(sorted(points)))
    assert all(curve.value(at) == pytest.approx(weight, abs=1e-6) for at, weight in points)
    weights = [weight for _, weight in points]
    assert all(min(weights) - 1e-9 <= curve.value(n / 20) <= max(weights) + 1e-9 for n in range(21))


def test_a_function_becomes_a_curve_between_two_weights():
    curve = tabulate(lambda x: x * x, 0.5, 1.5)
    assert curve.value(0.0) == 0.5 and curve.value(1.0) == 1.5 and curve.value(0.5) == pytest.approx(0.75, abs=1e-3)


def test_curves_of_a_strength_multiply():
    half, ramp = WeightCurve(((0.0, 0.5),)), WeightCurve(((0.0, 0.0), (1.0, 1.0)))
    assert Strength(curves=(half, ramp)).level(0.4) == pytest.approx(0.2)


def test_weights_by_frame_multiply_and_must_be_as_many():
    parts = StrengthParts().with_frames((1.0, 0.5)).with_frames((0.5, 0.5))
    assert parts.frames == (0.5, 0.25)
    with pytest.raises(IPAdapterError, match="has weights for 2 frames and is given weights for 3"):
        parts.with_frames((1.0, 1.0, 1.0))
