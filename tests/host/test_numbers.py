"""Every number of every node, typed, linked or read: finite and in range, or one sentence that names it."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from comfy_api.v0_0_2 import io
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.ipadapter.adapters.face_settings import FaceSettings
from pack.ipadapter.adapters.provenance import Provenance
from pack.ipadapter.backbones.known import find_layers
from pack.ipadapter.backbones.unet import UNET
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.faces.models import register_face_folder
from pack.ipadapter.host.files import register_adapter_folder
from pack.ipadapter.host.node import Node, number_inputs
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.legacy.settings import LegacySettings, strengths_of
from pack.ipadapter.legacy.weights_strategy import WeightsStrategy, schedule_of
from pack.ipadapter.prompts.prompt import Part
from pack.ipadapter.prompts.reading import Reading
from pack.ipadapter.prompts.weights import read_image_weights
from pack.ipadapter.strength.curve import Interpolation, WeightCurve, read_keyframes
from pack.ipadapter.strength.frames import FrameTiming, timed_weights
from pack.ipadapter.strength.layers import LevelRule, PresetRule, TypedRule, read_layer_weights, weigh_layers
from pack.ipadapter.strength.strength import Scaling, Strength
from pack.ipadapter.training.recipe import Drops, Recipe
from pack.nodes.extension import IPAdapterExtension

from tests import small
from tests.image_prompts import image_prompt
from tests.refusals import refusal
from tests.world import Settings, adapter_file, host_adapter, picture

register_adapter_folder()
register_face_folder()
NODES = {node.__name__: node for node in asyncio.run(IPAdapterExtension().get_node_list())}
NUMBERS = [(name, one, allowed) for name, node in NODES.items() for one, allowed in number_inputs(node.GET_SCHEMA())]
NO_NUMBERS = [
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    -(10**400),
    "0.5",
    "nan",
    1j,
    [math.nan],
    [math.inf, 1.0],
    object(),
]


def sentence_of(attempt: Callable[[], object]) -> str:
    text = refusal(attempt)
    assert len(text) < 300, text
    return text


def given_to(node: type[Node], name: str, value: object) -> dict[str, Any]:
    """Something for every input, and a value for one."""
    numbers = dict(number_inputs(node.GET_SCHEMA()))
    names = [one.id for one in node.GET_SCHEMA().inputs]
    others = {one: numbers[one].high if one in numbers else object() for one in names}
    return listed(node, others | {name: value})


def listed(node: type[Node], inputs: dict[str, Any]) -> dict[str, Any]:
    """As the host hands them to a node that takes lists."""
    return {key: [value] for key, value in inputs.items()} if node.GET_SCHEMA().is_input_list else inputs


def test_every_node_is_of_the_kind_that_looks_at_its_numbers():
    assert NODES and all(issubclass(node, Node) for node in NODES.values())
    declared = [
        one
        for node in NODES.values()
        for one in node.GET_SCHEMA().inputs
        if isinstance(one, (io.Int.Input, io.Float.Input))
    ]
    assert len(NUMBERS) == len(declared) > 60


@pytest.mark.parametrize(("name", "one", "allowed"), NUMBERS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_number_that_is_none_or_out_of_range_is_refused_by_name(name, one, allowed):
    node = NODES[name]
    beyond = [allowed.low - 1, allowed.high + 1 + abs(allowed.high) * 1e-6]
    broken = [allowed.low + 0.5] if allowed.whole else []
    for value in [*NO_NUMBERS, *beyond, *broken]:
        told = sentence_of(lambda value=value: node.execute(**given_to(node, one, value)))
        assert told.startswith(one) and "is needed" in told, (one, value, told)


@pytest.mark.parametrize(("name", "one", "allowed"), NUMBERS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_number_in_its_range_is_not_refused(name, one, allowed):
    node = NODES[name]
    for value in (
        allowed.low,
        allowed.high,
        int(allowed.low + 1) if allowed.whole else (allowed.low + allowed.high) / 2,
    ):
        try:
            node.execute(**given_to(node, one, value))
        except Exception as error:  # of the inputs that are nothing
            assert "is needed" not in str(error), (one, value, error)


NOT_TYPED = ["nan", "inf", "-infinity", "1e400", "1001", "-1e9", "--1", "0x10", "½", "9" * 5000, "1,", "\ud800", "\0"]


def read_frames(text: str) -> object:
    return timed_weights(text, FrameTiming.LINEAR, 3)


def read_curve(text: str) -> object:
    return read_keyframes(text, Interpolation.LINEAR)


def read_layers(text: str) -> object:
    layers = find_layers(small.make_pair(small.SD15).host.model.diffusion_model)
    return weigh_layers([read_layer_weights(text)], layers)


TEXTS: dict[tuple[str, str], Callable[[str], object]] = {
    ("EncodeImagePrompt", "weights"): read_image_weights,
    ("EncodeFacePrompt", "weights"): read_image_weights,
    ("CombineImagePrompts", "weights"): read_image_weights,
    ("ImagePromptFrames", "weights"): read_frames,
    ("ImagePromptCurve", "keyframes"): read_curve,
    ("ImagePromptLayers", "weights"): read_layers,
    ("LegacyIPAdapterWeights", "weights"): lambda text: schedule_of(WeightsStrategy(text), 0),
    ("LegacyIPAdapter", "layer_weights"): lambda text: strengths_of(LegacySettings(layer_weights=text)),
}
NOT_NUMBERS = {
    "filename_prefix",
    "license",
    "captions",
    "caption_prefix",
    "measures",
    "column_labels",
    "row_labels",
    "title",
    "prompt",
}


def test_every_text_with_numbers_in_it_is_walked_below():
    texts = [
        (name, one.id)
        for name, node in NODES.items()
        for one in node.GET_SCHEMA().inputs
        if isinstance(one, io.String.Input) and one.id not in NOT_NUMBERS
    ]
    assert {(name, one) for name, one in texts} == set(TEXTS)


FORMS = {
    read_curve: ("0: {}", "{}: 1", "0: 1, 0.5: {}"),
    read_layers: ("0: {}", "{}: 1", "input {}: 1", "input 8.{}: 1"),
}


@pytest.mark.parametrize("which", TEXTS, ids="-".join)
@pytest.mark.parametrize("typed", NOT_TYPED, ids=lambda text: ascii(text)[:12])
def test_a_typed_number_that_is_none_or_out_of_range_is_refused(which, typed):
    read = TEXTS[which]
    forms = FORMS.get(read, FORMS[read_layers][:1] if which[1] == "layer_weights" else ("{}", "1, {}"))
    for form in forms if typed != "1," else []:
        sentence_of(lambda form=form: read(form.format(typed)))


@pytest.mark.parametrize("which", TEXTS, ids="-".join)
@given(text=st.text(st.sampled_from("0123456789.,:;-+eE naif%\n²٣_"), max_size=40))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_text_is_read_or_refused_in_a_sentence(which, text):
    try:
        TEXTS[which](text)
    except IPAdapterError as error:
        assert str(error).rstrip().endswith(".")


WINDOWS = [(20, 80), (-0.1, 1), (0, 1.1), (0.8, 0.2), (0.5, 0.5), (math.nan, 1), (0, math.nan), (-math.inf, math.inf)]


@pytest.mark.parametrize(("start", "end"), WINDOWS)
def test_a_window_that_is_none_is_refused_in_one_sentence(start, end):
    """When the node runs: the host would say what it is told before once for each of the two inputs."""
    told = sentence_of(lambda: Strength(1.0, start, end))
    assert "start_at" in told or "end_at" in told
    for name in ("ApplyIPAdapter", "ApplyIPAdapterToConditioning"):
        rest = {one.id: getattr(one, "default", None) or object() for one in NODES[name].GET_SCHEMA().inputs}
        said = sentence_of(partial(NODES[name].execute, **rest | {"start_at": start, "end_at": end}))
        assert told.startswith(said.rstrip("."))
    assert "_at" in sentence_of(lambda: strengths_of(LegacySettings(start_at=start, end_at=end)))


BAD = [math.nan, math.inf, -math.inf, 1001.0, -2000, 10**400, "1", None]
ENTRANCES: dict[str, Callable[[Any], object]] = {
    "weight": lambda bad: Strength(bad),
    "frames": lambda bad: Strength(frames=(1.0, bad)),
    "curve": lambda bad: WeightCurve(((0.0, 1.0), (1.0, bad))),
    "position": lambda bad: WeightCurve(((bad, 1.0),)),
    "preset": lambda bad: PresetRule("linear", bad),
    "level": lambda bad: LevelRule({"output 3": bad}),
    "layer": lambda bad: TypedRule((("all", bad),)),
    "part": lambda bad: Part(image_prompt().parts[0].positive, weight=bad),
    "image": lambda bad: Part(image_prompt().parts[0].positive, weights=(bad,)),
    "detail": lambda bad: Reading(detail_weight=bad),
    "references": lambda bad: Reading(weights=(1.0, bad)),
    "structure": lambda bad: FaceSettings(structure=bad),
    "lora": lambda bad: FaceSettings(lora=bad),
    "kolors": lambda bad: FaceSettings(narrowed=bad),
}


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: repr(bad)[:9])
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_whatever_makes_a_strength_or_a_prompt_refuses_it(entrance, bad):
    sentence_of(lambda: ENTRANCES[entrance](bad))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0, 2.0])
def test_a_recipe_refuses_it(bad):
    for attempt in (lambda: Recipe(weight_decay=bad), lambda: Drops(bad, 0.0, 0.0), lambda: Drops(0.0, 0.0, bad)):
        sentence_of(attempt)
    if bad != 2.0:
        sentence_of(lambda: Recipe(learning_rate=bad))


@pytest.mark.parametrize("name", ["frames", "start_frame", "end_frame", "add_starting_frames", "frame_count"])
@pytest.mark.parametrize("bad", [*BAD[:3], -1, 10**12, 10**400, 1.5, "3", None, [3]], ids=lambda bad: repr(bad)[:9])
def test_settings_of_another_packs_node_are_refused(name, bad):
    assert name in sentence_of(lambda: WeightsStrategy.read({"weights": "1", name: bad}))


@pytest.mark.parametrize("other", [{"timing": "sometimes"}, {"method": 3}, {"weights": 3}, {"weights": None}])
def test_settings_that_no_such_node_has_are_refused(other):
    sentence_of(lambda: WeightsStrategy.read({"weights": "1"} | other))


@pytest.mark.parametrize("steps", ["9" * 5000, "²", "-1", "nan", "1e400", "", "٣" * 30])
def test_a_count_of_steps_that_is_none_is_not_believed(steps):
    assert Provenance.read({"format": "ip-adapter", "steps": steps}).steps == 0


@pytest.mark.parametrize("scaling", Scaling)
def test_weights_that_multiply_beyond_half_precision_are_refused_and_those_below_draw(scaling):
    adapter, model = host_adapter(adapter_file(small.SD15, "base")), small.make_pair(small.SD15).host
    loud = LevelRule(dict.fromkeys(UNET.levels, 1000.0))
    curve = WeightCurve(((0.0, 1000.0), (1.0, 0.0)))
    for strength in (
        Strength(1000.0, layers=(loud,), scaling=scaling),
        Strength(1000.0, curves=(curve,), scaling=scaling),
        Strength(1000.0, frames=(1.0, 1000.0), scaling=scaling),
    ):
        assert "black" in sentence_of(
            lambda strength=strength: apply_image_prompt(model, adapter, image_prompt(), strength)
        )
    drawn = apply_image_prompt(
        model, adapter, image_prompt(), Strength(5.0, layers=(LevelRule(dict.fromkeys(UNET.levels, 2.0)),))
    )
    assert torch.isfinite(picture(drawn, small.SD15, Settings(steps=1))).all()


@pytest.mark.parametrize("name", NODES)
def test_the_copy_of_a_node_that_the_host_runs_looks_at_its_numbers_too(name):
    copy = NODES[name].PREPARE_CLASS_CLONE(None)
    for one, allowed in number_inputs(NODES[name].GET_SCHEMA()):
        given = given_to(NODES[name], one, math.nan)
        assert str(allowed) in sentence_of(lambda given=given: copy.EXECUTE_NORMALIZED(**given))


def test_the_signature_of_execute_stays():
    for node in NODES.values():
        assert "args" not in inspect.signature(node.execute).parameters
