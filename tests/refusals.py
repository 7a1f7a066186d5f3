"""What a person reads where something is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pack.ipadapter.errors import IPAdapterError


def refusal(
    call: Callable[..., object], *given: object, error: type[Exception] = IPAdapterError, **more: object
) -> str:
    """The one sentence that a call is refused with, whole, and without a trace of a program's innards."""
    with pytest.raises(error) as raised:
        call(*given, **more)
    text = str(raised.value)
    assert text.endswith(".") and text.isprintable(), text
    assert "Traceback" not in text and "Error(" not in text, text
    return text


def file_refusal(name: str, call: Callable[..., object], *given: object) -> str:
    """The same where it is a file that is refused: the sentence names it, and is short."""
    text = refusal(call, *given)
    assert name in text and len(text) < 500, text
    return text
