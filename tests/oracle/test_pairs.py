"""Every two features together, picture by picture, against diffusers with one adapter for each part of the prompt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import pytest
import torch
from pack.ipadapter.backbones.known import find_layers
from pack.ipadapter.host.sampling.conditioning import carrying
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.prompts.prompt import ImagePrompt, Order, Overlap
from pack.ipadapter.prompts.regions import add_region, masks_of, place_in_region
from pack.ipadapter.strength.curve import WeightCurve
from pack.ipadapter.strength.layers import LayerRule, read_layer_weights, weigh_layers
from pack.ipadapter.strength.strength import Strength
from torch import Tensor

from tests.image_prompts import image_prompt
from tests.oracle.reference import reference_with
from tests.oracle.test_masks import halves, soft
from tests.small import MINI, make_pair
from tests.world import Settings, adapter_file, conditioning, host_adapter, sample, windowed

pytestmark = pytest.mark.slow

TOLERANCE = 2e-5  # twice the usual: a picture alone and in a batch already differ by half of it
BATCH = 3
STEPS = 2  # at the beginning of the sampling and at its end: what changes over time is seen before and after
FILE = adapter_file(MINI, "base")
TEXTS = (conditioning(MINI, 11), conditioning(MINI, 12))


@dataclass(frozen=True)
class Case:
    """An image prompt with whatever features a test gives it."""

    strength: Strength = Strength(0.8)
    images: int = 1
    order: Order = Order.TOGETHER
    negatives: int = 0
    regions: bool = False
    mask: Tensor | None = None
    bound: str | None = None
    windows: bool = False

    @property
    def prompt(self) -> ImagePrompt:
        """One part, or one for each of two regions that lie over each other."""
        if not self.regions:
            return self.everywhere(3)
        regions = [(3, halves(128, 128), 1.0), (4, soft(128, 128), 0.6)]
        made = None
        for seed, mask, weight in regions:
            made = add_region(made, place_in_region(self.everywhere(seed), mask, weight, Overlap.SHARE))
        return made

    def everywhere(self, seed: int) -> ImagePrompt:
        """A prompt without a place."""
        prompt = image_prompt(self.images, seed, self.negatives)
        return replace(prompt, parts=(replace(prompt.parts[0], order=self.order),))


def strength(case: Case, **changes) -> Case:
    return replace(case, strength=replace(case.strength, **changes))


RULE: LayerRule = read_layer_weights("input: 0.5, output 1: -1, middle: 1")
RAMP = WeightCurve(((0.0, 0.7), (1.0, 0.2)))  # at no time 1, so that a window hides it at none
MASKS = torch.rand(BATCH, 128, 128, generator=torch.Generator().manual_seed(5)).round()

FEATURES = {
    "layers": lambda case: strength(case, layers=(RULE,)),
    "curve": lambda case: strength(case, curves=(RAMP,)),
    "time window": lambda case: strength(case, end=0.6),
    "frame weights": lambda case: strength(case, frames=(1.0, 0.3, -0.5)),
    "frame by frame": lambda case: replace(case, images=BATCH, order=Order.FRAME_BY_FRAME),
    "negative image": lambda case: replace(case, negatives=1),
    "regions": lambda case: replace(case, regions=True),
    "a mask a picture": lambda case: replace(case, mask=MASKS),
    "conditioning": lambda case: replace(case, bound="one"),
    "context windows": lambda case: replace(case, windows=True),
}


def run(case: Case):
    """Sample with the pack."""
    model = apply_image_prompt(
        make_pair(MINI).host, host_adapter(FILE), case.prompt, case.strength, case.mask, case.bound
    )
    if case.windows:
        model = windowed(model, 1)
    texts = tuple(carrying(text, case.bound) for text in TEXTS) if case.bound else TEXTS
    return sample(model, MINI, Settings(STEPS, batch=BATCH, size=(8, 8)), conds=texts)[1]


def scales(case: Case, position: float, frame: int) -> Tensor:
    """λ of each part at each layer, for one picture at one time."""
    given = case.strength
    acts = given.start <= position <= given.end
    level = given.weight * given.level(position) * (given.frames[frame] if given.frames else 1.0) * acts
    layers = find_layers(make_pair(MINI).host.model.diffusion_model)
    by_layer = torch.tensor([one.weight for one in weigh_layers(given.layers, layers)])
    return torch.outer(torch.tensor([part.weight for part in case.prompt.parts]), by_layer) * level


def set_layer_scales(unet, values: Tensor) -> None:
    """Each processor's scale for each adapter; diffusers lists the layers as the files number them."""
    processors = [one for one in unet.attn_processors.values() if hasattr(one, "scale")]
    for index, processor in enumerate(processors):
        processor.scale = values[:, index].tolist()


def embeds_of(case: Case, part, negative: bool, frame: int) -> Tensor:
    """What one adapter is given for one picture, (n, E)."""
    if negative:
        zero = torch.zeros_like(part.positive.image_embeds[:1])
        return zero if part.negative is None else part.negative.image_embeds
    images = part.positive.image_embeds
    return images[frame : frame + 1] if case.order is Order.FRAME_BY_FRAME else images


def expected(case: Case, reference, call, call_index: int) -> Tensor:
    """diffusers' prediction for a recorded call, one picture at a time; a window is one picture, in one call."""
    rows = []
    batch = call.x.shape[0] // len(call.uuids)
    frames = [call_index % BATCH] if case.windows else range(batch)
    position = 1.0 - float(call.timestep[0]) / 999.0
    masks = masks_of(case.prompt.parts, case.mask)
    for chunk, place in enumerate(call.cond_or_uncond):
        for offset, frame in enumerate(frames):
            row = slice(chunk * batch + offset, chunk * batch + offset + 1)
            set_layer_scales(reference.unet, scales(case, position, frame))
            embeds = [embeds_of(case, part, bool(place), frame) for part in case.prompt.parts]
            given = [whole_or_own(mask, frame) for mask in masks] if any(mask is not None for mask in masks) else None
            rows.append(reference.predict(call.x[row], call.timestep[row], call.context[row], None, embeds, given, {}))
    return torch.cat(rows)


def whole_or_own(mask: Tensor | None, frame: int) -> Tensor:
    """A part's mask for one picture, as diffusers takes it: (1, 1, H, W)."""
    if mask is None:
        return torch.ones(1, 1, 128, 128)
    return mask[min(frame, len(mask) - 1)][None, None]


PAIRS = [*((name,) for name in FEATURES), *combinations(FEATURES, 2)]


@pytest.mark.parametrize("names", PAIRS, ids=" + ".join)
def test_features_together_equal_the_reference(names):
    case = Case()
    for name in names:
        case = FEATURES[name](case)
    calls = run(case)
    reference = reference_with(MINI, [FILE] * len(case.prompt.parts), 1.0)
    assert all(len(call.uuids) == 2 for call in calls)
    for index, call in enumerate(calls[: BATCH + 1]):  # of windows, all at the beginning and one at the end
        where = index if case.windows else 0
        assert (expected(case, reference, call, where) - call.output).abs().max() <= TOLERANCE
