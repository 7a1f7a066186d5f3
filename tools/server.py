"""A real ComfyUI server with this pack in it, as a subprocess on this machine.

    with running(Settings(directory)) as server:
        ...  # server.url answers

Everything it writes goes below `directory`: its input, output, temp and user folders, its database, its log. The pack
is mounted there by a symbolic link, and models are found in the checkout's `.models` besides `directory/models`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from ipadapter.host.legacy.old_ids import SWITCH
from tools.environment import LAYOUT

PACK_FOLDER = "image-prompt-adapter"
FOLDERS = ("custom_nodes", "input", "models", "output", "temp", "user")
MODEL_FOLDERS = (
    "checkpoints",
    "clip_vision",
    "controlnet",
    "diffusion_models",
    "embeddings",
    "insightface",
    "ipadapter",
    "loras",
    "text_encoders",
    "upscale_models",
    "vae",
)
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
WITHOUT_OLD_IDS = {SWITCH: "off"}  # environment of a server on which nobody answers to the old pack's ids
TAIL_LINES = 30


class ServerError(Exception):
    """The server did not come up, or went away; the message ends with the tail of its log."""


@dataclass(frozen=True)
class Settings:
    """What server to start. `device` is "cpu", "cuda" or "cuda:N"; a `port` of None means any free one."""

    directory: Path
    device: str = "cpu"
    port: int | None = None
    models: Path = LAYOUT.models
    model_files: Mapping[str, Path] = field(default_factory=dict)  # "folder/name" -> file to show there
    custom_nodes: Mapping[str, Path] = field(default_factory=dict)  # folder name -> node package beside this pack
    host: Path = LAYOUT.host
    pack: Path = LAYOUT.root
    arguments: tuple[str, ...] = ()  # more of the host's own
    environment: Mapping[str, str] = field(default_factory=dict)  # variables beside those of this process
    patience: float = 600.0  # seconds to come up in, on a busy machine
    python: tuple[str, ...] = (sys.executable,)  # what runs the host's main.py

    @property
    def log(self) -> Path:
        return self.directory / "server.log"

    def beside(self, directory: Path, custom_nodes: Mapping[str, Path], arguments: tuple[str, ...] = ()) -> Settings:
        """Another server of the kind, with more node packages and arguments."""
        packages, words = {**self.custom_nodes, **custom_nodes}, (*self.arguments, *arguments)
        return replace(self, directory=directory, port=None, custom_nodes=packages, arguments=words)


@dataclass(frozen=True)
class Server:
    """A server that answers."""

    url: str
    settings: Settings
    process: subprocess.Popen[bytes]

    @property
    def input(self) -> Path:
        return self.settings.directory / "input"

    @property
    def output(self) -> Path:
        return self.settings.directory / "output"

    def is_running(self) -> bool:
        return self.process.poll() is None


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def device_arguments(device: str) -> tuple[str, ...]:
    """The host's arguments for "cpu", "cuda" or "cuda:N"."""
    kind, _, index = device.partition(":")
    if kind == "cpu":
        return ("--cpu",)
    return ("--cuda-device", index) if index else ()


def link(place: Path, target: Path) -> None:
    """Make `place` a symbolic link to `target`, whatever link was there."""
    place.parent.mkdir(parents=True, exist_ok=True)
    place.unlink(missing_ok=True)
    place.symlink_to(target.resolve())


def model_paths(models: Path) -> str:
    """An extra_model_paths.yaml that names every kind of model folder below `models`."""
    base = json.dumps(str(models.resolve()))  # which is YAML too, whatever is in the path
    lines = ["pack:", f"  base_path: {base}", *(f"  {name}: {name}" for name in MODEL_FOLDERS)]
    return "\n".join(lines) + "\n"


def lay_out(settings: Settings) -> None:
    """Make the server's folders, with the pack and the models where it looks for them."""
    for name in FOLDERS:
        (settings.directory / name).mkdir(parents=True, exist_ok=True)
    for name, package in {**settings.custom_nodes, PACK_FOLDER: settings.pack}.items():
        link(settings.directory / "custom_nodes" / name, package)
    for place, target in settings.model_files.items():
        link(settings.directory / "models" / place, target)
    (settings.directory / "extra_model_paths.yaml").write_text(model_paths(settings.models))


def command(settings: Settings, port: int) -> list[str]:
    directory = settings.directory.resolve()
    return [
        *(sys.executable, str(Path(__file__).with_name("leash.py")), *settings.python, str(settings.host / "main.py")),
        *("--listen", "127.0.0.1", "--port", str(port), "--disable-auto-launch", "--disable-api-nodes"),
        *("--base-directory", str(directory), "--database-url", f"sqlite:///{directory / 'user' / 'comfyui.db'}"),
        *("--extra-model-paths-config", str(directory / "extra_model_paths.yaml")),
        *device_arguments(settings.device),
        *settings.arguments,
    ]


def answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/system_stats", timeout=5) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-TAIL_LINES:]) or "(the log is empty)"


def wait_until_up(server: Server) -> None:
    """Block until the server answers. Raise ServerError if it ends or takes too long."""
    settings = server.settings
    deadline = time.monotonic() + settings.patience
    while not answers(server.url):
        if not server.is_running():
            why = f"ComfyUI ended with exit code {server.process.returncode} before it answered"
        elif time.monotonic() > deadline:
            why = f"ComfyUI did not answer at {server.url} within {settings.patience:.0f} s"
        else:
            time.sleep(0.1)
            continue
        raise ServerError(f"{why}. The end of its log, {settings.log}:\n{tail(settings.log)}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Let go of the leash, and wait until everything on it is gone."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    process.wait()


def start(settings: Settings, port: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **OFFLINE, **settings.environment}
    with settings.log.open("wb") as log:
        return subprocess.Popen(
            command(settings, port),
            cwd=settings.directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


@contextlib.contextmanager
def running(settings: Settings) -> Iterator[Server]:
    """Start the server, hand it out once it answers, and stop it in every case. Raises ServerError."""
    lay_out(settings)
    port = settings.port or free_port()
    process = start(settings, port)
    try:
        server = Server(f"http://127.0.0.1:{port}", settings, process)
        wait_until_up(server)
        yield server
    finally:
        stop(process)
