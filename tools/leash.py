"""Runs a command and ends it, children and all, as soon as whoever started it is gone.

    python leash.py COMMAND ...

The parent holds the other end of this process's standard input. When that closes, because the parent wants the end, was
killed or crashed, the command's process group is told to stop, and killed if it does not. Standard library only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

GRACE = 10.0  # seconds between the request to stop and the kill


def stop_group(child: subprocess.Popen[bytes]) -> None:
    """Ask everything in this group to stop; kill it, this process included, once the child ended or had its time."""
    os.killpg(0, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(0, signal.SIGKILL)


def follow_parent(child: subprocess.Popen[bytes]) -> None:
    """Block until standard input closes, then stop the group."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop_group(child)


def main(command: list[str]) -> int:
    # A group of its own: a Ctrl-C in the terminal is the parent's to handle.
    os.setpgrp()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    # Only now, or the child would inherit it: the group's SIGTERM reaches this process too and has to be outlived.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=follow_parent, args=(child,), daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
