"""Runs after runs on one server: interrupted ones, and branches of one graph that must not see each other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest
from pack.ipadapter.server.client import Client, ExecutionInterruptedError, NodeProgress

from tests.live.graph import Graph, Link
from tests.live.studio import Studio

pytestmark = pytest.mark.live

MANY_STEPS = 500


def test_an_interrupted_run_leaves_nothing_behind(studio: Studio) -> None:
    graph = studio.light()
    before = studio.draw(graph.change("KSampler", seed=1))
    saved = sorted(studio.server.output.rglob("*"))
    with pytest.raises(ExecutionInterruptedError) as interruption:
        studio.ask(lambda client: run_and_interrupt(client, graph.change("KSampler", seed=2, steps=MANY_STEPS)))
    assert interruption.value.class_type == "KSampler"
    assert studio.ask(lambda client: client.queue_length()) == 0
    assert sorted(studio.server.output.rglob("*")) == saved
    again = studio.run(graph.change("KSampler", seed=1))
    assert graph.only("KSampler") not in again.outcome.cached
    assert (again.picture == before).all()


async def run_and_interrupt(client: Client, graph: Graph) -> None:
    """Run a graph of many steps and interrupt it a few steps on."""
    sampling = asyncio.Event()

    def watch(progress: NodeProgress) -> None:
        if progress.of == MANY_STEPS and progress.step >= 2:
            sampling.set()

    run = asyncio.create_task(client.run(graph.nodes, watch))
    await asyncio.wait_for(sampling.wait(), 120)
    await client.interrupt()
    await run


@dataclass(frozen=True)
class Branch:
    """The nodes of one branch: what samples it and what saves it."""

    sampler: str
    saved: str


@dataclass(frozen=True)
class Fork:
    """One checkpoint's model, bare, with an image prompt, and beside and behind that with edited ones."""

    graph: Graph
    bare: Branch
    kept: Branch
    beside: Branch
    behind: Branch


def add_branch(graph: Graph, model: Link, seed: int) -> Branch:
    """Sample a model under the graph's own prompts."""
    like = graph.nodes[graph.ids("KSampler")[0]]["inputs"]
    latent = graph.add("KSampler", **{**like, "model": model, "seed": seed})
    image = graph.add("VAEDecode", samples=latent, vae=graph.output("CheckpointLoaderSimple", 2))
    return Branch(latent[0], graph.add("SaveImage", images=image, filename_prefix="branch")[0])


def fork(graph: Graph, weight: float, seed: int) -> Fork:
    """`weight` is that of the edited branches; the kept one keeps the graph's."""
    bare, kept = graph.output("CheckpointLoaderSimple"), graph.output("ApplyIPAdapter")
    like = graph.inputs("ApplyIPAdapter")
    beside = graph.add("ApplyIPAdapter", **{**like, "model": bare, "weight": weight})
    behind = graph.add("ApplyIPAdapter", **{**like, "model": kept, "weight": weight})
    branches = [add_branch(graph, model, seed) for model in (bare, kept, beside, behind)]
    for class_type in ("SaveImage", "VAEDecode", "KSampler"):
        del graph.nodes[graph.ids(class_type)[0]]
    return Fork(graph, *branches)


def test_an_edited_branch_changes_no_other(studio: Studio) -> None:
    graph = studio.light().change("ApplyIPAdapter", weight=0.5).change("KSampler", steps=1)
    alone = {seed: studio.draw(graph.change("KSampler", seed=seed)) for seed in (1, 2)}
    without = {
        seed: studio.draw(graph.change("ApplyIPAdapter", weight=0).change("KSampler", seed=seed)) for seed in (1, 2)
    }
    edited = set()
    # Seeds take turns, so that every run samples every branch again on models kept from the run before.
    for weight, seed in ((1.0, 1), (-1.0, 2), (0.25, 1), (1.0, 2)):
        forked = fork(graph.copy(), weight, seed)
        run = studio.run(forked.graph)
        assert not {forked.bare.sampler, forked.kept.sampler} & run.outcome.cached
        assert (run.pictures[forked.bare.saved][0] == without[seed]).all()
        assert (run.pictures[forked.kept.saved][0] == alone[seed]).all()
        edited |= {run.pictures[branch.saved][0].tobytes() for branch in (forked.beside, forked.behind)}
    assert len(edited) == 8
