"""Every guider of the host, whatever stands in its lists: who gets the image, row by row against the reference.

The oracle tells a row's list by its text, which the host gives a copy of a conditioning too.
"""

from __future__ import annotations

from functools import cache

import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom
import pytest
import torch
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_perpneg import Guider_PerpNeg
from comfy_extras.nodes_sag import SelfAttentionGuidance
from pack.ipadapter.attention.packing import NEGATIVE, POSITIVE
from pack.ipadapter.host.sampling.conditioning import carrying
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength

from nodes import ConditioningSetArea, ConditioningSetMask, ConditioningSetTimestepRange
from tests.comfyui import needs
from tests.image_prompts import image_prompt
from tests.oracle.reference import reference_with
from tests.small import LEAST, make_pair, make_reference_unet
from tests.world import Recorder, Settings, adapter_file, conditioning, host_adapter, noise_for, picture

SETTINGS = Settings(steps=2)
FILE, PROMPT = adapter_file(LEAST, "base"), image_prompt()
IMAGE = PROMPT.parts[0].positive.image_embeds
NOTHING = torch.zeros_like(IMAGE)
SLOPE = torch.linspace(0, 1, 128).expand(1, 128, 128).contiguous()  # a mask that tells a part of the picture by its own
CORNER = torch.zeros(1, 128, 128)
CORNER[:, 32:96, 64:128] = 1  # 8 × 8 latent pixels at (4, 8), which is what the areas here are


@cache
def reference():
    """The oracle with the adapter, of a UNet that no other test puts one into."""
    return reference_with(LEAST, [FILE], 1.0, make_reference_unet(LEAST))


def expected(x, t, text, embeds):
    """What rows are to be; without embeds, of the bare model."""
    mask = SLOPE if x.shape[-1] == 16 else SLOPE[:, 32:96, 64:]  # the part of it over what the rows see
    given = (NOTHING, torch.zeros_like(mask)) if embeds is None else (embeds, mask)
    return reference().predict(x, t, text, None, [given[0]], [given[1].unsqueeze(1)], {})


def applied(bound=None):
    return apply_image_prompt(make_pair(LEAST).host, host_adapter(FILE), PROMPT, Strength(), SLOPE, bound)


def dual_model(model):
    return custom.Guider_DualModel(model, applied())


GUIDERS = {
    "basic": (custom.Guider_Basic, ("positive",), {}),
    "cfg": (comfy.samplers.CFGGuider, ("positive", "negative"), {"cfg": 5.0}),
    "perp-neg": (Guider_PerpNeg, ("positive", "negative", "empty"), {"cfg": 5.0, "neg_scale": 1.0}),
    "dual-cfg": (custom.Guider_DualCFG, ("positive", "middle", "negative"), {"cfg1": 4.0, "cfg2": 3.0}),
    "dual-cfg-nested": (
        custom.Guider_DualCFG, ("positive", "middle", "negative"), {"cfg1": 4.0, "cfg2": 3.0, "nested": True},
    ),
    "dual-model": (dual_model, ("positive", "negative"), {"cfg": 5.0}),
}  # fmt: skip
ROLES = {"positive": POSITIVE, "middle": NEGATIVE, "negative": NEGATIVE, "empty": NEGATIVE}


def area(cond):
    """A part of the picture, in which the host repeats the conditionings of the other lists."""
    return ConditioningSetArea().append(cond, 64, 64, 64, 32, 1.0)[0]


def bounds(cond):
    """The area around a mask."""
    return ConditioningSetMask().append(cond, CORNER, "mask bounds", 1.0)[0]


def mask(cond):
    return ConditioningSetMask().append(cond, CORNER, "default", 1.0)[0]


def first_half(cond):
    return ConditioningSetTimestepRange().set_range(cond, 0.0, 0.5)[0]


KINDS = {
    "a text": lambda cond: cond,
    "area": area,
    "mask": mask,
    "mask bounds": bounds,
    "timestep range": first_half,
    "area and range": lambda cond: first_half(area(cond)),
}
NEEDS = {"dual-model": (needs("comfy_extras.nodes_custom_sampler", "Guider_DualModel"),)}
CASES = [
    pytest.param(name, at, kind, marks=NEEDS.get(name, ()))
    for name, (_, names, _) in GUIDERS.items()
    for at in names
    for kind in KINDS
]


