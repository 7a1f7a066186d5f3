"""Makes the whole laboratory from a seed.

    python -m lab.build [STAGE ...] [--seed N] [--jobs N] [--device cuda]

A stage whose weights are there is skipped. Each stage is a process of one thread, and two of them run at a time where
neither needs the other.
"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
import time
from dataclasses import dataclass

import torch

from . import store
from .host import OPTIONS, start_host


@dataclass(frozen=True)
class Stage:
    """One module of `lab.stages` with a `build(seed)`, and what it reads.

    One whose weights are too large to be kept is done where what it measured is there.
    """

    name: str
    needs: tuple[str, ...] = ()
    keeps_weights: bool = True

    @property
    def module(self) -> str:
        return f"lab.stages.{self.name.replace('-', '_')}"

    @property
    def is_done(self) -> bool:
        return (store.path_of if self.keeps_weights else store.rows_of)(self.name).exists()

    @property
    def missing(self) -> list[str]:
        """Stages it needs that have not been built."""
        return [name for name in self.needs if not store.path_of(name).exists()]

    @property
    def can_start(self) -> bool:
        return not self.missing


STAGES = (
    Stage("clip"),
    Stage("vae"),
    Stage("classifier", ("vae",)),
    Stage("base", ("clip", "vae")),
    Stage("fine-tuned", ("base",)),
    Stage("controlnet", ("base",)),
    Stage("wide-base", ("base",)),
    Stage("ip-adapter", ("base",)),
    Stage("wide-ip-adapter-plus", ("wide-base",)),
    Stage("wide-ip-adapter", ("wide-base",)),
    Stage("wide-simple-adapter", ("wide-base",)),
    Stage("wide-whole-model", ("wide-base",), keeps_weights=False),
)


def main(arguments: list[str] | None = None) -> None:
    """Build what is missing, in order."""
    parser = argparse.ArgumentParser(prog="python -m lab.build", description="Make the laboratory's models.")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(s.name for s in STAGES)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="stages at a time, a core each")
    parser.add_argument("--device", choices=OPTIONS, default="cpu", help="where to train (%(default)s)")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.stages) - {stage.name for stage in STAGES}
    if unknown:
        parser.error(f"no stage is called {', '.join(sorted(unknown))}")
    wanted = [stage for stage in STAGES if not chosen.stages or stage.name in chosen.stages]
    if len(wanted) == 1:
        make(wanted[0], chosen.seed, chosen.device)
    else:
        conduct(wanted, chosen)


def conduct(stages: list[Stage], chosen: argparse.Namespace) -> None:
    """Run stages as processes, each as soon as what it needs is there; stops at the first that fails."""
    began = time.perf_counter()
    for stage in stages:
        if stage.is_done:
            print(f"{stage.name}: there already")
    waiting = [stage for stage in stages if not stage.is_done]
    made = len(waiting)
    running: dict[str, subprocess.Popen[bytes]] = {}
    while waiting or running:
        ready = [stage for stage in waiting if stage.can_start]
        if not ready and not running:
            raise SystemExit(f"{waiting[0].name} needs {', '.join(waiting[0].missing)}, which nobody is building")
        for stage in ready[: chosen.jobs - len(running)]:
            waiting.remove(stage)
            settings = (f"--seed={chosen.seed}", f"--device={chosen.device}")
            running[stage.name] = subprocess.Popen([sys.executable, "-m", "lab.build", stage.name, *settings])
        time.sleep(1)
        for name in [name for name, process in running.items() if process.poll() is not None]:
            if running.pop(name).returncode:
                stop(running)
                raise SystemExit(f"{name} failed; what was made before it is kept")
    if made:
        print(f"{made} stages: {time.perf_counter() - began:.0f} s")


def stop(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """End the other stages; a stage writes its weights only when it is done."""
    for process in running.values():
        process.terminate()
        process.wait()


def make(stage: Stage, seed: int, device: str) -> None:
    """One stage, with a line that says what came of it."""
    if stage.is_done:
        print(f"{stage.name}: there already")
        return
    if stage.missing:
        raise SystemExit(f"{stage.name} needs {', '.join(stage.missing)}, to be built first")
    torch.set_num_threads(1)
    start_host(device)
    started = time.perf_counter()
    numbers = importlib.import_module(stage.module).build(seed)
    store.write_report(stage.name, numbers)
    print(f"{stage.name}: {time.perf_counter() - started:.0f} s, {numbers}")


if __name__ == "__main__":
    main()
