"""What measures one picture against what it should follow: an encoder, or a model that was trained to judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..encoders.two_towers import MetricEncoder
from ..errors import IPAdapterError
from ..images.pixels import Fit, PixelFormat, prepare_pixels
from .metrics import clip_score, cosine, embed_captions, embed_pictures

Scores = dict[str, float]  # a metric's key -> a picture's number
Measuring = Callable[[Tensor], Scores]  # of a picture (1, H, W, 1 | 3 | 4) in 0 … 1


class Judge(Protocol):
    """One model in one module, which whoever opened it puts on a device."""

    @property
    def label(self) -> str:
        """For people: what it is, and the file."""

    @property
    def module(self) -> nn.Module:
        """Everything that has weights."""

    def against(self, image: Tensor, captions: Sequence[str]) -> Measuring:
        """What measures pictures of this image prompt and these captions, which are read once."""


class LibraryModule(nn.Module):
    """A library's module in one of torch's own: the host writes `device` on what it loads, which some do not let it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *given: Any, **more: Any) -> Any:
        return self.inner(*given, **more)


def device_of(module: nn.Module) -> torch.device:
    """Where a module's weights are."""
    return next(module.parameters()).device


@dataclass(frozen=True)
class ClipJudge:
    """CLIP-I, and CLIP-T as cosine and as CLIPScore, means over captions."""

    encoder: MetricEncoder
    prefix: str = ""

    @property
    def label(self) -> str:
        return self.encoder.label

    @property
    def module(self) -> nn.Module:
        return self.encoder.towers

    def against(self, image: Tensor, captions: Sequence[str]) -> Measuring:
        wanted = self.embed(image)
        said = embed_captions(self.encoder, captions, self.prefix, device_of(self.module)) if captions else None

        def measure(picture: Tensor) -> Scores:
            made = self.embed(picture)
            scores = {"clip_i": cosine(made, wanted).item()}
            if said is None:
                return scores
            cosines = cosine(made, said)  # (captions,)
            return scores | {"clip_t": cosines.mean().item(), "clip_score": clip_score(cosines).mean().item()}

        return measure

    def embed(self, picture: Tensor) -> Tensor:
        """A picture's unit vector, (1, E)."""
        return embed_pictures(self.encoder, [picture], device_of(self.module))


@dataclass(frozen=True)
class PreferenceJudge:
    """What people prefer, by a CLIP that was trained on their choices: its cosine with the captions times a factor."""

    key: str
    label: str
    encoder: MetricEncoder
    factor: float

    @property
    def module(self) -> nn.Module:
        return self.encoder.towers

    def against(self, image: Tensor, captions: Sequence[str]) -> Measuring:
        if not captions:
            return lambda picture: {}
        device = device_of(self.module)
        said = embed_captions(self.encoder, captions, device=device)

        def measure(picture: Tensor) -> Scores:
            made = embed_pictures(self.encoder, [picture], device)
            return {self.key: self.factor * cosine(made, said).mean().item()}

        return measure


@dataclass(frozen=True)
class Framing:
    """How a judge's authors make its square of a picture: fit to a square, of which the middle is taken."""

    form: PixelFormat
    fit: Fit
    middle: int  # pixels of a side

    def __call__(self, picture: Tensor) -> Tensor:
        """(1, H, W, C) to (1, 3, middle, middle)."""
        pixels = prepare_pixels(picture, None, self.fit, self.form)
        edge = (self.form.size - self.middle) // 2
        return pixels[..., edge : edge + self.middle, edge : edge + self.middle]


@dataclass(frozen=True)
class ResemblanceJudge:
    """The cosine of a picture's and the image prompt's embeddings."""

    key: str
    label: str
    module: nn.Module  # (N, 3, size, size) to (N, E)
    framing: Framing

    def against(self, image: Tensor, captions: Sequence[str]) -> Measuring:
        wanted = self.embed(image)
        return lambda picture: {self.key: cosine(self.embed(picture), wanted).item()}

    def embed(self, picture: Tensor) -> Tensor:
        """A picture's unit vector, (1, E). Raises IPAdapterError where a damaged file makes none."""
        made: Tensor = self.module(self.framing(picture).to(device_of(self.module))).float().cpu()
        if not bool(torch.isfinite(made).all()):
            raise IPAdapterError(
                f"{self.label} made NaN or infinite embeddings: its file is damaged; use another copy."
            )
        return normalize(made, dim=-1)
