"""The pack under the one name that the tests import it by: `pack`, for a second name makes a second of every class.

What runs in a process of its own imports `ipadapter`, as a user's Python does: commands (`-m ipadapter.train`), scripts
that a test writes, and `tests/host/train_cli_world.py` with `forks.py`, so `test_train_cli.py` beside them does too. So
do `lab` and `tools`, and what the tests hand to the laboratory's models.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def name_pack() -> None:
    """Make `pack` the package of this checkout, for its relative imports; its `__init__`, the host's, is not run."""
    if "pack" in sys.modules:
        return
    spec = ModuleSpec("pack", None, is_package=True)
    spec.submodule_search_locations = [str(ROOT)]
    sys.modules["pack"] = module_from_spec(spec)
