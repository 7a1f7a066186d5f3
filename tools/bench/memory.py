"""Memory at its peak, by what torch's allocator hands out and takes back, on the CPU as on a graphics card."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from tools.bench.counting import cuda_peak

ALLOCATION = "[memory]"  # torch.profiler's name for bytes taken, or given back where the number is negative


@dataclass(frozen=True)
class Peak:
    """Bytes: what stays from step to step, and what a step takes beside it at its worst moment."""

    held: int
    step: int

    @property
    def total(self) -> int:
        return self.held + self.step


def training_peak(
    step: Callable[[], object], weights: Iterable[Tensor], optimizer: torch.optim.Optimizer, device: torch.device
) -> Peak:
    """Of a training step that is not the first: weights and optimizer state, and what the step adds to them."""
    gc.collect()
    return Peak(storage_bytes([*weights, *optimizer_state(optimizer)]), EXTRA[device.type](step))


def optimizer_state(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    """AdamW's two averages of every learned tensor, and its step counters."""
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, Tensor))


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors; storage that several share counts once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def cpu_extra(work: Callable[[], object]) -> int:
    """The most bytes that a piece of work has in use at once, by the profiler's record of every allocation."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as record:
        work()
    assert record.profiler and record.profiler.kineto_results
    events = record.profiler.kineto_results.events()
    return max(accumulate((event.nbytes() for event in events if event.name() == ALLOCATION), initial=0))


def cuda_extra(work: Callable[[], object]) -> int:
    """The same by the device allocator's own count."""
    before = torch.cuda.memory_allocated()
    return cuda_peak(work) - before


EXTRA: dict[str, Callable[[Callable[[], object]], int]] = {"cpu": cpu_extra, "cuda": cuda_extra}
