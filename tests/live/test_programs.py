"""Prompts as programs send them that know the old pack's ids, on a server that has this pack alone.

Each is drawn beside the same picture made with this pack's own nodes, and is equal to it. The contract is that of Krita
AI Diffusion 0217cd2 and SwarmUI 062407c; the prompts are written here. What a loader by preset finds has to be a
published kind, so those run on the stand-in models, all others on the laboratory's, which take no time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pack.ipadapter.legacy.migration.legacy_nodes import LEGACY_FORMS
from pack.ipadapter.server.client import PromptRejectedError
from safetensors.torch import save_file

from lab.store import path_of
from tests.legacy_graphs import LegacyGraph
from tests.live.conftest import KEEP, studio_of
from tests.live.files import SMALL_ADAPTER, SMALL_ENCODER, VIT_H
from tests.live.graph import Graph, Link
from tests.live.shipped import with_few_layers
from tests.live.studio import SIDE, Studio
from tests.live.test_legacy_nodes import BASE, CHECKPOINT, KEPT, keep_embeds
from tests.schema.old_contract import CONTRACT, MENUS
from tests.soak.files import FACES
from tools.lab import NODES
from tools.server import Settings, running

pytestmark = pytest.mark.live

FACE_FILE, FACE_STAND_IN = "lab-faceid-plusv2.safetensors", "ip-adapter-faceid-plusv2_sd15.bin"
LAB_FILES = {"base": "ip-adapter-lab.safetensors", "plus": "ip-adapter-plus-lab.safetensors"}
USUAL = {"weight": 1.0, "start_at": 0.0, "end_at": 1.0}
AS_NAMED = "as the file is named"


@pytest.fixture(scope="module")
def studio(
    python: tuple[str, ...], files: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Studio]:
    """A server as users have it, with the laboratory's models beside the stand-ins."""
    face = tmp_path_factory.mktemp("faces") / FACE_FILE
    save_file(FACES[FACE_FILE].flat(), face)
    lab = {"base": path_of("ip-adapter"), "plus": path_of("wide-ip-adapter-plus")}
    places = {**files, **{f"ipadapter/{LAB_FILES[name]}": file for name, file in lab.items()}}
    places[f"ipadapter/{FACE_FILE}"] = face
    directory = tmp_path_factory.mktemp("programs")
    settings = Settings(directory, model_files=places, custom_nodes=NODES, arguments=(KEEP,), python=python)
    with running(settings) as server:
        yield studio_of(server, tmp_path_factory)


# What both ask before they send anything


@pytest.fixture(scope="module")
def described(studio: Studio) -> Mapping[str, Any]:
    return studio.json("object_info")


def test_every_old_id_is_described_as_programs_parse_it(described: Mapping[str, Any]) -> None:
    """Inputs in their order; told as nodes of before, which no search offers."""
    for name in LEGACY_FORMS:
        node = described[name]
        groups = [[entry.split(":")[0] for entry in row.split(" | ") if row] for row in CONTRACT[name][1:3]]
        assert [list(node["input"].get(group, {})) for group in ("required", "optional")] == groups
        assert node["deprecated"] and node["category"] and "image-prompt-adapter" in node["python_module"]


def test_krita_finds_its_models(described: Mapping[str, Any]) -> None:
    """A list in a list, and in it a name that holds each of these, whatever its case."""
    (names,) = described["IPAdapterModelLoader"]["input"]["required"]["ipadapter_file"]
    needed = ("ip-adapter_sd15", "ip-adapter_sdxl_vit-h", "ip-adapter-faceid-plusv2_sd15")
    assert all(any(word in name.lower() for name in names) for word in needed)


def test_swarm_finds_its_menus(described: Mapping[str, Any]) -> None:
    menus = {
        ("IPAdapter", "weight_type"): MENUS["simple"],
        ("IPAdapterUnifiedLoader", "preset"): MENUS["presets"],
        ("IPAdapterUnifiedLoaderFaceID", "preset"): MENUS["faces"],
    }
    for (node, name), options in menus.items():
        assert described[node]["input"]["required"][name][0] == list(options)
    assert "model_name" not in described["IPAdapter"]["input"]["required"]


