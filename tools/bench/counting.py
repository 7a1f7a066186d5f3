"""Counting what is done, which no other program on the machine can disturb: operations, host syncs, FLOPs, bytes."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tools.bench.models import Model

# A number read from the device by the host, which then waits for all work before it.
SYNC_OPS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal")
RANDOM_OPS = ("normal", "uniform", "rand", "randn", "bernoulli", "exponential", "random", "erfinv")
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
HALF = 2  # bytes of an fp16 number

Ops = Counter[str]
Reading = TypeVar("Reading")


class OpCounter(TorchDispatchMode):
    """Counts ATen operations, views included, by name and in total. One that is made of others counts as those, which
    torch by itself shows outside inference mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.ops: Ops = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE.name):
            with self:
                return func._op_dk(COMPOSITE, *args, **kwargs)
        self.ops[func._schema.name] += 1
        return func(*args, **kwargs)


def count_ops(work: Callable[[], object]) -> Ops:
    """The operations of a piece of work."""
    with OpCounter() as counter:
        work()
    return counter.ops


def readings(model: Model, run: Callable[[Model], object], read: Callable[[], Reading]) -> tuple[Reading, Reading]:
    """What a meter says after the last step but one of a sampling run, and after the last."""
    taken: list[Reading] = []

    def note(made: dict[str, Any]) -> Any:
        taken.append(read())
        return made["denoised"]

    metered = model.clone()
    metered.set_model_sampler_post_cfg_function(note)
    run(metered)
    return taken[-2], taken[-1]


def ops_of_a_step(model: Model, run: Callable[[Model], object]) -> Ops:
    """The operations of the last step of a sampling run of two steps or more."""
    with OpCounter() as counter:
        before, after = readings(model, run, lambda: counter.ops.copy())
    return extra(after, before)


def extra(patched: Ops, bare: Ops) -> Ops:
    """How many more of each operation, negative where there are fewer."""
    names = patched.keys() | bare.keys()
    return Counter({name: difference for name in names if (difference := patched[name] - bare[name])})


def syncs(ops: Ops) -> int:
    """How many of the operations make the host wait for the device."""
    return sum(ops[name] for name in SYNC_OPS)


def random_fills(ops: Ops) -> Ops:
    """The operations that fill a tensor with random numbers."""
    return Counter({name: n for name, n in ops.items() if name.removeprefix("aten::").strip("_") in RANDOM_OPS})


def cuda_waits(model: Model, run: Callable[[Model], object]) -> int:
    """Waits that CUDA itself reports during the last step of a sampling run, whatever caused them."""
    with waits_reported() as caught:
        before, after = readings(model, run, lambda: len(caught))
    return count_waits(caught[before:after])


def waits_of(work: Callable[[], object]) -> int:
    """Waits that CUDA itself reports during a piece of work."""
    with waits_reported() as caught:
        work()
    return count_waits(caught)


@contextmanager
def waits_reported() -> Iterator[list[warnings.WarningMessage]]:
    """What CUDA warns of until the block ends."""
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield caught
        finally:
            torch.cuda.set_sync_debug_mode(mode)


def count_waits(caught: Iterable[warnings.WarningMessage]) -> int:
    """How many of the warnings are of a wait."""
    return sum("synchroniz" in str(warning.message) for warning in caught)


def cuda_peak(work: Callable[[], object]) -> int:
    """Bytes of device memory in use at the worst moment of a piece of work, the model's own included."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def count_flops(work: Callable[[], object]) -> int:
    """Floating point operations of the matrix products, convolutions and attentions; a multiply-add is two."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def half_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors as if all were fp16; storage that several share counts once."""
    storages = {}
    for tensor in tensors:
        storage = tensor.untyped_storage()
        storages[storage._cdata] = storage.nbytes() // tensor.element_size()
    return sum(storages.values()) * HALF
