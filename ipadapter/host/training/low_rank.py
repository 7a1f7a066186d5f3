"""A LoRA that is being learned, in the attentions of a model whose own weights stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.hooks import RemovableHandle

from ...adapters.lora import LowRank, changes_of
from ...backbones.known import attention_names


@dataclass
class LearnedChanges:
    """Low-rank changes while a run lasts. They rest while something else is drawn with the model, which brings the
    LoRA along as any model's."""

    acting: bool = True
    handles: list[RemovableHandle] = field(default_factory=list)

    def put_on(self, model: nn.Module, lora: Mapping[str, Tensor]) -> None:
        """Let a LoRA act, in place of any before."""
        self.take_off()
        for name, change in changes_of(lora, attention_names(model)).items():
            module = model.get_submodule(name.removesuffix(".weight"))
            self.handles.append(module.register_forward_hook(self.changing(change)))

    def changing(self, change: LowRank) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
        """What a layer's output becomes: W x + up(down(x)), in the precision it computes in."""

        def changed(module: nn.Module, given: tuple[Any, ...], out: Tensor) -> Tensor:
            if not self.acting:
                return out
            down, up = (matrix.to(out.dtype) for matrix in (change.down, change.up))
            return out + linear(linear(given[0].to(out.dtype), down), up)

        return changed

    def take_off(self) -> None:
        """Leave the model as it was."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """The model without them, until the block ends."""
        self.acting = False
        try:
            yield
        finally:
            self.acting = True
