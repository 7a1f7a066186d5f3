"""torch.compile through the host's own node: right when the numbers change, and when the structure does.

The node's guard filter drops every guard on transformer_options, so what changes there goes unseen unless it is a
tensor. `eager` runs the captured graph without generating code, which is where staleness would show.
"""

from __future__ import annotations

import pytest
import torch
import torch._inductor.config
from comfy_extras.nodes_torch_compile import TorchCompileModel
from pack.ipadapter.host.sampling.conditioning import carrying
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.curve import WeightCurve
from pack.ipadapter.strength.layers import TypedRule
from pack.ipadapter.strength.strength import Scaling, Strength

from nodes import ConditioningCombine, ConditioningSetArea
from tests.image_prompts import image_prompt
from tests.small import LEAST, make_pair
from tests.world import Settings, adapter_file, conditioning, host_adapter, picture
from tools.bench import compiled as bench

pytestmark = pytest.mark.slow

# Of the LEAST layers: tracing takes seconds, the more the longer the model.
SETTINGS = Settings(steps=4, cfg=3.0)


@pytest.fixture(scope="module", autouse=True)
def compiler():
    """What one test has compiled may serve the next, where it would be stale if it could. All must be compiled."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=64, fail_on_recompile_limit_hit=True):
        yield
    torch._dynamo.reset()


@pytest.fixture
def fresh_compiler():
    """Nothing compiled and nothing counted, for those who count."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def compiled(model, backend: str = "eager"):
    return TorchCompileModel.execute(model, backend).result[0]


def apply(weight=1.0, seed=3, window=(0.0, 1.0), images=1, model=None, **kwargs):
    adapter = host_adapter(adapter_file(LEAST, "base"))
    prompt = image_prompt(seed=seed, images=images)
    return apply_image_prompt(model or make_pair(LEAST).host, adapter, prompt, Strength(weight, *window), **kwargs)


def strong(**strength):
    """With a strength that is more than a weight."""
    adapter = host_adapter(adapter_file(LEAST, "base"))
    return apply_image_prompt(make_pair(LEAST).host, adapter, image_prompt(), Strength(**strength))


def sampled(model):
    return picture(model, LEAST, SETTINGS)


MASK = torch.zeros(1, 128, 128)
MASK[..., 64:] = 1

FADE, LATE = WeightCurve(((0.0, 1.0), (1.0, 0.1))), WeightCurve(((0.0, 0.0), (0.5, 0.0), (1.0, 1.0)))
OUTPUT, MIDDLE = TypedRule((("output", 1.0),)), TypedRule((("middle", 1.0),))

CHANGES = {
    "weight": lambda: (apply(1.0), apply(0.4), apply(-1.0)),
    "image": lambda: (apply(seed=3), apply(seed=4)),
    "window": lambda: (apply(), apply(window=(0.0, 0.5)), apply(window=(0.5, 1.0)), apply()),
    "curve": lambda: (apply(), strong(curves=(FADE,)), strong(curves=(LATE,)), apply()),
    "layers": lambda: (apply(), strong(layers=(OUTPUT,)), strong(layers=(MIDDLE,)), apply()),
    "scaling": lambda: (apply(), strong(weight=0.7, scaling=Scaling.KEYS_AND_VALUES)),
    "number of images": lambda: (apply(images=1), apply(images=2)),
    "mask": lambda: (apply(), apply(mask=MASK), apply(mask=1 - MASK)),
    "weight to zero and back": lambda: (apply(1.0), apply(0.0), apply(1.0)),
    "adapter added and removed": lambda: (
        make_pair(LEAST).host,
        apply(),
        apply(model=apply(seed=5)),
        make_pair(LEAST).host,
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_compiled_model_gives_the_right_picture_when(change):
    for model in CHANGES[change]():
        assert torch.allclose(sampled(compiled(model)), sampled(model), atol=2e-4)


@pytest.mark.usefixtures("fresh_compiler")
def test_changing_weight_or_image_compiles_nothing_anew():
    sampled(compiled(apply(1.0)))
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    sampled(compiled(apply(0.4)))
    sampled(compiled(apply(seed=9)))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before > 0


@pytest.mark.usefixtures("fresh_compiler")
def test_batches_of_other_sizes_are_right_and_an_image_prompt_breaks_no_graph():
    model = apply()
    for batch in (1, 3, 2, 1):
        settings = Settings(steps=2, batch=batch)
        ours, eager = (picture(each, LEAST, settings) for each in (compiled(model), model))
        assert torch.allclose(ours, eager, atol=2e-4)
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.usefixtures("fresh_compiler")
def test_the_benchmark_calls_compiled_models_and_stops_when_its_time_is_over():
    models = [make_pair(LEAST).host, apply()]
    works = bench.compiled(models, sampled, 600.0, "eager")
    for work, model in zip(works, models, strict=True):
        assert torch.allclose(work(), sampled(model), atol=2e-4)
    with pytest.raises(bench.TooLongError, match="compiling takes more than is left"):
        bench.compiled(models, sampled, 0.01, "eager")


@pytest.fixture
def plain_code():
    """Inductor's C++ without vector instructions: to look for them and to read their headers takes most of the time."""
    with torch._inductor.config.patch({"cpp.vec_isa_ok": False, "compile_threads": 1}):
        yield


@pytest.mark.usefixtures("plain_code")
def test_generated_code_gives_the_right_picture():
    for model in (apply(1.0), apply(0.3, seed=8)):
        assert torch.allclose(sampled(compiled(model, "inductor")), sampled(model), atol=2e-3)


def area(cond, x: int):
    """A column of the picture."""
    return ConditioningSetArea().append(cond, 64, 128, x, 0, 1.0)[0]


def test_a_prompt_bound_to_one_of_two_texts_stays_with_it_in_a_compiled_model():
    """Calls that differ only in which conditioning they are of."""
    text, negative = conditioning(LEAST, 11), conditioning(LEAST, 12)
    adapter = host_adapter(adapter_file(LEAST, "base"))
    model = apply_image_prompt(make_pair(LEAST).host, adapter, image_prompt(), Strength(), bound="one")
    for conds in ((carrying(text, "one"), negative), (text, carrying(negative, "one")), (text, negative)):
        run = [picture(each, LEAST, SETTINGS, conds=conds) for each in (compiled(model), model)]
        assert torch.allclose(*run, atol=2e-4)


def test_a_mask_that_areas_cut_is_right_in_a_compiled_model():
    text, negative = conditioning(LEAST, 11), conditioning(LEAST, 12)
    model = apply(mask=MASK)
    halves = ConditioningCombine().combine(area(text, 0), area(text, 64))[0]
    for conds in ((text, negative), (halves, negative), (text, negative)):
        run = [picture(each, LEAST, SETTINGS, conds=conds) for each in (compiled(model), model)]
        assert torch.allclose(*run, atol=2e-4)
