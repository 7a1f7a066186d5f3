"""The legacy nodes, run, beside the nodes they stand for."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from insightface.app import FaceAnalysis
from pack.ipadapter.adapters.face_settings import FaceSettings, FaceVersion
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.encoders.encoder import encode_image_prompt, encode_references
from pack.ipadapter.host.faces.reading import encode_faces
from pack.ipadapter.host.legacy.first import noisy_copy
from pack.ipadapter.host.legacy.reading import times
from pack.ipadapter.host.sampling.patching import applications_of, apply_image_prompt
from pack.ipadapter.images.pixels import Fit
from pack.ipadapter.legacy.migration.new_nodes import BOOSTED_STYLE
from pack.ipadapter.prompts.combining import join_features
from pack.ipadapter.prompts.prompt import ImageFeatures, Order, Part
from pack.ipadapter.prompts.reading import Reading
from pack.ipadapter.strength.layers import PresetRule, read_layer_weights
from pack.ipadapter.strength.strength import Scaling, Strength
from pack.nodes.legacy.apply import LegacyIPAdapter, LegacyIPAdapterStyleComposition, LegacyIPAdapterTiled
from pack.nodes.legacy.embeds import LegacyIPAdapterCombineEmbeds, LegacyIPAdapterEmbeds, LegacyIPAdapterEncoder
from pack.nodes.legacy.params import LegacyIPAdapterCombineParams, LegacyIPAdapterFromParams, LegacyIPAdapterRegion
from pack.nodes.legacy.weights import (
    LegacyIPAdapterCombineWeights,
    LegacyIPAdapterPromptSchedule,
    LegacyIPAdapterWeights,
)

from tests.faces import DrawnFace, draw_faces, write_pack
from tests.host.test_encoder import EMBED, HIDDEN, encoder
from tests.small import SD15, make_pair
from tests.world import Settings, adapter_file, conditioning, host_adapter, picture

WINDOW = {"start_at": 0.0, "end_at": 1.0}
FRAMES = {"order": Order.FRAME_BY_FRAME.value}
BATCH = Settings(steps=1, batch=2)


@pytest.fixture
def base():
    return make_pair(SD15).host


@pytest.fixture(params=["base", "plus"])
def adapter(request):
    return made_adapter(request.param)


@cache
def made_adapter(family: str):
    """An adapter that reads the small encoder's features."""
    sizes = {"base": {"embed": EMBED}, "plus": {"hidden": HIDDEN}}[family]
    return host_adapter(adapter_file(SD15, family, **sizes))


@pytest.fixture
def clip_vision():
    return encoder()


def images(count: int = 1, seed: int = 5, size: tuple[int, int] = (64, 64)):
    return torch.rand(count, *size, 3, generator=torch.Generator().manual_seed(seed))


def prompt_of(clip_vision, image, negative=None):
    return encode_image_prompt(clip_vision, image, Fit.CROP, negative)


def draw(model, settings: Settings = BATCH):
    return picture(model, SD15, settings)


def same(one, other) -> bool:
    return bool((draw(one) == draw(other)).all())


def close(one, other) -> bool:
    """Apart by no more than rounding: an encoder rounds otherwise in another batch."""
    first, second = draw(one), draw(other)
    return bool((first - second).abs().max() <= 1e-5 * second.abs().max())


def test_it_is_encoding_and_applying(base, adapter, clip_vision):
    image, negative = images(2), images(1, seed=6)
    model, face = LegacyIPAdapter.execute(
        base, adapter, image, 0.7, "linear", 0.0, 0.9, image_negative=negative, clip_vision=clip_vision
    ).args
    expected = apply_image_prompt(base, adapter, prompt_of(clip_vision, image, negative), Strength(0.7, 0.0, 0.9))
    assert same(model, expected) and not same(model, base)
    assert face is image


def test_the_adapter_brings_the_encoder_that_was_found_for_it(base, adapter, clip_vision):
    found = replace(adapter, clip_vision=clip_vision)
    model = LegacyIPAdapter.execute(base, found, images(), 0.7, "linear", **WINDOW).args[0]
    assert same(model, apply_image_prompt(base, adapter, prompt_of(clip_vision, images()), Strength(0.7)))


def test_without_an_encoder_it_says_which_one_to_connect(base, adapter):
    with pytest.raises(IPAdapterError, match="there is no image encoder: connect clip_vision"):
        LegacyIPAdapter.execute(base, adapter, images(), 0.7, "linear", **WINDOW)


