"""Draw pictures of README and docs, all or some: `python -m tools.pictures [NAME ...]`."""

from __future__ import annotations

import argparse

import torch

from lab.host import start_host
from tools.environment import LAYOUT

IMAGES = LAYOUT.root / "docs" / "images"


def main(arguments: list[str] | None = None) -> None:
    """Names are those of the files in docs/images, without their endings."""
    start_host()
    from .catalogue import PICTURES

    parser = argparse.ArgumentParser(prog="python -m tools.pictures", description="Draw the pictures of the documents.")
    parser.add_argument("names", nargs="*", choices=[*PICTURES, []], metavar="NAME", help=", ".join(PICTURES))
    chosen = parser.parse_args(arguments).names or PICTURES
    torch.set_num_threads(1)
    for name in chosen:
        path = (IMAGES / name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        with torch.inference_mode():
            PICTURES[name]().save(path, optimize=True)
        print(f"wrote {path.relative_to(LAYOUT.root)} ({path.stat().st_size / 1000:.0f} kB)", flush=True)


if __name__ == "__main__":
    main()
