"""What Apply IP-Adapter promises holds in SD3.5 too, where K' and V' follow the noise level."""

from __future__ import annotations

import gc
import logging
import weakref
from dataclasses import replace

import comfy.controlnet
import comfy.model_management
import comfy.ops
import pytest
import torch
from comfy.cldm.mmdit import ControlNet
from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_easycache import EasyCacheNode
from comfy_extras.nodes_torch_compile import TorchCompileModel
from pack.ipadapter.adapters.fit import match_layers
from pack.ipadapter.adapters.identify import identify
from pack.ipadapter.attention import application, following
from pack.ipadapter.backbones.known import find_layers, model_of
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.adapters.describing import describe_loaded
from pack.ipadapter.host.sampling.conditioning import carrying
from pack.ipadapter.host.sampling.patching import apply_image_prompt, rows_of
from pack.ipadapter.host.sampling.recording import record_image_prompt
from pack.ipadapter.prompts.prompt import Order
from pack.ipadapter.prompts.regions import Overlap, place_in_region
from pack.ipadapter.strength.curve import WeightCurve
from pack.ipadapter.strength.layers import read_layer_weights
from pack.ipadapter.strength.strength import Scaling, Strength

from tests.blocks import TheirBlock
from tests.flux import flux_adapter, make_flux
from tests.host.test_cost import image_attentions
from tests.plain.public import KINDS, checkpoint_of, on_meta
from tests.sd3 import (
    CFG,
    LARGE,
    MEDIUM,
    SD3,
    Kind,
    conditioning,
    host_config,
    make_sd3,
    sample_sd3,
    sd3_adapter,
    sd3_picture,
    sd3_prompt,
)
from tests.small import MICRO, make_pair, scatter
from tests.world import host_adapter
from tools.bench import counting

LEFT = torch.zeros(1, 72, 48)  # the picture of a 9 x 6 latent: 5 x 3 rows of 2 x 2 latent pixels
LEFT[..., :16] = 1
ONE = replace(SD3, steps=1)


class StopEarlyError(Exception):
    """What interrupts a run."""


def apply(model=None, prompt=None, strength=None, adapter=None, **kwargs):
    adapter = adapter or host_adapter(sd3_adapter())
    return apply_image_prompt(model or make_sd3(), adapter, prompt or sd3_prompt(), strength or Strength(), **kwargs)


def apart(one, other) -> float:
    return (one - other).abs().max().item()


def only_call(model, settings=ONE, conds=None):
    (call,) = sample_sd3(model, settings, conds)[1]
    return call


def patches(model):
    return [*model.model_options["transformer_options"].get("patches_replace", {}).get("dit", {}).values()]


def test_an_image_prompt_changes_the_picture_and_weight_zero_does_not():
    bare = sd3_picture(make_sd3())
    assert apart(sd3_picture(apply()), bare) > 0.01
    assert torch.equal(sd3_picture(apply(strength=Strength(0.0))), bare)
    assert not patches(make_sd3()) and len(patches(apply(model=apply()))) == LARGE.blocks


def test_a_mask_and_the_rest_of_it_are_the_whole():
    whole, halves = only_call(apply()), only_call(apply(model=apply(mask=LEFT), mask=1 - LEFT))
    assert apart(whole.output, halves.output) <= 1e-5
    assert apart(only_call(apply(mask=LEFT)).output, whole.output) > 0.01


def test_frames_of_one_batch_are_the_pictures_of_each_alone():
    prompt, settings = sd3_prompt(images=2), replace(CFG, steps=1)
    (part,) = prompt.parts
    frames = replace(prompt, parts=(replace(part, order=Order.FRAME_BY_FRAME),))
    both = only_call(apply(prompt=frames, strength=Strength(frames=(1.0, 0.5))), settings)
    for index, weight in enumerate((1.0, 0.5)):
        alone = replace(prompt, parts=(replace(part, positive=part.positive[index : index + 1]),))
        call = only_call(apply(prompt=alone, strength=Strength(weight)), settings)
        for row, (_, picture) in enumerate(zip(both.roles, [0, 1, 0, 1], strict=True)):
            if picture == index:
                assert apart(both.output[row], call.output[row]) <= 1e-5


@pytest.mark.parametrize(
    "strength", [Strength(1.0, 0.0, 0.5), Strength(curves=(WeightCurve(((0.0, 1.0), (0.5, 0.0), (1.0, 0.0))),))]
)
def test_outside_its_window_the_model_is_the_bare_one(strength):
    _, calls = sample_sd3(apply(strength=strength), replace(SD3, steps=4))
    bare = make_sd3().model.diffusion_model
    first, last = calls[0], calls[-1]
    assert apart(last.output, bare(last.x, last.timestep, y=last.y, context=last.context)) <= 1e-6
    assert apart(first.output, bare(first.x, first.timestep, y=first.y, context=first.context)) > 0.01


