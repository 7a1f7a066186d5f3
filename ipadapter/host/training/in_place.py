"""Blocks that change what they are given, as FLUX's do: `img += ...`.

A gradient needs what a block has read, and a block that is run again in the backward pass what it was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from ..backbones.flux import CHANGED, IN_PLACE

Forward = Callable[..., Any]


@contextmanager
def wrapped(modules: Sequence[nn.Module], wrap: Callable[[Forward], Forward]) -> Iterator[None]:
    """The forward pass of each wrapped, until the block ends."""
    before = [vars(module).get("forward") for module in modules]
    for module in modules:
        module.forward = wrap(module.forward)
    try:
        yield
    finally:
        for module, forward in zip(modules, before, strict=True):
            del module.forward
            if forward is not None:
                module.forward = forward


@contextmanager
def on_copies(model: nn.Module) -> Iterator[None]:
    """Until the block ends, such blocks change copies, and their normalisations keep others for the gradient."""
    blocks = [module for module in model.modules() if isinstance(module, IN_PLACE)]
    norms = [part for block in blocks for part in block.children() if isinstance(part, nn.LayerNorm)]
    with ExitStack() as stack:
        stack.enter_context(wrapped(blocks, copying))
        stack.enter_context(wrapped(norms, copying))
        yield


def copying(forward: Forward) -> Forward:
    """A forward pass that leaves what it is given as it is."""

    def run(*args: Any, **kwargs: Any) -> Any:
        named = {name: own_copy(value) if name in CHANGED else value for name, value in kwargs.items()}
        return forward(*map(own_copy, args), **named)

    return run


def own_copy(value: Any) -> Any:
    """A tensor's copy."""
    return value.clone() if isinstance(value, Tensor) else value
