"""Image prompts that belong to some text prompts only, and masks beside areas: against the reference, row by row."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.sampling.conditioning import carrying
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength
from pack.nodes.apply import ApplyIPAdapterToConditioning
from pack.nodes.region import ImagePromptRegion

from nodes import ConditioningCombine, ConditioningSetArea, ConditioningSetMask, ConditioningSetTimestepRange
from tests.image_prompts import image_prompt
from tests.oracle.reference import Features, reference_with
from tests.oracle.test_masks import halves
from tests.small import MICRO, SD15, make_pair
from tests.world import Settings, adapter_file, conditioning, host_adapter, picture, sample, windowed
from tools.bench import counting

TOLERANCE = 1e-5
LEFT, RIGHT, NEGATIVE_TEXT = (conditioning(SD15, seed) for seed in (21, 22, 23))
TEXTS = {"left": LEFT, "right": RIGHT, "negative": NEGATIVE_TEXT}
FILE = adapter_file(SD15, "base")
PROMPTS = (image_prompt(seed=3), image_prompt(seed=4))
EMBEDS = [prompt.parts[0].positive.image_embeds for prompt in PROMPTS]


def image(prompt: int) -> torch.Tensor:
    return EMBEDS[prompt]


def nothing() -> torch.Tensor:
    return torch.zeros_like(EMBEDS[0])


def area(cond, x: int, width: int = 64):
    """A column of the 128 pixel wide picture."""
    return ConditioningSetArea().append(cond, width, 128, x, 0, 1.0)[0]


def chunks_of(call):
    """Each conditioning's rows: latent, noise level, text, output."""
    count = len(call.uuids)
    return zip(*(tensor.chunk(count) for tensor in (call.x, call.timestep, call.context, call.output)), strict=True)


def is_text(context: torch.Tensor, cond) -> bool:
    """Whether rows have this text; the host repeats a text to a common length."""
    tokens = cond[0][0]
    return torch.equal(context[0, : tokens.shape[1]], tokens[0])


def bind(model, prompt, positive, negative, weight=1.0):
    """The node, on a small model."""
    return ApplyIPAdapterToConditioning.execute(
        model, host_adapter(FILE), prompt, positive, negative, weight, 0.0, 1.0
    ).result


def test_a_bound_prompt_acts_on_its_own_text_only():
    model, left, negative = bind(make_pair(SD15).host, PROMPTS[0], LEFT, NEGATIVE_TEXT, 0.8)
    both = ConditioningCombine().combine(left, RIGHT)[0]
    _, calls = sample(model, SD15, conds=(both, negative))
    adapted, bare = reference_with(SD15, [FILE], 0.8), {}
    seen = set()
    for call in calls:
        for x, t, text, output in chunks_of(call):
            name = next(
                n for n, c in (("left", LEFT), ("right", RIGHT), ("negative", NEGATIVE_TEXT)) if is_text(text, c)
            )
            embeds = {"left": image(0), "negative": nothing()}.get(name)
            if embeds is None:
                bare.setdefault("rows", []).append((x, t, text, output))
            else:
                expected = adapted.predict(x, t, text, None, [embeds], None, {})
                assert (expected - output).abs().max() <= TOLERANCE, name
            seen.add(name)
    assert seen == {"left", "right", "negative"}
    unadapted = reference_with(SD15, [FILE], 0.0)
    for x, t, text, output in bare["rows"]:
        assert (unadapted.predict(x, t, text, None, [nothing()], None, {}) - output).abs().max() <= TOLERANCE


def test_two_bound_prompts_in_two_areas_each_follow_their_own():
    model, left, negative = bind(make_pair(SD15).host, PROMPTS[0], area(LEFT, 0), NEGATIVE_TEXT)
    model, right, _ = bind(model, PROMPTS[1], area(RIGHT, 64), NEGATIVE_TEXT)
    _, calls = sample(model, SD15, conds=(ConditioningCombine().combine(left, right)[0], negative))
    reference = reference_with(SD15, [FILE], 1.0)
    seen = 0
    for call in calls:
        for (x, t, text, output), place in zip(chunks_of(call), call.cond_or_uncond, strict=True):
            if place == 0:
                prompt = 0 if is_text(text, LEFT) else 1
                assert x.shape[-1] == 8
                expected = reference.predict(x, t, text, None, [image(prompt)], None, {})
                assert (expected - output).abs().max() <= TOLERANCE
                seen += 1
    assert seen == 4


