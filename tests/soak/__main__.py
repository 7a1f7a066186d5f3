"""Hundreds of random runs on a real server, and whether it holds more after them than before: `make soak`.

    python -m tests.soak [--runs 500] [--first 0] [--seed 0] [--device cuda]

Every node of the pack in its turn is put into a graph of what fits it. Some runs are interrupted, some are left by
their client. A run must end, or be refused in a sentence; what fails otherwise is written to `.run/soak/found`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.comfyui import start_host
from tools.environment import LAYOUT
from tools.server import WITHOUT_OLD_IDS, Server, Settings, running

torch.set_num_threads(1)
start_host()

from tests.faces import DrawnFace, draw_faces, save_picture  # noqa: E402 (of the host, which is there only now)
from tests.soak.files import write_models, write_pictures  # noqa: E402
from tests.soak.held import growths  # noqa: E402
from tests.soak.runs import PROBE, Ending, Record, ask, keep, soak  # noqa: E402
from tools.lab import NODES  # noqa: E402
from tools.standins.listed import SETS  # noqa: E402
from tools.standins.make import make  # noqa: E402

DIRECTORY = LAYOUT.runs / "soak"
# What grows for hours and is no leak, or hides one:
KEPT_SMALL = {
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0",  # oneDNN keeps what it compiled for each of the last thousand shapes,
    "LRU_CACHE_CAPACITY": "1",  # and what torch puts around it as many again; with 0 it crashes
    "MALLOC_ARENA_MAX": "1",  # glibc returns what is free at the end of its first heap, not of those of threads
}
MOST_SAID, LONGEST = 12, 200  # reasons shown, and letters of each
SHOWN = 25  # runs between two lines of progress


def prepare(directory: Path, device: str) -> Settings:
    """The models and pictures, and what server to start."""
    for _ in make(SETS["all"], LAYOUT.models, LAYOUT.host):
        pass
    models = directory / "models-of-the-lab"
    write_models(models)
    with tempfile.TemporaryDirectory() as folder:
        face = Path(folder) / "face.png"
        save_picture(draw_faces(96, 96, DrawnFace(48, 48, 32)), face)
        write_pictures(directory, face)
    nodes = {**NODES, "probe": PROBE}
    return Settings(directory, device=device, models=models, custom_nodes=nodes, environment=WITHOUT_OLD_IDS)


def run_all(server: Server, numbers: range, seed: int) -> Record:
    """All runs, with a line now and then."""
    record = Record()
    for run, record in soak(server, numbers, seed):
        if run.ending is Ending.FOUND:
            print(f"run {run.number}: {run.said.strip().splitlines()[-1]}", flush=True)
            print(f"  its graph: {keep(run, DIRECTORY / 'found')}", flush=True)
        if (run.number + 1) % SHOWN == 0:
            print(f"{run.number + 1:5} of {numbers.stop}: {counted(record)}", flush=True)
    return record


def counted(record: Record) -> str:
    ended = ", ".join(f"{count} {ending.value}" for ending, count in sorted(record.endings.items()))
    held = record.samples[-1].held
    return f"{ended}; {held['megabytes']:.1f} MB, {held['resident']:.0f} resident"


def report(record: Record, reached: Sequence[str]) -> bool:
    """Print what was seen; whether all is well."""
    grown = growths(record.samples)
    print("\n".join(map(str, grown)))
    samples = [{"runs": sample.runs, **sample.held} for sample in record.samples]
    (DIRECTORY / "held.json").write_text(json.dumps(samples, indent=1) + "\n")
    for said, count in record.said.most_common(MOST_SAID):
        print(f"{count:5} times {said[:LONGEST]}")
    never = [name for name, count in sorted(record.classes.items()) if not count]
    print(f"nodes of the pack that never ran to an end: {', '.join(never) or 'none'}")
    print(f"reached for outside: {', '.join(reached) or 'nothing'}")
    return not (record.findings or reached or any(growth.is_leak for growth in grown))


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Hundreds of random runs on one server.")
    parser.add_argument("--runs", type=int, default=500, help="until which one (default: 500)")
    parser.add_argument("--first", type=int, default=0, help="the first of them, to see one again (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed makes the same graphs")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    choice = read_arguments(arguments)
    os.environ.update(KEPT_SMALL)  # of the server, which inherits it
    with running(prepare(DIRECTORY, choice.device)) as server:
        print(f"runs {choice.first} to {choice.runs} on {choice.device} (log: {server.settings.log})", flush=True)
        record = run_all(server, range(choice.first, choice.runs), choice.seed)
        reached = ask(server, "probe/reached")
    return 0 if report(record, reached) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
