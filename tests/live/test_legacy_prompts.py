"""Prompts made for ComfyUI_IPAdapter_plus, sent to a server that does not have it."""

from __future__ import annotations

import pytest
from pack.ipadapter.legacy.migration.legacy_nodes import LEGACY_FORMS

from tests.live.files import SMALL_ADAPTER
from tests.live.graph import Graph, Link
from tests.live.studio import Studio, difference

pytestmark = pytest.mark.live

STRENGTH = {"weight": 0.8, "start_at": 0.0, "end_at": 1.0}
ADVANCED = {**STRENGTH, "weight_type": "linear", "combine_embeds": "concat", "embeds_scaling": "V only"}


def without_ours(graph: Graph) -> tuple[Graph, dict[str, Link]]:
    """A graph without encoding and applying, and what an old node needs in their place."""
    old = graph.copy()
    sources = {
        "model": old.output("CheckpointLoaderSimple"),
        "image": old.output("LoadImage"),
        "clip_vision": old.output("LoadOpenCLIPVision"),
    }
    for class_type in ("EncodeImagePrompt", "ApplyIPAdapter", "LoadIPAdapter"):
        del old.nodes[old.only(class_type)]
    sources["ipadapter"] = old.add("IPAdapterModelLoader", ipadapter_file=SMALL_ADAPTER)
    return old, sources


def draw_with(studio: Studio, graph: Graph, model: Link):
    """The picture of a graph that samples a model, sent without titles, as scripts send it."""
    graph.inputs("KSampler")["model"] = model
    for node in graph.nodes.values():
        node.pop("_meta", None)
    return studio.draw(graph)


def test_nobody_answers_to_the_old_ids_where_they_are_switched_off(studio: Studio) -> None:
    assert not set(studio.json("object_info")) & set(LEGACY_FORMS)


def test_the_front_end_is_told_of_all_old_nodes(studio: Studio) -> None:
    told = studio.json("node_replacements")
    assert set(told) >= set(LEGACY_FORMS)
    assert told["IPAdapterAdvanced"][0]["new_node_id"] == "LegacyIPAdapter"


def test_old_prompts_draw_what_the_new_nodes_draw(studio: Studio) -> None:
    graph = studio.light().change("ApplyIPAdapter", **STRENGTH)
    expected = studio.draw(graph)
    old, sources = without_ours(graph)
    applied = old.add("IPAdapterAdvanced", **sources, **ADVANCED)
    assert (draw_with(studio, old, applied) == expected).all()
    assert (studio.draw(graph.change("ApplyIPAdapter", weight=0)) != expected).any()

    old, sources = without_ours(graph)
    read = {name: sources[name] for name in ("ipadapter", "image", "clip_vision")}
    encoded = old.add("IPAdapterEncoder", **read, weight=1.0)
    applied = old.add(
        "IPAdapterEmbeds",
        **{name: sources[name] for name in ("model", "ipadapter")},
        pos_embed=encoded,
        neg_embed=[encoded[0], 1],
        **STRENGTH,
        weight_type="linear",
        embeds_scaling="V only",
    )
    assert (draw_with(studio, old, applied) == expected).all()

    old, sources = without_ours(graph)
    params = old.add(
        "IPAdapterRegionalConditioning",
        image=sources.pop("image"),
        image_weight=0.8,
        prompt_weight=1.0,
        weight_type="linear",
        start_at=0.0,
        end_at=1.0,
    )
    applied = old.add(
        "IPAdapterFromParams", **sources, ipadapter_params=params, combine_embeds="concat", embeds_scaling="V only"
    )
    assert (draw_with(studio, old, applied) == expected).all()


def test_weights_by_frame_reach_the_batch(studio: Studio) -> None:
    old, sources = without_ours(studio.light())
    weights = old.add(
        "IPAdapterWeights",
        weights="1.0, 0.0",
        timing="linear",
        frames=2,
        start_frame=0,
        end_frame=9999,
        add_starting_frames=0,
        add_ending_frames=0,
        method="full batch",
    )
    applied = old.add(
        "IPAdapterBatch",
        **sources,
        weight=weights,
        weight_type="linear",
        start_at=0.0,
        end_at=1.0,
        embeds_scaling="V only",
        encode_batch_size=0,
    )
    old = old.change("EmptyLatentImage", batch_size=2)
    old.inputs("KSampler")["model"] = applied
    ((first, second),) = studio.run(old).pictures.values()
    bare = old.copy()
    bare.inputs("KSampler")["model"] = sources["model"]
    ((bare_first, bare_second),) = studio.run(bare).pictures.values()
    assert difference(second, bare_second) < 0.01 < 2 < difference(first, bare_first)
