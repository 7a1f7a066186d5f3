"""One target under libFuzzer, which changes inputs and keeps those that reach lines of the pack that no other did.

    python -m tests.fuzz TARGET CORPUS [libFuzzer's own options]     # until it finds something, or its time is over
    python -m tests.fuzz TARGET FILE                                 # that one input, and what it does

`make fuzz` runs every target.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris
import torch

from tests.naming import name_pack  # before the pack's modules are seen

torch.set_num_threads(1)
name_pack()
with atheris.instrument_imports(include=["pack"]):
    from tests.fuzz.targets import TARGETS, Target, try_input, warm_up


def prepare(target: Target, corpus: Path) -> list[str]:
    """Put the seeds where libFuzzer begins; its option that names the target's words, if there are any."""
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = corpus.with_name("words")
    words.write_text("".join(f'"{"".join(map(escaped, word.encode()))}"\n' for word in target.words))
    return [f"-dict={words}"] if target.words else []


def escaped(byte: int) -> str:
    return f"\\x{byte:02x}"


def main(arguments: list[str]) -> None:
    target, given = TARGETS[arguments[1]], Path(arguments[2])
    options = prepare(target, given) if given.is_dir() else []
    with TemporaryDirectory(prefix="fuzz") as folder:
        warm_up(target, Path(folder))
        atheris.Setup([arguments[0], *arguments[2:], *options], lambda content: tried(target, content, Path(folder)))
        atheris.Fuzz()


def tried(target: Target, content: bytes, folder: Path) -> None:
    """libFuzzer takes nothing back."""
    try_input(target, content, folder)


if __name__ == "__main__":
    main(sys.argv)
