"""Weights of images as people type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.prompts.weights import read_image_weights, share_weights, unless_plain


@pytest.mark.parametrize("text", ["1, 0.5, -2", "1 0.5 -2", "1;0.5;-2", " 1,\n.5,\n-2.0, ", "1e0,5e-1,-2"])
def test_numbers_are_read_however_they_are_separated(text):
    assert read_image_weights(text) == (1.0, 0.5, -2.0)


@pytest.mark.parametrize("text", ["", "  ", "\n", ", ,", ";"])
def test_nothing_written_is_no_weights(text):
    assert read_image_weights(text) is None


@pytest.mark.parametrize("entry", ["one", "nan", "inf", "-inf", "1:0.5", "0.5%", "1e999", "--1", "½"])
def test_what_is_no_number_is_refused_by_name(entry):
    with pytest.raises(IPAdapterError, match="which is no number") as error:
        read_image_weights(f"1, {entry}")
    assert f"'{entry}'" in str(error.value)


@given(st.text())
def test_any_text_is_read_or_refused_in_a_sentence(text):
    try:
        read_image_weights(text)
    except IPAdapterError as error:
        assert str(error).startswith("weights has '")


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=9))
def test_written_numbers_come_back(numbers):
    assert read_image_weights(", ".join(map(repr, numbers))) == tuple(numbers)


def test_weights_are_one_a_prompt_or_one_an_image():
    assert share_weights((2.0, 3.0), [1, 2]) == [(2.0,), (3.0, 3.0)]
    assert share_weights((2.0, 3.0, 4.0), [1, 2]) == [(2.0,), (3.0, 4.0)]
    assert share_weights(None, [1, 2]) == [(1.0,), (1.0, 1.0)]
    assert share_weights((0.5,), [3]) == [(0.5, 0.5, 0.5)]


@pytest.mark.parametrize("count", [1, 3, 5])
def test_another_number_of_weights_is_refused_with_both_sides(count):
    with pytest.raises(IPAdapterError, match=f"{count} number.* 2 image prompt.* 4 image"):
        share_weights((1.0,) * count, [1, 3])


def test_weights_of_1_are_none():
    assert unless_plain((1.0, 1.0)) is None
    assert unless_plain((1.0, 0.0)) == (1.0, 0.0)
