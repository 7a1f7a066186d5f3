"""What is put in the place of files and packs that a machine lacks, before a graph is validated there."""

from __future__ import annotations

import pytest

from tools.old_graphs.prompts import ANY, LOOK, faults_of, is_file, is_old, make_ready

DESCRIBED = {
    "IPAdapterModelLoader": {
        "input": {"required": {"ipadapter_file": [["mine.safetensors"]]}},
        "output": ["IPADAPTER"],
    },
    "KSampler": {"input": {"required": {"sampler_name": ["COMBO", {"options": ["euler"]}]}}, "output": ["LATENT"]},
    "SaveImage": {"input": {"required": {"images": ["IMAGE"]}}, "output": []},
}
PROMPT = {
    "1": {"class_type": "IPAdapterModelLoader", "inputs": {"ipadapter_file": "theirs.bin"}},
    "2": {"class_type": "KSampler", "inputs": {"sampler_name": "gone", "model": ["3", 0]}},
    "3": {"class_type": "SomebodyElses", "inputs": {"model": ["1", 0]}},
    "4": {"class_type": "IPAdapterApply", "inputs": {}},
    "5": {"class_type": "SaveImage", "inputs": {"images": ["2", 0]}},
}


def test_a_file_that_is_here_stands_for_one_that_is_not_and_nothing_else_does():
    inputs = {key: node["inputs"] for key, node in make_ready(PROMPT, DESCRIBED).prompt.items()}
    assert inputs["1"] == {"ipadapter_file": "mine.safetensors"} and inputs["2"]["sampler_name"] == "gone"


def test_another_packs_node_is_taken_as_given_and_an_old_one_is_not():
    ready = make_ready(PROMPT, DESCRIBED)
    assert ready.foreign == ("SomebodyElses",) and ready.left == ("IPAdapterApply",)
    assert ready.prompt["3"] == {"class_type": ANY, "inputs": {}}


def test_every_node_is_looked_at_whatever_it_feeds():
    looks = [
        node["inputs"]["source"] for node in make_ready(PROMPT, DESCRIBED).prompt.values() if node["class_type"] == LOOK
    ]
    assert looks == [["1", 0], ["2", 0]]


@pytest.mark.parametrize(("name", "told"), [("a/b.ckpt", True), ("K+V w/ C penalty", False), ("v1.5 only", False)])
def test_a_file_is_told_by_its_ending(name, told):
    assert is_file(name) is told


def test_only_what_the_old_graphs_are_about_is_held_against_them():
    faults = {key: {"errors": [{"message": "bad", "details": "x"}]} for key in ("1", "2", "4")}
    assert list(faults_of(faults, PROMPT)) == ["IPAdapterModelLoader: bad: x", "IPAdapterApply: bad: x"]


def test_a_graph_of_another_packs_node_of_the_name_is_not_counted():
    other = {"type": "IPAdapter", "inputs": [{"name": name} for name in ("model", "image", "clip_vision")]}
    ours = {"type": "IPAdapter", "inputs": [{"name": name} for name in ("model", "ipadapter", "image")]}
    graphs = [[other | {"widgets_values": [1.0, "a.bin", "fp16"]}], [ours], [{"type": "KSampler"}]]
    assert [is_old({"nodes": nodes}) for nodes in graphs] == [False, True, False]
    assert is_old({"definitions": {"subgraphs": [{"nodes": [ours]}]}}) and is_old(PROMPT)
