"""`python -m ipadapter.evaluate`."""

import sys

from .commands.evaluate.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
