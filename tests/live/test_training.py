"""Training through the server: what arrives while it runs, what it leaves, and what is kept when it ends early."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from pack.ipadapter.server.client import (
    Client,
    ExecutionFailedError,
    ExecutionInterruptedError,
    NodeProgress,
    PromptRejectedError,
)
from safetensors import safe_open

from tests.live.files import SMALL_ADAPTER
from tests.live.graph import Graph
from tests.live.studio import Run, Studio, difference, download, lightened
from tests.live.training_pictures import BATCH, FOLDER, STEPS, put_training_pictures, quick_training

pytestmark = pytest.mark.live

MANY_STEPS = 500
ROUNDING = 0.5  # levels


@pytest.fixture(scope="module")
def training(studio: Studio) -> Graph:
    """The shipped graph, small, with an image encoder thirty times smaller than ViT-H."""
    put_training_pictures(studio.server.input)
    return lightened(quick_training(studio.quick("train_ip_adapter")))


def afresh(graph: Graph) -> Graph:
    """The same training from no adapter."""
    fresh = graph.copy()
    del fresh.inputs("TrainIPAdapter")["ip_adapter"]
    del fresh.nodes[fresh.only("LoadIPAdapter")]
    return fresh


def with_file(graph: Graph, name: str) -> Graph:
    """The picture alone, by an adapter's file."""
    plain = graph.change("LoadIPAdapter", ip_adapter_name=name)
    plain.inputs("ApplyIPAdapter")["ip_adapter"] = [plain.only("LoadIPAdapter"), 0]
    for class_type in ("SaveIPAdapter", "LossGraphNode", "TrainIPAdapter"):
        del plain.nodes[plain.only(class_type)]
    return plain


def only_saved(graph: Graph) -> Graph:
    """The same training without the picture."""
    short = graph.copy()
    for class_type in ("SaveImage", "VAEDecode", "KSampler", "ApplyIPAdapter", "EncodeImagePrompt", "LoadImage"):
        del short.nodes[short.only(class_type)]
    return short


def of_many_sizes(graph: Graph) -> Graph:
    """Pictures as they are in the folder, straight to the encoders."""
    pictures = graph.output("LoadImageTextDataSetFromFolder")
    return graph.change("MakeTrainingDataset", images=pictures).change("TrainIPAdapter", images=pictures)


def run_watched(studio: Studio, graph: Graph) -> tuple[Run, list[NodeProgress]]:
    heard: list[NodeProgress] = []

    async def action(client: Client) -> Run:
        outcome = await client.run(graph.nodes, heard.append)
        return Run(outcome, await download(client, outcome))

    return studio.ask(action), heard


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def adapters_listed(studio: Studio) -> list[str]:
    """The menu of Load IP-Adapter as a client that refreshes gets it."""
    described = studio.ask(lambda client: client.object_info("LoadIPAdapter"))
    _, options = described["LoadIPAdapter"]["input"]["required"]["ip_adapter_name"]
    listed: list[str] = options["options"]
    return listed


def adapter_files(studio: Studio) -> set[Path]:
    return set((studio.server.output / "ipadapter").glob("*.safetensors"))


def test_a_run_is_watched_saved_listed_and_used_at_once(studio: Studio, training: Graph) -> None:
    graph = afresh(training)
    node, saved = graph.only("TrainIPAdapter"), graph.only("SaveIPAdapter")
    run, heard = run_watched(studio, graph)

    assert [one.step for one in heard if one.node_id == node and one.of == STEPS] == [1, 2]
    shown = run.outcome.outputs
    assert len(shown[node]["images"]) == len(shown[graph.only("LossGraphNode")]["images"]) == 1

    path = Path(shown[saved]["text"][0])
    assert path.parent == studio.server.output / "ipadapter" and path in adapter_files(studio)
    said = metadata(path)
    assert (said["kind"], said["tokens"], said["steps"]) == ("base", "4", str(STEPS))

    assert path.name in adapters_listed(studio)
    assert difference(run.picture, studio.draw(graph.change("ApplyIPAdapter", weight=0))) > 2
    assert difference(run.picture, studio.draw(with_file(training, path.name))) < ROUNDING


def test_a_graph_that_is_edited_behind_the_training_trains_nothing_anew(studio: Studio, training: Graph) -> None:
    graph = afresh(training)
    studio.run(graph)
    again = studio.run(graph.change("ApplyIPAdapter", weight=0.5))
    assert graph.only("TrainIPAdapter") in again.outcome.cached


def test_pictures_of_many_sizes_train_in_batches_of_one(studio: Studio, training: Graph) -> None:
    graph = only_saved(of_many_sizes(afresh(training)))
    assert graph.inputs("TrainIPAdapter")["batch_size"] == BATCH > 1
    assert studio.run(graph).outcome.outputs[graph.only("SaveIPAdapter")]["text"]


