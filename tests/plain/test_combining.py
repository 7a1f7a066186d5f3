"""Several image prompts as one: each operation against a line of plain torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.ipadapter.prompts.combining import Combination, combine_prompts
from pack.ipadapter.prompts.prompt import ImageFeatures, ImagePrompt, Order, Part, Region
from torch import Tensor

from tests.refusals import refusal

EMBED, TOKENS, HIDDEN = 6, 5, 4
ZERO = ImageFeatures(torch.full((1, EMBED), 0.3), torch.full((1, TOKENS, HIDDEN), 0.7))
BOTH = ("image_embeds", "penultimate")
MIXING = [how for how in Combination if how is not Combination.CONCAT]


def features(images: int, seed: int) -> ImageFeatures:
    generator = torch.Generator().manual_seed(seed)
    return ImageFeatures(
        torch.randn(images, EMBED, generator=generator), torch.randn(images, TOKENS, HIDDEN, generator=generator)
    )


def part(images: int = 1, seed: int = 0, negatives: int = 0, **more) -> Part:
    return Part(features(images, seed), features(negatives, 100 + seed) if negatives else None, **more)


def prompt(*parts: Part) -> ImagePrompt:
    return ImagePrompt.known(parts, ZERO, "small encoder")


def single(images: int = 1, seed: int = 0, negatives: int = 0, **more) -> ImagePrompt:
    return prompt(part(images, seed, negatives, **more))


def combined(how: Combination, prompts: list[ImagePrompt], *weights: float) -> Part:
    (one,) = combine_prompts(prompts, how, weights or None).parts
    return one


def images_of(prompts: list[ImagePrompt], name: str) -> list[Tensor]:
    """Every image's feature, each without the image axis."""
    return [image for one in prompts for some in one.parts for image in getattr(some.positive, name)]


def test_concat_puts_images_one_after_another_with_their_weights():
    prompts = [single(2, 1), single(1, 2)]
    made = combined(Combination.CONCAT, prompts, 1.0, 0.5)
    for name in BOTH:
        assert torch.equal(getattr(made.positive, name), torch.stack(images_of(prompts, name)))
    assert made.weights == (1.0, 1.0, 0.5) and made.order is Order.TOGETHER and made.negative is None
    assert combined(Combination.CONCAT, prompts, 1.0, 0.5, 0.25).weights == (1.0, 0.5, 0.25)


def test_weights_that_a_prompt_has_already_are_multiplied():
    prompts = [single(2, 1, weights=(1.0, 0.5)), single(1, 2, weight=3.0)]
    assert combined(Combination.CONCAT, prompts, 2.0, 0.5).weights == (2.0, 1.0, 1.5)


@pytest.mark.parametrize("name", BOTH)
def test_average_is_the_weighted_mean(name):
    prompts = [single(2, 1), single(1, 2)]
    a, b, c = images_of(prompts, name)
    made = getattr(combined(Combination.AVERAGE, prompts, 0.5, 2.0).positive, name)
    assert torch.allclose(made[0], (0.5 * a + 0.5 * b + 2.0 * c) / 3.0, atol=1e-6)


@given(st.floats(-1, 2))
def test_average_with_two_weights_interpolates(t):
    prompts = [single(seed=1), single(seed=2)]
    for name in BOTH:
        a, b = images_of(prompts, name)
        made = getattr(combined(Combination.AVERAGE, prompts, 1 - t, t).positive, name)
        assert torch.allclose(made[0], torch.lerp(a, b, t), atol=1e-5)


@pytest.mark.parametrize("name", BOTH)
def test_add_is_the_weighted_sum(name):
    prompts = [single(seed=1), single(2, seed=2)]
    a, b, c = images_of(prompts, name)
    made = getattr(combined(Combination.ADD, prompts, 1.0, 0.5, -1.0).positive, name)
    assert torch.allclose(made[0], a + 0.5 * b - c, atol=1e-6)


@pytest.mark.parametrize("name", BOTH)
def test_subtract_takes_the_mean_of_the_others_away(name):
    prompts = [single(seed=1), single(seed=2), single(seed=3)]
    a, b, c = images_of(prompts, name)
    made = getattr(combined(Combination.SUBTRACT, prompts, 1.0, 0.5, 0.25).positive, name)
    assert torch.allclose(made[0], a - (0.5 * b + 0.25 * c) / 2, atol=1e-6)


def test_subtract_keeps_every_image_of_the_first_prompt():
    prompts = [single(2, seed=1), single(seed=2)]
    a, b, c = images_of(prompts, "image_embeds")
    made = combined(Combination.SUBTRACT, prompts).positive.image_embeds
    assert torch.allclose(made[0], (a + b) / 2 - c, atol=1e-6)


@pytest.mark.parametrize("name", BOTH)
def test_norm_average_takes_the_norm_over_the_images(name):
    prompts = [single(seed=1), single(seed=2)]
    a, b = images_of(prompts, name)
    norm = ((0.5 * a) ** 2 + b**2).sqrt()
    made = getattr(combined(Combination.NORM_AVERAGE, prompts, 0.5, 1.0).positive, name)
    assert torch.allclose(made[0], (0.5 * a / norm + b / norm) / 2, atol=1e-6)


