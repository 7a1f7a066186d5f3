"""Checks types: mypy over what pyproject.toml names, and over the nodes, which only a package around them makes whole.

The nodes import the engine relatively, as ComfyUI needs it, and the folder of a checkout may have any name. So they are
checked as `pack.nodes`, through a link of that name to the checkout.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".run" / "types"


def link_pack() -> None:
    """A link to the checkout called `pack`; Windows lets everybody make a junction, and not a link."""
    HOME.mkdir(parents=True, exist_ok=True)
    link = HOME / "pack"
    if link.exists() and link.resolve() == ROOT:
        return
    link.unlink(missing_ok=True)
    if sys.platform == "win32":
        import _winapi

        _winapi.CreateJunction(str(ROOT), str(link))
    else:
        link.symlink_to(ROOT, target_is_directory=True)


def mypy(*arguments: str, directory: Path = ROOT) -> int:
    """Run it; its exit code."""
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), *arguments]
    environment = os.environ | {"MYPYPATH": os.pathsep.join((str(HOME), str(ROOT)))}
    cache = ["--cache-dir", str(ROOT / ".mypy_cache")]
    return subprocess.run([*command, *cache], cwd=directory, env=environment, check=False).returncode


def main() -> int:
    """Both checks; the exit code of the first that fails."""
    link_pack()
    return mypy() or mypy("--package", "pack.nodes", directory=HOME)


if __name__ == "__main__":
    sys.exit(main())