@pytest.mark.parametrize(
    ("kind", "scaling"),
    [*zip(["linear", "ease in", "style transfer", "composition precise"], Scaling, strict=True)],
)
def test_weight_types_and_scalings_are_layer_presets_and_scalings(base, adapter, clip_vision, kind, scaling):
    model = LegacyIPAdapter.execute(
        base, adapter, images(), 0.7, kind, **WINDOW, embeds_scaling=scaling.value, clip_vision=clip_vision
    ).args[0]
    strength = Strength(0.7, layers=(PresetRule(kind),), scaling=scaling)
    assert same(model, apply_image_prompt(base, adapter, prompt_of(clip_vision, images()), strength))


def test_a_boost_is_a_second_weight_of_the_preset(base, adapter, clip_vision):
    model = LegacyIPAdapter.execute(
        base, adapter, images(), 0.5, BOOSTED_STYLE, **WINDOW, style_boost=1.5, clip_vision=clip_vision
    ).args[0]
    strength = Strength(0.5, layers=(PresetRule("style transfer precise", second=3.0),))
    assert close(model, apply_image_prompt(base, adapter, prompt_of(clip_vision, images()), strength))


def test_typed_weights_and_the_middle_block_are_rules_by_layer(base, adapter, clip_vision):
    run = {"clip_vision": clip_vision, **WINDOW}
    prompt = prompt_of(clip_vision, images())
    typed = LegacyIPAdapter.execute(base, adapter, images(), 1.0, "linear", **run, layer_weights="3:1, 6:0.5").args[0]
    rule = read_layer_weights("3: 1, 6: 0.5")
    assert same(typed, apply_image_prompt(base, adapter, prompt, Strength(layers=(rule,))))
    without = LegacyIPAdapter.execute(base, adapter, images(), 1.0, "linear", **run, middle_block=False).args[0]
    places = {layer.place[0] for app in applications_of(without) for layer in app.layers}
    assert places == {"input", "output"}


def test_a_batch_goes_frame_by_frame_with_a_weight_for_each(base, adapter, clip_vision):
    image = images(2)
    model = LegacyIPAdapter.execute(
        base, adapter, image, [1.0, 0.25], "linear", **WINDOW, **FRAMES, clip_vision=clip_vision
    ).args[0]
    prompt = prompt_of(clip_vision, image)
    prompt = replace(prompt, parts=(replace(prompt.parts[0], order=Order.FRAME_BY_FRAME),))
    assert same(model, apply_image_prompt(base, adapter, prompt, Strength(frames=(1.0, 0.25))))


COMBINED = {
    "add": lambda x: x[:1] + x[1:2] + x[2:],
    "subtract": lambda x: x[:1] - (x[1:2] + x[2:]) / 2,
    "average": lambda x: (x[:1] + x[1:2] + x[2:]) / 3,
    "norm average": lambda x: (x / x.norm(dim=0, keepdim=True)).mean(dim=0, keepdim=True),
}


@pytest.mark.parametrize("how", COMBINED)
def test_references_are_combined_before_the_adapter_reads_them(base, adapter, clip_vision, how):
    image = images(3)
    model = LegacyIPAdapter.execute(
        base, adapter, image, 0.7, "linear", **WINDOW, combine_embeds=how, clip_vision=clip_vision
    ).args[0]
    prompt = prompt_of(clip_vision, image)
    features = prompt.parts[0].positive
    one = ImageFeatures(COMBINED[how](features.image_embeds), COMBINED[how](features.penultimate))
    expected = apply_image_prompt(base, adapter, replace(prompt, parts=(Part(one),)), Strength(0.7))
    assert close(model, expected)


def test_style_and_composition_come_from_two_pictures(base, adapter, clip_vision):
    style, composition = images(seed=1), images(seed=2)
    model = LegacyIPAdapterStyleComposition.execute(
        base, adapter, style, composition, 0.8, 0.6, False, **WINDOW, clip_vision=clip_vision
    ).args[0]
    expected = base
    for image, weight, preset in ((style, 0.8, "style transfer"), (composition, 0.6, "composition")):
        strength = Strength(weight, layers=(PresetRule(preset),))
        expected = apply_image_prompt(expected, adapter, prompt_of(clip_vision, image), strength)
    assert same(model, expected)


def test_an_expanded_style_acts_in_all_layers_but_those_of_composition(base, adapter, clip_vision):
    model = LegacyIPAdapterStyleComposition.execute(
        base, adapter, images(), images(), 0.8, 0.6, True, **WINDOW, clip_vision=clip_vision
    ).args[0]
    style, composition = ({layer.place for layer in app.layers} for app in applications_of(model))
    assert len(style) + len(composition) == 16 and not style & composition


