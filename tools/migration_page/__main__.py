"""Writes the page in every language."""

from __future__ import annotations

from tools.environment import LAYOUT

from .languages import PAGES
from .page import text_of


def main() -> None:
    for page in PAGES:
        (LAYOUT.root / page.file).write_text(text_of(page), encoding="utf-8")
        print(f"wrote {page.file}")


if __name__ == "__main__":
    main()
