"""A program that is forked from a process with everything imported is the program that Python itself would run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(sys.platform != "linux", reason="forks processes that have loaded torch"),
]

SCRIPT = """
import os, sys
import beside
print(__name__, sys.argv, sys.path, os.getcwd(), os.environ["COLOUR"], os.getpgrp() == os.getppid(), beside.VALUE)
print(sys.stdin.read(), file=sys.stderr)
sys.exit(7)
"""
SLOW = """
import os, sys, time
print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("VALUE = 5")
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path / "script.py"


def ran(python: tuple[str, ...], script: Path, *words: str) -> tuple[int, str, str]:
    environment = os.environ | {"COLOUR": "red", "PYTHONPATH": str(script.parent / "more")}
    how = {"capture_output": True, "text": True, "input": "said", "timeout": 600}
    done = subprocess.run([*python, *words], cwd=script.parent, env=environment, **how)
    return done.returncode, done.stdout, done.stderr


def test_a_script_is_run_as_by_python(python: tuple[str, ...], script: Path) -> None:
    words = (str(script), "one", "two words")
    assert ran(python, script, *words) == ran((sys.executable,), script, *words)


def test_a_module_is_run_as_by_python(python: tuple[str, ...], script: Path) -> None:
    words = ("-m", "script", "--one")
    assert ran(python, script, *words) == ran((sys.executable,), script, *words)


def test_it_ends_with_whoever_asked_for_it(python: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    asking = subprocess.Popen([*python, str(tmp_path / "slow.py")], stdout=subprocess.PIPE, text=True)
    assert asking.stdout is not None
    program = int(asking.stdout.readline())
    asking.kill()
    asking.wait()
    deadline = time.monotonic() + 60
    while is_there(program) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_there(program)


def is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