def test_a_curve_is_the_weight_of_each_step():
    curve = Strength(0.8, curves=(WeightCurve(((0.0, 0.5), (1.0, 0.5))),))
    assert apart(only_call(apply(strength=curve)).output, only_call(apply(strength=Strength(0.4))).output) <= 1e-5


def test_the_weight_of_an_only_image_is_the_prompts():
    prompt = sd3_prompt()
    weighed = replace(prompt, parts=(replace(prompt.parts[0], weights=(0.5,)),))
    half = only_call(apply(strength=Strength(0.5)))
    assert apart(only_call(apply(prompt=weighed)).output, half.output) <= 1e-5


def test_blocks_are_weighed_by_number():
    first, second = (Strength(layers=(read_layer_weights(f"joint {n}: 0.5"),)) for n in range(2))
    assert apart(sd3_picture(apply(strength=first)), sd3_picture(apply(strength=second))) > 1e-3


def test_a_prompt_of_one_conditioning_acts_there_alone():
    bound, settings = apply(bound="mine"), replace(CFG, steps=1)
    plain, other, mine = conditioning(11), conditioning(12), carrying(conditioning(11), "mine")
    assert torch.equal(sd3_picture(bound, settings, (plain, other)), sd3_picture(make_sd3(), settings, (plain, other)))
    call = only_call(bound, settings, (mine, other))
    everywhere, bare = (only_call(model, settings, (plain, other)) for model in (apply(), make_sd3()))
    for row, role in enumerate(call.roles):
        assert apart(call.output[row], (bare if role else everywhere).output[row]) <= 1e-5


def test_a_map_tells_where_it_acted():
    model, record = record_image_prompt(apply(mask=LEFT))
    assert torch.equal(sd3_picture(model), sd3_picture(apply(mask=LEFT)))
    shares = record.maps.shares["joint", 0][0]
    assert {*record.maps.levels} == {"joint"} and shares.shape == (1, 5, 3)
    assert shares[..., 0].min() > 0.01 and shares[..., 2].max() <= 1e-4


def test_a_base_in_eight_bits_follows_it_too():
    """Nothing of the base's weights is read, however they are stored."""
    packed = make_sd3(dtype=torch.float8_e4m3fn, cast=torch.bfloat16)
    assert packed.model.diffusion_model.joint_blocks[0].x_block.attn.qkv.weight.dtype is torch.float8_e4m3fn
    picture = sd3_picture(apply(model=packed), ONE)
    assert bool(torch.isfinite(picture).all()) and apart(picture, sd3_picture(packed, ONE)) > 0.1


def test_regions_share_what_they_both_cover():
    prompt = place_in_region(sd3_prompt(), torch.ones(1, 72, 48), 1.0, Overlap.SHARE)
    twice = replace(prompt, parts=prompt.parts * 2)
    assert apart(only_call(apply(prompt=twice)).output, only_call(apply(prompt=prompt)).output) <= 1e-5


def test_beside_a_cache_that_skips_calls_it_acts():
    cached, bare = (EasyCacheNode.execute(model, 0.2, 0.15, 0.95, False).result[0] for model in (apply(), make_sd3()))
    assert apart(sd3_picture(cached), sd3_picture(bare)) > 0.01


def small_controlnet():
    """A random SD3.5 ControlNet of the host's class, whose one block reads a picture as small as the latent."""
    config = {**host_config(LARGE), "num_blocks": 1, "control_latent_channels": 3}
    with torch.inference_mode(False):
        net = ControlNet(operations=comfy.ops.disable_weight_init, dtype=torch.float32, **config)
        net.eval().requires_grad_(False)
        scatter(net, 4, std=0.05)
    device = comfy.model_management.get_torch_device()
    return comfy.controlnet.ControlNet(net, compression_ratio=1, load_device=device, manual_cast_dtype=None)


def test_beside_a_controlnet_both_act():
    def controlled():
        control = small_controlnet()
        control.set_cond_hint(torch.rand(1, 3, 10, 6, generator=torch.Generator().manual_seed(5)), 1.0, (0.0, 1.0))
        return (conditioning(11, control=control), conditioning(12, control=control))

    even = replace(ONE, size=(10, 6))
    with_both = sd3_picture(apply(), even, controlled())
    assert apart(with_both, sd3_picture(apply(), even)) > 1e-3
    assert apart(with_both, sd3_picture(make_sd3(), even, controlled())) > 1e-2


def test_compiled_by_the_hosts_node_it_is_the_same_and_follows_what_changes():
    torch._dynamo.reset()
    model = apply(strength=Strength(1.0, 0.0, 0.5))
    assert apart(sd3_picture(TorchCompileModel.execute(model, "eager").result[0]), sd3_picture(model)) <= 1e-4
    torch._dynamo.reset()


