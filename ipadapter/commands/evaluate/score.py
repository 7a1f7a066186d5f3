"""Measuring one picture at a time with an open_clip encoder in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ...encoders.two_towers import MetricEncoder, open_towers
from ...errors import IPAdapterError
from ...evaluation.metrics import clip_score, cosine, embed_captions, embed_pictures
from ...host.pictures import from_pil
from .folder import CaptionedImage, open_image


@dataclass(frozen=True)
class ScoreTarget:
    """What the pictures of one image prompt are compared with: unit vectors (1, E) and (captions, E)."""

    image: Tensor
    captions: Tensor | None


@dataclass(frozen=True)
class Measured:
    """One picture's numbers, over captions the means."""

    clip_i: float
    clip_t: float | None
    clip_score: float | None


class Scorer:
    """An encoder on its device."""

    def __init__(self, encoder: MetricEncoder, device: torch.device, prefix: str) -> None:
        encoder.towers.to(device)
        self.encoder, self.device, self.prefix = encoder, device, prefix

    def target(self, item: CaptionedImage) -> ScoreTarget:
        """Embed an image prompt and its captions, once for all its pictures."""
        image = self.embed(open_image(item.path))
        captions = item.captions
        return ScoreTarget(
            image, embed_captions(self.encoder, captions, self.prefix, self.device) if captions else None
        )

    def embed(self, picture: Image.Image) -> Tensor:
        """A picture's unit vector, (1, E)."""
        return embed_pictures(self.encoder, [from_pil(picture)], self.device)

    def measure(self, picture: Image.Image, target: ScoreTarget) -> Measured:
        """CLIP-I with the image prompt, and the mean of CLIP-T over all its captions."""
        made = self.embed(picture)
        clip_i = cosine(made, target.image).item()
        if target.captions is None:
            return Measured(clip_i, None, None)
        cosines = cosine(made, target.captions)  # (captions,)
        return Measured(clip_i, cosines.mean().item(), clip_score(cosines).mean().item())


def open_scorer(path: Path, architecture: str, device: str, prefix: str) -> Scorer:
    """Open an encoder file. Raises IPAdapterError for a missing file, and for a device that is not there."""
    if not path.is_file():
        raise IPAdapterError(f"'{path}' is not there: give --encoder a file with both towers of an open_clip model.")
    encoder = open_towers(path, path.name, architecture)
    try:
        return Scorer(encoder, torch.device(device), prefix)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise IPAdapterError(f"--device {device} cannot be used: {reason}; choose cpu, cuda or mps.") from error
