"""`python -m ipadapter.train CONFIG.toml`, or `accelerate launch -m ipadapter.train CONFIG.toml`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ...errors import IPAdapterError, sentence_of
from ..exit_codes import FAILED, INTERRUPTED
from .config import read_config
from .start import run_config


def main(arguments: list[str] | None = None) -> int:
    """Run a configuration; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ipadapter.train", description="Train an IP-Adapter.")
    parser.add_argument("config", type=Path, metavar="CONFIG.toml", help="see docs/training.toml")
    path = parser.parse_args(arguments).config
    try:
        outcome = run_config(read_config(path))
    except (IPAdapterError, OSError) as error:
        print(f"error: {sentence_of(error)}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("stopped; what was encoded or saved is kept, and the same command goes on from there.", file=sys.stderr)
        return INTERRUPTED
    if outcome.stopped_by is not None:
        print(f"stopped after step {outcome.step}, saved in '{outcome.file}'; the same command goes on from there.")
        return INTERRUPTED
    print(f"done: {outcome.step} steps, the adapter is '{outcome.file}'.")
    return 0
