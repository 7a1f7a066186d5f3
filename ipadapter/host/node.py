"""What all nodes of the pack have in common: their numbers are what their forms ask for, wherever they come from.

The host compares a typed number with the form, but lets NaN pass, and what comes through a link.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..numbers import WEIGHT, Range, require
from .api import io

LOWEST, HIGHEST = -(2.0**63), 2.0**64  # where a form has no limit


class Node(io.ComfyNode):
    """A node whose `execute` refuses numbers that are not finite, or out of its form's range."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "execute" in vars(cls):
            cls.execute = classmethod(checked(vars(cls)["execute"].__func__))  # type: ignore[assignment]


def checked(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    """The same, after a look at its numbers. Raises IPAdapterError that names the input."""
    signature = inspect.signature(execute)

    @functools.wraps(execute)
    def run(cls: type[Node], *args: Any, **inputs: Any) -> io.NodeOutput:
        bound = signature.bind(cls, *args, **inputs)
        refuse_numbers(cls, flat(bound.arguments))
        return execute(cls, *args, **inputs)

    return run


def flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, those that a node takes as a mapping of many among them."""
    plain = {name: value for name, value in arguments.items() if not isinstance(value, dict)}
    many = (value for value in arguments.values() if isinstance(value, dict))
    return plain | {name: value for one in many for name, value in one.items()}


def refuse_numbers(node: type[Node], inputs: Mapping[str, Any]) -> None:
    """Look at every number of a node's form that is given."""
    schema = node.SCHEMA or node.GET_SCHEMA()
    for name, allowed in number_inputs(schema):
        value = inputs.get(name)
        if isinstance(value, (list, tuple)):  # of a node that takes lists, or weights by frame
            for one in value:
                require(one, name, allowed if schema.is_input_list else WEIGHT)
        elif value is not None:
            require(value, name, allowed)


def number_inputs(schema: io.Schema) -> Iterator[tuple[str, Range]]:
    """The numbers of a form, and what they may be."""
    for one in schema.inputs:
        if isinstance(one, (io.Int.Input, io.Float.Input)):
            low, high = (LOWEST if one.min is None else one.min), (HIGHEST if one.max is None else one.max)
            yield one.id, Range(low, high, whole=isinstance(one, io.Int.Input))