def test_encoding_combining_and_applying_in_steps_is_the_same(base, adapter, clip_vision):
    first, second = images(seed=1), images(seed=2)
    one, nothing = LegacyIPAdapterEncoder.execute(adapter, first, 1.0, clip_vision=clip_vision).args
    other, _ = LegacyIPAdapterEncoder.execute(adapter, second, 1.0, clip_vision=clip_vision).args
    (both,) = LegacyIPAdapterCombineEmbeds.execute(one, "concat", other).args
    whole = LegacyIPAdapter.execute(
        base, adapter, torch.cat([first, second]), 0.7, "linear", **WINDOW, clip_vision=clip_vision
    ).args[0]
    for neg_embed in (None, nothing):
        model = LegacyIPAdapterEmbeds.execute(base, adapter, both, 0.7, "linear", **WINDOW, neg_embed=neg_embed)
        assert close(model.args[0], whole)


def test_a_negative_embed_is_a_negative_image(base, adapter, clip_vision):
    image, negative = images(seed=1), images(seed=2)
    made = [
        LegacyIPAdapterEncoder.execute(adapter, one, 1.0, clip_vision=clip_vision).args[0] for one in (image, negative)
    ]
    model = LegacyIPAdapterEmbeds.execute(base, adapter, made[0], 0.7, "linear", **WINDOW, neg_embed=made[1]).args[0]
    expected = apply_image_prompt(base, adapter, prompt_of(clip_vision, image, negative), Strength(0.7))
    assert close(model, expected)


def test_the_encoders_weight_multiplies_the_features(adapter, clip_vision):
    full, half = (
        LegacyIPAdapterEncoder.execute(adapter, images(), weight, clip_vision=clip_vision).args[0].parts[0].positive
        for weight in (1.0, 0.5)
    )
    assert torch.equal(half.image_embeds, full.image_embeds * 0.5)
    assert torch.equal(half.penultimate, full.penultimate * 0.5)


def halves():
    left = torch.zeros(1, 64, 64)
    left[..., :32] = 1
    return left, 1 - left


def test_regions_are_applied_each_in_its_place(base, adapter, clip_vision):
    masks, pictures, text = halves(), [images(seed=1), images(seed=2)], conditioning(SD15, 11)
    regions = []
    for image, mask, kind in zip(pictures, masks, ("linear", "ease in"), strict=True):
        params, positive, negative = LegacyIPAdapterRegion.execute(
            image, 0.8, 0.9, kind, **WINDOW, mask=mask, positive=text
        ).args
        assert positive[0][1]["mask"] is not None and positive[0][1]["mask_strength"] == 0.9 and negative is None
        regions.append(params)
    (both,) = LegacyIPAdapterCombineParams.execute(*regions).args
    model = LegacyIPAdapterFromParams.execute(base, adapter, both, clip_vision=clip_vision).args[0]
    expected = base
    for image, mask, kind in zip(pictures, masks, ("linear", "ease in"), strict=True):
        strength = Strength(0.8, layers=(PresetRule(kind),))
        expected = apply_image_prompt(expected, adapter, prompt_of(clip_vision, image), strength, mask)
    assert same(model, expected)
    assert "mask" not in text[0][1]


def test_tiles_act_each_in_its_place(base, adapter, clip_vision):
    image = images(1, size=(64, 128))
    model, tiles, masks = LegacyIPAdapterTiled.execute(
        base, adapter, image, 0.7, "linear", **WINDOW, sharpening=0.0, clip_vision=clip_vision
    ).args
    assert torch.equal(tiles, torch.cat([image[:, :, :64], image[:, :, 64:]]))
    assert masks.shape == (2, 64, 128) and bool((masks.sum(dim=0) == 1).all())
    expected = base
    for tile, mask in zip(tiles, masks, strict=True):
        prompt = prompt_of(clip_vision, tile[None])
        expected = apply_image_prompt(expected, adapter, prompt, Strength(0.7), mask[None])
    assert close(model, expected)


@pytest.mark.parametrize(("size", "count"), [((64, 64), 4), ((64, 80), 4), ((64, 128), 2), ((192, 64), 3)])
def test_a_picture_is_cut_into_as_many_tiles_as_cover_it(base, adapter, clip_vision, size, count):
    _, tiles, masks = LegacyIPAdapterTiled.execute(
        base, adapter, images(1, size=size), 0.7, "linear", **WINDOW, sharpening=0.0, clip_vision=clip_vision
    ).args
    assert len(tiles) == len(masks) == count
    assert bool((masks.amax(dim=0) == 1).all())


