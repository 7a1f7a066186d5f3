"""A graph of every node of ComfyUI_IPAdapter_plus, sent to a server that does not have it: it runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pack.ipadapter.legacy.migration.first_rules import FIRST_RULES
from pack.ipadapter.legacy.migration.forms import Form
from pack.ipadapter.legacy.migration.legacy_nodes import LEGACY_FORMS
from pack.ipadapter.legacy.migration.rules import MigrationRule
from pack.ipadapter.server.client import ExecutionFailedError

from tests.legacy_graphs import FIRST_FORMS, FIRST_MAKERS, LegacyGraph, graph_of, looked_at
from tests.live.files import SMALL_ADAPTER, SMALL_ENCODER, VIT_H
from tests.live.graph import Graph, Link
from tests.live.studio import SIDE, Studio

pytestmark = pytest.mark.live

CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
BASE, PLUS = "ip-adapter_sd15.safetensors", "ip-adapter-plus_sd15.safetensors"  # stand-ins
KEPT = {PLUS: "kept.ipadpt", BASE: "kept_base.ipadpt"}
STANDARD = {"preset": "STANDARD (medium strength)"}
VALUES = {  # of presets whose files are there
    "IPAdapterUnifiedLoader": STANDARD,
    "IPAdapterUnifiedLoaderFaceID": {"preset": "FACEID PLUS V2"},
}
PROMPT = {"IPAdapterPromptScheduleFromWeightsStrategy": {"prompt": "a\nb"}}


def runnable(kind: str, photo: str) -> Graph:
    """The graph of an old node with the tests' makers replaced by nodes of the host, and models sampled."""
    graph = run_with(graph_of(kind, **VALUES.get(kind, {}), **PROMPT.get(kind, {})), photo)
    if kind == "IPAdapter":
        find_encoder(graph)
    return watched(graph, LEGACY_FORMS[kind])


def run_with(legacy: LegacyGraph, photo: str) -> Graph:
    """A graph whose sources are nodes of the host."""
    graph = Graph(legacy.api).change("IPAdapterModelLoader", ipadapter_file=SMALL_ADAPTER)
    checkpoint = graph.add("CheckpointLoaderSimple", ckpt_name=CHECKPOINT)
    clip: Link = [checkpoint[0], 1]
    made: dict[str, tuple[str, dict[str, Any]]] = {
        "TestIMAGE": ("LoadImage", {"image": photo}),
        "TestMASK": ("SolidMask", {"value": 1.0, "width": SIDE, "height": SIDE}),
        "TestCLIP_VISION": ("LoadOpenCLIPVision", {"clip_name": SMALL_ENCODER, "architecture": "auto"}),
        "TestCONDITIONING": ("CLIPTextEncode", {"clip": clip, "text": ""}),
        "TestMODEL": ("CheckpointLoaderSimple", {"ckpt_name": CHECKPOINT}),
    }
    for old, (name, inputs) in made.items():
        for node_id in graph.ids(old):
            graph.nodes[node_id] |= {"class_type": name, "inputs": inputs}
    return graph


def find_encoder(graph: Graph) -> None:
    """This node has no input for an encoder: its users have it from a unified loader."""
    node_id = graph.only("IPAdapterModelLoader")
    inputs = {"model": graph.inputs("IPAdapter")["model"], **STANDARD}
    graph.nodes[node_id] |= {"class_type": "IPAdapterUnifiedLoader", "inputs": inputs}
    graph.inputs("IPAdapter")["ipadapter"] = [node_id, 1]


def watched(graph: Graph, form: Form) -> Graph:
    """What the old node gives is sampled with where it is a model, and shown where it is anything else."""
    checkpoint: Link = [graph.ids("CheckpointLoaderSimple")[-1], 0]
    kinds = [output.kind for output in form.outputs]
    for node_id, output in zip(graph.ids("TestSink"), kinds, strict=True):
        source = graph.nodes[node_id]["inputs"]["any"]
        shown = sampled(graph, source, checkpoint) if output == "MODEL" else source
        graph.nodes[node_id] |= {"class_type": "PreviewAny", "inputs": {"source": shown}}
    return graph


