"""The one exception, as it travels and as people see it."""

from __future__ import annotations

import pickle

import pytest
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.files.pickles import UnreadableError
from pack.ipadapter.training.loop import DivergedError


@pytest.mark.parametrize("kind", [IPAdapterError, DivergedError, UnreadableError])
def test_no_path_stands_before_the_sentence(kind: type[IPAdapterError]) -> None:
    """As the host writes it: module and name, the module left out for what is built in."""
    assert (kind.__module__, kind.__qualname__) == ("builtins", "IPAdapterError")


@pytest.mark.parametrize("kind", [IPAdapterError, DivergedError])
def test_a_refusal_comes_whole_from_another_process(kind: type[IPAdapterError]) -> None:
    again = pickle.loads(pickle.dumps(kind("weight is 9, where a number from -5 to 5 is needed.")))
    assert isinstance(again, IPAdapterError)
    assert str(again) == "weight is 9, where a number from -5 to 5 is needed."
