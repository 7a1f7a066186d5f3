"""`python -m tools.standins`: make a set of stand-ins in this checkout."""

from __future__ import annotations

import sys

from .listed import SETS
from .make import make_set


def main(arguments: list[str]) -> int:
    name = arguments[0] if arguments else "all"
    if name not in SETS:
        print(f"error: there is no set of stand-ins named {name!r}: use one of {', '.join(SETS)}.", file=sys.stderr)
        return 2
    make_set(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