def sampled(graph: Graph, model: Link, checkpoint: Link) -> Link:
    """One step of a small picture."""
    text = graph.add("CLIPTextEncode", clip=[checkpoint[0], 1], text="")
    latent = graph.add("EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1)
    settings = {"seed": 1, "steps": 1, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    return graph.add("KSampler", model=model, positive=text, negative=text, latent_image=latent, **settings)


@pytest.fixture(scope="module", autouse=True)
def kept_embeds(studio: Studio) -> None:
    keep_embeds(studio)


def keep_embeds(studio: Studio) -> None:
    """Files of the old pack in the input folder."""
    with torch.inference_mode(False):
        torch.save(torch.randn(1, 257, 1280), studio.server.input / KEPT[PLUS])
        torch.save(torch.randn(1, 1024), studio.server.input / KEPT[BASE])


@pytest.mark.parametrize("kind", sorted(LEGACY_FORMS))
def test_a_graph_of_an_old_node_runs(kind: str, studio: Studio) -> None:
    runs(studio, runnable(kind, studio.photo))


@pytest.mark.parametrize("rule", FIRST_RULES, ids=lambda rule: f"{rule.legacy}-{len(rule.legacy_form.inputs)}")
def test_a_graph_of_a_node_of_the_first_version_runs(rule: MigrationRule, studio: Studio) -> None:
    forms = {**FIRST_FORMS, rule.legacy: rule.legacy_form}
    noise = {"noise": 0.3} if "noise" in rule.legacy_form.defaults else {}
    graph = looked_at(LegacyGraph(forms=forms, makers=FIRST_MAKERS), rule.legacy, True, **noise)
    ready = watched(run_with(graph, studio.photo), rule.legacy_form)
    assert ready.ids("PreviewAny")
    runs(studio, ready)


def runs(studio: Studio, graph: Graph) -> None:
    """Everything that is looked at is made."""
    outcome = studio.run(graph).outcome
    sinks = set(graph.ids("PreviewAny"))
    assert outcome.outputs and not outcome.faults and sinks <= set(outcome.outputs)


def test_a_preset_whose_file_is_not_there_says_which_to_get(studio: Studio) -> None:
    graph = runnable("IPAdapterUnifiedLoaderCommunity", studio.photo).change(
        "IPAdapterUnifiedLoaderCommunity", preset="Kolors"
    )
    with pytest.raises(ExecutionFailedError, match="found no adapter for this"):
        studio.run(graph)


@pytest.mark.parametrize(("adapter", "encoder"), [(BASE, False), (PLUS, True)])
def test_kept_embeds_are_applied_with_what_their_adapter_needs(studio: Studio, adapter: str, encoder: bool) -> None:
    graph = Graph({})
    checkpoint = graph.add("CheckpointLoaderSimple", ckpt_name=CHECKPOINT)
    embeds = graph.add("IPAdapterLoadEmbeds", embeds=KEPT[adapter])
    loader = graph.add("IPAdapterModelLoader", ipadapter_file=adapter)
    vision = {"clip_vision": graph.add("CLIPVisionLoader", clip_name=VIT_H)} if encoder else {}
    weights = {"weight": 0.8, "weight_type": "linear", "start_at": 0.0, "end_at": 1.0, "embeds_scaling": "V only"}
    applied = graph.add("IPAdapterEmbeds", model=checkpoint, ipadapter=loader, pos_embed=embeds, **weights, **vision)
    graph.add("PreviewAny", source=sampled(graph, applied, checkpoint))
    assert not studio.run(graph).outcome.faults


def test_a_graph_of_faces_runs_with_its_loader(studio: Studio) -> None:
    """As its users have it: the unified loader of FaceID, whose adapter brings what reads faces."""
    graph = Graph({})
    checkpoint = graph.add("CheckpointLoaderSimple", ckpt_name=CHECKPOINT)
    image = graph.add("LoadImage", image=studio.face)
    settings = {"preset": "FACEID PLUS V2", "lora_strength": 0.6, "provider": "CPU"}
    loader = graph.add("IPAdapterUnifiedLoaderFaceID", model=checkpoint, **settings)
    weights = {"weight": 0.8, "weight_faceidv2": 1.0, "weight_type": "linear", "start_at": 0.0, "end_at": 1.0}
    how = {"combine_embeds": "concat", "embeds_scaling": "V only"}
    applied = graph.add("IPAdapterFaceID", model=loader, ipadapter=[loader[0], 1], image=image, **weights, **how)
    shown = graph.add("PreviewImage", images=[applied[0], 1])
    graph.add("PreviewAny", source=sampled(graph, applied, checkpoint))
    outcome = studio.run(graph).outcome
    assert not outcome.faults and shown[0] in outcome.outputs
