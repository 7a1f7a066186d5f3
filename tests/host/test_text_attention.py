"""The attention to the text stays the host's, whichever function that is, with heads apart where it takes them so."""

from __future__ import annotations

from functools import wraps
from itertools import combinations

import comfy.ldm.modules.attention as host_attention
import pytest
import torch
from comfy_extras.nodes_torch_compile import TorchCompileModel
from pack.ipadapter.host.backbones.text_attention import OVERRIDE, TAKE_HEADS, host_text_attention
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.curve import WeightCurve
from pack.ipadapter.strength.strength import Strength

from tests.image_prompts import image_prompt
from tests.oracle.reference import Features, reference_with, roles_by_cfg
from tests.small import MICRO, SD15, make_pair
from tests.world import Settings, adapter_file, host_adapter, picture, sample

TOLERANCE = 1e-5
BATCH = Settings(steps=1, batch=2)
NAMES = ("attention_basic", "attention_split", "attention_sub_quad", "attention_pytorch")
LEFT = torch.zeros(1, 128, 128)
LEFT[..., :64] = 1
MASKS = {"everywhere": None, "masked": LEFT, "a mask each": torch.cat([LEFT, 1 - LEFT])}


def applied(model=None, layout=SD15, strength=None, mask=None):
    adapter = host_adapter(adapter_file(layout, "plus"))
    return apply_image_prompt(model or make_pair(layout).host, adapter, image_prompt(), strength or Strength(), mask)


def distance(model, settings: Settings = BATCH) -> float:
    """The largest difference to diffusers' noise prediction."""
    _, calls = sample(model, SD15, settings)
    reference = reference_with(SD15, [adapter_file(SD15, "plus")], 1.0)
    prompt = image_prompt()
    given = [Features(prompt.parts[0].positive.penultimate, prompt.zero_pixels.penultimate)]
    return max((reference.noise(call, roles_by_cfg(call), given) - call.output).abs().max().item() for call in calls)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two pictures are the same but for rounding."""
    return bool((one - other).abs().max() <= 3 * TOLERANCE * other.abs().max())


def replace_attention(monkeypatch, function) -> None:
    """Another function in the place of the host's, as its options or another pack put it there."""
    monkeypatch.setattr(host_attention, "optimized_attention", function)


def listening(function, heard: list[dict]):
    """The same function, which hands on the keywords of its calls."""

    @wraps(function)
    def listener(*args, **kwargs):
        heard.append(kwargs | {"dimensions": args[0].ndim})
        return function(*args, **kwargs)

    return listener


def overridden(override, **settings):
    """A model with a user's attention override, and an image prompt."""
    model = make_pair(settings.get("layout", SD15)).host.clone()
    model.model_options["transformer_options"][OVERRIDE] = override
    return applied(model, **settings)


@pytest.mark.parametrize("name", NAMES)
def test_every_attention_function_of_the_host_equals_the_reference(name, monkeypatch):
    replace_attention(monkeypatch, getattr(host_attention, name))
    assert distance(applied()) <= TOLERANCE


@pytest.mark.parametrize("name", NAMES)
def test_every_attention_function_of_the_host_is_asked_with_heads_apart(name, monkeypatch):
    heard = []
    function = listening(getattr(host_attention, name), heard)
    monkeypatch.setattr("pack.ipadapter.host.backbones.text_attention.TAKE_HEADS", (function,))
    replace_attention(monkeypatch, function)
    picture(applied(), SD15, BATCH)
    apart = [call for call in heard if call["dimensions"] == 4]
    assert len(heard) == 32 and len(apart) == 16
    assert all(call["skip_reshape"] and call["skip_output_reshape"] for call in apart)


def test_all_attention_functions_of_the_host_are_known_to_take_heads():
    wrapped = [value for name, value in vars(host_attention).items() if name.startswith(("attention_", "attention3_"))]
    assert {getattr(host_attention, name) for name in NAMES} <= set(wrapped) <= set(TAKE_HEADS)


def test_precision_and_options_are_passed_on(monkeypatch):
    heard = []
    function = listening(host_attention.attention_split, heard)
    monkeypatch.setattr("pack.ipadapter.host.backbones.text_attention.TAKE_HEADS", (function,))
    replace_attention(monkeypatch, function)
    model = make_pair(MICRO).host.clone()
    for block in ("input_blocks.1.1", "middle_block.1"):
        model.add_object_patch(f"diffusion_model.{block}.transformer_blocks.0.attn_precision", torch.float32)
    picture(applied(model, MICRO), MICRO, BATCH)
    apart = [call for call in heard if call["dimensions"] == 4]
    by_place = {call["transformer_options"]["block"][0]: call["attn_precision"] for call in apart}
    assert by_place == {"input": torch.float32, "middle": torch.float32, "output": None}


def test_heads_that_come_back_together_in_spite_of_being_asked_apart_are_right(monkeypatch):
    """The host's attention over more rows than its limit gives them so."""
    monkeypatch.setattr(host_attention, "SDP_BATCH_LIMIT", 2)
    replace_attention(monkeypatch, host_attention.attention_pytorch)
    assert distance(applied()) <= TOLERANCE


