"""What an image prompt may cost: counts, which no busy machine can disturb."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import comfy.ldm.modules.attention
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from pack.ipadapter.host.backbones.text_attention import OVERRIDE, host_text_attention
from pack.ipadapter.host.sampling.patching import APPLY_KEY, apply_image_prompt
from pack.ipadapter.prompts.prompt import ImageFeatures, ImagePrompt, Part
from pack.ipadapter.strength.curve import WeightCurve
from pack.ipadapter.strength.layers import PresetRule
from pack.ipadapter.strength.strength import Strength

from tests import small, world
from tests.adapters import AdapterFile
from tests.image_prompts import image_prompt
from tools.bench import adapters, counting
from tools.bench.adapters import AdapterKind
from tools.bench.memory import cpu_extra
from tools.bench.models import FULL_WIDTH, META, NARROW_WIDTH, SD15, SDXL, build_model, layers_of, make_call
from tools.bench.packs import ThisPack
from tools.bench.training import MODES, TrainingCase, both_sides, measure, refuse_different

pytestmark = pytest.mark.slow

# Operations that a layer's first image prompt adds to the bare model's: attention and addition, less what it takes
# heads apart in fewer than the host does, from the version on that does it in three more.
FIRST = -1 if hasattr(comfy.ldm.modules.attention, "_reshape_qkv_to_heads") else 2
MORE = 2  # and each one more: the attention and the addition
TOGETHER = 6  # the first one's where heads are not taken apart for the text: another pack's patch, a user's override
LAYOUTS = {"sd15": small.SD15, "sdxl": small.SDXL}
MASKS = {"everywhere": None, "masked": torch.tensor([[[0.0, 1.0], [1.0, 0.5]]])}
PROJECTIONS = {"aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::matmul", "aten::linear"}


ALWAYS, FIRST_HALF = Strength(), Strength(1.0, 0.0, 0.5)


def applied(layout, families=("base",), mask=None, strength=ALWAYS, model=None):
    """A small model with one image prompt for each family."""
    model = model or small.make_pair(layout).host
    for seed, family in enumerate(families):
        adapter = world.host_adapter(world.adapter_file(layout, family, seed))
        model = apply_image_prompt(model, adapter, image_prompt(seed=seed), strength, mask)
    return model


def step(model, layout) -> counting.Ops:
    """The operations of one step."""
    return counting.ops_of_a_step(
        model, lambda model: world.picture(model, layout, world.Settings(steps=2, size=world.SMALLEST.size))
    )


@cache
def bare_step(layout) -> counting.Ops:
    """The operations of one step of the bare model."""
    return step(small.make_pair(layout).host, layout)


def extra(model, layout) -> counting.Ops:
    """The operations that a step does beyond the bare model's."""
    return counting.extra(step(model, layout), bare_step(layout))


def image_attentions(ops: counting.Ops) -> int:
    """How many attentions there are among the operations."""
    return sum(count for name, count in ops.items() if "scaled_dot_product" in name)


@pytest.mark.parametrize("families", [("base",), ("base", "plus"), ("base", "plus", "base")], ids="+".join)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_an_image_prompt_adds_its_attention_to_the_hosts_operations_and_each_more_does_two(name, mask, families):
    layout = LAYOUTS[name]
    ops, more = extra(applied(layout, families, MASKS[mask]), layout), len(families) - 1
    assert image_attentions(ops) == (1 + more) * layout.expected_layers
    assert ops.total() <= (FIRST + MORE * more) * layout.expected_layers, ops


@pytest.mark.parametrize("families", [("base",), ("base", "plus")], ids="+".join)
def test_beside_another_packs_patch_an_image_prompt_does_six_operations_a_layer_and_each_more_does_four(families):
    bare = small.make_pair(small.SD15).host.clone()
    for place in applied(small.SD15).model_options["transformer_options"]["patches_replace"]["attn2"]:
        bare.set_model_attn2_replace(lambda q, k, v, extra: host_text_attention(q, k, v, extra), *place)
    ops = counting.extra(step(applied(small.SD15, families, model=bare), small.SD15), step(bare, small.SD15))
    assert image_attentions(ops) == len(families) * 16
    assert ops.total() <= (TOGETHER + (MORE + 2) * (len(families) - 1)) * 16, ops


def test_a_users_attention_override_costs_an_image_prompt_no_more_than_another_packs_patch():
    bare = small.make_pair(small.SD15).host.clone()
    bare.model_options["transformer_options"][OVERRIDE] = lambda func, *args, **kwargs: func(*args, **kwargs)
    ops = counting.extra(step(applied(small.SD15, model=bare), small.SD15), step(bare, small.SD15))
    assert image_attentions(ops) == 16 and ops.total() <= TOGETHER * 16, ops


