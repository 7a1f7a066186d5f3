"""Weights by frame: timings, fades between pictures, prompts by frame."""

from __future__ import annotations

import math

import pytest
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.legacy.schedule import Method, make_schedule, prompt_schedule
from pack.ipadapter.strength.frames import FrameTiming, read_frame_weights, timed_weights


def test_custom_weights_are_those_typed():
    assert timed_weights("1, 0.5\n0,", FrameTiming.CUSTOM, frames=9) == (1.0, 0.5, 0.0)


def test_no_custom_weight_is_one_of_zero():
    assert timed_weights("", FrameTiming.CUSTOM) == (0.0,)


def test_a_linear_timing_goes_from_the_first_to_the_last():
    assert timed_weights("1, 7, 0", FrameTiming.LINEAR, frames=5) == (1.0, 0.75, 0.5, 0.25, 0.0)


def test_without_numbers_a_timing_goes_from_0_to_1():
    assert timed_weights("", FrameTiming.LINEAR, frames=3) == (0.0, 0.5, 1.0)


@pytest.mark.parametrize(
    ("timing", "middle"),
    [
        (FrameTiming.EASE_IN_OUT, 0.5),
        (FrameTiming.EASE_IN, math.sin(math.pi / 4)),
        (FrameTiming.EASE_OUT, 1 - math.cos(math.pi / 4)),
    ],
)
def test_an_eased_timing_has_its_own_middle(timing, middle):
    weights = timed_weights("0, 1", timing, frames=3)
    assert weights == pytest.approx((0, middle, 1))


def test_the_weight_is_held_before_the_start_and_after_the_end():
    assert timed_weights("0, 1", FrameTiming.LINEAR, 7, start_frame=2, end_frame=5) == (0, 0, 0, 0.5, 1, 1, 1)


@pytest.mark.parametrize(("start", "end"), [(0, 1), (5, 9), (9, 9999), (4, 2), (0, 0)])
def test_there_are_as_many_weights_as_frames_whatever_the_window(start, end):
    assert len(timed_weights("0, 1", FrameTiming.LINEAR, 6, start_frame=start, end_frame=end)) == 6


@pytest.mark.parametrize("timing", [timing for timing in FrameTiming if timing is not FrameTiming.CUSTOM])
@pytest.mark.parametrize("frames", [1, 2, 3, 16])
def test_one_frame_has_one_weight_and_more_have_as_many(timing, frames):
    weights = timed_weights("1, 0", timing, frames)
    assert len(weights) == frames
    assert timing is FrameTiming.RANDOM or weights[0] == 1.0


def test_random_weights_are_between_the_two_and_the_same_again():
    weights = timed_weights("0.2, 0.6", FrameTiming.RANDOM, 50, seed=4)
    assert all(0.2 <= weight <= 0.6 for weight in weights) and len(set(weights)) > 40
    assert weights == timed_weights("0.2, 0.6", FrameTiming.RANDOM, 50, seed=4)
    assert weights != timed_weights("0.2, 0.6", FrameTiming.RANDOM, 50, seed=5)


def test_added_frames_repeat_the_ends():
    assert timed_weights("1, 2", FrameTiming.CUSTOM, add_starting_frames=2, add_ending_frames=1) == (1, 1, 1, 2, 2)


def test_what_is_no_number_is_named():
    with pytest.raises(IPAdapterError, match="'half' is not a number"):
        read_frame_weights("1, half")


def test_a_full_batch_shows_one_picture_after_another():
    schedule = make_schedule((1.0, 0.0), 2, Method.FULL)
    assert (schedule.weights, schedule.first, schedule.second) == ((1, 0, 1, 0), (0, 0, 1, 1), ())


def test_shifted_batches_fade_each_picture_to_the_next():
    schedule = make_schedule((1.0, 0.0), 3, Method.SHIFT)
    assert schedule.first == (0, 0, 1, 1) and schedule.second == (1, 1, 2, 2)
    assert schedule.weights == (1, 0, 1, 0)


def test_alternating_batches_turn_every_other_change_round():
    schedule = make_schedule((0.75, 0.25), 4, Method.ALTERNATE)
    assert schedule.first == (0, 0, 2, 2, 2, 2) and schedule.second == (1, 1, 1, 1, 3, 3)
    assert schedule.weights == (0.75, 0.25, 0.25, 0.75, 0.75, 0.25)


@pytest.mark.parametrize("method", [Method.SHIFT, Method.ALTERNATE])
def test_one_picture_cannot_fade_to_another(method):
    with pytest.raises(IPAdapterError, match="give two or more"):
        make_schedule((1.0,), 1, method)


def test_frames_added_to_a_schedule_show_the_first_and_the_last_picture():
    schedule = make_schedule((1.0, 0.5), 3, Method.SHIFT).padded(1, 2, 3)
    assert schedule.weights == (1, 1, 0.5, 1, 0.5, 0.5, 0.5)
    assert schedule.first == (0, 0, 0, 1, 1, 2, 2) and schedule.second == (0, 1, 1, 2, 2, 2, 2)


def test_every_picture_has_its_line_of_text():
    assert prompt_schedule("a\n\nb", 3, 4, 0, 0) == '"0": "a",\n"4": "b",\n"8": "b",\n'
    assert prompt_schedule("a\nb", 1, 4, 2, 1) == '"0": "a",\n"2": "a",\n"6": "a",\n'
    assert prompt_schedule(" ", 3, 4, 0, 0) == ""
