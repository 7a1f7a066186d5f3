"""`make serve`: a real ComfyUI server with this pack and its models, up until Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping

from tools.chosen import ChoiceError, Chosen, read_choice
from tools.environment import LAYOUT
from tools.server import Server, ServerError, Settings, free_port, is_free, running, tail

DIRECTORY = LAYOUT.runs / "serve"
USUAL_PORT = 8188


def choose_port(environment: Mapping[str, str]) -> int:
    """The PORT asked for; otherwise ComfyUI's usual one, or any if that is taken."""
    asked = environment.get("PORT")
    if not asked:
        return USUAL_PORT if is_free(USUAL_PORT) else free_port()
    if not asked.isdecimal() or not 0 < int(asked) < 65536:
        raise ChoiceError(f"PORT={asked} is no port number: it has to lie between 1 and 65535.")
    if not is_free(int(asked)):
        raise ChoiceError(f"PORT={asked} is in use by another program: choose another one, or none.")
    return int(asked)


def make_stand_ins(chosen: Chosen) -> None:
    if chosen.files:
        return
    # Imported here: it loads torch, which a run with real models need not wait for.
    from tools.standins.make import make_set

    print("No CHECKPOINT, ADAPTER and ENCODER named: random weights, so pictures show plumbing, not art.", flush=True)
    make_set("all")


def put_images(chosen: Chosen, settings: Settings) -> None:
    """The chosen image and the host's own example, where LoadImage looks for them."""
    target = settings.directory / "input"
    target.mkdir(parents=True, exist_ok=True)
    for image in (settings.host / "input" / "example.png", chosen.image):
        if image.is_file():
            shutil.copy(image, target)


def wait_for_end(server: Server) -> None:
    """Block until Ctrl-C or a request to terminate. Raise ServerError if the server ends before."""
    while server.is_running():
        time.sleep(0.2)
    raise ServerError(f"ComfyUI ended by itself. The end of its log:\n{tail(server.settings.log)}")


def serve(chosen: Chosen, port: int) -> None:
    make_stand_ins(chosen)
    settings = Settings(DIRECTORY, device=chosen.device, port=port, model_files=chosen.model_files)
    put_images(chosen, settings)
    print(f"Starting ComfyUI on {chosen.device}", flush=True)
    with running(settings) as server:
        print(f"ComfyUI is up at {server.url} (log: {settings.log}); Ctrl-C ends it.", flush=True)
        wait_for_end(server)


def main() -> int:
    # A polite kill ends the server the same way Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve(read_choice(os.environ), choose_port(os.environ))
    except KeyboardInterrupt:
        print("\nComfyUI is stopped.")
    except (ChoiceError, ServerError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