@pytest.mark.parametrize("name", BOTH)
def test_min_and_max_are_taken_feature_by_feature(name):
    prompts = [single(seed=1), single(seed=2), single(seed=3)]
    a, b, c = images_of(prompts, name)
    for how, pick in ((Combination.MIN, torch.minimum), (Combination.MAX, torch.maximum)):
        made = getattr(combined(how, prompts, 1.0, 2.0, 1.0).positive, name)
        assert torch.equal(made[0], pick(pick(a, 2 * b), c))


@pytest.mark.parametrize("how", MIXING)
def test_a_feature_that_is_nothing_in_all_images_stays_a_number(how):
    nothing = prompt(Part(ImageFeatures(torch.zeros(1, EMBED), torch.zeros(1, TOKENS, HIDDEN))))
    made = combined(how, [nothing, nothing])
    assert not made.positive.image_embeds.any() and torch.isfinite(made.positive.penultimate).all()


@pytest.mark.parametrize("how", [Combination.AVERAGE, Combination.MIN, Combination.MAX])
def test_a_prompt_with_itself_is_itself(how):
    made = combined(how, [single(seed=1), single(seed=1)])
    assert torch.allclose(made.positive.penultimate, features(1, 1).penultimate)


@pytest.mark.parametrize("how", Combination)
def test_prompts_without_negatives_make_one_without(how):
    assert combined(how, [single(seed=1), single(seed=2)]).negative is None


def neutral(name: str) -> Tensor:
    """What an adapter reads in place of an image: the base family zeros, the others zero pixels."""
    return torch.zeros(EMBED) if name == "image_embeds" else ZERO.penultimate[0]


@pytest.mark.parametrize("name", BOTH)
def test_negatives_are_combined_likewise_and_a_missing_one_is_the_neutral_one(name):
    prompts = [single(seed=1, negatives=2), single(seed=2)]
    one = getattr(prompts[0].parts[0].negative, name).mean(dim=0)
    added = getattr(combined(Combination.ADD, prompts, 1.0, 0.5).negative, name)
    assert torch.allclose(added[0], one + 0.5 * neutral(name), atol=1e-6)
    mean = getattr(combined(Combination.AVERAGE, prompts, 3.0, 1.0).negative, name)
    assert torch.allclose(mean[0], (3 * one + neutral(name)) / 4, atol=1e-6)
    joined = getattr(combined(Combination.CONCAT, prompts).negative, name)
    assert torch.equal(joined, torch.cat([getattr(prompts[0].parts[0].negative, name), neutral(name)[None]]))


def test_a_prompts_negative_counts_once_for_each_of_its_images():
    prompts = [single(3, seed=1, negatives=1), single(seed=2, negatives=1)]
    one, other = (given.parts[0].negative.image_embeds for given in prompts)
    made = combined(Combination.AVERAGE, prompts).negative.image_embeds
    assert torch.allclose(made, (3 * one + other) / 4, atol=1e-6)


def frames(count: int, seed: int = 0, **more) -> ImagePrompt:
    return single(count, seed, order=Order.FRAME_BY_FRAME, **more)


def test_concat_of_frames_puts_them_one_after_another_in_time():
    made = combined(Combination.CONCAT, [frames(2, 1), frames(3, 2), single(seed=3)], 1.0, 0.5, 2.0)
    assert made.order is Order.FRAME_BY_FRAME
    assert made.positive.image_embeds.shape == (6, EMBED)
    assert made.weights == (1.0, 1.0, 0.5, 0.5, 0.5, 2.0)


@pytest.mark.parametrize("how", MIXING)
def test_mixing_works_frame_by_frame_and_one_image_serves_every_frame(how):
    prompts = [frames(3, 1), single(seed=2), frames(3, 3)]
    made = combined(how, prompts, 1.0, 0.5, 2.0)
    assert made.order is Order.FRAME_BY_FRAME and len(made.positive) == 3
    for index in range(3):
        rows = [slice(index, index + 1), slice(0, 1), slice(index, index + 1)]
        alone = [prompt(Part(one.parts[0].positive[row])) for one, row in zip(prompts, rows, strict=True)]
        expected = combined(how, alone, 1.0, 0.5, 2.0).positive
        for name in BOTH:
            assert torch.allclose(getattr(made.positive, name)[index], getattr(expected, name)[0], atol=1e-6)


def test_frames_have_one_negative_image():
    made = combined(Combination.AVERAGE, [frames(3, 1, negatives=2), frames(3, 2)])
    assert len(made.negative) == 1
    expected = combined(Combination.AVERAGE, [single(seed=1, negatives=2), single(seed=2)]).negative
    one = frames(3, 1, negatives=2).parts[0].negative.image_embeds.mean(dim=0)
    assert torch.allclose(made.negative.image_embeds[0], one / 2, atol=1e-6)
    assert made.negative.penultimate.shape == expected.penultimate.shape


