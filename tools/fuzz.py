"""Tries everything that reads files and text with inputs that nobody wrote: `make fuzz`.

    python -m tools.fuzz [--seconds 300] [--only TARGET ...] [--folder FOLDER]

libFuzzer changes good inputs and keeps those that reach new lines of the pack (tests/fuzz says what is a finding). What
was kept stays in `FOLDER` (`.run/fuzz`) and is gone on from; a finding is named, with the command that shows it again.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.environment import LAYOUT

TARGETS = (
    *("safetensors", "headers", "torch", "pickles", "descriptions", "typed", "prompts", "workflows", "pictures"),
    *("configurations", "tables", "lists", "captions", "texts", "shards"),
)
NO_FUZZER = (
    "make fuzz needs atheris, which there is for Python 3.11 to 3.13 on Linux (x86-64): run it there after "
    "`make env PYTHON=python3.12`."
)
LONGEST_INPUT = 2**16  # bytes
HANGS = 30  # seconds after which libFuzzer itself gives an input up; the targets have a limit of their own
START = 60  # seconds that a process may take besides: to import, and to try what an earlier run kept
TAIL = 12  # lines shown of a target that found something
DONE = re.compile(r"^#(\d+)\s.*\bcov: (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """How one target's time went."""

    target: str
    inputs: int
    lines: int  # branches of the pack that were reached, as libFuzzer counts them
    seconds: float
    log: Path
    found: tuple[Path, ...]  # inputs that are findings
    ended_well: bool

    def __str__(self) -> str:
        said = "clean" if self.ended_well else f"FOUND: {', '.join(map(str, self.found)) or 'see the log'}"
        return f"{self.target:15} {self.seconds:5.0f} s {self.inputs:9,} inputs {self.lines:6,} branches  {said}"


def command(target: str, seconds: float, folder: Path) -> list[str]:
    """One target, in a process of its own."""
    words = ["-m", "tests.fuzz", target, str(folder / "corpus")]
    limits = [f"-max_total_time={seconds:.0f}", f"-max_len={LONGEST_INPUT}", f"-timeout={HANGS}", "-rss_limit_mb=4096"]
    return [sys.executable, *words, *limits, f"-artifact_prefix={folder}/", "-print_final_stats=1"]


def fuzz(target: str, seconds: float, folder: Path) -> Outcome:
    """Run one target for a while."""
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    log, before, began = folder / "log", set(findings(folder)), time.monotonic()
    code = run(command(target, seconds, folder), seconds + START, log)
    text = log.read_text(errors="replace")
    inputs, lines = max(((int(a), int(b)) for a, b in DONE.findall(text)), default=(0, 0))
    found = tuple(path for path in findings(folder) if path not in before)
    return Outcome(target, inputs, lines, time.monotonic() - began, log, found, code == 0)


def run(words: list[str], seconds: float, log: Path) -> int:
    """A process's exit code; it is killed when its time is over."""
    with log.open("wb") as output:
        try:
            return subprocess.run(
                words, cwd=LAYOUT.root, stdout=output, stderr=subprocess.STDOUT, timeout=seconds
            ).returncode
        except subprocess.TimeoutExpired:
            return -1


def findings(folder: Path) -> list[Path]:
    """Inputs that libFuzzer has put aside."""
    return sorted(path for kind in ("crash", "timeout", "oom", "leak") for path in folder.glob(f"{kind}-*"))


def explain(outcome: Outcome) -> str:
    """What was found, and how to see it again."""
    said = [line for line in outcome.log.read_text(errors="replace").splitlines() if line.strip()][-TAIL:]
    again = [f"again: {sys.executable} -m tests.fuzz {outcome.target} {path}" for path in outcome.found]
    return "\n".join((*said, *again))


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.fuzz", description="Inputs that nobody wrote, to every reader."
    )
    parser.add_argument("--seconds", type=float, default=300, help="for everything together (default: 300)")
    parser.add_argument("--only", nargs="+", choices=TARGETS, metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--folder", type=Path, default=LAYOUT.runs / "fuzz", help="what is kept (default: .run/fuzz)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    choice = read_arguments(arguments)
    if importlib.util.find_spec("atheris") is None:
        print(NO_FUZZER, file=sys.stderr)
        return 1
    chosen, workers = choice.only or TARGETS, os.cpu_count() or 1
    each = choice.seconds * min(workers, len(chosen)) / len(chosen)
    with ThreadPoolExecutor(workers) as pool:
        outcomes = []
        for outcome in pool.map(lambda target: fuzz(target, each, choice.folder / target), chosen):
            print(outcome, flush=True)
            outcomes.append(outcome)
    bad = [outcome for outcome in outcomes if not outcome.ended_well]
    for outcome in bad:
        print(f"\n{outcome.target}:\n{explain(outcome)}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