def test_weights_by_frame_are_a_list_and_their_pictures():
    image = images(3, size=(8, 8))
    weights, inverted, count, first, second, strategy = LegacyIPAdapterWeights.execute(
        "1, 0", "linear", frames=2, method="shift batches", image=image
    ).args
    assert weights == [1.0, 0.0, 1.0, 0.0] and inverted == weights[::-1] and count == 4
    assert torch.equal(first, image[[0, 0, 1, 1]]) and torch.equal(second, image[[1, 1, 2, 2]])
    again = LegacyIPAdapterWeights.execute(weights_strategy=strategy, image=image).args
    assert again[0] == weights and torch.equal(again[4], second)
    (text,) = LegacyIPAdapterPromptSchedule.execute(strategy, "a\nb").args
    assert text == '"0": "a",\n"2": "b",\n"4": "b",\n'


def test_without_pictures_there_are_weights_alone():
    weights, _, count, first, second, _ = LegacyIPAdapterWeights.execute("0.5, 1", "custom").args
    assert (weights, count, first, second) == ([0.5, 1.0], 2, None, None)


def test_settings_of_another_packs_node_are_read():
    theirs = {"weights": "0.2, 0.4", "timing": "custom", "frames": 2, "frame_count": 1, "more": True}
    assert LegacyIPAdapterWeights.execute(weights_strategy=theirs).args[0] == [0.2, 0.4]
    with pytest.raises(IPAdapterError, match="holds no settings for weights"):
        LegacyIPAdapterWeights.execute(weights_strategy={"other": 1})


def test_two_lists_of_weights_become_one():
    assert LegacyIPAdapterCombineWeights.execute([0.1, 0.2], 0.3).args == ([0.1, 0.2, 0.3], 3)


def test_references_weights_and_masks_past_the_pictures_are_left_out(base, adapter, clip_vision):
    """As in the old pack, whose graphs are full of them."""
    image, masks = images(4), torch.rand(4, 16, 16, generator=torch.Generator().manual_seed(3))
    weights = [1.0, 0.5, 0.2, 0.1]

    def applied(count: int):
        given = {"attn_mask": masks[:count], "clip_vision": clip_vision, **FRAMES}
        return LegacyIPAdapter.execute(base, adapter, image[:count], weights[:count], "linear", **WINDOW, **given).args[
            0
        ]

    assert close(applied(4), applied(2))


def test_the_last_mask_is_held_where_there_are_fewer(base, adapter, clip_vision):
    masks = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(3))
    three = Settings(steps=1, batch=3)

    def drawn(mask):
        given = {"attn_mask": mask, "clip_vision": clip_vision}
        return draw(LegacyIPAdapter.execute(base, adapter, images(), 1.0, "linear", **WINDOW, **given).args[0], three)

    assert torch.equal(drawn(masks), drawn(masks[[0, 1, 1]]))


# FaceID


def face_adapter(family: str = "FaceID Plus", version: FaceVersion = FaceVersion.V2):
    """A FaceID adapter that reads the small encoder's features."""
    sizes = {"hidden": HIDDEN} if family == "FaceID Plus" else {}
    made = host_adapter(adapter_file(SD15, family, **sizes))
    return replace(made, spec=replace(made.spec, face=FaceSettings(version)))


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    pack = write_pack(tmp_path_factory.mktemp("packs") / "buffalo_l")
    made = FaceAnalysis(str(pack), allowed_modules=["detection", "recognition"], providers=["CPUExecutionProvider"])
    made.prepare(ctx_id=0, det_size=(640, 640))
    return made


FACE_IMAGE = draw_faces(260, 300, DrawnFace(90, 110, 60), DrawnFace(230, 180, 40))


def test_a_face_adapter_reads_the_largest_face_at_the_old_weights_and_leaves_the_lora_to_others(
    base, clip_vision, analysis
):
    adapter = face_adapter()
    model, faces = LegacyIPAdapter.execute(
        base,
        adapter,
        FACE_IMAGE,
        0.8,
        "linear",
        **WINDOW,
        weight_faceidv2=0.5,
        clip_vision=clip_vision,
        insightface=analysis,
    ).args
    made = encode_faces(analysis, FACE_IMAGE, clip_vision)
    used = replace(adapter, spec=replace(adapter.spec, face=FaceSettings(FaceVersion.V2, 0.5, lora=0.0)))
    assert same(model, apply_image_prompt(base, used, made.prompt, Strength(0.8))) and not same(model, base)
    assert not model.patches
    assert torch.equal(faces, made.crops)


