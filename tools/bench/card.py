"""A graphics card of shapes alone: what would make the host wait for a real one is counted without one.

Torch's meta device stands for the card: its tensors have shapes and no numbers. A number read from it is one, and is
counted, as the host would wait for all the work before it. So is a copy to it that is not from pinned memory, an
operation that takes a tensor of main memory along (an index, a mask), and a tensor made on it of Python numbers. An
operation whose result has a size that depends on the numbers does not run here at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from pack.ipadapter.training.sending import WAYS
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from tools.bench.models import META

MAKERS = (torch.tensor, torch.as_tensor, Tensor.new_tensor)
INDEXING = (Tensor.__getitem__, Tensor.__setitem__)


class Makers(TorchFunctionMode):
    """Notes tensors made on the card of Python numbers, which no dispatcher sees: by name, or of a list as an index."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        by_name = func in MAKERS and made.device == META
        of_list = func in INDEXING and args[0].device == META and lists_in(args[1])
        if by_name or of_list:
            self.waits[func.__name__] += 1
        return made


class Card(TorchDispatchMode):
    """Runs operations on shapes, and notes by name those that a real card would be waited for."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits
        self.pinned = WeakTensorKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name in SPECIAL:
            return SPECIAL[name](self, func, args, kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if on_card(tensors) and any(tensor.device != META and tensor.ndim for tensor in tensors):
            self.waits[name] += 1
        return func(*args, **kwargs)

    def read(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A number of a tensor."""
        if not on_card(args):
            return func(*args, **kwargs)
        self.waits[func._schema.name] += 1
        return torch.ones((), dtype=args[0].dtype).item()

    def convert(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A copy in another place or precision."""
        there = torch.device(kwargs.get("device") or args[0].device)
        self.note_copy(func, args[0], there, kwargs.get("non_blocking", False))
        if args[0].device == META != there:
            return torch.ones(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        return func(*args, **kwargs)

    def overwrite(self, func: Any, args: Any, kwargs: Any) -> Any:
        """A copy into a tensor that is there."""
        into, source, *non_blocking = args
        self.note_copy(func, source, into.device, any(non_blocking))
        return into.fill_(1) if source.device == META != into.device else func(*args, **kwargs)

    def note_copy(self, func: Any, source: Tensor, there: torch.device, non_blocking: bool) -> None:
        """Between main memory and the card the host waits, unless the card reads from pinned memory by itself."""
        sent = non_blocking and there == META and source in self.pinned
        if source.device != there and not sent:
            self.waits[func._schema.name] += 1

    def pin(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        """A copy in pinned memory."""
        made = args[0].clone()
        self.pinned[made] = True
        return made

    def is_pinned(self, func: Any, args: Any, kwargs: Any) -> bool:
        """Whether a tensor is such a copy."""
        return args[0] in self.pinned


SPECIAL: dict[str, Callable[[Card, Any, Any, Any], Any]] = {
    "aten::_local_scalar_dense": Card.read,
    "aten::_to_copy": Card.convert,
    "aten::copy_": Card.overwrite,
    "aten::_pin_memory": Card.pin,
    "aten::is_pinned": Card.is_pinned,
}


def lists_in(index: Any) -> bool:
    """Whether any part of an index is a list."""
    return any(isinstance(part, list) for part in (index if isinstance(index, tuple) else (index,)))


def on_card(tensors: Any) -> bool:
    """Whether any of them is."""
    return any(tensor.device == META for tensor in tensors)


@contextmanager
def card_of_shapes() -> Iterator[Counter[str]]:
    """What makes the host wait until the block ends, by name. A training batch is sent as to a CUDA card."""
    waits: Counter[str] = Counter()
    as_cuda = patch.dict(WAYS, {META.type: WAYS["cuda"]})
    with torch.inference_mode(False), as_cuda, Makers(waits), Card(waits):  # operations are seen whole in that mode
        yield waits