def test_a_timestep_range_of_the_host_holds_for_a_bound_prompt():
    first = ConditioningSetTimestepRange().set_range(LEFT, 0.0, 0.5)[0]
    second = ConditioningSetTimestepRange().set_range(RIGHT, 0.5, 1.0)[0]
    model, bound, negative = bind(make_pair(SD15).host, PROMPTS[0], first, NEGATIVE_TEXT)
    _, calls = sample(model, SD15, Settings(steps=4), conds=(ConditioningCombine().combine(bound, second)[0], negative))
    reference, bare = reference_with(SD15, [FILE], 1.0), []
    for call in calls:
        for x, t, text, output in chunks_of(call):
            if is_text(text, LEFT):
                expected = reference.predict(x, t, text, None, [image(0)], None, {})
                assert (expected - output).abs().max() <= TOLERANCE
            elif is_text(text, RIGHT):
                bare.append((x, t, text, output))
    assert bare
    unadapted = reference_with(SD15, [FILE], 0.0)
    for x, t, text, output in bare:
        assert (unadapted.predict(x, t, text, None, [nothing()], None, {}) - output).abs().max() <= TOLERANCE


def area_difference(mask, conds, prompt=0) -> float:
    """A mask on the model, areas on the text: every row against the reference with its own cut of the mask."""
    model = apply_image_prompt(make_pair(SD15).host, host_adapter(FILE), PROMPTS[prompt], Strength(1.0), mask=mask)
    _, calls = sample(model, SD15, conds=conds)
    reference, worst = reference_with(SD15, [FILE], 1.0), 0.0
    for call in calls:
        for (x, t, text, output), place in zip(chunks_of(call), call.cond_or_uncond, strict=True):
            cut = mask if x.shape[-1] == 16 else mask[..., :64] if is_text(text, LEFT) else mask[..., 64:]
            if place and x.shape[-1] == 8:
                continue  # the negative's copy of an area: which one its text does not tell
            masks = [cut.unsqueeze(1)]
            embeds = nothing() if place else image(prompt)
            expected = reference.predict(x, t, text, None, [embeds], masks, {})
            worst = max(worst, (expected - output).abs().max().item())
    return worst


def test_an_output_mask_is_cut_to_the_area_of_a_conditioning():
    mask = torch.linspace(0, 1, 128).expand(1, 128, 128).clone()
    positive = ConditioningCombine().combine(area(LEFT, 0), area(RIGHT, 64))[0]
    assert area_difference(mask, (positive, NEGATIVE_TEXT)) <= TOLERANCE


def test_an_area_leaves_the_positive_side_its_image():
    """The host repeats a conditioning with an area on the negative side under the same uuid."""
    model = apply_image_prompt(make_pair(SD15).host, host_adapter(FILE), PROMPTS[0], Strength(1.0))
    _, calls = sample(model, SD15, conds=(area(LEFT, 0), NEGATIVE_TEXT))
    reference = reference_with(SD15, [FILE], 1.0)
    roles = set()
    for call in calls:
        for (x, t, text, output), place in zip(chunks_of(call), call.cond_or_uncond, strict=True):
            expected = reference.predict(x, t, text, None, [nothing() if place else image(0)], None, {})
            assert (expected - output).abs().max() <= TOLERANCE
            roles.add(bool(place))
    assert roles == {True, False}


def test_a_mask_of_the_host_on_a_conditioning_leaves_the_image_whole():
    masked = ConditioningSetMask().append(LEFT, halves(128, 128), "default", 1.0)[0]
    model = apply_image_prompt(make_pair(SD15).host, host_adapter(FILE), PROMPTS[0], Strength(1.0))
    _, calls = sample(model, SD15, conds=(masked, NEGATIVE_TEXT))
    reference = reference_with(SD15, [FILE], 1.0)
    for call in calls:
        given = [Features(image(0), nothing())]
        expected = reference.noise(call, [1 if place else 0 for place in call.cond_or_uncond], given)
        assert (expected - call.output).abs().max() <= TOLERANCE


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float16])
def test_a_regions_text_speaks_within_a_mask_of_any_type(dtype):
    """The host resizes the mask of a text as it is, and cannot resize every type."""
    left, right, negative = SMALL_TEXTS
    made = [
        ImagePromptRegion.execute(PROMPTS[0], given, 1.0, "share", positive=left).result[1]
        for given in (halves(64, 64).to(dtype), halves(64, 64))
    ]
    model = make_pair(MICRO).host
    first, second = (picture(model, MICRO, conds=(one + right, negative)) for one in made)
    assert (first - second).abs().max() <= 1e-3 * second.abs().max()


