"""What all nodes of the pack have in common: they are given what their forms ask for, wherever it comes from.

The host compares a typed number with the form, but lets NaN pass, and what comes through a link: any number, an empty
batch, or nothing, as where another node has none to give.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

from ..errors import IPAdapterError
from ..numbers import WEIGHT, Range, require
from .api import io

LOWEST, HIGHEST = -(2.0**63), 2.0**64  # where a form has no limit


HostNode: Any = io.ComfyNode  # by this name ComfyUI Manager, which reads the source, takes no base for a node


class Node(HostNode):  # type: ignore[misc]  # the host has no types
    """A node whose `execute` refuses nothing where something is needed, and numbers out of its form's range.

    Nothing in an optional input is as good as no link.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        execute = vars(cls).get("execute")
        if execute is not None and not hasattr(execute.__func__, "__wrapped__"):  # as in the host's copies of a node
            cls.execute = classmethod(checked(execute.__func__))


def checked(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    """The same, after a look at its inputs. Raises IPAdapterError that names the input."""
    signature = inspect.signature(execute)
    defaults = {name for name, one in signature.parameters.items() if one.default is not one.empty}

    @functools.wraps(execute)
    def run(cls: type[Node], *args: Any, **inputs: Any) -> io.NodeOutput:
        given = signature.bind(cls, *args, **inputs)
        for name in [name for name, value in given.arguments.items() if is_nothing(value) and name in defaults]:
            del given.arguments[name]
        schema = cls.SCHEMA or cls.GET_SCHEMA()
        linked = flat_arguments(given.arguments) | given.arguments
        refuse_nothing_given(schema, linked)
        refuse_numbers(schema, linked)
        given.apply_defaults()
        return execute(*given.args, **given.kwargs)

    return run


def flat_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, those that a node takes as a mapping of many among them."""
    plain = {name: value for name, value in arguments.items() if not isinstance(value, dict)}
    many = (value for value in arguments.values() if isinstance(value, dict))
    return plain | {name: value for one in many for name, value in one.items()}


def is_nothing(value: Any) -> bool:
    """Whether a link gave nothing. A node that takes lists is handed a list of what its links gave."""
    return value is None or (isinstance(value, (list, dict)) and all(one is None for one in value))


FINDS_NONE = {  # Find IP-Adapter has these for some adapters only
    "CLIP_VISION": "Find IP-Adapter has none for an adapter that reads faces alone, which Encode Face Prompt serves",
    "INSIGHTFACE": "Find IP-Adapter has none for an adapter that reads no faces, which Encode Image Prompt serves",
}


def refuse_nothing_given(schema: io.Schema, inputs: Mapping[str, Any]) -> None:
    """Look at everything that is given: something, and no batch of nothing."""
    for kind, name, value in given_inputs(schema, inputs):
        if is_nothing(value):
            why = FINDS_NONE.get(kind, "its link has none to give")
            raise IPAdapterError(f"{name} is nothing ({why}): link it to a node that has something to give.")
        if isinstance(value, Tensor) and 0 in value.shape:
            shape = list(value.shape)
            raise IPAdapterError(f"{name} has shape {shape}, an empty batch: look at the node that made it.")


def given_inputs(schema: io.Schema, inputs: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Type, name and value of all that is given: one by one where an input takes many, or is a list."""
    for one in schema.inputs:
        value = inputs.get(one.id)
        if isinstance(one, io.Autogrow.Input) and value:
            yield from ((one.io_type, name, each) for name, each in value.items())
        elif schema.is_input_list and value:
            yield from ((one.io_type, one.id, each) for each in value)
        elif one.id in inputs:
            yield one.io_type, one.id, value


def refuse_numbers(schema: io.Schema, inputs: Mapping[str, Any]) -> None:
    """Look at every number of a node's form that is given."""
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
