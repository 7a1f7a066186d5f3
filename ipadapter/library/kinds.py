"""Kinds of adapters by the names users choose them by.

What a tensor tells decides. A file's name decides only what no tensor does: whether a base adapter is a light one,
whether a plus adapter was made for faces or for composition, of which version a FaceID Plus adapter is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from ..adapters.face_settings import FaceVersion
from ..adapters.families import BASE, FACE_ID, FACE_ID_PLUS, FULL_FACE, PLUS, PORTRAIT, PORTRAIT_UNNORM
from ..adapters.family import Family
from ..encoders.published import VIT_BIGG, VIT_H, Encoder
from ..errors import IPAdapterError
from .published import ADAPTERS, PublicAdapter, Traits


@dataclass(frozen=True)
class Preset:
    """A kind of adapter. Words are looked for in file names, where nothing else tells."""

    title: str
    family: Family
    word: str = ""  # its name must have
    other: tuple[str, ...] = ()  # words of other kinds: files with them are the last choice
    better: str = ""  # a word of a better version
    base: str = ""  # the only base there is
    encoder: Encoder | None = None  # the only encoder
    version: FaceVersion | None = None  # of FaceID Plus

    def objection(self, traits: Traits) -> str | None:
        """Why a file is not of this kind, to be read after its name; None where it is."""
        if traits.family.title != self.family.title:
            return f"is a {traits.family.title} adapter"
        if self.base and traits.base != self.base:
            return f"is for {traits.base}"
        if self.version and traits.version is not self.version:
            return f"is of version {traits.version.value if traits.version else 'unknown'}"
        if self.encoder and traits.encoder is not self.encoder:
            return f"reads {traits.encoder.short if traits.encoder else 'another image encoder'}"
        if self.word and not says(traits.name, self.word):
            return f"does not say '{self.word}' in its name"
        return None

    def other_word(self, name: str) -> str | None:
        """A word in a file's name that speaks for another kind."""
        return next((word for word in self.other if says(name, word)), None)

    def rank(self, traits: Traits) -> tuple[bool, bool, bool, bool, str]:
        """Files of this kind, the best first."""
        return (
            self.other_word(traits.name) is not None,
            self.encoder is None and traits.encoder is not VIT_H,
            bool(self.better) and not says(traits.name, self.better),
            PurePath(traits.name).stem.lower() not in PUBLIC_STEMS,
            traits.name,
        )


PUBLIC_STEMS = frozenset(PurePath(adapter.name).stem.lower() for adapter in ADAPTERS)
FACE, COMPOSITION, LIGHT = "face", "composition", "light"

# Titles are those of the loaders that graphs of other packs have, to the letter: such graphs come with them.
PRESETS = (
    Preset("PLUS (high strength)", PLUS, other=(FACE, COMPOSITION)),
    Preset("PLUS FACE (portraits)", PLUS, word=FACE),
    Preset("STANDARD (medium strength)", BASE, other=(LIGHT,)),
    Preset("LIGHT - SD1.5 only (low strength)", BASE, word=LIGHT, better="v11"),
    Preset("VIT-G (medium strength)", BASE, other=(LIGHT,), encoder=VIT_BIGG),
    Preset("FULL FACE - SD1.5 only (portraits stronger)", FULL_FACE),
    Preset("Composition", PLUS, word=COMPOSITION),
    Preset("Kolors", PLUS, other=(FACE, COMPOSITION), base="Kolors"),
    Preset("FACEID", FACE_ID),
    Preset("FACEID PLUS - SD1.5 only", FACE_ID_PLUS, version=FaceVersion.V1),
    Preset("FACEID PLUS V2", FACE_ID_PLUS, version=FaceVersion.V2),
    Preset("FACEID PORTRAIT (style transfer)", PORTRAIT, better="v11"),
    Preset("FACEID PORTRAIT UNNORM - SDXL only (strong)", PORTRAIT_UNNORM),
)
TITLES = tuple(preset.title for preset in PRESETS)


def preset_of(title: str) -> Preset:
    """A preset by its title. Raises IPAdapterError for one that is not known."""
    for preset in PRESETS:
        if preset.title == title:
            return preset
    raise IPAdapterError(f"preset '{title}' is not known: choose one of {', '.join(TITLES)}.")


def says(name: str, word: str) -> bool:
    """Whether a word of a file's name, its folders included, is or ends in one of ours: 'face' in 'plusface'."""
    return any(
        part.endswith(word) for part in re.findall(r"[a-z0-9]+", PurePath(name).with_suffix("").as_posix().lower())
    )


def public_file(preset: Preset, base: str) -> PublicAdapter | None:
    """The published file of a kind for a base model; None where there is none."""
    fitting = [adapter for adapter in ADAPTERS if adapter.base == base and preset.objection(adapter) is None]
    return min(fitting, key=preset.rank, default=None)
