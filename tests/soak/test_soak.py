"""What `make soak` goes by: graphs that fit together, what growth is, and whose fault a failure is."""

from __future__ import annotations

import json
import os
from random import Random
from typing import Any

import pytest
from pack.ipadapter.server.client import (
    ClientError,
    ExecutionFailedError,
    ExecutionInterruptedError,
    PromptRejectedError,
)

from tests.schema.texts import GOLDEN
from tests.soak.graphs import ANY, PACK, make_graph, read_catalogue
from tests.soak.held import MOST, Sample, growths
from tests.soak.runs import Ending, Record, Run, classify


def of_the_host(inputs: dict[str, str], *outputs: str) -> dict[str, Any]:
    """A class as a server describes it; one without outputs shows something."""
    required = {name: [kind, {"options": ["a"]} if kind == "COMBO" else {}] for name, kind in inputs.items()}
    return {"input": {"required": required}, "output": outputs, "output_node": not outputs, "python_module": "nodes"}


HOST = {
    "LoadLabModel": of_the_host({"name": "COMBO"}, "MODEL", "CLIP", "VAE", "CLIP_VISION"),
    "LoadLabControlNet": of_the_host({}, "CONTROL_NET"),
    "CLIPTextEncode": of_the_host({"text": "STRING", "clip": "CLIP"}, "CONDITIONING"),
    "EmptyLatentImage": of_the_host({"width": "INT"}, "LATENT"),
    "KSampler": of_the_host(
        {"model": "MODEL", "positive": "CONDITIONING", "negative": "CONDITIONING", "latent_image": "LATENT"}, "LATENT"
    ),
    "VAEDecode": of_the_host({"samples": "LATENT", "vae": "VAE"}, "IMAGE"),
    "LoadImage": of_the_host({"image": "COMBO"}, "IMAGE", "MASK"),
    "SolidMask": of_the_host({"value": "FLOAT"}, "MASK"),
    "PreviewImage": of_the_host({"images": "IMAGE"}),
    "PreviewAny": of_the_host({"source": ANY}),
}


def catalogue():
    """All of ours, with one file each to choose."""
    ours = json.loads(GOLDEN.read_text(encoding="utf-8"))
    for node in ours.values():
        node["python_module"] = f"custom_nodes.{PACK}"
        for kind, options in (one for group in node["input"].values() for one in group.values() if len(one) > 1):
            if kind == "COMBO" and not options["options"]:
                options["options"] = ["a"]
    return read_catalogue({**HOST, **ours})


CATALOGUE = catalogue()


def test_every_node_of_the_pack_has_its_turn():
    assert CATALOGUE.ours == sorted(json.loads(GOLDEN.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", CATALOGUE.ours)
def test_graphs_fit_together(name):
    for seed in range(8):
        graph = make_graph(CATALOGUE, name, Random(seed))
        assert name in {node["class_type"] for node in graph.values()}
        assert any(CATALOGUE.classes[node["class_type"]].is_output for node in graph.values())
        for node in graph.values():
            check_inputs(graph, node)


def check_inputs(graph: dict[str, Any], node: dict[str, Any]) -> None:
    """All that is needed is there, and of its kind."""
    for one in CATALOGUE.classes[node["class_type"]].inputs:
        given = node["inputs"].get(one.name)
        assert given is not None or not one.is_required
        if given is not None and not one.is_value:
            key, slot = given
            assert one.kind in (ANY, CATALOGUE.classes[graph[key]["class_type"]].outputs[slot])


def test_the_same_seed_makes_the_same_graph():
    assert make_graph(CATALOGUE, "ApplyIPAdapter", Random(3)) == make_graph(CATALOGUE, "ApplyIPAdapter", Random(3))


def samples(tensors):
    """As many as a soak of 300 runs takes, with `tensors` held after so many runs."""
    steady = dict.fromkeys(MOST, 20.0)
    return [Sample(runs, {**steady, "tensors": tensors(runs)}) for runs in range(0, 310, 10)]


@pytest.mark.parametrize(
    ("tensors", "leaks"),
    [
        (lambda runs: 100, False),
        (lambda runs: 100 + runs % 7, False),
        (lambda runs: min(100 + runs, 150), False),  # libraries that fill what they keep
        (lambda runs: 100 + runs // 50, False),
        (lambda runs: 100 + runs, True),
        (lambda runs: 100 + runs / 8 + runs % 7, True),
    ],
    ids=["steady", "up and down", "warm-up", "six in 300 runs", "each run", "each eighth run"],
)
def test_what_is_a_leak(tensors, leaks):
    found = {growth.name: growth for growth in growths(samples(tensors))}
    assert found["tensors"].is_leak == leaks and ("LEAKS" in str(found["tensors"])) == leaks
    assert not any(found[name].is_leak for name in MOST.keys() - {"tensors"})


def failed(kind: str, *files: str) -> ExecutionFailedError:
    trace = [f'File "{file}", line 1\n' for file in files]
    words = {"node_id": "1", "node_type": "KSampler", "exception_message": "why"}
    return ExecutionFailedError({**words, "exception_type": kind, "traceback": trace})


OURS = os.path.join("custom_nodes", PACK, "nodes", "apply.py")
HOSTS = f"/{PACK}/.host/ComfyUI/nodes.py"  # in a checkout that is called as the README has it


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (failed("x.ipadapter.errors.IPAdapterError", OURS), Ending.REFUSED),
        (failed("KeyError", HOSTS, OURS), Ending.FOUND),
        (failed("KeyError", HOSTS), Ending.HOSTS),
        (ExecutionInterruptedError({"node_id": "1", "node_type": "KSampler"}), Ending.INTERRUPTED),
        (PromptRejectedError("no", ()), Ending.REJECTED),
        (ClientError("the queue is not empty after 60 s"), Ending.FOUND),
    ],
    ids=lambda value: value.value if isinstance(value, Ending) else "",
)
def test_whose_fault_a_failure_is(error, ending):
    found, said = classify(error)
    record = Record()
    record.add(Run(0, {"1": {"class_type": "KSampler"}}, found, said))
    assert found is ending and bool(record.findings) == (ending is Ending.FOUND)
