"""Every input of every node that gets nothing, or a batch of nothing, from its link: one sentence, or it works."""

from __future__ import annotations

import asyncio
from typing import Any

import folder_paths
import pytest
import torch
from comfy_api.internal import make_locked_method_func
from comfy_api.v0_0_2 import io
from insightface.app import FaceAnalysis
from pack.ipadapter.attention.maps import AttentionRecord
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.faces.models import register_face_folder
from pack.ipadapter.host.files import register_adapter_folder
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength, StrengthParts
from pack.nodes.encode import EncodeImagePrompt
from pack.nodes.extension import IPAdapterExtension
from pack.nodes.faces import EncodeFacePrompt
from pack.nodes.legacy.params import LegacyIPAdapterRegion

from tests.faces import write_pack
from tests.host.test_encoder import EMBED, encoder
from tests.small import MICRO, make_pair
from tests.world import adapter_file, conditioning, host_adapter

register_adapter_folder()
register_face_folder()
NODES = {node.__name__: node for node in asyncio.run(IPAdapterExtension().get_node_list())}
INPUTS = [(name, one.id) for name, node in NODES.items() for one in node.GET_SCHEMA().inputs]
SHORT = {"steps": 1, "batch_size": 1}  # a training
PICTURES = torch.rand(2, 64, 64, 3)


@pytest.fixture(scope="module")
def insightface(tmp_path_factory):
    made = FaceAnalysis(
        str(write_pack(tmp_path_factory.mktemp("packs") / "buffalo_l")),
        allowed_modules=["detection", "recognition"],
        providers=["CPUExecutionProvider"],
    )
    made.prepare(ctx_id=0, det_size=(640, 640))
    return made


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "get_output_directory", lambda: str(tmp_path))
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path))


@pytest.fixture(scope="module")
@torch.inference_mode()
def sockets(insightface) -> dict[str, Any]:
    """Something of every kind that a link may bring."""
    adapter = host_adapter(adapter_file(MICRO, "base", embed=EMBED))
    prompt = EncodeImagePrompt.execute(encoder(), PICTURES[:1], "crop").result[0]
    return {
        "INSIGHTFACE": insightface,
        "MODEL": apply_image_prompt(make_pair(MICRO).host, adapter, prompt, Strength()),
        "IP_ADAPTER": adapter,
        "CLIP_VISION": encoder(),
        "IMAGE": PICTURES,
        "MASK": torch.ones(1, 64, 64),
        "IMAGE_PROMPT": prompt,
        "CONDITIONING": conditioning(MICRO, 1),
        "LATENT": {"samples": torch.rand(2, 4, 8, 8)},
        "IMAGE_PROMPT_STRENGTH": StrengthParts(),
        "IMAGE_PROMPT_RECORD": AttentionRecord(),
        "IPADAPTER_PARAMS": LegacyIPAdapterRegion.execute(PICTURES, 1.0, 1.0, "linear", 0.0, 1.0).result[0],
        "WEIGHTS_STRATEGY": {"weights": "1, 0"},
        "CURVE": [[0.0, 1.0], [1.0, 0.0]],
        "COMFY_AUTOGROW_V3": {"image_prompt0": prompt, "image_prompt1": prompt},
    }


def value_of(one: io.Input, sockets: dict[str, Any]) -> Any:
    """Something for an input."""
    if one.id in SHORT:
        return SHORT[one.id]
    if one.io_type in sockets:
        return sockets[one.io_type]
    default = getattr(one, "default", None)
    options = getattr(one, "options", None) or [""]
    return options[0] if default is None else default


def run(node, changed: str, value: Any, sockets: dict[str, Any]) -> str | None:
    """What a node says of a value for one of its inputs; None where it works."""
    schema = node.GET_SCHEMA()
    given = {one.id: value_of(one, sockets) for one in schema.inputs if not one.optional}
    given = given | {changed: value}
    if schema.is_input_list:
        given = {name: [one] for name, one in given.items()}
    try:
        node.PREPARE_CLASS_CLONE(None).execute(**given)
    except IPAdapterError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("name", "changed"), INPUTS)
def test_nothing_is_said_in_a_sentence_or_is_no_link(name, changed, sockets):
    one = next(one for one in NODES[name].GET_SCHEMA().inputs if one.id == changed)
    said = run(NODES[name], changed, None, sockets)
    if not one.optional:
        assert said is not None and said.startswith(f"{changed} is nothing")
    if said is not None:
        assert said.endswith(".") and "\n" not in said and len(said) < 500


EMPTY = {
    "IMAGE": torch.zeros(0, 64, 64, 3),
    "MASK": torch.zeros(0, 64, 64),
    "CONDITIONING": [],
    "LATENT": {"samples": torch.zeros(0, 4, 8, 8)},
    "STRING": "",
    "IPADAPTER_PARAMS": (),
    "WEIGHTS_STRATEGY": {},
    "CURVE": [],
    "COMFY_AUTOGROW_V3": {},
}
EMPTIED = [(name, one.id) for name, node in NODES.items() for one in node.GET_SCHEMA().inputs if one.io_type in EMPTY]


@pytest.mark.parametrize(("name", "changed"), EMPTIED)
def test_an_empty_batch_or_text_is_said_in_a_sentence_or_works(name, changed, sockets):
    one = next(one for one in NODES[name].GET_SCHEMA().inputs if one.id == changed)
    said = run(NODES[name], changed, EMPTY[one.io_type], sockets)
    if one.io_type in ("IMAGE", "MASK"):
        assert said is not None and said.startswith(f"{changed} has shape [0, ") and "empty batch" in said
    if said is not None:
        assert said.endswith(".") and "\n" not in said and len(said) < 500


def test_what_find_ip_adapter_has_none_of_is_told_where_it_is_missed():
    with pytest.raises(IPAdapterError, match="clip_vision is nothing .*reads faces alone, which Encode Face Prompt"):
        EncodeImagePrompt.execute(None, PICTURES, "crop")
    with pytest.raises(IPAdapterError, match="insightface is nothing .*reads no faces, which Encode Image Prompt"):
        EncodeFacePrompt.execute(None, PICTURES, "largest", 1.0)


def test_the_hosts_own_copy_of_a_node_looks_too():
    """It makes and locks one for each run."""
    run = make_locked_method_func(EncodeImagePrompt, "execute", EncodeImagePrompt.PREPARE_CLASS_CLONE(None))
    with pytest.raises(IPAdapterError, match="clip_vision is nothing"):
        run(clip_vision=None, image=PICTURES, fit="crop")
    assert run(clip_vision=encoder(), image=PICTURES, fit="crop").result[0].parts