@pytest.mark.parametrize("mask", MASKS)
def test_no_step_waits_for_the_device_projects_or_interpolates(mask):
    ops = extra(applied(small.SD15, ("plus",), MASKS[mask]), small.SD15)
    assert counting.syncs(ops) == 0, ops
    assert not PROJECTIONS & ops.keys(), ops
    assert not any("upsample" in name for name in ops), ops


def test_a_mask_is_interpolated_once_a_run_for_each_level():
    model, settings = applied(small.SD15, mask=MASKS["masked"]), world.Settings(steps=1)
    ops = counting.count_ops(lambda: world.picture(model, small.SD15, settings))
    assert 0 < sum(count for name, count in ops.items() if "upsample_bicubic" in name) <= 5, ops


@dataclass
class UNetCounter:
    """A wrapper around the UNet that counts each call's operations."""

    calls: list[counting.Ops] = field(default_factory=list)

    def __call__(self, executor, *args, **kwargs):
        with counting.OpCounter() as counter:
            out = executor(*args, **kwargs)
        self.calls.append(counter.ops)
        return out


def calls_of(model, steps: int) -> list[counting.Ops]:
    """The operations of each of a run's UNet calls."""
    counter, model = UNetCounter(), model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "counter", counter)
    world.picture(model, small.SD15, world.Settings(steps=steps, size=world.SMALLEST.size))
    return counter.calls


def test_outside_its_window_an_adapter_leaves_the_model_its_own_operations():
    windowed = calls_of(applied(small.SD15, strength=FIRST_HALF), 4)
    bare = calls_of(small.make_pair(small.SD15).host, 4)
    assert [ours == theirs for ours, theirs in zip(windowed, bare, strict=True)] == [False, False, True, True]


def test_a_curve_costs_one_operation_a_call_and_no_wait():
    ramp = WeightCurve(((0.0, 1.0), (1.0, 0.2)))
    curved = extra(applied(small.SD15, strength=Strength(curves=(ramp,))), small.SD15)
    plain = extra(applied(small.SD15), small.SD15)
    assert curved.total() - plain.total() <= 1 and counting.syncs(curved) == 0, curved


def test_layers_of_weight_zero_cost_nothing():
    style = Strength(layers=(PresetRule("style transfer"),))
    ops = extra(applied(small.SDXL, strength=style), small.SDXL)
    assert image_attentions(ops) == 10 and ops.total() <= FIRST * 10, ops


def test_frames_cost_as_much_as_one_picture():
    frames = Strength(frames=(1.0, 0.5))
    model, settings = applied(small.SD15, strength=frames), world.Settings(steps=2, batch=2, size=world.SMALLEST.size)
    bare = counting.ops_of_a_step(
        small.make_pair(small.SD15).host, lambda model: world.picture(model, small.SD15, settings)
    )
    step = counting.ops_of_a_step(model, lambda model: world.picture(model, small.SD15, settings))
    ops = counting.extra(step, bare)
    assert image_attentions(ops) == 16 and ops.total() <= FIRST * 16 and counting.syncs(ops) == 0, ops


def test_whether_a_window_is_open_is_decided_once_a_call_and_not_once_a_layer():
    ops = extra(applied(small.SD15, strength=FIRST_HALF), small.SD15)
    assert counting.syncs(ops) == 1 and ops.total() <= 2, ops


@dataclass(frozen=True)
class FullSize:
    """A UNet of public size, shapes only, with an adapter of public size applied, and what that took."""

    bare: object
    patched: object
    ops: counting.Ops


