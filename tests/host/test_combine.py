"""Combined image prompts in a model: what concat, weights, tiles and regions do to its attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pack.ipadapter.backbones.known import find_layers
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.backbones.text_attention import host_text_attention
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.prompts.combining import Combination
from pack.ipadapter.prompts.prompt import ImagePrompt, Order, Part, Region
from pack.ipadapter.strength.strength import Strength
from pack.nodes.combine import CombineImagePrompts
from torch import Tensor

from tests.image_prompts import image_prompt
from tests.small import MICRO, make_pair
from tests.world import Settings, adapter_file, host_adapter, picture

FAMILIES = pytest.mark.parametrize("family", ["base", "plus"])
QUICK = Settings(steps=1)


def one(seed: int, negatives: int = 0, images: int = 1) -> ImagePrompt:
    return image_prompt(images, seed, negatives)


def combine(how: str, *prompts: ImagePrompt, weights: str = "") -> ImagePrompt:
    given = {f"image_prompt{index}": prompt for index, prompt in enumerate(prompts)}
    return CombineImagePrompts.execute(how=how, image_prompts=given, weights=weights).result[0]


def sampled(prompt: ImagePrompt, family: str = "base", settings: Settings = QUICK, **more: Any) -> Tensor:
    adapter = host_adapter(adapter_file(MICRO, family))
    return picture(apply_image_prompt(make_pair(MICRO).host, adapter, prompt, Strength(), **more), MICRO, settings)


def batch(prompt: ImagePrompt, *others: ImagePrompt) -> ImagePrompt:
    """The images of several prompts as one batch of references."""
    parts = [given.parts[0].positive for given in (prompt, *others)]
    embeds, hidden = (torch.cat([getattr(part, name) for part in parts]) for name in ("image_embeds", "penultimate"))
    return replace(prompt, parts=(Part(replace(parts[0], image_embeds=embeds, penultimate=hidden)),))


@FAMILIES
@pytest.mark.parametrize("weights", ["", "1, 1", "1 1"])
def test_concat_of_two_images_is_the_batch_of_the_two(family, weights):
    made = sampled(combine("concat", one(1), one(2), weights=weights), family)
    assert torch.equal(made, sampled(batch(one(1), one(2)), family))


@FAMILIES
@pytest.mark.parametrize("how", [how.value for how in Combination])
def test_every_way_makes_a_picture_of_its_own(how, family):
    made = sampled(combine(how, one(1), one(2), weights="1, 0.5"), family)
    assert made.isfinite().all()
    for other in (one(1), one(2), batch(one(1), one(2))):
        assert (made - sampled(other, family)).abs().max() > 1e-4


@FAMILIES
@pytest.mark.parametrize("negatives", [0, 2])
def test_the_average_of_a_prompt_with_itself_is_the_prompt(family, negatives):
    given = one(1, negatives)
    mean = replace(given, parts=(replace(given.parts[0], negative=None),)) if not negatives else given
    made = sampled(combine("average", mean, mean, weights="0.7, 0.3"), family)
    expected = sampled(mean if not negatives else with_mean_negative(mean), family)
    assert (made - expected).abs().max() < 1e-4 * expected.abs().max()


def with_mean_negative(prompt: ImagePrompt) -> ImagePrompt:
    """A prompt with the mean of its negative images in place of them."""
    (part,) = prompt.parts
    embeds, hidden = part.negative.image_embeds.mean(0, True), part.negative.penultimate.mean(0, True)
    return replace(
        prompt, parts=(replace(part, negative=replace(part.negative, image_embeds=embeds, penultimate=hidden)),)
    )


class Listener:
    """Between a layer and a patch: keeps the query and what came of it."""

    def __init__(self, patch: Any) -> None:
        self.patch = patch

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra_options: dict[str, Any]) -> Tensor:
        self.query = q.clone()
        self.out = self.patch(q, k, v, extra_options).clone()
        return self.out


def image_part(prompt: ImagePrompt) -> tuple[Tensor, Tensor]:
    """The query of the first layer in a call with the positive conditioning, and what the image adds there."""
    base = make_pair(MICRO).host.clone()
    place = find_layers(base.model.diffusion_model)[0].place
    text = Listener(host_text_attention)
    base.set_model_attn2_replace(text, *place)
    model = apply_image_prompt(base, host_adapter(adapter_file(MICRO, "base")), prompt, Strength())
    both = Listener(model.model_options["transformer_options"]["patches_replace"]["attn2"][place])
    model.set_model_attn2_replace(both, *place)
    picture(model, MICRO, Settings(steps=1, cfg=1.0))
    return both.query, both.out - text.out


@pytest.mark.parametrize("negatives", [0, 3])  # 3: the rows of both sides are brought to a common length
@pytest.mark.parametrize("weights", ["1, 0.5", "0, 2", "-1, 1"])
def test_the_weights_of_concat_scale_the_values_of_each_images_tokens(weights, negatives):
    first, second = one(1, negatives), one(2)
    query, made = image_part(combine("concat", first, second, weights=weights))
    file, heads = adapter_file(MICRO, "base"), MICRO.heads[0]
    adapter = host_adapter(file).patcher.model
    tokens = torch.cat([adapter.tokens(prompt.parts[0].positive.image_embeds) for prompt in (first, second)], dim=1)
    layer, each = adapter.layer_projections()[0], torch.tensor([float(number) for number in weights.split(",")])
    keys, values = layer.to_k_ip(tokens), layer.to_v_ip(tokens) * each.repeat_interleave(4)[:, None]
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, keys, values))
    expected = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1) @ v
    assert (made - expected.transpose(1, 2).flatten(2)).abs().max() < 1e-4


def test_frames_of_two_prompts_stand_one_after_another():
    frames = [
        replace(one(seed, images=2), parts=(replace(one(seed, images=2).parts[0], order=Order.FRAME_BY_FRAME),))
        for seed in (1, 2)
    ]
    settings = Settings(steps=1, batch=4)
    made = sampled(combine("concat", *frames), settings=settings)
    for index in range(4):
        row = index % 2
        alone = Part(frames[index // 2].parts[0].positive[row : row + 1])
        expected = sampled(replace(one(1), parts=(alone,)), settings=settings)
        assert (made[index] - expected[index]).abs().max() < 1e-4 * expected.abs().max()
    with pytest.raises(IPAdapterError, match="has 4 frames, but 2"):
        sampled(combine("concat", *frames), settings=Settings(steps=1, batch=2))


def test_concat_keeps_regions_in_their_place():
    left = torch.zeros(1, 128, 128)
    left[..., :64] = 1
    placed = replace(one(1), parts=(replace(one(1).parts[0], region=Region(left)),))
    right = replace(one(2), parts=(replace(one(2).parts[0], region=Region(1 - left)),))
    made = sampled(combine("concat", placed, right))
    assert torch.equal(made, sampled(replace(one(1), parts=(*placed.parts, *right.parts))))


@pytest.mark.parametrize("how", [how.value for how in Combination])
def test_two_encoders_are_refused(how):
    with pytest.raises(IPAdapterError, match="two image encoders"):
        combine(how, one(1), replace(one(2), encoder="another"))


@pytest.mark.parametrize("weights", ["1", "1, 2, 3", "one, two", "nan, 1", "1, inf"])
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(IPAdapterError, match="^weights has"):
        combine("average", one(1), one(2), weights=weights)
