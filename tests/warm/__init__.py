"""Programs in processes that are forked from one which has imported what they will: ComfyUI starts in a third the time.

Everything else is as ever: the host's own `main.py`, or a command, with arguments, environment, folder, output and
process group of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


@contextmanager
def warm_python(folder: Path) -> Iterator[tuple[str, ...]]:
    """What to write in the place of `python` before a script, or before `-m` and a module.

    Elsewhere than on Linux it is Python itself: processes that have loaded torch are not forked there.
    """
    if sys.platform != "linux":
        yield (sys.executable,)
        return
    place = folder / "asked"  # short: the path of a socket has a hundred letters at most
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    environment.pop("PYTHONPATH", None)  # whoever asks has one of its own
    process = subprocess.Popen([sys.executable, str(HERE / "keep.py"), str(place)], env=environment, **pipes)
    assert process.stdout is not None
    try:
        assert process.stdout.readline(), "the process that others are forked from has ended"
        yield (sys.executable, str(HERE / "run.py"), str(place))
    finally:
        process.communicate()
