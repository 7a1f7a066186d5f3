"""How an adapter is trained: the numbers of the paper's section 4.1.3 and of the reference's `tutorial_train.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from ..adapters.families import BASE, not_trained
from ..adapters.family import Family
from ..adapters.spec import AdapterSpec
from ..errors import IPAdapterError
from ..numbers import PART, require
from .rates import SCHEDULES, rate_factor

FUSED = ("cpu", "cuda")  # where torch has AdamW as one operation, which reads and writes every number once


@dataclass(frozen=True)
class Dropped:
    """Whether an example loses its text, and whether its image."""

    text: bool
    image: bool


@dataclass(frozen=True)
class Drops:
    """Probabilities of training an example without its text, without its image, and without both."""

    text: float = 0.05
    image: float = 0.05
    both: float = 0.05

    def __post_init__(self) -> None:
        chances = (self.text, self.image, self.both)
        if not all(0 <= chance <= 1 for chance in chances) or sum(chances) > 1:
            raise IPAdapterError(
                f"drop_text {self.text:g}, drop_image {self.image:g} and drop_both {self.both:g} are probabilities of "
                "one draw: each must be between 0 and 1, and their sum at most 1."
            )

    def decide(self, draw: float) -> Dropped:
        """One uniform number an example decides, in the order of the reference's data set: image, text, both."""
        image = draw < self.image
        text = not image and draw < self.image + self.text
        both = not image and not text and draw < self.image + self.text + self.both
        return Dropped(text=text or both, image=image or both)


@dataclass(frozen=True)
class Recipe:
    """A training run. `steps` counts optimizer steps, each of `batch_size` · `grad_accumulation` examples."""

    kind: Family = BASE
    tokens: int = 0  # 0: the kind's own
    steps: int = 1000
    batch_size: int = 1
    grad_accumulation: int = 1
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    drops: Drops = field(default_factory=Drops)
    seed: int = 0
    schedule: str = "constant"  # of the learning rate, one of SCHEDULES
    warmup_steps: int = 0
    min_snr: float = 0.0  # γ of arXiv 2303.09556; 0: every noise level counts alike, as in the paper

    def __post_init__(self) -> None:
        if self.kind.training is None:
            raise not_trained(self.kind.title)
        for name in ("steps", "batch_size", "grad_accumulation"):
            if getattr(self, name) < 1:
                raise IPAdapterError(f"{name} is {getattr(self, name)}, where at least 1 is needed.")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise IPAdapterError(f"learning_rate is {self.learning_rate:g}, where a number above 0 is needed.")
        require(self.weight_decay, "weight_decay", PART)
        self.refuse_schedule()
        if not (self.min_snr >= 0 and math.isfinite(self.min_snr)):
            raise IPAdapterError(f"min_snr is {self.min_snr:g}, where a number above 0, or 0 for none, is needed.")
        if not 0 <= self.tokens <= 1024:
            raise IPAdapterError(f"tokens is {self.tokens}, where 1 to 1024, or 0 for the kind's own, is needed.")

    def refuse_schedule(self) -> None:
        """Refuse a schedule that is unknown, or a warm-up that a run would not get out of."""
        if self.schedule not in SCHEDULES:
            raise IPAdapterError(f"schedule is {self.schedule!r}, where one of {', '.join(SCHEDULES)} is needed.")
        if not 0 <= self.warmup_steps < self.steps:
            raise IPAdapterError(
                f"warmup_steps is {self.warmup_steps} and steps {self.steps}: the warm-up must be shorter than the run."
            )

    @property
    def token_count(self) -> int:
        """Image tokens of the adapter."""
        return self.tokens or self.kind.start.tokens

    @property
    def examples_a_step(self) -> int:
        """Examples that one optimizer step sees in one process."""
        return self.batch_size * self.grad_accumulation

    def batches_of(self, step: int) -> range:
        """Numbers of a step's micro-batches in the run."""
        return range(step * self.grad_accumulation, (step + 1) * self.grad_accumulation)

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.learning_rate * rate_factor(self.schedule, self.warmup_steps, self.steps, step)

    def refuse_other_kind(self, spec: AdapterSpec, named: str, prefix: str, instead: str) -> None:
        """Refuse an adapter to go on from of another kind than is trained, in the words of whoever asked for it."""
        tokens = spec.projection.tokens
        if spec.family is not self.kind or self.tokens not in (0, tokens):
            raise IPAdapterError(
                f"{named} is a {spec.family.title} adapter with {tokens or 'one'} tokens"
                f"{'' if tokens else ' a patch'}, but {prefix}kind is {self.kind.title} and {prefix}tokens "
                f"{self.tokens}: set kind to its kind and tokens to 0, or {instead}."
            )
        if spec.lacks_lora:
            raise IPAdapterError(
                f"{named} was trained with a LoRA that its file does not hold, and would go on without it: take the "
                f"file that holds it, or {instead}."
            )

    def optimizer(self, parameters: list[torch.nn.Parameter]) -> torch.optim.AdamW:
        """AdamW, as the paper has it; its rate is set before each step."""
        fused = all(parameter.device.type in FUSED for parameter in parameters)
        return torch.optim.AdamW(parameters, self.learning_rate, weight_decay=self.weight_decay, fused=fused or None)