def together_only(q, k, v, heads, mask=None, attn_precision=None, skip_reshape=False, **kwargs):
    """A function from before heads could come back apart."""
    assert not skip_reshape and "skip_output_reshape" not in kwargs
    return host_attention.attention_basic(q, k, v, heads, attn_precision=attn_precision)


@pytest.mark.parametrize("mask", MASKS)
def test_a_function_that_takes_no_heads_is_called_as_the_bare_model_calls_it(mask, monkeypatch):
    model = applied(mask=MASKS[mask])
    expected = picture(model, SD15, BATCH)
    replace_attention(monkeypatch, together_only)
    assert same(picture(model, SD15, BATCH), expected)


def calls_basic(func, *args, **kwargs):
    """As most overrides are: another function of the host's signature."""
    return host_attention.attention_basic.__wrapped__(*args, **kwargs)


def expects_heads_together(func, q, k, v, heads, **kwargs):
    """One that knows the layout of a UNet's layers only."""
    rows, length, channels = q.shape
    apart = [x.reshape(rows, -1, heads, channels // heads).transpose(1, 2) for x in (q, k, v)]
    out = torch.nn.functional.scaled_dot_product_attention(*apart)
    return out.transpose(1, 2).reshape(rows, length, channels)


OVERRIDES = {
    "handing on": lambda func, *args, **kwargs: func(*args, **kwargs),
    "calling another function": calls_basic,
    "expecting heads together": expects_heads_together,
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_a_users_attention_override_equals_the_reference(name):
    assert distance(overridden(OVERRIDES[name])) <= TOLERANCE


@pytest.mark.parametrize("mask", MASKS)
def test_a_users_attention_override_keeps_to_masks(mask):
    expected = picture(applied(mask=MASKS[mask]), SD15, BATCH)
    for override in OVERRIDES.values():
        assert same(picture(overridden(override, mask=MASKS[mask]), SD15, BATCH), expected)


def test_a_users_attention_override_is_called_as_in_the_bare_model():
    bare, ours = [], []
    for heard, image in ((bare, False), (ours, True)):
        override = listening(host_attention.attention_pytorch.__wrapped__, heard)
        model = make_pair(MICRO).host.clone()
        model.model_options["transformer_options"][OVERRIDE] = lambda func, *args, o=override, **kw: o(*args, **kw)
        picture(applied(model, MICRO) if image else model, MICRO, Settings(steps=1))
    told = [[{key for key in call} | {call["dimensions"]} for call in heard] for heard in (bare, ours)]
    assert told[0] == told[1] and len(ours) == 8


@pytest.mark.filterwarnings("ignore")
def test_a_users_attention_override_is_right_in_a_compiled_model():
    torch._dynamo.reset()
    for override in (expects_heads_together, None, expects_heads_together):
        model = overridden(override, layout=MICRO) if override else applied(layout=MICRO)
        compiled = TorchCompileModel.execute(model, "eager").result[0]
        assert same(picture(compiled, MICRO, BATCH), picture(model, MICRO, BATCH))
    torch._dynamo.reset()


@pytest.mark.parametrize("mask", MASKS)
def test_another_packs_text_attention_is_added_to(mask):
    expected = picture(applied(mask=MASKS[mask]), SD15, BATCH)
    model = make_pair(SD15).host.clone()
    for place in applied().model_options["transformer_options"]["patches_replace"]["attn2"]:
        model.set_model_attn2_replace(lambda q, k, v, extra: host_text_attention(q, k, v, extra), *place)
    assert same(picture(applied(model, mask=MASKS[mask]), SD15, BATCH), expected)


def test_the_comparison_would_notice_a_missing_image_or_mask():
    pictures = [picture(applied(mask=mask), SD15, BATCH) for mask in MASKS.values()]
    pictures.append(picture(make_pair(SD15).host, SD15, BATCH))
    assert not any(same(one, other) for one, other in combinations(pictures, 2))


def test_a_level_of_a_curve_reaches_every_picture_of_a_call():
    half = Strength(curves=(WeightCurve(((0.0, 0.5), (1.0, 0.5))),))
    curved, plain = (picture(applied(strength=strength), SD15, BATCH) for strength in (half, Strength(0.5)))
    assert same(curved, plain)


def repeating_rows(model, times: int):
    """A model in which a node attends to several texts at once: rows are repeated for a layer, then the first kept."""
    model = model.clone()
    model.set_model_attn2_patch(lambda n, k, v, extra: [x.repeat(times, 1, 1) for x in (n, k, v)])
    model.set_model_attn2_output_patch(lambda n, extra: n.chunk(times)[0])
    return model


@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("batch", [1, 2])
def test_rows_that_another_node_repeats_follow_their_conditionings(batch, cfg):
    settings = Settings(steps=1, cfg=cfg, batch=batch)
    model = applied(layout=MICRO)
    assert same(picture(repeating_rows(model, 3), MICRO, settings), picture(model, MICRO, settings))
