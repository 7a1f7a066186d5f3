"""The languages that the page is written in."""

from __future__ import annotations

from .chinese import CHINESE
from .english import ENGLISH

PAGES = (ENGLISH, CHINESE)