def test_noise_with_a_face_adapter_is_of_the_faces(base, clip_vision, analysis):
    run = {"clip_vision": clip_vision, "insightface": analysis, **WINDOW}
    model = LegacyIPAdapter.execute(base, face_adapter(), FACE_IMAGE, 0.8, "linear", **run, noise=0.4).args[0]
    away = noisy_copy(encode_faces(analysis, FACE_IMAGE, clip_vision).crops, 0.4)
    made = encode_faces(analysis, FACE_IMAGE, clip_vision, negative=away)
    used = replace(face_adapter(), spec=replace(face_adapter().spec, face=FaceSettings(FaceVersion.V2, lora=0.0)))
    assert same(model, apply_image_prompt(base, used, made.prompt, Strength(0.8)))


def test_a_face_adapter_without_an_encoder_needs_none_and_a_loader_brings_what_reads_faces(base, analysis):
    adapter = replace(face_adapter("FaceID"), insightface=analysis)
    model = LegacyIPAdapter.execute(base, adapter, FACE_IMAGE, 0.8, "linear", **WINDOW).args[0]
    assert not same(model, base)


def test_without_anything_to_read_faces_with_it_says_what_to_connect(base, clip_vision):
    with pytest.raises(IPAdapterError, match="connect insightface from Load InsightFace"):
        LegacyIPAdapter.execute(base, face_adapter(), FACE_IMAGE, 1.0, "linear", **WINDOW, clip_vision=clip_vision)


def test_several_faces_are_combined_as_pictures_are(base, analysis):
    two = torch.cat([FACE_IMAGE, draw_faces(260, 300, DrawnFace(150, 120, 70, tint=20))])
    adapter = face_adapter("FaceID")
    given = {"insightface": analysis, "combine_embeds": "average"}
    model = LegacyIPAdapter.execute(base, adapter, two, 0.8, "linear", **WINDOW, **given).args[0]
    prompt = encode_faces(analysis, two).prompt
    mean = replace(prompt.parts[0].positive, face=prompt.parts[0].positive.face.mean(0, True))
    one = replace(prompt, parts=(Part(replace(mean, image_embeds=torch.zeros(1, 0))),))
    used = replace(adapter, spec=replace(adapter.spec, face=FaceSettings(lora=0.0)))
    assert close(model, apply_image_prompt(base, used, one, Strength(0.8)))


def detailed(clip_vision, image) -> tuple[ImageFeatures, ImageFeatures]:
    """Features of whole images and of their pieces."""
    both = encode_references(clip_vision, image, Reading(detail=2)).parts[0].positive
    return both[: len(image)], both[len(image) :]


def test_one_reference_is_read_whole_and_in_pieces(base, adapter, clip_vision):
    image = images()
    model = LegacyIPAdapter.execute(
        base,
        adapter,
        image,
        0.7,
        "linear",
        **WINDOW,
        enhance_tiles=2,
        enhance_ratio=0.5,
        clip_vision=clip_vision,
    ).args[0]
    whole, pieces = detailed(clip_vision, image)
    part = Part(join_features([times(whole, 0.5), pieces]))
    prompt = replace(prompt_of(clip_vision, image), parts=(part,))
    assert same(model, apply_image_prompt(base, adapter, prompt, Strength(0.7)))


def test_frames_are_a_mixture_of_the_whole_and_its_pieces(base, adapter, clip_vision):
    image = images(2)
    run = {**WINDOW, **FRAMES, "clip_vision": clip_vision, "enhance_tiles": 2, "enhance_ratio": 0.25}
    model = LegacyIPAdapter.execute(base, adapter, image, 0.7, "linear", **run).args[0]
    whole, pieces = (times(one, factor) for one, factor in zip(detailed(clip_vision, image), (0.25, 0.75), strict=True))
    features = ImageFeatures(whole.image_embeds + pieces.image_embeds, whole.penultimate + pieces.penultimate)
    prompt = replace(prompt_of(clip_vision, image), parts=(Part(features, order=Order.FRAME_BY_FRAME),))
    assert close(model, apply_image_prompt(base, adapter, prompt, Strength(0.7)))


def test_tiles_are_sharpened(base, adapter, clip_vision):
    image = images(1, size=(64, 128))
    plain, sharp = (
        LegacyIPAdapterTiled.execute(
            base, adapter, image, 0.7, "linear", **WINDOW, sharpening=amount, clip_vision=clip_vision
        ).args[1]
        for amount in (0.0, 0.8)
    )
    assert plain.shape == sharp.shape and not torch.equal(plain, sharp)
