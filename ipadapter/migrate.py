"""`python -m ipadapter.migrate`."""

import sys

from .commands.migrate.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
