"""Curves, layers and scaling of a strength on a real model."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.curve import Interpolation, WeightCurve
from pack.ipadapter.strength.layers import PresetRule, TypedRule
from pack.ipadapter.strength.strength import Scaling, Strength

from tests.image_prompts import image_prompt
from tests.small import LEAST, MICRO, SD15, make_pair
from tests.world import SMALLEST, Settings, adapter_file, host_adapter, picture, predict, sample

TOLERANCE = 1e-5


def apply(layout=MICRO, family="base", **strength):
    adapter = host_adapter(adapter_file(layout, family))
    return apply_image_prompt(make_pair(layout).host, adapter, image_prompt(), Strength(**strength))


RAMP = WeightCurve(((0.0, 1.0), (1.0, 0.0)))


def position(model, call) -> float:
    """Where in the sampling a call is: its noise level's place in the schedule of the model."""
    return 1.0 - float(call.timestep[0]) / 999.0


@pytest.mark.parametrize("scaling", list(Scaling))
@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_each_step_has_the_weight_its_curve_has_there(sampler, scaling):
    model = apply(curves=(RAMP,), scaling=scaling, weight=0.9)
    settings = replace(SMALLEST, steps=4, sampler=sampler)
    _, calls = sample(model, MICRO, settings)
    steps = sorted({float(call.timestep[0]) for call in calls}, reverse=True)
    assert len(steps) >= 4
    for call in calls if sampler == "euler" else calls[:1]:
        level = RAMP.value(position(model, call))
        expected = predict(apply(weight=0.9 * level, scaling=scaling), call)
        assert (expected - call.output).abs().max() <= TOLERANCE


def test_curves_multiply_and_zero_leaves_the_adapter_out():
    step = WeightCurve(((0.0, 1.0), (0.5, 0.0)), Interpolation.STEP)
    model, base = apply(curves=(RAMP, step)), make_pair(MICRO).host
    _, calls = sample(model, MICRO, replace(SMALLEST, steps=4))
    for call in calls:
        at = position(model, call)
        weight = RAMP.value(at) * step.value(at)
        assert (predict(apply(weight=weight), call) - call.output).abs().max() <= TOLERANCE
    last = [call for call in calls if step.value(position(model, call)) == 0.0]
    assert last and all(torch.equal(predict(base, call), predict(apply(weight=0.0), call)) for call in last)


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2m_sde", "uni_pc", "dpm_adaptive", "dpm_fast"])
def test_a_constant_curve_is_a_weight_with_every_kind_of_sampler(sampler):
    settings = replace(SMALLEST, steps=6, sampler=sampler)
    half = WeightCurve(((0.0, 0.5),))
    model, plain = apply(LEAST, curves=(half,)), apply(LEAST, weight=0.5)
    assert (picture(model, LEAST, settings) - picture(plain, LEAST, settings)).abs().max() <= 1e-4


def test_a_second_run_starts_from_the_curves_beginning():
    model, settings = apply(MICRO, curves=(RAMP,)), replace(SMALLEST, steps=4)
    assert torch.equal(picture(model, MICRO, settings), picture(model, MICRO, settings))


def hand_written(scaling, q, keys, values, weight, heads):
    """The definitions, for one layer of a model."""
    penalty = weight * keys.shape[-1] / 1280
    mean = values.mean(dim=1, keepdim=True)
    keys, values = {
        Scaling.VALUES: lambda: (keys, weight * values),
        Scaling.KEYS_AND_VALUES: lambda: (weight * keys, weight * values),
        Scaling.KEYS_AND_VALUES_BY_WIDTH: lambda: (penalty * keys, penalty * values),
        Scaling.KEYS_AND_MEAN_BY_WIDTH: lambda: (penalty * keys, values - mean + penalty * mean),
    }[scaling]()
    split = lambda x: x.unflatten(-1, (heads, -1)).transpose(1, 2)  # noqa: E731
    scores = split(q) @ split(keys).mT / (q.shape[-1] // heads) ** 0.5
    return (scores.softmax(-1) @ split(values)).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("weight", [0.7, -1.3])
@pytest.mark.parametrize("scaling", list(Scaling))
def test_scaling_is_as_defined(scaling, weight):
    """One layer's image attention, beside the formula in plain torch."""
    adapter = host_adapter(adapter_file(MICRO, "base"))
    model = apply_image_prompt(make_pair(MICRO).host, adapter, image_prompt(), Strength(weight, scaling=scaling))
    from comfy.patcher_extension import WrappersMP
    from pack.ipadapter.attention.decoupled import image_attention, join_heads, split_heads
    from pack.ipadapter.backbones.known import find_layers
    from pack.ipadapter.host.sampling.patching import APPLY_KEY

    (rows,) = model.get_wrappers(WrappersMP.APPLY_MODEL, APPLY_KEY)
    layers = find_layers(model.model.diffusion_model)
    seen = {}

    def look(executor, *args, **kwargs):
        seen.update(next(iter(rows.made.values())).branches)
        return executor(*args, **kwargs)

    watched = model.clone()
    watched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "look", look)
    picture(watched, MICRO, replace(SMALLEST, steps=1, cfg=1.0))
    module = adapter.patcher.model
    tokens = module.tokens(image_prompt().parts[0].positive.image_embeds)
    for layer, projection in zip(layers, module.layer_projections(), strict=True):
        q = torch.randn(1, 9, layer.channels, generator=torch.Generator().manual_seed(2))
        (branch,) = seen[layer.place]
        expected = hand_written(scaling, q, projection.to_k_ip(tokens), projection.to_v_ip(tokens), weight, layer.heads)
        got = join_heads(image_attention(split_heads(q, layer.heads), branch))
        assert (got - expected).abs().max() <= TOLERANCE


def test_an_inverted_layer_shows_the_image_to_the_negative_side_only():
    """The prediction of a preset whose layers are all inverted: the positive is the bare model's."""
    inverted = apply(SD15, layers=(PresetRule("style transfer precise"), TypedRule((("input 8", 1.0),))))
    plain = apply(SD15, layers=(TypedRule((("input 8", 1.0),)),))
    call = sample(inverted, SD15, Settings(steps=1))[1][0]
    swapped = type(call)(**{**vars(call), "cond_or_uncond": [1 - place for place in call.cond_or_uncond]})
    rows = {place: row for place, row in zip(call.cond_or_uncond, call.output.chunk(2), strict=True)}
    bare = {p: r for p, r in zip(call.cond_or_uncond, predict(make_pair(SD15).host, call).chunk(2), strict=True)}
    image = {p: r for p, r in zip(call.cond_or_uncond, predict(plain, swapped).chunk(2), strict=True)}
    assert (rows[0] - bare[0]).abs().max() <= TOLERANCE
    assert (rows[1] - image[1]).abs().max() <= TOLERANCE
    assert (rows[1] - bare[1]).abs().max() > 1e-3


def test_all_weights_zero_patch_nothing():
    model = apply(layers=(TypedRule((("all", 0.0),)),))
    assert torch.equal(picture(model, MICRO), picture(make_pair(MICRO).host, MICRO))