def zero_file(kind: AdapterKind, layers) -> AdapterFile:
    """A file of public size, in fp16, without a number in it."""
    groups: dict[str, dict[str, torch.Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, shape in adapters.adapter_shapes(kind, layers).items():
        group, key = name.split(".", 1)
        groups[group][key] = torch.zeros(shape, dtype=torch.float16)
    return AdapterFile(**groups)


def apply_full_size(kind: AdapterKind) -> FullSize:
    """Load and apply, every operation counted."""
    model = build_model(kind.base, FULL_WIDTH, META, torch.float16)
    file, random = zero_file(kind, layers_of(model)), adapters.random_features()
    zero = ImageFeatures(torch.zeros_like(random.embeds), random.zero_penultimate)
    prompt = ImagePrompt.known((Part(ImageFeatures(random.embeds, random.penultimate)),), zero, "random features")
    with counting.OpCounter() as counter:
        patched = apply_image_prompt(model, world.host_adapter(file), prompt, ALWAYS)
    return FullSize(model, patched, counter.ops)


# The share of a call at the base's own picture size: 4 · Σ positions · channels · tokens beside all of the UNet's.
PERCENT = ((adapters.SD15_BASE, 0.023), (adapters.SD15_PLUS, 0.092), (adapters.SDXL_PLUS, 0.099))


@pytest.fixture(scope="module", params=PERCENT, ids=lambda case: case[0].name)
def full_size(request) -> tuple[AdapterKind, FullSize, float]:
    kind, percent = request.param
    with torch.inference_mode():
        return kind, apply_full_size(kind), percent


def test_only_the_attention_over_the_image_tokens_adds_flops(full_size):
    kind, made, percent = full_size
    call = make_call(kind.base, kind.base.pixels, META, torch.float16)
    bare, patched = (counting.count_flops(lambda model=model: call(model)) for model in (made.bare, made.patched))
    assert 100 * (patched / bare - 1) == pytest.approx(percent, rel=0.02)


def test_only_keys_and_values_are_held_while_sampling(full_size):
    kind, made, _ = full_size
    make_call(kind.base, kind.base.pixels, META, torch.float16)(made.patched)
    rows, matrices, half = 2, 2, 2
    widths = sum(layer.channels for layer in layers_of(made.bare))
    assert counting.half_bytes(ThisPack().held(made.patched)) == rows * matrices * half * kind.tokens * widths


def storage_of_run(strength, batch: int) -> int:
    """Bytes that a run of the small model keeps on the device for an image prompt."""
    model, seen = applied(small.MICRO, strength=strength).clone(), []
    (rows,) = model.get_wrappers(WrappersMP.APPLY_MODEL, APPLY_KEY)

    def look(executor, *args, **kwargs):
        dials = [dial for made in rows.made.values() for dial in made.rows.values()]
        kept = [tensor for dial in dials for tensor in (dial.still, dial.scaled, dial.rows) if tensor is not None]
        seen.append(
            sum({tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in kept}.values())
        )
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "look", look)
    world.picture(model, small.MICRO, world.Settings(steps=1, batch=batch))
    return seen[-1]


def test_keys_and_values_are_held_once_for_each_picture_and_what_a_curve_turns_once_for_each_conditioning():
    row = storage_of_run(ALWAYS, batch=1) // 2
    ramp = Strength(curves=(WeightCurve(((0.0, 1.0), (1.0, 0.2))),))
    assert row > 0 and storage_of_run(ALWAYS, batch=8) <= (16 + 2) * row
    assert storage_of_run(ramp, batch=8) <= (16 + 4) * row


def test_loading_and_applying_fills_nothing_with_random_numbers(full_size):
    _, made, _ = full_size
    assert made.ops.total() > 0 and not counting.random_fills(made.ops), made.ops


def test_the_counter_sees_random_initialisation():
    assert counting.random_fills(counting.count_ops(lambda: torch.nn.Linear(2, 2)))


@pytest.mark.parametrize("base", [SD15, SDXL], ids=lambda base: base.name)
def test_the_benchmark_builds_unets_with_the_public_layers(base):
    layers = layers_of(build_model(base, FULL_WIDTH, META, torch.float16))
    assert len(layers) == LAYOUTS[base.name.replace(".", "").lower()].expected_layers
    assert {layer.channels for layer in layers} <= {320, 640, 1280}


CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=MODES, ids=["plain", "checkpointed"])
def training_steps(request):
    """The reference's training step on diffusers and this pack's, of a UNet with all the layers of SD1.5."""
    case = TrainingCase(adapters.SD15_BASE, NARROW_WIDTH, pixels=128, batch=2, rounds=1)
    with both_sides(case, CPU) as sides:
        measured = tuple(measure(case, request.param, sides, CPU))
        refuse_different(*(side.losses for side in sides))
    return measured


def test_a_training_step_takes_no_more_memory_than_the_references(training_steps):
    theirs, ours = training_steps
    assert ours.peak.held == theirs.peak.held
    assert 0 < ours.peak.step <= 1.005 * theirs.peak.step


def test_a_training_step_waits_once_and_does_no_more_work_than_the_references(training_steps):
    theirs, ours = training_steps
    assert theirs.waits == ours.waits == 1
    assert ours.ops <= theirs.ops


def test_the_memory_meter_sees_the_worst_moment_and_not_the_sum():
    def work():
        for _ in range(3):
            torch.empty(1000, dtype=torch.float32)

    assert cpu_extra(work) == 4000
