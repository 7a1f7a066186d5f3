"""What SECURITY.md promises, on a server that tells what the pack in it reaches for."""

from __future__ import annotations

import pytest
from pack.ipadapter.server.client import ExecutionFailedError

from tests.live.graph import Graph
from tests.live.studio import Studio
from tests.soak.held import Sample, growths
from tests.soak.runs import held
from tools.server import Server, running

pytestmark = pytest.mark.live

# A package that does, at every prompt, what must be seen: in the name of a file of the pack, where it could do no harm.
LEAKY = """
import os

import torch
from server import PromptServer

NODE_CLASS_MAPPINGS = {}
REACH = '''
import contextlib, pickle, socket, subprocess
with contextlib.suppress(OSError):
    open("/nowhere/at/all", "w")
with contextlib.suppress(OSError), socket.socket() as asked:
    asked.connect(("127.0.0.1", 9))
with contextlib.suppress(OSError):
    subprocess.run(["/nowhere/at/all"])
pickle.loads(pickle.dumps(len))
open("/dev/null", "w").close()
'''
kept = []


def keep(request):
    kept.append(torch.zeros(8))
    exec(compile(REACH, os.path.join("custom_nodes", "image-prompt-adapter", "reach.py"), "exec"), {})
    return request


PromptServer.instance.add_on_prompt_handler(keep)
"""


def test_the_pack_keeps_to_itself(studio: Studio) -> None:
    """No connection, no program, no file elsewhere, nothing from a pickle: in this run and all before it."""
    graph = studio.light()
    prompt = graph.output("EncodeImagePrompt")
    graph.add("SaveImagePrompt", image_prompt=prompt, filename_prefix="promises/kept")
    studio.run(graph)
    with pytest.raises(ExecutionFailedError):
        studio.run(graph.change("LoadIPAdapter", ip_adapter_name="pickle.bin"))
    assert studio.json("probe/reached") == []


def test_leaks_and_what_is_reached_for_are_seen(server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    package = tmp_path_factory.mktemp("leaky")
    (package / "__init__.py").write_text(LEAKY)
    with running(server.settings.beside(tmp_path_factory.mktemp("server"), {"leaky": package})) as leaking:
        studio = Studio(leaking, "", "", "")
        samples = [Sample(runs, held_after_a_run(studio)) for runs in range(8)]
        reached = studio.json("probe/reached")
    leaks = {growth.name for growth in growths(samples) if growth.is_leak}
    assert "tensors" in leaks and not leaks & {"models", "threads", "files"}
    assert reached == len(samples) * [
        "wrote /nowhere/at/all",
        "connected to ('127.0.0.1', 9)",
        "started /nowhere/at/all",
        "took builtins.len from a pickle",
    ]


def held_after_a_run(studio: Studio) -> dict[str, float]:
    graph = Graph()
    graph.add("PreviewAny", source="a")
    studio.run(graph)
    return held(studio.server)