def counted(monkeypatch) -> list[float]:
    """Gathers the noise levels for which K' and V' are made."""
    levels, make = [], application.packed_at
    monkeypatch.setattr(application, "packed_at", lambda *args: levels.append(args[-1]) or make(*args))
    return levels


@pytest.mark.parametrize(("sampler", "steps"), [("euler", 3), ("heun", 3)])
def test_keys_and_values_are_made_once_for_a_noise_level(sampler, steps, monkeypatch):
    levels = counted(monkeypatch)
    model = apply()
    _, calls = sample_sd3(model, replace(CFG, sampler=sampler, steps=steps))
    assert len(levels) == len({*levels}) == steps <= len(calls)


def halved(timestep, called):
    half = timestep * 0.5
    called.append(float(half[0]))
    return half


def halve_in_a_function(model, called):
    model.set_model_unet_function_wrapper(
        lambda call, given: call(given["input"], halved(given["timestep"], called), **given["c"])
    )


def halve_in_a_wrapper(model, called):
    model.add_wrapper(
        WrappersMP.PREDICT_NOISE, lambda executor, x, t, *args, **more: executor(x, halved(t, called), *args, **more)
    )


@pytest.mark.parametrize("halve", [halve_in_a_function, halve_in_a_wrapper])
def test_where_another_node_calls_the_model_the_noise_level_is_the_one_it_calls_it_at(halve, monkeypatch):
    levels, model, called = counted(monkeypatch), apply(), []
    halve(model, called)
    sd3_picture(model, replace(SD3, steps=3))
    assert levels == called and len(called) == 3


def test_no_more_than_the_latest_noise_levels_are_held(monkeypatch):
    held = []
    take = following.NoiseLevels.at
    monkeypatch.setattr(
        following.NoiseLevels, "at", lambda self, sigma: (take(self, sigma), held.append(len(self.made)))[0]
    )
    sample_sd3(apply(), replace(SD3, steps=4))
    assert held == [1, 2, 2, 2]


def test_a_step_waits_for_nothing_and_attends_once_more_in_each_block():
    even = replace(SD3, size=(8, 6))
    steps = (counting.ops_of_a_step(model, lambda model: sd3_picture(model, even)) for model in (apply(), make_sd3()))
    ops = counting.extra(*steps)
    of_the_resampler = 4  # layers, for the image and for none in one pass
    assert counting.syncs(ops) == 0
    assert image_attentions(ops) == LARGE.blocks + of_the_resampler


def test_keys_and_values_of_one_noise_level_are_what_a_calls_rows_hold():
    model, held = apply(), []
    rows = rows_of(model)
    make = rows.make
    rows.make = lambda call: held.append(made := make(call)) or made
    sd3_picture(model, replace(CFG, steps=2))
    (made,), tokens, scales = held, 8, 8 + 2 * 64
    assert made.size == 4 * CFG.batch * LARGE.blocks * (2 * tokens * LARGE.width + scales) * 2


def test_half_precision_is_full_precision_to_its_digits():
    adapter, prompt = host_adapter(sd3_adapter()), sd3_prompt()
    half, full = (
        sd3_picture(apply_image_prompt(model, adapter, prompt, Strength(0.8)))
        for model in (make_sd3.__wrapped__(dtype=torch.float16), make_sd3())
    )
    assert apart(half, full) <= 0.01 < apart(full, sd3_picture(make_sd3()))


def test_the_hosts_memory_management_loads_the_adapter_for_a_run():
    adapter = host_adapter(sd3_adapter())
    model = apply(adapter=adapter)
    assert {*model.model_patches_models()} == {adapter.patcher}
    expected = sd3_picture(model)
    comfy.model_management.unload_all_models()
    loaded = []

    def look(*_):
        loaded.append(adapter.patcher in comfy.model_management.loaded_models())

    with model.model.diffusion_model.register_forward_pre_hook(look):
        assert torch.equal(sd3_picture(model), expected)
    assert loaded and all(loaded)


@pytest.mark.parametrize("interrupted", [False, True])
def test_nothing_is_left_after_a_run(interrupted):
    model, held = apply(), []
    rows = rows_of(model)

    def look(*_):
        held.extend(weakref.ref(placed) for placed in rows.placed.values())
        if interrupted:
            raise StopEarlyError

    with model.model.diffusion_model.register_forward_hook(look):
        if interrupted:
            with pytest.raises(StopEarlyError):
                sd3_picture(model)
        else:
            sd3_picture(model)
    gc.collect()
    assert held and not any(ref() is not None for ref in held)
    assert not rows.made and not rows.placed
    sd3_picture(model)


