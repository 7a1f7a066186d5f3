"""Everything that only a card shows, in one run with a limit: `make gpu`.

    python -m tools.gpu [--device cuda] [--logs FOLDER] [--seconds 360] [--only PART ...]

The most important comes first, every part has a limit of its own, and what no time is left for is said. Logs and, of
the tests, figures go to `FOLDER` (`.run/gpu`). On a machine without a package index run it with that machine's own
Python, COMFYUI_PATH naming a ComfyUI; it needs pytest, pytest-xdist, diffusers and peft besides ComfyUI's requirements.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.environment import LAYOUT

EXACT = {"NVIDIA_TF32_OVERRIDE": "0"}  # float32 is float32
ALL_MODES = ("disable-dynamic-vram", "lowvram", "novram", "highvram")
TAIL = 15  # lines shown of a part that failed


@dataclass(frozen=True)
class Part:
    """One thing to show: a command for this Python, and how long it may take."""

    name: str
    command: tuple[str, ...]
    seconds: float
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a part ended."""

    part: Part
    said: str
    seconds: float

    @property
    def passed(self) -> bool:
        return self.said == "passed"


def tests(name: str, seconds: float, *what: str, **environment: str) -> Part:
    """Tests of the layer."""
    return Part(name, ("-m", "pytest", "-q", "-p", "no:cacheprovider", *what), seconds, environment)


def bench(table: str, device: str, seconds: float) -> Part:
    """One of the benchmark's tables."""
    return Part(f"bench {table}", ("-m", "tools.bench", "--device", device, "--only", table), seconds)


def modes(chosen: Sequence[str]) -> str:
    return " or ".join(f"[{mode}-" for mode in chosen)


def parts(device: str) -> tuple[Part, ...]:
    """In the order of what matters most."""
    server = "tests/gpu/test_server.py"
    workers = ("-n", str(len(ALL_MODES)), "--dist", "loadgroup")
    return (
        Part("stand-ins", ("-m", "tools.standins", "all"), 90),
        tests("default server", 90, server, "-k", modes(["default"])),
        tests("equality", 75, "tests/gpu/test_equality.py", **EXACT),
        tests("memory", 60, "tests/gpu/test_memory.py"),
        tests("training", 60, "tests/gpu/test_training.py"),
        tests("little room", 60, server, "-k", "evict"),
        tests("other modes", 90, server, "-k", modes(ALL_MODES), *workers),
        tests("compile", 90, "tests/gpu/test_compile.py"),
        bench("sampling", device, 120),
        bench("training", device, 120),
        *([bench("compiled", device, 300)] if device == "cuda" else []),
    )


def run_part(part: Part, seconds: float, log: Path, device: str) -> Outcome:
    """Run one, its output to a file; killed with all it started when its time is over."""
    environment = {**os.environ, **part.environment, "TEST_DEVICE": device, "PYTHONUNBUFFERED": "1"}
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *part.command],
            cwd=LAYOUT.root,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        said = wait(process, seconds)
    return Outcome(part, said, time.monotonic() - began)


def wait(process: subprocess.Popen[bytes], seconds: float) -> str:
    """How it ended, in words."""
    try:
        code = process.wait(seconds)
        return "passed" if code == 0 else f"failed with exit code {code}"
    except subprocess.TimeoutExpired:
        return f"stopped after {seconds:.0f} s"
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run_all(chosen: Sequence[Part], seconds: float, logs: Path, device: str) -> Iterator[Outcome]:
    """One after another, until the time is over."""
    deadline = time.monotonic() + seconds
    for part in chosen:
        left = deadline - time.monotonic()
        if left < 5:
            yield Outcome(part, "not run: no time was left", 0)
            continue
        log = logs / f"{part.name.replace(' ', '_')}.log"
        outcome = run_part(part, min(part.seconds, left), log, device)
        yield outcome
        if not outcome.passed:
            print("\n".join(log.read_text(errors="replace").splitlines()[-TAIL:]), flush=True)


def card(device: str) -> str | None:
    """The device's name; None where it is a card that is not there."""
    import torch

    if device == "cpu":
        return "CPU"
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.gpu", description="Everything that only a card shows.")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu tries the parts without a card")
    parser.add_argument("--logs", type=Path, default=LAYOUT.runs / "gpu", metavar="FOLDER", help="where output goes")
    parser.add_argument("--seconds", type=float, default=360, help="for everything together (default: 360)")
    names = [part.name for part in parts("cuda")]
    parser.add_argument("--only", nargs="+", choices=names, metavar="PART", help=f"of {', '.join(names)}")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    choice = read_arguments(arguments)
    name = card(choice.device)
    if name is None:
        print("There is no CUDA card here, or this torch does not see it: nothing was run.", file=sys.stderr)
        return 1
    choice.logs.mkdir(parents=True, exist_ok=True)
    print(f"On {name}; logs in {choice.logs}", flush=True)
    chosen = [part for part in parts(choice.device) if not choice.only or part.name in choice.only]
    outcomes = []
    for outcome in run_all(chosen, choice.seconds, choice.logs, choice.device):
        outcomes.append(outcome)
        print(f"{outcome.part.name:15} {outcome.seconds:5.0f} s  {outcome.said}", flush=True)
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
