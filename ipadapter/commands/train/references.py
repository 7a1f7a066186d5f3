"""What a validation draws: references from a folder, or pictures that are held out of the training set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch import Tensor

from ...adapters.module import IPAdapter
from ...errors import IPAdapterError
from ..naming import name_some
from .config import Config
from .encoding import unreadable
from .examples import CachedSet
from .listing import Entry, list_folder
from .pictures import decode_image, to_tensor
from .validation import Shot


@dataclass(frozen=True)
class RunPictures:
    """The pictures of a run."""

    trained: list[Entry]
    drawn: list[Entry]  # one for each reference and prompt, which is its caption


def split_data(config: Config, entries: list[Entry]) -> RunPictures:
    """What is trained on, and what is drawn. Raises IPAdapterError where there is too little of either."""
    settings = config.validation
    if not settings.wanted:
        return RunPictures(entries, [])
    if settings.references is not None:
        return RunPictures(entries, with_prompts(read_references(config), settings.prompts))
    held = hold_out(config, entries)
    names = {entry.name for entry in held}
    return RunPictures([entry for entry in entries if entry.name not in names], with_prompts(held, settings.prompts))


def read_references(config: Config) -> list[Entry]:
    """The pictures of the folder, with their captions where they have any."""
    folder = config.validation.references
    assert folder is not None
    if not folder.is_dir():
        raise IPAdapterError(f"validation.references '{folder}' is not a folder: name one with pictures.")
    entries = list_folder(folder, config.data.caption_extension)
    bad = unreadable(entries, config.settings)
    if bad:
        named = name_some([f"{name}: {why}" for name, why in bad.items()])
        raise IPAdapterError(
            f"validation.references has {len(bad)} of {len(entries)} pictures that cannot be used ({named}): take them "
            "out."
        )
    return entries


def hold_out(config: Config, entries: list[Entry]) -> list[Entry]:
    """Some of the set, the same ones for a seed as long as they are in it; none that is left out anyway."""
    count = config.validation.held_out
    if count >= len(entries):
        raise IPAdapterError(
            f"validation.held_out is {count} of {len(entries)} pictures, which leaves none to train on: set it lower."
        )
    ranked = sorted(entries, key=lambda entry: draw_of(config.training.seed, entry.name))
    if not config.data.skip_bad:
        return ranked[:count]
    readable = (entry for entry in ranked if not unreadable([entry], config.settings))
    return [entry for entry, _ in zip(readable, range(count), strict=False)]


def draw_of(seed: int, name: str) -> bytes:
    """A picture's place in the draw, which others have no part in."""
    return hashlib.blake2b(f"{seed}/held out/{name}".encode(errors="surrogateescape"), digest_size=8).digest()


def with_prompts(entries: Sequence[Entry], prompts: Sequence[str]) -> list[Entry]:
    """Each with each prompt, or with its own caption."""
    return [replace(entry, caption=text) for entry in entries for text in (prompts or [entry.caption or ""])]


def shots_of(drawn: Sequence[Entry], seeds: Sequence[int]) -> list[Shot]:
    """Each with each seed."""
    rows = enumerate(drawn)
    return [Shot(entry.name, entry.caption or "", seed, row) for row, entry in rows for seed in seeds]


@dataclass(frozen=True)
class CachedStudio:
    """`ValidationStudio` over a filled cache and the host's."""

    host: Any  # HostStudio
    data: CachedSet
    drawn: Sequence[Entry]

    @contextmanager
    def drawing(self, weights: IPAdapter) -> Iterator[Callable[[Shot], Tensor]]:
        with self.host.drawing(weights) as draw:
            yield lambda shot: draw(self.subject(shot))

    def subject(self, shot: Shot) -> Any:
        """A shot as the host's studio takes it."""
        from ...host.training.drawing import Sitter, Text

        features, nothing = (self.data.features([shot.row], [drop]) for drop in (False, True))
        text, empty = (Text(*self.data.told(shot.row, drop)) for drop in (False, True))
        return Sitter(features, nothing, text, empty, shot.seed)

    def picture(self, latents: Tensor) -> Image.Image:
        made: Image.Image = self.host.picture(latents)
        return made

    def reference(self, shot: Shot) -> tuple[Image.Image, Tensor]:
        image: Image.Image = decode_image(self.drawn[shot.row].read())[0]
        return image, to_tensor(image)[None]
