"""What cannot work is refused in one sentence that reaches the person at the graph, and the server goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from pack.ipadapter.server.client import ExecutionFailedError, PromptRejectedError

from tests.live.files import FULL_ADAPTER, RAN
from tests.live.graph import Graph
from tests.live.studio import Studio

pytestmark = pytest.mark.live


@dataclass(frozen=True)
class Case:
    """A change that spoils a good graph, the node that objects, and words of what it says."""

    name: str
    spoil: Callable[[Graph], Graph]
    node: str
    words: tuple[str, ...]


def with_adapter(name: str) -> Callable[[Graph], Graph]:
    return lambda graph: graph.change("LoadIPAdapter", ip_adapter_name=name)


def masked_by(width: int, value: float) -> Callable[[Graph], Graph]:
    def spoil(graph: Graph) -> Graph:
        spoiled = graph.copy()
        mask = spoiled.add("SolidMask", value=value, width=width, height=width)
        return spoiled.change("ApplyIPAdapter", mask=mask)

    return spoil


def masked_for_three(graph: Graph) -> Graph:
    """A batch of three masks where one picture is drawn."""
    spoiled = graph.copy()
    white = spoiled.add("EmptyImage", width=64, height=64, batch_size=3, color=0xFFFFFF)
    return spoiled.change("ApplyIPAdapter", mask=spoiled.add("ImageToMask", image=white, channel="red"))


FAILING = (
    Case("cut short", with_adapter("cut_short.safetensors"), "LoadIPAdapter", ("'cut_short.safetensors'", "cut short")),
    Case("empty", with_adapter("empty.safetensors"), "LoadIPAdapter", ("'empty.safetensors'", "empty")),
    Case("runs code", with_adapter("pickle.bin"), "LoadIPAdapter", ("'pickle.bin'", "run code", ".safetensors")),
    Case("a LoRA", with_adapter("lora.safetensors"), "LoadIPAdapter", ("'lora.safetensors'", "a LoRA", "Load LoRA")),
    Case(
        "for another base",
        with_adapter("ip-adapter_sdxl_vit-h.safetensors"),
        "ApplyIPAdapter",
        ("'ip-adapter_sdxl_vit-h.safetensors' is for SDXL", "the model is SD1.5"),
    ),
    Case(
        "for another encoder",
        with_adapter(FULL_ADAPTER),
        "ApplyIPAdapter",
        (f"'{FULL_ADAPTER}'", "256", "1024"),
    ),
    Case(
        "weight that is no number",
        lambda graph: graph.change("ApplyIPAdapter", weight=math.nan),
        "ApplyIPAdapter",
        ("weight is nan", "from -5 to 5"),
    ),
    Case(
        "weight in a text that is no number",
        lambda graph: graph.change("EncodeImagePrompt", weights="1, nan"),
        "EncodeImagePrompt",
        ("'nan', which is no number",),
    ),
    Case(
        "detail that is sent as a text",
        lambda graph: graph.change("EncodeImagePrompt", detail_weight="nan"),
        "EncodeImagePrompt",
        ("detail_weight is nan",),
    ),
    Case(
        "start after end",
        lambda graph: graph.change("ApplyIPAdapter", start_at=0.8, end_at=0.2),
        "ApplyIPAdapter",
        ("start_at (0.8)", "end_at (0.2)"),
    ),
    Case(
        "window that is no number",
        lambda graph: graph.change("ApplyIPAdapter", end_at=math.nan),
        "ApplyIPAdapter",
        ("end_at is nan", "from 0 to 1"),
    ),
    Case("empty mask", masked_by(64, 0.0), "ApplyIPAdapter", ("mask is empty",)),
    Case("three masks", masked_for_three, "KSampler", ("a batch of 3", "1 picture")),
)
REJECTED = (
    Case(
        "missing file", with_adapter("not_there.safetensors"), "LoadIPAdapter", ("'not_there.safetensors'", "ipadapter")
    ),
    Case(
        "window outside the sampling",
        lambda graph: graph.change("ApplyIPAdapter", start_at=20),
        "ApplyIPAdapter",
        ("start_at", "20", "1"),
    ),
    Case(
        "name that is nothing",
        lambda graph: graph.change("LoadIPAdapter", ip_adapter_name="a\0b"),
        "LoadIPAdapter",
        ("no name that a file can have",),
    ),
    Case(
        "weight without end",
        lambda graph: graph.change("ApplyIPAdapter", weight=math.inf),
        "ApplyIPAdapter",
        ("weight", "5"),
    ),
    Case(
        "weight out of range", lambda graph: graph.change("ApplyIPAdapter", weight=9), "ApplyIPAdapter", ("weight", "5")
    ),
)


def names(cases: tuple[Case, ...]) -> list[str]:
    return [case.name for case in cases]


def is_one_sentence(text: str) -> bool:
    return text.endswith(".") and "\n" not in text and "Traceback" not in text


@pytest.mark.parametrize("case", FAILING, ids=names(FAILING))
def test_a_node_that_cannot_go_on_says_why(case: Case, studio: Studio) -> None:
    with pytest.raises(ExecutionFailedError) as failure:
        studio.run(case.spoil(studio.light()))
    assert failure.value.class_type == case.node
    assert failure.value.exception_type == "IPAdapterError"  # which the front end shows before the sentence
    said = failure.value.exception_message
    assert is_one_sentence(said), said
    assert not [word for word in case.words if word not in said], said


@pytest.mark.parametrize("case", REJECTED, ids=names(REJECTED))
def test_a_graph_that_cannot_work_is_not_queued(case: Case, studio: Studio) -> None:
    with pytest.raises(PromptRejectedError) as rejection:
        studio.run(case.spoil(studio.light()))
    assert len(rejection.value.faults) == 1
    for fault in rejection.value.faults:
        assert fault.class_type == case.node, str(fault)
        assert not [word for word in case.words if word not in str(fault)], str(fault)
    assert studio.ask(lambda client: client.queue_length()) == 0


def test_a_pickle_never_ran_its_code(studio: Studio) -> None:
    with pytest.raises(ExecutionFailedError):
        studio.run(with_adapter("pickle.bin")(studio.light()))
    (pickle,) = [path for place, path in studio.server.settings.model_files.items() if place.endswith("pickle.bin")]
    assert pickle.exists() and not pickle.with_name(RAN).exists()


def test_the_server_goes_on_after_refusals(studio: Studio) -> None:
    for case in (FAILING[0], FAILING[-1]):
        before = studio.draw(studio.light().change("KSampler", seed=7))
        with pytest.raises(ExecutionFailedError):
            studio.run(case.spoil(studio.light().change("KSampler", seed=8)))
        run = studio.run(studio.light().change("KSampler", seed=7))
        assert studio.light().only("KSampler") not in run.outcome.cached
        assert (run.picture == before).all()
    assert studio.server.is_running()