def lists_of(names, at, kind):
    """A conditioning for each of a guider's lists, and one more in that of a name."""
    lists = {name: conditioning(LEAST, seed) for seed, name in enumerate(names, 30)}
    return lists | {at: lists[at] + KINDS[kind](conditioning(LEAST, 40))}


def calls_of(model, name, lists):
    """The model calls of a run."""
    kind, _, settings = GUIDERS[name]
    recorder = Recorder()
    model.add_wrapper_with_key("diffusion_model", "recorder", recorder)
    guider = kind(model)
    guider.set_conds(*lists.values())
    if settings:
        guider.set_cfg(**settings)
    run(guider)
    return recorder.calls


def run(guider) -> torch.Tensor:
    sigmas = comfy.samplers.calculate_sigmas(guider.model_patcher.model.model_sampling, "normal", SETTINGS.steps)
    latent = torch.zeros(1, 4, *SETTINGS.size)
    sampler = comfy.samplers.sampler_object("euler")
    return guider.sample(noise_for(SETTINGS), latent, sampler, sigmas, disable_pbar=True, seed=0)


def rows_of(call):
    """Each conditioning's rows of a call: latent, noise level, text, output."""
    count = len(call.cond_or_uncond)
    return zip(*(part.chunk(count) for part in (call.x, call.timestep, call.context, call.output)), strict=True)


def list_of(text, lists) -> str:
    """The list that a row's text stands in."""
    return next(name for name, conds in lists.items() if any(torch.equal(cond[0], text) for cond in conds))


@pytest.mark.parametrize("name, at, kind", CASES)
def test_the_list_a_conditioning_stands_in_decides_whether_it_gets_the_image(name, at, kind):
    lists = lists_of(GUIDERS[name][1], at, kind)
    seen = set()
    for call in calls_of(applied(), name, lists):
        for x, t, text, output in rows_of(call):
            given = list_of(text, lists)
            embeds = IMAGE if ROLES[given] == POSITIVE else NOTHING
            assert (expected(x, t, text, embeds) - output).abs().max() <= 1e-5, given
            seen.add((given, x.shape[-1]))
    widths = {8, 16} if "area" in kind or "bounds" in kind else {16}
    unseen = {("negative", 8)} if (name, at) == ("dual-model", "positive") else set()  # of a model of its own
    assert seen == {(given, width) for given in lists for width in widths} - unseen


WHO = {
    "positive": {("positive", 16): IMAGE, ("unbound", 8): None, ("negative", 16): NOTHING, ("negative", 8): None},
    "negative": {("positive", 16): IMAGE, ("positive", 8): IMAGE, ("negative", 16): NOTHING, ("unbound", 8): None},
}


@pytest.mark.parametrize("at", WHO)
def test_a_copy_of_a_bound_text_gets_its_image_and_one_in_an_unbound_area_no_unconditional(at):
    lists = {
        name: carrying(conditioning(LEAST, seed), "bound") for seed, name in enumerate(("positive", "negative"), 30)
    }
    texts, seen = {**lists, "unbound": conditioning(LEAST, 40)}, set()
    lists[at] = lists[at] + area(texts["unbound"])
    for call in calls_of(applied("bound"), "cfg", lists):
        for x, t, text, output in rows_of(call):
            who = (list_of(text, texts), x.shape[-1])
            assert (expected(x, t, text, WHO[at][who]) - output).abs().max() <= 1e-5, who
            seen.add(who)
    assert seen == WHO[at].keys()


GUIDANCE = {
    "self-attention": lambda model: SelfAttentionGuidance.execute(model, 0.5, 2.0).result[0],
    "perturbed attention": lambda model: PerturbedAttentionGuidance.execute(model, 3.0).result[0],
}


@pytest.mark.parametrize("at", ["positive", "negative"])
@pytest.mark.parametrize("name", GUIDANCE)
def test_an_area_of_the_whole_picture_is_none_for_guidance_that_calls_the_model_again(name, at):
    conds = {side: conditioning(LEAST, seed) for seed, side in enumerate(("positive", "negative"), 30)}
    model = GUIDANCE[name](applied())
    plain = picture(model, LEAST, SETTINGS, conds=tuple(conds.values()))
    conds[at] = ConditioningSetArea().append(conds[at], 128, 128, 0, 0, 1.0)[0]
    whole = picture(model, LEAST, SETTINGS, conds=tuple(conds.values()))
    assert (whole - plain).abs().max() <= 1e-5 * plain.abs().max()
