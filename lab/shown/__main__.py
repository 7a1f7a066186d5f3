"""Draws `pictures.png` again, or some pictures of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..host import start_host
from . import FILE, NAMES, made


def main(chosen: Sequence[str]) -> None:
    start_host()
    from .drawing import DRAWINGS

    def picture(name: str) -> np.ndarray:
        return (
            np.rint(DRAWINGS[name]().detach().numpy() * 255).astype(np.uint8)
            if name in chosen
            else np.asarray(made(name))
        )

    row = np.concatenate([picture(name) for name in NAMES], axis=1)
    Image.fromarray(row).save(FILE)
    print(FILE.name)


if __name__ == "__main__":
    main(sys.argv[1:] or NAMES)
