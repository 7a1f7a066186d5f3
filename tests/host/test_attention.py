"""Recording where image prompts act: what is kept, when, at what cost, and the pictures drawn of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import comfy.samplers
import folder_paths
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_torch_compile import TorchCompileModel
from pack.ipadapter.attention.maps import LARGEST, AttentionRecord, Gathering
from pack.ipadapter.attention.masks import resize_mask
from pack.ipadapter.attention.selection import MapChoice, describe, select
from pack.ipadapter.drawing.heat_map import SCALES
from pack.ipadapter.host.backbones.text_attention import OVERRIDE
from pack.ipadapter.host.backbones.unet import RecordingPatch
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.host.sampling.recording import record_image_prompt
from pack.ipadapter.strength.layers import LevelRule, TypedRule
from pack.ipadapter.strength.strength import Strength
from pack.nodes.attention import ImagePromptAttention, RecordImagePromptAttention

import nodes as host_nodes
from tests import world
from tests.image_prompts import image_prompt
from tests.refusals import refusal
from tests.small import MICRO, SD15, SDXL, Layout, make_pair
from tests.world import Settings, adapter_file, conditioning, host_adapter, picture, windowed
from tools.bench import counting

FOUR_STEPS, TWO_PICTURES = Settings(steps=4), Settings(batch=2)
LEFT = torch.zeros(1, 128, 128)
LEFT[..., :64] = 1


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(folder_paths, "get_temp_directory", lambda: str(tmp_path))
    return tmp_path


def applied(layout: Layout = MICRO, model=None, seed: int = 1, strength: Strength | None = None, mask=None):
    adapter = host_adapter(adapter_file(layout, "base", seed))
    base = model or make_pair(layout).host
    return apply_image_prompt(base, adapter, image_prompt(seed=seed), strength or Strength(), mask)


def maps_after(model, settings: Settings = FOUR_STEPS, layout: Layout = MICRO, conds=None):
    """What a run of a model leaves in its record."""
    recorded, record = record_image_prompt(model)
    picture(recorded, layout, settings, conds=conds)
    return record.maps


def overridden():
    """A bare model whose attention a user has chosen."""
    model = make_pair(MICRO).host.clone()
    model.model_options["transformer_options"][OVERRIDE] = lambda func, *args, **kwargs: func(*args, **kwargs)
    return model


CASES = {
    "one image prompt": lambda: (MICRO, applied()),
    "two of them": lambda: (MICRO, applied(model=applied(seed=2))),
    "a mask": lambda: (MICRO, applied(mask=LEFT)),
    "a window": lambda: (MICRO, applied(strength=Strength(1.0, 0.3, 0.7))),
    "SDXL": lambda: (SDXL, applied(SDXL)),
    "a user's attention override": lambda: (MICRO, applied(model=overridden(), mask=LEFT)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_picture_is_the_same_to_the_bit(case):
    layout, model = CASES[case]()
    recorded, _ = record_image_prompt(model)
    assert torch.equal(picture(recorded, layout, TWO_PICTURES), picture(model, layout, TWO_PICTURES))


def test_the_model_that_was_given_records_nothing_and_does_no_more_operations():
    model = applied()
    before = counting.ops_of_a_step(model, lambda model: picture(model, MICRO))
    recorded, record = record_image_prompt(model)
    assert counting.ops_of_a_step(model, lambda model: picture(model, MICRO)) == before
    assert record.maps is None
    patches = model.model_options["transformer_options"]["patches_replace"]["attn2"].values()
    assert not any(isinstance(patch, RecordingPatch) for patch in patches)
    assert counting.ops_of_a_step(recorded, lambda model: picture(model, MICRO)).total() > before.total()


@pytest.mark.parametrize("mask", [None, LEFT], ids=["everywhere", "masked"])
def test_no_step_waits_for_the_device(mask):
    recorded, _ = record_image_prompt(applied(mask=mask))
    recording, bare = (counting.ops_of_a_step(model, lambda m: picture(m, MICRO)) for model in (recorded, applied()))
    ops = counting.extra(recording, bare)
    assert ops["aten::index_add_"] > 0 and counting.syncs(ops) == 0, ops
    assert not any("to_copy" in name or "upsample" in name for name in ops), ops


def test_a_run_replaces_the_one_before():
    recorded, record = record_image_prompt(applied())
    picture(recorded, MICRO, FOUR_STEPS)
    first = record.maps
    picture(recorded, MICRO, Settings(steps=2, batch=2))
    assert first.steps == 4 and record.maps.steps == 2 and record.maps.subject.pictures == 2
    picture(recorded, MICRO, FOUR_STEPS)
    assert all(torch.equal(first.shares[key], shares) for key, shares in record.maps.shares.items())


class StopEarlyError(Exception):
    """Whatever ends a run early."""


@pytest.mark.parametrize("fail_at", [1, 3])
def test_a_run_that_ends_early_leaves_its_steps_and_the_next_run_works(fail_at):
    recorded, record = record_image_prompt(applied())
    calls = []

    def wrapper(executor, *args, **kwargs):
        calls.append(None)
        if len(calls) == fail_at:
            raise StopEarlyError
        return executor(*args, **kwargs)

    watched = recorded.clone()
    watched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "stop", wrapper)
    with pytest.raises(StopEarlyError):
        picture(watched, MICRO, FOUR_STEPS)
    assert (record.maps.steps if record.maps else 0) == fail_at - 1
    picture(recorded, MICRO, FOUR_STEPS)
    assert record.maps.steps == 4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted({*comfy.samplers.SAMPLER_NAMES, *comfy.samplers.KSAMPLER_NAMES}))
def test_every_call_counts_for_the_step_that_makes_it(name, monkeypatch):
    """A sampler reports a step after its first call, so those after a report are its too, but the last of them."""
    events, gathered, add = [], Counter(), Gathering.add
    recorded, record = record_image_prompt(applied())
    recorded.add_wrapper_with_key(
        WrappersMP.PREDICT_NOISE, "spy", lambda executor, *args: events.append("call") or executor(*args)
    )
    monkeypatch.setattr(Gathering, "add", lambda *given: gathered.update([given[3]]) or add(*given))
    monkeypatch.setattr(world, "see_progress", lambda *report: events.append("report"))
    picture(recorded, MICRO, Settings(steps=5, sampler=name, cfg=1.0))
    before, *after = (len(calls) for calls in "".join(event[0] for event in events).split("r"))
    steps = len(after)
    own = [1 + calls - (step + 1 < steps) for step, calls in enumerate(after)]
    if name == "dpm_adaptive":  # reports a step after its last call
        own = [before, *after[:-1]]
    assert record.maps.steps == steps
    assert gathered == {step: calls * MICRO.expected_layers for step, calls in enumerate(own)}


def test_twice_the_weight_gives_the_share_of_the_formula():
    """Before the first image branch all runs are alike: s = i / (t + i) becomes 2 i / (t + 2 i) = 2 s / (1 + s)."""
    once, twice = (maps_after(applied(strength=Strength(weight))).shares["input 1", 0] for weight in (1.0, 2.0))
    assert torch.allclose(twice, 2 * once / (1 + once), atol=1e-6)
    assert once.min() > 0.01 and once.max() < 0.99


def test_outside_its_mask_nothing_is_shown_and_inside_something():
    maps = maps_after(applied(SD15, mask=LEFT), Settings(), SD15)
    for shares in maps.shares.values():
        inside = resize_mask(LEFT, tuple(shares.shape[-2:])).reshape(shares.shape[-2:]) != 0
        assert (shares[..., inside] > 0).all() and (shares[..., ~inside] == 0).all()
        assert inside.any() and not inside.all()


def test_two_image_prompts_in_two_halves_are_told_apart():
    both = applied(model=applied(mask=LEFT), seed=2, mask=1 - LEFT)
    first, second = (select(maps := maps_after(both), MapChoice(prompt=number)) for number in (1, 2))
    assert (first[..., 10:] == 0).all() and (first[..., :6] > 0).all()
    assert (second[..., :6] == 0).all() and (second[..., 10:] > 0).all()
    together = select(maps, MapChoice())
    assert torch.equal(together[..., :6], first[..., :6]) and torch.equal(together[..., 10:], second[..., 10:])


def test_outside_its_window_the_share_is_zero():
    maps = maps_after(applied(strength=Strength(1.0, 0.0, 0.5)))
    early, late = (select(maps, MapChoice(start=start, end=end)) for start, end in ((0, 1), (2, 3)))
    assert (early > 0).all() and (late == 0).all()
    assert torch.allclose(select(maps, MapChoice()), early / 2)


def test_a_layer_in_which_it_does_not_act_counts_as_zero():
    rule = LevelRule(dict.fromkeys(("output 1", "output 2", "output 3"), 0.0))
    maps = maps_after(applied(strength=Strength(layers=(rule,))))
    assert maps.levels == ("input 1", "middle", "output 1") and maps.subject.layers["output 1"] == 2
    assert (select(maps, MapChoice("output 1")) == 0).all() and (select(maps, MapChoice("input")) > 0).all()
    parts = select(maps, MapChoice("input")) + select(maps, MapChoice("middle"))
    assert torch.allclose(select(maps, MapChoice()), parts / 4, atol=1e-6)


def test_a_level_of_which_one_layer_acts_has_the_mean_of_all():
    rules = [TypedRule((("output 0", 1.0), *more)) for more in ((), (("output 1", 1e-9),))]
    one, both = (maps_after(applied(strength=Strength(layers=(rule,)))).shares["output 1", 0] for rule in rules)
    assert torch.allclose(one, both, atol=1e-6) and one.max() < 0.5


def test_an_image_prompt_that_is_applied_after_is_recorded_too():
    recorded, record = record_image_prompt(applied())
    both = applied(model=recorded, seed=2)
    picture(both, MICRO, FOUR_STEPS)
    assert record.maps.prompts == 2
    expected = maps_after(applied(model=applied(), seed=2))
    assert all(torch.equal(expected.shares[key], shares) for key, shares in record.maps.shares.items())


def test_recording_twice_fills_the_later_record_only():
    first, early = record_image_prompt(applied())
    second, late = record_image_prompt(first)
    picture(second, MICRO)
    assert early.maps is None and late.maps is not None


def test_a_conditioning_with_an_area_shows_where_it_is():
    positive, negative = conditioning(MICRO, 11), conditioning(MICRO, 12)
    (positive,) = host_nodes.ConditioningSetArea().append(positive, 64, 96, 64, 32, 1.0)
    shares = select(maps_after(applied(), conds=(positive, negative)), MapChoice())
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:16, 8:16] = True
    assert (shares[:, inside] > 0).all() and (shares[:, ~inside] == 0).all()


def test_context_windows_over_pictures_leave_every_map_as_it_is():
    settings = Settings(batch=4, steps=1)
    whole, windows = (maps_after(model, settings) for model in (applied(), windowed(applied(), 2, dim=0)))
    assert all(torch.allclose(windows.shares[key], shares, atol=1e-5) for key, shares in whole.shares.items())


@pytest.mark.parametrize("dim", [2, 3])
def test_context_windows_over_a_part_of_the_picture_show_it_in_its_place(dim):
    upper = LEFT if dim == 3 else LEFT.transpose(1, 2)
    for mask in (upper, 1 - upper):
        shares = select(maps_after(windowed(applied(mask=mask), 8, dim), Settings(steps=1)), MapChoice())
        inside = resize_mask(mask, (16, 16)).reshape(1, 16, 16) != 0
        assert (shares[inside] > 0).all() and (shares[~inside] == 0).all()


def test_a_map_has_at_most_64_positions_a_side_and_says_the_mean_of_those_it_stands_for():
    mask = torch.zeros(1, 64, 640)
    mask[..., :320] = 1
    maps = maps_after(applied(mask=mask), Settings(size=(8, 80), steps=1))
    assert {tuple(shares.shape) for shares in maps.shares.values()} == {(2, 1, 4, 40)} and LARGEST == 64
    assert (maps.shares["middle", 0][..., :18] > 0).all() and (maps.shares["middle", 0][..., 22:] == 0).all()


def test_memory_keeps_within_its_bound():
    maps = maps_after(applied(SD15), Settings(steps=2, batch=2), SD15)
    held = sum(shares.untyped_storage().nbytes() for shares in maps.shares.values())
    assert held <= 7 * 2 * 2 * 2 * LARGEST**2 * 4
    assert {shares.device.type for shares in maps.shares.values()} == {"cpu"}


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model_is_refused_and_leaves_nothing_of_the_run_before():
    recorded, record = record_image_prompt(applied())
    picture(recorded, MICRO)
    assert record.maps is not None
    compiled = TorchCompileModel.execute(recorded, "eager").result[0]
    assert "TorchCompileModel" in message(lambda: picture(compiled, MICRO))
    assert record.maps is None


def test_a_layer_with_other_positions_than_the_picture_is_refused():
    recorded, _ = record_image_prompt(applied())

    def fewer(executor, x, timestep, context, y, control, options, **kwargs):
        options["patches"] = {"attn2_patch": [lambda n, k, v, extra: (n[:, ::2], k, v)]}
        return executor(x, timestep, context, y, control, options, **kwargs)

    recorded.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "fewer", fewer)
    assert "a layer of 32 positions for activations of 8 × 8" in message(lambda: picture(recorded, MICRO))


def message(call) -> str:
    text = refusal(call)
    assert len(text) < 400
    return text


def node(record, image, **more):
    settings = {"layers": "all", "start_step": 0, "end_step": 10000, "prompt": 0, "opacity": 0.6}
    return ImagePromptAttention.execute(record=record, image=image, **settings | {"scale": "lowest to highest"} | more)


@pytest.fixture(scope="module")
def sampled() -> AttentionRecord:
    """A record of two pictures of 16 × 24 latents in four steps."""
    with torch.inference_mode():
        recorded, record = RecordImagePromptAttention.execute(applied()).result
        picture(recorded, MICRO, Settings(steps=4, batch=2, size=(16, 24)))
    return record


def decoded(batch: int = 2, height: int = 128, width: int = 192) -> torch.Tensor:
    return torch.rand(batch, height, width, 3, generator=torch.Generator().manual_seed(0))


def test_the_node_gives_a_picture_a_mask_and_numbers(sampled, temporary):
    made = node(sampled, decoded())
    overlay, mask, text = made.result
    assert overlay.shape[0] == 2 and overlay.shape[1] > overlay.shape[2] * 128 / 192
    assert mask.shape == (2, 128, 192) and mask.min() > 0 and mask.max() < 1
    assert "steps 0 to 3 of 4" in text and "by picture" in text and "output 1: " in text
    assert made.ui["text"] == (text,) and len(made.ui["images"]) == 2
    assert len([*temporary.rglob("*.png")]) == 2


def test_the_mask_is_the_map_and_does_not_depend_on_how_it_is_drawn(sampled):
    masks = [node(sampled, decoded(), scale=scale, opacity=0.2).result[1] for scale in SCALES]
    assert all(torch.equal(masks[0], mask) for mask in masks)
    mean = select(sampled.maps, MapChoice()).mean()
    assert masks[0].mean() == pytest.approx(float(mean), rel=0.01)


def test_layers_and_steps_change_what_is_shown(sampled):
    whole = node(sampled, decoded()).result[1]
    assert not torch.allclose(node(sampled, decoded(), layers="middle").result[1], whole)
    steps = [node(sampled, decoded(), start_step=step, end_step=step).result[1] for step in range(4)]
    assert not torch.allclose(steps[0], steps[3])
    mean = torch.stack([select(sampled.maps, MapChoice(start=step, end=step)) for step in range(4)]).mean(0)
    assert torch.allclose(select(sampled.maps, MapChoice()), mean, atol=1e-6)


def test_every_map_weighs_as_many_layers_as_it_stands_for(sampled):
    parts = {name: select(sampled.maps, MapChoice(name)) for name in ("input", "middle", "output")}
    assert torch.allclose(
        select(sampled.maps, MapChoice()), (parts["input"] + parts["middle"] + 2 * parts["output"]) / 4, atol=1e-6
    )


def test_the_text_tells_one_image_prompt_from_several():
    two = maps_after(applied(model=applied(), seed=2))
    assert "all 2 image prompts" in describe(two, MapChoice()) and "image prompt 2 of 2" in describe(
        two, MapChoice(prompt=2)
    )
    assert describe(two, MapChoice(start=1, end=1)).splitlines()[0].endswith("step 1 of 4")


def test_pictures_that_were_made_larger_are_shown_and_other_ones_refused(sampled):
    assert node(sampled, decoded(height=256, width=384)).result[1].shape == (2, 256, 384)
    assert "image has 1 picture(s), but the recorded run sampled 2" in message(lambda: node(sampled, decoded(1)))
    assert "image is 192 × 192" in message(lambda: node(sampled, decoded(height=192)))


REFUSALS = {
    "end_step (1) is before start_step (3)": {"start_step": 3, "end_step": 1},
    "start_step is 4, but the recorded run had 4 step(s)": {"start_step": 4},
    "prompt is 2, but the recorded model has 1 image prompt(s)": {"prompt": 2},
    "layers is 'input 3', but the recorded model has input 1, middle, output 1": {"layers": "input 3"},
}


@pytest.mark.parametrize("sentence", REFUSALS)
def test_what_is_not_in_the_record_is_refused(sampled, sentence):
    assert sentence in message(lambda: node(sampled, decoded(), **REFUSALS[sentence]))


def test_an_empty_record_and_a_model_without_an_image_prompt_are_refused():
    _, record = record_image_prompt(applied())
    assert "sample first" in message(lambda: node(record, decoded()))
    base = make_pair(MICRO).host
    assert "Apply IP-Adapter" in message(lambda: RecordImagePromptAttention.execute(base))
    assert "Apply IP-Adapter" in message(lambda: record_image_prompt(applied(strength=Strength(0.0))))


def test_a_prompt_bound_to_one_conditioning_is_recorded_where_calls_are_apart():
    """One conditioning sees an area, the other the whole picture, so each is a call of its own."""
    from pack.ipadapter.host.sampling.conditioning import carrying

    from nodes import ConditioningCombine, ConditioningSetArea

    left, whole, negative = (conditioning(SD15, seed) for seed in (21, 22, 23))
    column = ConditioningSetArea().append(left, 64, 128, 0, 0, 1.0)[0]
    model = apply_image_prompt(
        make_pair(SD15).host, host_adapter(adapter_file(SD15, "base")), image_prompt(), Strength(), bound="one"
    )
    recording, record = record_image_prompt(model)
    texts = ConditioningCombine().combine(carrying(column, "one"), whole)[0], negative
    ours = picture(recording, SD15, Settings(steps=1), conds=texts)
    assert torch.equal(ours, picture(model, SD15, Settings(steps=1), conds=texts))
    assert record.maps is not None