def test_binding_leaves_the_conditionings_it_is_given_alone():
    bind(make_pair(SD15).host, PROMPTS[0], LEFT, NEGATIVE_TEXT)
    assert "ip_adapter" not in LEFT[0][1] and "ip_adapter" not in NEGATIVE_TEXT[0][1]


def test_a_conditioning_carries_every_prompt_bound_to_it():
    twice = carrying(carrying(LEFT, "one"), "other")
    assert twice[0][1]["ip_adapter"] == ("one", "other")


SMALL_TEXTS = tuple(conditioning(MICRO, seed) for seed in (21, 22, 23))
SMALL_FILE = adapter_file(MICRO, "base")
SLOPE = torch.linspace(0, 1, 128 * 128).reshape(1, 128, 128)  # a mask that differs everywhere


def area_in_windows(dim: int, top: int = 16):
    """Context windows of half the rows or columns, and a text with an area: each window, and what was called."""
    model = apply_image_prompt(make_pair(MICRO).host, host_adapter(SMALL_FILE), PROMPTS[0], Strength(1.0), mask=SLOPE)
    model, windows = windowed(model, 8, dim), []

    def look(executor, *args, **kwargs):
        windows.append(list(args[5]["context_window"].index_list))
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "look", look)
    left, right, negative = SMALL_TEXTS
    small = ConditioningSetArea().append(left, 32, 32, top, top, 1.0)[0]  # 4 × 4 latent pixels
    return windows, sample(model, MICRO, Settings(steps=1), conds=(small + right, negative))[1]


@pytest.mark.parametrize("dim", [2, 3])
def test_an_area_in_a_context_window_takes_its_part_of_the_window_of_a_mask(dim):
    reference, seen = reference_with(MICRO, [SMALL_FILE], 1.0), set()
    for window, call in zip(*area_in_windows(dim), strict=True):
        part = SLOPE.narrow(dim - 1, 8 * window[0], 64)
        for x, t, text, output in chunks_of(call):
            small = x.shape[-2:] == (4, 4)
            given = part[:, 16:48, 16:48] if small else part
            embeds = nothing() if is_text(text, SMALL_TEXTS[2]) else image(0)
            expected = reference.predict(x, t, text, None, [embeds], [given.unsqueeze(1)], {})
            assert (expected - output).abs().max() <= TOLERANCE
            seen.add((window[0], small))
    assert seen == {(0, True), (0, False), (8, True), (8, False)}


def test_an_area_that_begins_where_a_context_window_ends_is_a_sentence():
    with pytest.raises(IPAdapterError, match="begins at latent row 8, column 8, beyond a context window of 8 × 16,"):
        area_in_windows(2, top=64)


def test_an_area_beyond_the_picture_is_a_sentence_where_the_host_fails():
    base, area = make_pair(MICRO).host, ConditioningSetArea().append(SMALL_TEXTS[0], 32, 32, 128, 0, 1.0)[0]
    model = apply_image_prompt(base, host_adapter(SMALL_FILE), PROMPTS[0], Strength(1.0), mask=SLOPE)
    drawn = partial(sample, layout=MICRO, settings=Settings(steps=1), conds=(area + SMALL_TEXTS[1], SMALL_TEXTS[2]))
    with pytest.raises(RuntimeError):
        drawn(base)
    with pytest.raises(IPAdapterError, match="begins at latent row 0, column 16, beyond a picture of 16 × 16: move it"):
        drawn(model)


@pytest.mark.parametrize("steps", [2])
def test_rows_that_no_prompt_is_bound_to_cost_nothing(steps):
    """A model whose conditionings carry nothing is sampled as the bare one, to the bit."""
    base = make_pair(SD15).host
    model, _, _ = bind(base, PROMPTS[0], LEFT, NEGATIVE_TEXT)
    run = lambda model: picture(model, SD15, Settings(steps=steps), conds=(LEFT, NEGATIVE_TEXT))  # noqa: E731
    assert torch.equal(run(model), run(base))
    assert counting.count_ops(lambda: run(model)) == counting.count_ops(lambda: run(base))