# Graphs


def scene(reference: str) -> tuple[Graph, dict[str, Link]]:
    """A graph of the laboratory without a sampler, and what image prompts are made of."""
    graph = Graph()
    model, _ = graph.add("LoadLabModel", name="base")
    image = graph.add("LoadImage", image=reference)
    return graph, outputs_of(model) | {"clip_vision": [model, 3], "image": image}


def outputs_of(model: str | int) -> dict[str, Link]:
    """What a loader of checkpoints gives."""
    return {name: [model, slot] for slot, name in enumerate(("model", "clip", "vae"))}


def published(reference: str) -> tuple[Graph, dict[str, Link]]:
    """The same with the stand-in of SD1.5."""
    graph = Graph()
    model, _ = graph.add("CheckpointLoaderSimple", ckpt_name=CHECKPOINT)
    vision, image = graph.add("CLIPVisionLoader", clip_name=VIT_H), graph.add("LoadImage", image=reference)
    return graph, outputs_of(model) | {"clip_vision": vision, "image": image}


def shallow(reference: str) -> tuple[Graph, dict[str, Link]]:
    """The same with an encoder of few layers."""
    graph, made = published(reference)
    return with_few_layers(graph), made


def drawn(studio: Studio, graph: Graph, made: Mapping[str, Link], model: Link, latent: Link | None = None) -> Any:
    """One step of a small picture, sent without titles, as programs send it."""
    text = graph.add("CLIPTextEncode", clip=made["clip"], text="")
    empty = latent or graph.add("EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1)
    settings = {"seed": 1, "steps": 1, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
    sampled = graph.add("KSampler", model=model, positive=text, negative=text, latent_image=empty, **settings)
    graph.add("SaveImage", images=graph.add("VAEDecode", samples=sampled, vae=made["vae"]), filename_prefix="program")
    for node in graph.nodes.values():
        node.pop("_meta", None)
    return studio.draw(graph)


def applied(graph: Graph, model: Link, adapter: Link, prompt: Link, **how: Any) -> Link:
    """With this pack's own nodes."""
    return graph.add("ApplyIPAdapter", model=model, ip_adapter=adapter, image_prompt=prompt, **USUAL | how)


def encoded(graph: Graph, made: Mapping[str, Link]) -> Link:
    return graph.add("EncodeImagePrompt", clip_vision=made["clip_vision"], image=made["image"], fit="crop")


def times(graph: Graph, prompt: Link, factor: float) -> Link:
    """A prompt's features times a number: the sum with none of itself."""
    return combined(graph, "add", f"{factor}, 0", [prompt, prompt])


def combined(graph: Graph, how: str, weights: str, prompts: list[Link]) -> Link:
    many = {f"image_prompts.image_prompt{number}": link for number, link in enumerate(prompts)}
    return graph.add("CombineImagePrompts", how=how, weights=weights, **many)


# Krita AI Diffusion


def referenced(graph: Graph, made: Mapping[str, Link], strengths: tuple[float, ...], **more: Any) -> Link:
    """An encoder for each strength, put together where there are several, and applied."""
    read = {name: made[name] for name in ("image", "ipadapter", "clip_vision")}
    every = [graph.add("IPAdapterEncoder", **read, weight=strength) for strength in strengths]
    several = {f"embed{number}": link for number, link in enumerate(every, 1)}
    embeds = graph.add("IPAdapterCombineEmbeds", method="concat", **several) if len(every) > 1 else every[0]
    linked = {name: made[name] for name in ("model", "ipadapter", "clip_vision")}
    usual = USUAL | {"weight_type": "linear", "embeds_scaling": "V only", "attn_mask": None}
    return graph.add("IPAdapterEmbeds", **linked, pos_embed=embeds, **usual | more)


KINDS: dict[str, tuple[str, tuple[float, ...], tuple[float, float]]] = {  # adapter, strengths, window
    "reference": ("base", (1.0,), (0.0, 1.0)),
    "three references": ("plus", (0.5, 0.75, 1.0), (0.0, 0.7)),
    "inpainting by itself": ("plus", (0.5,), (0.0, 0.8)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_krita_draws_references(kind: str, studio: Studio) -> None:
    """The strength multiplies the encoder's features; a mask that there is none of is sent as nothing."""
    file, strengths, (start_at, end_at) = KINDS[kind]
    window = {"start_at": start_at, "end_at": end_at}
    graph, made = scene(studio.photo)
    made["ipadapter"] = graph.add("IPAdapterModelLoader", ipadapter_file=LAB_FILES[file])
    seen = drawn(studio, graph, made, referenced(graph, made, strengths, **window))
    graph, made = scene(studio.photo)
    prompts = [times(graph, encoded(graph, made), strength) for strength in strengths]
    prompt = combined(graph, "concat", "", prompts) if len(prompts) > 1 else prompts[0]
    adapter = graph.add("LoadIPAdapter", ip_adapter_name=LAB_FILES[file])
    model = applied(graph, made["model"], adapter, prompt, **window)
    assert (seen == drawn(studio, graph, made, model)).all()


def test_krita_draws_a_style_and_a_composition_one_behind_the_other(studio: Studio) -> None:
    """In layers that only public models have."""
    graph, made = shallow(studio.photo)
    made["ipadapter"] = graph.add("IPAdapterModelLoader", ipadapter_file=BASE)
    for kind, weight in (("style transfer", 0.8), ("composition", 1.0)):
        made["model"] = referenced(graph, made, (1.0,), weight_type=kind, weight=weight)
    seen = drawn(studio, graph, made, made["model"])
    graph, made = shallow(studio.photo)
    adapter, prompt = graph.add("LoadIPAdapter", ip_adapter_name=BASE), encoded(graph, made)
    model = applied(graph, made["model"], adapter, prompt, layers="style transfer", weight=0.8)
    model = applied(graph, model, adapter, prompt, layers="composition")
    assert (seen == drawn(studio, graph, made, model)).all()


def masked(graph: Graph, studio: Studio) -> tuple[list[Link], Link]:
    """Two regions, and a latent to be painted anew in the first."""
    first = graph.add("LoadImageMask", image=studio.hole, channel="alpha")
    empty = graph.add("EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1)
    return [first, graph.add("InvertMask", mask=first)], graph.add("SetLatentNoiseMask", samples=empty, mask=first)


def test_krita_draws_regions_each_with_its_mask_where_it_inpaints(studio: Studio) -> None:
    graph, made = scene(studio.photo)
    masks, latent = masked(graph, studio)
    made["ipadapter"] = graph.add("IPAdapterModelLoader", ipadapter_file=LAB_FILES["plus"])
    for mask in (None, *masks):
        made["model"] = referenced(graph, made, (1.0,), attn_mask=mask, weight=0.6)
    seen = drawn(studio, graph, made, made["model"], latent)
    graph, made = scene(studio.photo)
    masks, latent = masked(graph, studio)
    adapter, prompt = graph.add("LoadIPAdapter", ip_adapter_name=LAB_FILES["plus"]), encoded(graph, made)
    model = applied(graph, made["model"], adapter, prompt, weight=0.6)
    for mask in masks:
        model = applied(graph, model, adapter, prompt, weight=0.6, mask=mask)
    assert (seen == drawn(studio, graph, made, model, latent)).all()


def faced(graph: Graph, made: Mapping[str, Link], file: str) -> Link:
    """A face at 0.8, with a loader of its own and the LoRA left to whoever sends it."""
    linked = {name: made[name] for name in ("model", "image", "clip_vision")}
    loader = graph.add("IPAdapterModelLoader", ipadapter_file=file)
    faces = graph.add("IPAdapterInsightFaceLoader", provider="CPU", model_name="buffalo_l")
    choices = {"weight_type": "linear", "combine_embeds": "concat", "embeds_scaling": "V only", "attn_mask": None}
    weights = USUAL | {"weight": 0.8, "weight_faceidv2": 1.6}
    return graph.add("IPAdapterFaceID", **linked, ipadapter=loader, insightface=faces, **weights, **choices)


def own_face(graph: Graph, made: Mapping[str, Link], file: str, lora: float) -> Link:
    """The same with this pack's own nodes."""
    faces = graph.add("LoadInsightFace", provider="CPU", model_name="buffalo_l")
    read = {"insightface": faces, "image": made["image"], "clip_vision": made["clip_vision"]}
    loaded = graph.add("LoadIPAdapter", ip_adapter_name=file)
    settings = {"version": AS_NAMED, "structure": 1.6, "lora_weight": lora}
    adapter = graph.add("FaceIDSettings", ip_adapter=loaded, **settings)
    return applied(graph, made["model"], adapter, graph.add("EncodeFacePrompt", **read), weight=0.8)


@pytest.mark.parametrize("with_reference", [False, True], ids=["face", "face and reference"])
def test_krita_draws_a_face_without_a_second_lora(with_reference: bool, studio: Studio) -> None:
    graph, made = scene(studio.face)
    made["model"] = faced(graph, made, FACE_FILE)
    made["ipadapter"] = graph.add("IPAdapterModelLoader", ipadapter_file=LAB_FILES["base"])
    model = referenced(graph, made, (1.0,), weight=0.6) if with_reference else made["model"]
    seen = drawn(studio, graph, made, model)
    graph, made = scene(studio.face)
    model = own_face(graph, made, FACE_FILE, 0.0)
    if with_reference:
        adapter = graph.add("LoadIPAdapter", ip_adapter_name=LAB_FILES["base"])
        model = applied(graph, model, adapter, encoded(graph, made), weight=0.6)
    assert (seen == drawn(studio, graph, made, model)).all()


# SwarmUI


@pytest.mark.parametrize("chosen", ["linear", "ease out"])  # its "standard" and "prompt is more important"
def test_swarm_draws_with_a_file(chosen: str, studio: Studio) -> None:
    graph, made = scene(studio.photo)
    linked = {name: made[name] for name in ("model", "image", "clip_vision")}
    loader = graph.add("IPAdapterModelLoader", ipadapter_file=LAB_FILES["base"])
    choices = {"weight_type": chosen, "combine_embeds": "concat", "embeds_scaling": "V only"}
    seen = drawn(studio, graph, made, graph.add("IPAdapterAdvanced", **linked, ipadapter=loader, **USUAL, **choices))
    graph, made = scene(studio.photo)
    adapter = graph.add("LoadIPAdapter", ip_adapter_name=LAB_FILES["base"])
    model = applied(graph, made["model"], adapter, encoded(graph, made), layers=chosen)
    assert (seen == drawn(studio, graph, made, model)).all()


def test_swarm_draws_with_the_first_versions_node(studio: Studio) -> None:
    """What it sends where it knows a loader of files alone: nothing answers to it, so that it is put right."""
    graph, made = scene(studio.photo)
    linked = {name: made[name] for name in ("model", "image", "clip_vision")}
    loader = graph.add("IPAdapterModelLoader", ipadapter_file=LAB_FILES["base"])
    choices = {"weight": 0.8, "noise": 0.0, "weight_type": "original"}
    seen = drawn(studio, graph, made, graph.add("IPAdapterApply", **linked, ipadapter=loader, **choices))
    graph, made = scene(studio.photo)
    adapter = graph.add("LoadIPAdapter", ip_adapter_name=LAB_FILES["base"])
    model = applied(graph, made["model"], adapter, encoded(graph, made), weight=0.8)
    assert (seen == drawn(studio, graph, made, model)).all()


def test_a_node_of_another_pack_is_refused_under_its_makers_name(studio: Studio) -> None:
    """What Swarm sends where it knows none of these ids."""
    graph, made = scene(studio.photo)
    linked = {name: made[name] for name in ("model", "image", "clip_vision")}
    model = graph.add("IPAdapter", **linked, weight=1.0, model_name=LAB_FILES["base"], dtype="fp16")
    with pytest.raises(PromptRejectedError, match="IPAdapter .laksjdjf/IPAdapter-ComfyUI."):
        drawn(studio, graph, made, model)


def by_preset(graph: Graph, made: Mapping[str, Link], node: str, weight_type: str, **preset: Any) -> Link:
    """A loader by preset, and the simplest node: what reads the picture travels with the adapter."""
    loader = graph.add(node, model=made["model"], **preset)
    linked = {"model": loader, "ipadapter": [loader[0], 1], "image": made["image"]}
    return graph.add("IPAdapter", **linked, **USUAL | {"weight": 0.8}, weight_type=weight_type)


def test_swarm_draws_with_a_preset(studio: Studio) -> None:
    graph, made = published(studio.photo)
    chosen = {"preset": MENUS["presets"][1]}
    model = by_preset(graph, made, "IPAdapterUnifiedLoader", "prompt is more important", **chosen)
    seen = drawn(studio, graph, made, model)
    graph, made = published(studio.photo)
    adapter = graph.add("LoadIPAdapter", ip_adapter_name=BASE)
    model = applied(graph, made["model"], adapter, encoded(graph, made), weight=0.8, layers="ease out")
    assert (seen == drawn(studio, graph, made, model)).all()


def test_swarm_draws_a_face_with_what_the_loader_hands_on(studio: Studio) -> None:
    """FaceID Plus v2 follows the picture of the face at twice the weight, as the old pack has it."""
    graph, made = published(studio.face)
    chosen = {"preset": "FACEID PLUS V2", "lora_strength": 0.6, "provider": "CPU"}
    seen = drawn(studio, graph, made, by_preset(graph, made, "IPAdapterUnifiedLoaderFaceID", "standard", **chosen))
    graph, made = published(studio.face)
    assert (seen == drawn(studio, graph, made, own_face(graph, made, FACE_STAND_IN, 0.6))).all()


# Every node


def test_every_old_node_runs_as_the_host_calls_it(studio: Studio) -> None:
    """One prompt of all 37, everything linked, each output looked at; models are not sampled."""
    keep_embeds(studio)
    built = LegacyGraph()
    for name, form in LEGACY_FORMS.items():
        number = built.add_legacy(name)
        for slot, _ in enumerate(form.outputs):
            built.add("TestSink", {"any": (number, slot)})
    graph = with_makers(Graph(built.api), studio)
    for class_type, values in VALUES.items():
        graph = graph.change(class_type, **values)
    # This one has no input for an encoder: it comes with what a loader by preset has found.
    graph.inputs("IPAdapter")["ipadapter"] = [graph.only("IPAdapterUnifiedLoader"), 1]
    outcome = studio.run(graph).outcome
    assert not outcome.faults and set(graph.ids("PreviewAny")) <= set(outcome.outputs)


VALUES: dict[str, dict[str, Any]] = {
    "IPAdapterModelLoader": {"ipadapter_file": SMALL_ADAPTER},
    "IPAdapterUnifiedLoader": {"preset": MENUS["presets"][1]},
    "IPAdapterUnifiedLoaderFaceID": {"preset": "FACEID PLUS V2"},
    "IPAdapterLoadEmbeds": {"embeds": KEPT[BASE]},
}


def with_makers(graph: Graph, studio: Studio) -> Graph:
    """The graph with nodes of the host in the place of the tests' own."""
    (model,) = graph.ids("TestMODEL")
    made: dict[str, tuple[str, dict[str, Any]]] = {
        "TestMODEL": ("CheckpointLoaderSimple", {"ckpt_name": CHECKPOINT}),
        "TestIMAGE": ("LoadImage", {"image": studio.face}),
        "TestMASK": ("SolidMask", {"value": 1.0, "width": SIDE, "height": SIDE}),
        "TestCLIP_VISION": ("LoadOpenCLIPVision", {"clip_name": SMALL_ENCODER, "architecture": "auto"}),
        "TestCONDITIONING": ("CLIPTextEncode", {"clip": [model, 1], "text": ""}),
    }
    for old, (name, inputs) in made.items():
        for node_id in graph.ids(old):
            graph.nodes[node_id] |= {"class_type": name, "inputs": inputs}
    for node_id in graph.ids("TestSink"):
        looked_at = graph.nodes[node_id]["inputs"]["any"]
        graph.nodes[node_id] |= {"class_type": "PreviewAny", "inputs": {"source": looked_at}}
    return graph
