"""Measuring one picture at a time in this process, by every judge that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from ...encoders.two_towers import open_towers
from ...errors import IPAdapterError
from ...evaluation.judges import ClipJudge, Judge, Scores
from ...evaluation.measures import Asked
from ...host.pictures import from_pil
from .folder import CaptionedImage, open_image


@dataclass(frozen=True)
class Scorer:
    """CLIP, which every table has, and the other judges."""

    clip: ClipJudge
    others: Sequence[Judge] = ()

    @property
    def labels(self) -> list[str]:
        return [judge.label for judge in (self.clip, *self.others)]

    def against(self, item: CaptionedImage) -> Callable[[Image.Image], Scores]:
        """What measures the pictures of one image prompt, which is read once for all of them."""
        image = from_pil(open_image(item.path))
        measuring = [judge.against(image, item.captions) for judge in (self.clip, *self.others)]

        def measure(picture: Image.Image) -> Scores:
            made = from_pil(picture)
            return {key: value for one in measuring for key, value in one(made).items()}

        return measure


def open_scorer(path: Path, architecture: str, device: str, prefix: str, asked: Asked) -> Scorer:
    """Open every judge's weights. Raises IPAdapterError for a missing file, and for a device that is not there."""
    if not path.is_file():
        raise IPAdapterError(f"'{path}' is not there: give --encoder a file with both towers of an open_clip model.")
    clip = ClipJudge(open_towers(path, path.name, architecture), prefix)
    scorer = Scorer(clip, [measure.open(source) for measure, source in asked.judges])
    for judge in (clip, *scorer.others):
        place(judge.module, device)
    return scorer


def place(module: torch.nn.Module, device: str) -> None:
    """Put weights on a device by its name. Raises IPAdapterError where it cannot be used."""
    try:
        module.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise IPAdapterError(f"--device {device} cannot be used: {reason}; choose cpu, cuda or mps.") from error