def test_a_users_attention_override_still_works():
    model, seen = make_sd3().clone(), []

    def override(function, *args, **kwargs):
        seen.append(args[0].shape)
        return function(*args, **kwargs)

    model.model_options["transformer_options"]["optimized_attention_override"] = override
    assert torch.equal(sd3_picture(apply(model=model), ONE), sd3_picture(apply(), ONE)) and len(seen) == LARGE.blocks


def test_another_nodes_patch_of_a_block_is_wrapped():
    theirs, model = TheirBlock(), make_sd3().clone()
    model.set_model_patch_replace(theirs, "dit", "double_block", 1)
    twice = apply(model=apply(model=model), prompt=sd3_prompt(seed=9))
    assert torch.equal(sd3_picture(twice, ONE), sd3_picture(apply(model=apply(), prompt=sd3_prompt(seed=9)), ONE))
    assert theirs.calls == 1


def test_a_later_patch_in_the_place_of_a_block_is_told_after_the_run(caplog):
    model = apply().clone()
    model.set_model_patch_replace(TheirBlock(), "dit", "double_block", 1)
    with caplog.at_level(logging.WARNING):
        sd3_picture(model)
    assert "the image prompt acted in only 1 of 2 layers, because a later node replaces these blocks" in caplog.text


def test_a_block_that_is_called_without_options_is_refused():
    (patch, *_) = apply().model_options["transformer_options"]["patches_replace"]["dit"].values()
    with pytest.raises(IPAdapterError, match="calls its blocks without ComfyUI's options"):
        patch({"img": torch.zeros(1, 4, 8)}, {"original_block": lambda args: args})


def test_scaling_keys_is_refused():
    with pytest.raises(IPAdapterError, match="scaling 'K\\+V' has no meaning for it: set 'V only'"):
        apply(strength=Strength(scaling=Scaling.KEYS_AND_VALUES))


def test_other_models_are_refused_with_both_counts():
    with pytest.raises(IPAdapterError, match="for SD3.5 Large .2 layers, 128.*the model is a pruned SD3.5 Large .3 of"):
        apply(model=make_sd3(Kind(3)))
    with pytest.raises(IPAdapterError, match="for SD3.5 Large .*the model is a pruned SD3.5 Medium .2 of 24 blocks"):
        apply(model=make_sd3(MEDIUM))
    for model, name in ((make_pair(MICRO).host, "SD1.5"), (make_flux(), "FLUX.1")):
        with pytest.raises(IPAdapterError, match=f"is for SD3.5 Large .*the model is a pruned {name}"):
            apply(model=model)
    with pytest.raises(IPAdapterError, match="is for FLUX.1 .*the model is a pruned SD3.5 Large"):
        apply(adapter=host_adapter(flux_adapter("InstantX FLUX")))


def full_size(depth: int, twice: range, qk_norm: str | None) -> MMDiT:
    """The host's own class at a public model's size, without numbers in it."""
    return MMDiT(
        input_size=None,
        in_channels=16,
        depth=depth,
        adm_in_channels=2048,
        context_embedder_config={
            "target": "torch.nn.Linear",
            "params": {"in_features": 4096, "out_features": 64 * depth},
        },
        qk_norm=qk_norm,
        x_block_self_attn_layers=[*twice],
        device=torch.device("meta"),
        operations=comfy.ops.disable_weight_init,
    )


FULL_SIZE = {
    "SD3.5 Large": (38, range(0), "rms"),
    "SD3.5 Medium": (24, range(13), "rms"),
    "SD3 Medium": (24, range(0), None),
}


@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_public_model_is_named_for_what_it_is_and_the_public_adapter_is_for_large(name):
    kind, model = KINDS["SD3.5-Large-IP-Adapter"], full_size(*FULL_SIZE[name])
    spec = identify(checkpoint_of(kind.tensors(on_meta), "public.bin"))
    assert model_of(model, find_layers(model)).name == name
    if name == "SD3.5 Large":
        assert [layer.place for layer in match_layers(spec, model)] == [("joint", n, 0) for n in range(38)]
        return
    sides = f"for SD3.5 Large .38 layers, 2432-wide context., but the model is {name} .24 layers, 1536-wide context."
    with pytest.raises(IPAdapterError, match=sides):
        match_layers(spec, model)


class Pretender(torch.nn.Module):
    """Another transformer, for which packs offer these weights."""


def test_a_transformer_of_another_kind_is_refused_with_what_may_be_connected():
    spec = host_adapter(sd3_adapter()).spec
    with pytest.raises(IPAdapterError, match="is for SD3.5 Large, but this model .Pretender. has no .* an SD3.5 model"):
        match_layers(spec, Pretender())


def test_a_loaded_adapter_is_described_beside_a_model():
    said = describe_loaded(host_adapter(sd3_adapter()), make_sd3())
    assert "fits. It is a pruned SD3.5 Large (2 of 38 blocks)" in said
    assert "8 image tokens 128 wide, reads" in said and ", and makes other tokens at each noise level" in said
