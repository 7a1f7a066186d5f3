"""Has a program run in a process forked from the one that waits at a socket, and ends as it ends.

python run.py SOCKET SCRIPT ...
python run.py SOCKET -m MODULE ...

The program is in the process group of this process, and is killed where this is.
"""

from __future__ import annotations

import json
import os
import socket
import sys


def main(place: str, program: list[str]) -> int:
    asked = {"program": program, "folder": os.getcwd(), "environment": dict(os.environ), "group": os.getpgrp()}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(place)
        socket.send_fds(connection, [b"."], [0, 1, 2])
        connection.sendall(json.dumps(asked).encode() + b"\n")
        return int(connection.recv(16) or 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