async def run_and_interrupt(client: Client, graph: Graph) -> None:
    """Interrupt a training of many steps a few steps on."""
    learning = asyncio.Event()

    def watch(progress: NodeProgress) -> None:
        if progress.of == MANY_STEPS and progress.step >= 2:
            learning.set()

    run = asyncio.create_task(client.run(graph.nodes, watch))
    await asyncio.wait_for(learning.wait(), 300)
    await client.interrupt()
    await run


def test_an_interrupted_run_is_kept_and_can_be_gone_on_with(studio: Studio, training: Graph) -> None:
    graph, before = only_saved(afresh(training)), adapter_files(studio)
    with pytest.raises(ExecutionInterruptedError) as interruption:
        studio.ask(lambda client: run_and_interrupt(client, graph.change("TrainIPAdapter", steps=MANY_STEPS)))
    assert interruption.value.class_type == "TrainIPAdapter"
    (kept,) = adapter_files(studio) - before
    assert kept.name.startswith("unfinished")
    learned = int(metadata(kept)["steps"])
    assert 2 <= learned < MANY_STEPS

    assert kept.name in adapters_listed(studio)
    further = only_saved(training).change("LoadIPAdapter", ip_adapter_name=kept.name)
    run = studio.run(further)
    path = Path(run.outcome.outputs[further.only("SaveIPAdapter")]["text"][0])
    assert metadata(path)["steps"] == str(learned + STEPS)


@dataclass(frozen=True)
class Case:
    """A change that spoils a good training, the node that objects, and words of what it says."""

    name: str
    spoil: Callable[[Graph], Graph]
    node: str
    words: tuple[str, ...]


def on_a_prompted_model(graph: Graph) -> Graph:
    """A model that follows an image prompt already."""
    spoiled = graph.copy()
    features = spoiled.add(
        "EncodeImagePrompt",
        clip_vision=spoiled.output("LoadOpenCLIPVision"),
        image=spoiled.output("LoadImage"),
        fit="crop",
    )
    settings = {"weight": 1.0, "start_at": 0.0, "end_at": 1.0}
    applied = spoiled.add(
        "ApplyIPAdapter",
        model=spoiled.output("CheckpointLoaderSimple"),
        ip_adapter=spoiled.output("LoadIPAdapter"),
        image_prompt=features,
        **settings,
    )
    spoiled.inputs("TrainIPAdapter")["model"] = applied
    return spoiled


FAILING = (
    Case("a prompted model", on_a_prompted_model, "TrainIPAdapter", ("already follows an image prompt",)),
    Case(
        "to go on as another kind",
        lambda graph: graph.change("TrainIPAdapter", kind="plus"),
        "TrainIPAdapter",
        (SMALL_ADAPTER, "is a base adapter with 4 tokens", "kind is plus"),
    ),
    Case(
        "to go on for another model",
        lambda graph: graph.change("LoadIPAdapter", ip_adapter_name="ip-adapter_sdxl_vit-h.safetensors"),
        "TrainIPAdapter",
        ("is for SDXL", "the model is SD1.5"),
    ),
    Case(
        "a file outside",
        lambda graph: graph.change("SaveIPAdapter", filename_prefix="../outside"),
        "SaveIPAdapter",
        ("'../outside'", "outside the output folder"),
    ),
)


@pytest.mark.parametrize("case", FAILING, ids=[case.name for case in FAILING])
def test_what_does_not_fit_arrives_as_one_sentence(case: Case, studio: Studio, training: Graph) -> None:
    spoiled = case.spoil(training)
    with pytest.raises(ExecutionFailedError) as failure:
        studio.run(spoiled)
    assert failure.value.class_type == case.node
    said = failure.value.exception_message
    assert said.endswith(".") and "\n" not in said and "Traceback" not in said
    assert not [word for word in case.words if word not in said], said


def test_drops_that_sum_to_more_than_one_are_not_queued(studio: Studio, training: Graph) -> None:
    with pytest.raises(PromptRejectedError) as rejection:
        studio.run(training.change("TrainIPAdapter", drop_text=0.5, drop_image=0.6))
    assert {fault.class_type for fault in rejection.value.faults} == {"TrainIPAdapter"}
    assert "their sum is at most 1" in str(rejection.value)


def test_a_folder_made_after_the_start_can_be_chosen(studio: Studio, training: Graph) -> None:
    described = studio.ask(lambda client: client.object_info("LoadImageTextDataSetFromFolder"))
    _, options = described["LoadImageTextDataSetFromFolder"]["input"]["required"]["folder"]
    assert FOLDER in options["options"]
