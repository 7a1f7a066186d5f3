"""One graph, many models: chained and parallel applications, other packs' patches, guiders, precisions."""

from __future__ import annotations

import pytest
import torch
from comfy_extras.nodes_perpneg import PerpNeg
from pack.ipadapter.attention.packing import NEGATIVE
from pack.ipadapter.backbones.known import find_layers
from pack.ipadapter.host.backbones.text_attention import host_text_attention
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength

from tests.image_prompts import image_prompt
from tests.oracle.reference import Features, reference_with
from tests.small import SD15, SDXL, Layout, host_model, make_pair, reference_weights
from tests.world import (
    DEFAULTS,
    Settings,
    adapter_file,
    channels_of,
    conditioning,
    host_adapter,
    sample,
)


def apply(model, weight: float = 1.0, seed: int = 1, family: str = "base", layout: Layout = SD15, **kwargs):
    file = adapter_file(layout, family, seed)
    return apply_image_prompt(model, host_adapter(file), image_prompt(seed=seed), Strength(weight), **kwargs)


def picture(model, layout: Layout = SD15, settings: Settings = DEFAULTS):
    return sample(model, layout, settings)[0]


class Counting:
    """A patch of another pack: counts its calls, then does what stood there before."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.moved: list = []
        self.cleaned = 0

    def __call__(self, q, k, v, extra_options):
        self.calls.append((*extra_options["block"], extra_options["block_index"]))
        return host_text_attention(q, k, v, extra_options) * 0.9

    def to(self, device_or_dtype):
        self.moved.append(device_or_dtype)
        return self

    def models(self):
        return []

    def cleanup(self):
        self.cleaned += 1


@pytest.mark.parametrize("layout", [SD15, SDXL], ids=lambda layout: layout.name)
def test_every_layer_is_found_and_called(layout):
    base = make_pair(layout).host
    layers = find_layers(base.model.diffusion_model)
    assert len(layers) == layout.expected_layers
    assert tuple(layer.channels for layer in layers) == channels_of(layout)
    foreign, model = Counting(), base.clone()
    for layer in layers:
        model.set_model_attn2_replace(foreign, *layer.place)
    sample(apply(model, layout=layout), layout, Settings(steps=1, cfg=1.0))
    assert sorted(foreign.calls) == sorted(layer.place for layer in layers)
    assert any(place[0] == "middle" for place in foreign.calls)


def test_weight_zero_is_the_base_model_to_the_bit():
    base = make_pair(SD15).host
    assert torch.equal(picture(apply(base, weight=0.0)), picture(base))


def test_the_given_model_is_untouched():
    base = make_pair(SD15).host
    before = picture(base)
    applied = apply(base)
    assert (picture(applied) - before).abs().max() > 1e-2
    assert torch.equal(picture(base), before)


def test_two_branches_of_a_graph_never_see_each_other():
    base = make_pair(SD15).host
    upstream = apply(base, seed=1)
    expected_upstream, expected_left = picture(upstream), picture(apply(upstream, seed=2))
    for weight in (0.3, 0.9, 0.5):  # the right branch is edited and run again and again
        right = apply(upstream, weight=weight, seed=3)
        picture(right)
        left = apply(upstream, seed=2)
        assert torch.equal(picture(left), expected_left)
        assert torch.equal(picture(upstream), expected_upstream)
    patches = upstream.model_options["transformer_options"]["patches_replace"]["attn2"]
    assert len(patches) == 16


def test_applying_in_either_order_is_the_same():
    base = make_pair(SD15).host
    one = apply(apply(base, seed=1), seed=2, family="plus")
    other = apply(apply(base, seed=2, family="plus"), seed=1)
    first, second = picture(one), picture(other)
    assert (first - second).abs().max() < 1e-5 * first.abs().max()


def test_another_packs_patch_is_wrapped_not_replaced():
    base, foreign = make_pair(SD15).host, Counting()
    model = base.clone()
    model.set_model_attn2_replace(foreign, "input", 1)  # a key of a whole block, without a depth
    model.set_model_attn2_replace(foreign, "middle", 0, 0)
    applied = apply(apply(model), seed=2)
    picture(applied, settings=Settings(steps=1, cfg=1.0))
    assert sorted(set(foreign.calls)) == [("input", 1, 0), ("middle", 0, 0)]
    assert foreign.moved and foreign.cleaned


def test_a_users_attention_override_still_works():
    seen = []

    def override(attention, *args, **kwargs):
        seen.append(kwargs["transformer_options"]["block"])
        return attention(*args, **kwargs)

    model = make_pair(SD15).host.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    expected = picture(apply(make_pair(SD15).host), settings=Settings(steps=1, cfg=1.0))
    assert torch.equal(picture(apply(model), settings=Settings(steps=1, cfg=1.0)), expected)
    assert len(seen) == 32  # 16 self-attentions and 16 text attentions; the image's own is not the user's


def test_a_guidance_nodes_own_empty_prompt_gets_the_unconditional():
    file, prompt = adapter_file(SD15, "base"), image_prompt()
    applied = apply_image_prompt(make_pair(SD15).host, host_adapter(file), prompt, Strength(1.0))
    empty = conditioning(SD15, 50)
    model = PerpNeg.execute(applied, empty, 1.0).result[0]
    _, calls = sample(model, SD15)
    reference = reference_with(SD15, [file], 1.0)
    embeds = prompt.parts[0].positive.image_embeds
    given = [Features(embeds, torch.zeros_like(embeds))]
    alone = [call for call in calls if torch.equal(call.context, empty[0][0])]
    assert alone
    for call in alone:
        assert (reference.noise(call, [NEGATIVE], given) - call.output).abs().max() <= 1e-5


PRECISIONS = {
    "bf16": (torch.bfloat16, None, 0.08),
    "fp16": (torch.float16, None, 0.02),
    "fp8 stored, bf16 computed": (torch.float8_e4m3fn, torch.bfloat16, None),
    "fp8 stored, fp32 computed": (torch.float8_e4m3fn, torch.float32, None),
}


@pytest.mark.parametrize("name", PRECISIONS)
def test_models_of_any_precision(name):
    dtype, cast, tolerance = PRECISIONS[name]
    weights = reference_weights(SD15)
    if dtype.itemsize == 1:  # the same rounding on both sides: only the computation is compared
        weights = {key: tensor.to(dtype).float() for key, tensor in weights.items()}
        tolerance = 0.08 if cast is torch.bfloat16 else 1e-4
    settings = Settings(steps=1, cfg=1.0)
    low, full = host_model(SD15, weights, dtype, cast), host_model(SD15, weights)
    got, expected, base = (picture(m, settings=settings) for m in (apply(low), apply(full), full))
    assert torch.isfinite(got).all()
    scale = expected.abs().max()
    assert (got - expected).abs().max() < tolerance * scale
    assert (expected - base).abs().max() > 0.1 * scale


def test_an_adapter_in_half_precision_is_computed_in_full():
    file = adapter_file(SD15, "plus")
    half = type(file)(
        {k: v.half() for k, v in file.image_proj.items()}, {k: v.half() for k, v in file.ip_adapter.items()}
    )
    rounded = type(file)(
        {k: v.half().float() for k, v in file.image_proj.items()},
        {k: v.half().float() for k, v in file.ip_adapter.items()},
    )
    base, prompt = make_pair(SD15).host, image_prompt()
    first, second = (picture(apply_image_prompt(base, host_adapter(f), prompt, Strength())) for f in (half, rounded))
    assert torch.equal(first, second)


def test_a_lora_on_the_model_and_the_image_prompt_add_up():
    base = make_pair(SD15).host
    model = base.clone()
    key = "diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_q.weight"
    model.add_patches({key: ("diff", (torch.full_like(base.model.state_dict()[key], 0.02),))}, 1.0)
    one, other = picture(apply(model)), picture(apply(base))
    assert (one - other).abs().max() > 1e-3
    late = apply(base)
    late.add_patches({key: ("diff", (torch.full_like(base.model.state_dict()[key], 0.02),))}, 1.0)
    assert torch.equal(picture(late), one)
