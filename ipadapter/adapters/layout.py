"""How a kind of file numbers its layers, and what each of them holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

KEYS, VALUES = "to_k_ip.weight", "to_v_ip.weight"


@dataclass(frozen=True)
class LayerLayout:
    """Layers have the numbers `first`, `first + step` …; each holds `tensors`. A file is laid out so where one of its
    layers' names is like `mark`."""

    first: int = 0
    step: int = 1
    tensors: tuple[str, ...] = (KEYS, VALUES)
    mark: str = ""

    def has(self, names: Iterable[str]) -> bool:
        """Whether tensors of layers, such as `0.to_k_ip.weight`, are laid out so."""
        return any(re.match(self.mark, name) for name in names)

    def number(self, index: int) -> int:
        """A layer's number in the file."""
        return self.first + self.step * index

    def index(self, number: int) -> int:
        """Which of the layers a number belongs to."""
        return (number - self.first) // self.step

    def knows(self, name: str) -> bool:
        """Whether a tensor of a layer is one that is to be there."""
        number, _, tensor = name.partition(".")
        return len(number) <= 4 and number.isdecimal() and tensor in self.tensors

    @property
    def words(self) -> str:
        """What a file holds, in a sentence: "pairs of … numbered 1, 3, 5 …"."""
        named = " and ".join(tensor.removesuffix(".weight") for tensor in self.tensors)
        kind = "pairs of" if len(self.tensors) == 2 else "sets of"
        return f"{kind} {named} numbered {', '.join(str(self.number(index)) for index in range(3))} …"


UNET_LAYERS = LayerLayout(first=1, step=2)  # even numbers are self-attentions
EVERY_LAYER = LayerLayout(mark=r"0\.to_k_ip\.")
