"""`python -m ipadapter.train`."""

import sys

from .commands.train.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
