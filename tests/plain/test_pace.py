"""What the evaluation says of its own pace."""

from __future__ import annotations

import pytest
from pack.ipadapter.commands.evaluate.pace import Pace, time_in_words


def test_a_pace_is_of_all_processes_and_says_how_long_the_papers_protocol_takes():
    assert Pace(40, 120.0).a_minute == 20 and Pace(40, 120.0, processes=3).a_minute == 60
    alone, together = str(Pace(40, 120.0)), str(Pace(40, 120.0, processes=3))
    assert alone == (
        "40 picture(s) drawn and measured in 2.0 minutes: 20 a minute. The paper's 20,000 take 16.7 hours at this pace."
    )
    assert "in 2.0 minutes, this being one of 3 processes: 60 a minute. The paper's 20,000 take 5.6 hours" in together


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0, "0.0 seconds"), (90, "90.0 seconds"), (121, "2.0 minutes"), (172800, "2.0 days")]
)
def test_a_time_is_in_the_largest_unit_of_which_there_are_two(seconds, words):
    assert time_in_words(seconds) == words