def test_an_encoder_without_penultimate_states_is_combined_too():
    zero = ImageFeatures(ZERO.image_embeds, None)
    bare = [ImagePrompt.known((Part(ImageFeatures(torch.rand(1, EMBED), None)),), zero, "bare") for _ in range(2)]
    for how in Combination:
        assert combined(how, bare).positive.penultimate is None


def placed(seed: int) -> Part:
    return part(1, seed, region=Region(torch.ones(1, 4, 4)))


def test_concat_leaves_regions_in_their_place():
    made = combine_prompts([prompt(placed(1), placed(2)), single(2, 3)], Combination.CONCAT, (0.5, 2.0)).parts
    assert [one.weights for one in made] == [(2.0, 2.0), (0.5,), (0.5,)]
    assert [one.region is not None for one in made] == [False, True, True]
    assert len(combine_prompts([prompt(placed(1)), prompt(placed(2))], Combination.CONCAT).parts) == 2


def refused(how: Combination, prompts: list[ImagePrompt], *weights: float) -> str:
    return refusal(combine_prompts, prompts, how, weights or None)


@pytest.mark.parametrize("how", MIXING)
def test_regions_cannot_be_mixed(how):
    assert f"cannot be combined by '{how.value}'" in refused(how, [prompt(placed(1)), single()])


@pytest.mark.parametrize("how", Combination)
def test_two_encoders_are_refused(how):
    other = replace(single(), encoder="another encoder")
    assert "small encoder and another encoder" in refused(how, [single(), other])
    same_name = ImagePrompt.known(single().parts, features(1, 9), single().encoder)
    assert "two image encoders" in refused(how, [single(), same_name])


def known(embeds: bool, hidden: bool, tokens: int = TOKENS) -> ImageFeatures:
    """An image of which only some outputs were kept."""
    return ImageFeatures(torch.rand(1, EMBED if embeds else 0), torch.rand(1, tokens, HIDDEN) if hidden else None)


@pytest.mark.parametrize("how", Combination)
@pytest.mark.parametrize("kept", [(True, False), (False, True)], ids=["embeddings", "hidden states"])
def test_images_of_which_less_is_known_stand_beside_their_like_only(how, kept):
    kind = {(True, False): "image embedding", (False, True): "penultimate hidden states"}[kept]
    whole, foreign = single(), prompt(Part(known(*kept)))
    for prompts in ([whole, foreign], [foreign, whole]):
        said = refused(how, prompts)
        assert "do not hold the same" in said and kind in said and "Encode Image Prompt" in said
    alone = combined(how, [foreign, foreign]).positive
    assert alone.widths.keys() == foreign.parts[0].positive.widths.keys()


@pytest.mark.parametrize("how", Combination)
def test_negatives_hold_what_the_images_hold(how):
    foreign, less = (
        prompt(Part(known(True, False), known(True, False))),
        prompt(Part(features(1, 1), known(True, False))),
    )
    made = combined(how, [foreign, prompt(Part(known(True, False)))])
    assert made.negative.penultimate is None and len(made.negative) == (2 if how is Combination.CONCAT else 1)
    assert "do not hold the same" in refused(how, [less, single()])


@pytest.mark.parametrize("how", Combination)
def test_images_in_two_details_are_refused(how):
    finer = prompt(Part(known(True, True, tokens=3 * TOKENS)))
    assert f"{TOKENS} × {HIDDEN}; {EMBED} and {3 * TOKENS} × {HIDDEN}" in refused(how, [single(), finer])


def test_weights_that_sum_to_nothing_have_no_average():
    assert "weights sum to 0" in refused(Combination.AVERAGE, [single(seed=1), single(seed=2)], 0.3, -0.3)
    assert "weights sum to 0" in refused(Combination.AVERAGE, [single(seed=1), single(seed=2)], 0.0, 0.0)
    three = [single(seed=seed) for seed in range(3)]
    assert "weights sum to 0" in refused(Combination.AVERAGE, three, 0.3, -0.1, -0.2)


@pytest.mark.parametrize("how", Combination)
def test_a_wrong_number_of_weights_is_refused(how):
    assert "weights has 1 number(s) for 2 image prompt(s) of 3" in refused(how, [single(2), single()], 1.0)
    assert "weights has 4 number(s)" in refused(how, [single(2), single()], 1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("how", MIXING)
def test_other_numbers_of_frames_are_refused(how):
    assert "have 2 and 3 frames" in refused(how, [frames(2), frames(3)])


@pytest.mark.parametrize("how", Combination)
def test_two_orders_are_refused(how):
    assert "two orders" in refused(how, [frames(3), single(3)])


def test_the_prompts_given_stay_as_they_were():
    first, second = single(seed=1, negatives=1), single(seed=2)
    before = first.parts[0].positive.penultimate.clone()
    for how in Combination:
        combine_prompts([first, second], how, (2.0, 3.0))
    assert torch.equal(first.parts[0].positive.penultimate, before) and first.parts[0].weights is None
