"""Kinds of adapters by the names users choose them by.

What a tensor tells decides. A file's name decides only what no tensor does: whether a base adapter is a light one,
whether a plus adapter was made for faces or for composition, of which version a FaceID Plus adapter is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from ..adapters.families import FAMILIES
from ..adapters.family import Family, Offer
from ..encoders.published import VIT_H
from ..errors import IPAdapterError
from .published import ADAPTERS, PublicAdapter, Traits


def with_article(title: str) -> str:
    """A kind's title as one of them."""
    return f"{'an' if title[0] in 'AEIOU' else 'a'} {title}"


@dataclass(frozen=True)
class Preset:
    """A kind of adapter: what a family offers under one name."""

    family: Family
    offer: Offer

    @property
    def title(self) -> str:
        return self.offer.title

    def objection(self, traits: Traits) -> str | None:
        """Why a file is not of this kind, to be read after its name; None where it is."""
        if traits.family.title != self.family.title:
            return f"is {with_article(traits.family.title)} adapter"
        if self.offer.base and traits.base != self.offer.base:
            return f"is for {traits.base}"
        if self.offer.version and traits.version is not self.offer.version:
            return f"is of version {traits.version.value if traits.version else 'unknown'}"
        if self.offer.encoder and traits.encoder is not self.offer.encoder:
            return f"reads {traits.encoder.short if traits.encoder else 'another image encoder'}"
        if self.offer.word and not says(traits.name, self.offer.word):
            return f"does not say '{self.offer.word}' in its name"
        return None

    def other_word(self, name: str) -> str | None:
        """A word in a file's name that speaks for another kind."""
        return next((word for word in self.offer.other if says(name, word)), None)

    def rank(self, traits: Traits) -> tuple[bool, bool, bool, bool, str]:
        """Files of this kind, the best first."""
        return (
            self.other_word(traits.name) is not None,
            self.offer.encoder is None and traits.encoder is not VIT_H,
            bool(self.offer.better) and not says(traits.name, self.offer.better),
            PurePath(traits.name).stem.lower() not in PUBLIC_STEMS,
            traits.name,
        )


PUBLIC_STEMS = frozenset(PurePath(adapter.name).stem.lower() for adapter in ADAPTERS)

PRESETS = tuple(
    sorted((Preset(family, offer) for family in FAMILIES for offer in family.offers), key=lambda one: one.offer.place)
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
