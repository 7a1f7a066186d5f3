"""Measure every claim and write docs/evidence.md.

python -m lab.evidence [CLAIM ...] [--references N]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from ipadapter.files.replacing import write_whole

from ..host import start_host

MEASURED = Path(__file__).resolve().parent / "measured"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "evidence.md"


def main(arguments: list[str] | None = None) -> None:
    """Some claims or all; the page is written from what is measured now and what was before."""
    start_host()
    from .claims import CLAIMS
    from .tables import WHOLE, Extent, save_rows

    parser = argparse.ArgumentParser(prog="python -m lab.evidence", description="Measure the paper's claims.")
    parser.add_argument("claims", nargs="*", choices=[*CLAIMS, []], metavar="CLAIM", help=", ".join(CLAIMS))
    parser.add_argument(
        "--references", type=at_least_two, default=WHOLE.references, help="images of each claim (%(default)s)"
    )
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    fresh = {}
    for name in chosen.claims or CLAIMS:
        began = time.perf_counter()
        with torch.inference_mode():
            fresh[name] = CLAIMS[name](Extent(chosen.references))
        save_rows(MEASURED / f"{name}.json", fresh[name])
        print(f"{name}: {time.perf_counter() - began:.0f} s", flush=True)
    write_whole(PAGE, page(fresh).encode())
    print(f"written: {PAGE}")


def at_least_two(text: str) -> int:
    """A number of references that has an interval; what was measured before is kept where it is refused."""
    count = int(text)
    if count < 2:
        raise argparse.ArgumentTypeError(f"{count} references, where 2 or more are needed for an interval")
    return count


def load(name: str) -> Any:
    """A claim's numbers as they were kept."""
    from .tables import load_rows

    return load_rows(MEASURED / f"{name}.json")


def page(fresh: dict[str, Any]) -> str:
    """The page, from what was measured now and what was kept of the other claims."""
    from .claims import CLAIMS
    from .page import make_page
    from .studio import GUIDANCE, STEPS

    kept = [name for name in CLAIMS if name in fresh or (MEASURED / f"{name}.json").exists()]
    tables = {name: fresh.get(name) or load(name) for name in kept}
    return make_page(tables, STEPS, GUIDANCE)


if __name__ == "__main__":
    main()
