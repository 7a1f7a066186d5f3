"""Judges of single pictures in the host's memory, for programs that have other models there too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import comfy.clip_vision
from torch import Tensor, nn

from ...evaluation.judges import Judge, Measuring
from ...evaluation.metrics import cosine
from ...images.pixels import prepare_pixels
from ..encoders.encoder import describe_encoder, encode_all, encode_zero_pixels, pixel_format, usual_fit
from .evaluator import load


@dataclass(frozen=True)
class EncoderJudge:
    """CLIP-I by an image encoder of the host."""

    clip_vision: comfy.clip_vision.ClipVisionModel

    @property
    def label(self) -> str:
        return describe_encoder(self.clip_vision, encode_zero_pixels(self.clip_vision))

    @property
    def module(self) -> nn.Module:
        made: nn.Module = self.clip_vision.model
        return made

    def against(self, image: Tensor, captions: Sequence[str]) -> Measuring:
        wanted = self.embed(image)
        return lambda picture: {"clip_i": cosine(self.embed(picture), wanted).item()}

    def embed(self, picture: Tensor) -> Tensor:
        """A picture's embedding, (1, E)."""
        pixels = prepare_pixels(picture, None, usual_fit(self.clip_vision), pixel_format(self.clip_vision))
        return encode_all(self.clip_vision, [pixels])[0].image_embeds.cpu()


def judge_with(clip_vision: comfy.clip_vision.ClipVisionModel) -> EncoderJudge | None:
    """An image encoder as a judge, or None where it gives no single embedding of a picture."""
    return EncoderJudge(clip_vision) if encode_zero_pixels(clip_vision).image_embeds.ndim == 2 else None


@dataclass(frozen=True)
class LoadedJudge:
    """A judge that is brought to the device whenever it is asked."""

    judge: Judge

    @property
    def label(self) -> str:
        return self.judge.label

    @property
    def module(self) -> nn.Module:
        return self.judge.module

    def against(self, image: Tensor, captions: Sequence[str]) -> Measuring:
        patcher = load(self.module)
        measure = self.judge.against(image, captions)

        def measured(picture: Tensor) -> dict[str, float]:
            assert patcher is not None  # the host sees what somebody holds
            return measure(picture)

        return measured
