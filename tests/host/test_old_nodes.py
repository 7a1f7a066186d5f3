"""The old pack's nodes as programs and other packs call them, each beside what this pack's own nodes make."""

from __future__ import annotations

from dataclasses import replace

import folder_paths
import pytest
import torch
from insightface.app import FaceAnalysis
from pack.ipadapter.adapters.face_settings import FaceSettings, FaceVersion
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.faces.reading import encode_faces
from pack.ipadapter.host.legacy.exchange import AdapterWeights, adapter_of, pipeline_of
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.prompts.prompt import Order
from pack.ipadapter.strength.layers import PresetRule
from pack.ipadapter.strength.strength import Strength
from pack.nodes.apply import ApplyIPAdapter
from pack.nodes.legacy.old_nodes import OLD_NODES

from tests.faces import write_pack
from tests.host.test_encoder import HIDDEN
from tests.host.test_legacy import (
    FACE_IMAGE,
    close,
    face_adapter,
    halves,
    images,
    made_adapter,
    prompt_of,
    same,
)
from tests.host.test_legacy import encoder as small_encoder
from tests.small import SD15, make_pair
from tests.world import adapter_file

TIME = {"start_at": 0.0, "end_at": 1.0}


@pytest.fixture
def base():
    return make_pair(SD15).host


@pytest.fixture(params=["base", "plus"])
def adapter(request):
    return made_adapter(request.param)


@pytest.fixture
def clip_vision():
    return small_encoder()


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    pack = write_pack(tmp_path_factory.mktemp("packs") / "buffalo_l")
    made = FaceAnalysis(str(pack), allowed_modules=["detection", "recognition"], providers=["CPUExecutionProvider"])
    made.prepare(ctx_id=0, det_size=(640, 640))
    return made


def old(name: str):
    """What others have: a class by its id, and a fresh object of it."""
    return OLD_NODES[name]()


def raw(file) -> dict:
    """An adapter as another pack's loader has it."""
    return {"image_proj": dict(file.image_proj), "ip_adapter": dict(file.ip_adapter)}


def pipeline(weights, clip_vision, file: str | None = "ip-adapter_sd15.bin") -> dict:
    """An adapter with its encoder, as packs put it together that know no faces."""
    return {"clipvision": {"file": None, "model": clip_vision}, "ipadapter": {"file": file, "model": weights}}


def drawn_of(base, adapter, clip_vision, image, weight: float = 0.7, kind: str = "linear"):
    strength = Strength(weight, layers=(PresetRule(kind),))
    return apply_image_prompt(base, adapter, prompt_of(clip_vision, image), strength)


# IPADAPTER, in and out


def test_an_adapter_goes_out_as_a_mapping_that_others_look_into():
    weights = AdapterWeights(face_adapter())
    assert "ip_adapter" in weights and "ipadapter" not in weights and "portraitunnorm" not in weights
    assert weights["faceidplusv2"] is True and weights.get("portraitunnorm") is None
    assert weights["ip_adapter"]["1.to_k_ip.weight"].shape[1] == SD15.context_dim
    assert "0.to_q_lora.down.weight" in weights["ip_adapter"]
    assert set(weights) == {"image_proj", "ip_adapter", "faceidplusv2"} and len(weights) == 3
    assert set(AdapterWeights(made_adapter("base"))) == {"image_proj", "ip_adapter"}


def test_a_pipeline_goes_out_with_everything_beside_its_file(clip_vision):
    found = pipeline_of(replace(made_adapter("plus"), clip_vision=clip_vision), "CPU")
    assert (
        found["ipadapter"]["file"] == "ip-adapter_test.safetensors"
        and "latents" in found["ipadapter"]["model"]["image_proj"]
    )
    assert found["clipvision"]["model"] is clip_vision and found["insightface"] == {"provider": None, "model": None}
    assert adapter_of(found).clip_vision is clip_vision


def test_what_went_out_is_the_same_adapter_when_it_comes_back():
    adapter = made_adapter("base")
    assert adapter_of(AdapterWeights(adapter)) is adapter is adapter_of(adapter)


@pytest.mark.parametrize("shape", ["weights", "pipeline"])
def test_weights_that_another_pack_has_loaded_are_an_adapter(base, clip_vision, shape):
    file = adapter_file(SD15, "plus", hidden=HIDDEN)
    given, vision = (raw(file), clip_vision) if shape == "weights" else (pipeline(raw(file), clip_vision), None)
    model = old("IPAdapterAdvanced").apply_ipadapter(base, given, weight=0.7, image=images(), clip_vision=vision)[0]
    assert same(model, drawn_of(base, made_adapter("plus"), clip_vision, images()))


def test_its_marks_say_what_no_tensor_does():
    file = raw(adapter_file(SD15, "FaceID Plus", hidden=HIDDEN))
    assert adapter_of(file).spec.version is FaceVersion.V1
    assert adapter_of(file | {"faceidplusv2": True}).spec.version is FaceVersion.V2
    named = pipeline(file, None, "models/ip-adapter-faceid-plusv2_sd15.bin")
    assert adapter_of(named).spec.version is FaceVersion.V2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("file.bin", "ipadapter is a str, and no IP-Adapter"),
        ({"ipadapter": {"file": None, "model": None}}, "holds no adapter: connect a loader"),
        ({"state_dict": {}}, "has no image_proj tensors"),
    ],
)
def test_what_is_no_adapter_is_refused_in_a_sentence(given, sentence):
    with pytest.raises(IPAdapterError, match=sentence):
        adapter_of(given)


# Applying, as the packs call it


def test_the_simple_node_is_called_with_all_in_its_order(base, clip_vision):
    """Easy-Use; art-venture adds a tuple to what comes back."""
    given = pipeline(AdapterWeights(made_adapter("base")), clip_vision)
    made = old("IPAdapter").apply_ipadapter(
        base, given, images(), 0.7, 0.0, 1.0, weight_type="standard", attn_mask=None
    )
    model, face = made
    assert len(made + (1,)) == 3 and face is None
    assert same(model, drawn_of(base, made_adapter("base"), clip_vision, images()))


@pytest.mark.parametrize("kind", ["channel penalty", "linear"])
def test_impact_and_inspire_call_it_by_name_with_the_names_they_know(base, clip_vision, kind):
    made = old("IPAdapterAdvanced").apply_ipadapter(
        model=base,
        ipadapter=AdapterWeights(made_adapter("base")),
        weight=0.7,
        weight_type=kind,
        **TIME,
        combine_embeds="concat",
        clip_vision=clip_vision,
        image=images(),
        image_negative=None,
        attn_mask=None,
        insightface=None,
        weight_faceidv2=False,
    )
    assert same(made[0], drawn_of(base, made_adapter("base"), clip_vision, images()))


def test_inspire_reads_the_weight_types_of_an_object():
    types = OLD_NODES["IPAdapterAdvanced"]().INPUT_TYPES()["required"]["weight_type"][0]
    assert isinstance(types, list) and types[0] == "linear"


def test_style_and_composition_are_asked_of_the_advanced_node(base, adapter, clip_vision):
    style, composition = images(seed=1), images(seed=2)
    given = {"weight_style": 0.8, "weight_composition": 0.6, "expand_style": False, "layer_weights": None}
    model, image = old("IPAdapterAdvanced").apply_ipadapter(
        base,
        AdapterWeights(adapter),
        **TIME,
        **given,
        image_style=style,
        image_composition=composition,
        clip_vision=clip_vision,
        weight_kolors=None,
    )
    styled = drawn_of(base, adapter, clip_vision, style, 0.8, "style transfer")
    assert same(model, drawn_of(styled, adapter, clip_vision, composition, 0.6, "composition")) and image is None


def test_a_composition_that_is_not_given_is_the_styles_picture(base, clip_vision):
    adapter = made_adapter("base")
    weights = AdapterWeights(adapter)
    node = old("IPAdapterStyleComposition")
    one, both = (
        node.apply_ipadapter(base, weights, image_style=images(), image_composition=other, clip_vision=clip_vision)[0]
        for other in (None, images())
    )
    assert same(one, both)


def test_a_batch_node_goes_frame_by_frame_with_a_list_of_weights(base, clip_vision):
    """Steerable-Motion, IPAdapterWeights."""
    adapter, image = made_adapter("base"), images(2)
    model = old("IPAdapterBatch").apply_ipadapter(
        base, AdapterWeights(adapter), weight=[1.0, 0.25], image=image, clip_vision=clip_vision, encode_batch_size=4
    )[0]
    prompt = prompt_of(clip_vision, image)
    prompt = replace(prompt, parts=(replace(prompt.parts[0], order=Order.FRAME_BY_FRAME),))
    assert same(model, apply_image_prompt(base, adapter, prompt, Strength(frames=(1.0, 0.25))))


def test_a_boost_says_the_weight_type(base, clip_vision):
    adapter = made_adapter("base")
    weights = AdapterWeights(adapter)
    model = old("IPAdapterPreciseStyleTransfer").apply_ipadapter(
        base, weights, weight=0.5, style_boost=1.5, image=images(), clip_vision=clip_vision
    )[0]
    strength = Strength(0.5, layers=(PresetRule("style transfer precise", second=3.0),))
    assert close(model, apply_image_prompt(base, adapter, prompt_of(clip_vision, images()), strength))


def test_tiles_come_back_beside_the_model(base, clip_vision):
    image = images(1, size=(64, 128))
    weights = AdapterWeights(made_adapter("base"))
    model, tiles, masks = old("IPAdapterTiled").apply_tiled(
        base, weights, image, 0.7, "linear", 0.0, 1.0, sharpening=0.0, image_negative=None, clip_vision=clip_vision
    )
    assert torch.equal(tiles, torch.cat([image[:, :, :64], image[:, :, 64:]])) and masks.shape == (2, 64, 128)
    assert not same(model, base)


def test_regions_are_lists_that_others_add_up(base, clip_vision):
    """Easy-Use adds the lists of two such mappings."""
    adapter, masks, pictures = made_adapter("base"), halves(), [images(seed=1), images(seed=2)]
    made = [
        old("IPAdapterRegionalConditioning").conditioning(
            image, 0.8, 1.0, "linear", 0.0, 1.0, mask=mask, positive=None, negative=None
        )
        for image, mask in zip(pictures, masks, strict=True)
    ]
    first, second = (one[0] for one in made)
    added = {name: first[name] + second[name] for name in first}
    (joined,) = old("IPAdapterCombineParams").combine(first, second)
    assert {name: len(entries) for name, entries in joined.items()} == dict.fromkeys(added, 2)
    expected = base
    for image, mask in zip(pictures, masks, strict=True):
        expected = apply_image_prompt(expected, adapter, prompt_of(clip_vision, image), Strength(0.8), mask)
    for params in (added, joined):
        given = pipeline(AdapterWeights(adapter), clip_vision)
        model, _ = old("IPAdapterFromParams").apply_ipadapter(base, given, clip_vision=None, ipadapter_params=params)
        assert same(model, expected)


def test_params_of_another_making_are_refused_in_a_sentence(base, clip_vision):
    given = pipeline(AdapterWeights(made_adapter("base")), clip_vision)
    with pytest.raises(IPAdapterError, match="ipadapter_params is no list of references with image, attn_mask"):
        old("IPAdapterFromParams").apply_ipadapter(base, given, ipadapter_params={"image": [images()]})


# EMBEDS


def test_embeds_are_one_tensor_that_the_adapter_reads(adapter, clip_vision):
    positive, negative = old("IPAdapterEncoder").encode(
        AdapterWeights(adapter), images(2), 0.5, mask=None, clip_vision=clip_vision
    )
    features = prompt_of(clip_vision, images(2)).parts[0].positive
    expected = features.penultimate if adapter.spec.family.title == "plus" else features.image_embeds
    assert torch.equal(positive, expected * 0.5) and negative.shape[1:] == positive.shape[1:]


def test_embeds_are_combined_and_applied_as_krita_does(base, adapter, clip_vision):
    weights, encode = AdapterWeights(adapter), old("IPAdapterEncoder").encode
    one, other = (
        encode(weights, image, weight, clip_vision=clip_vision)[0]
        for image, weight in ((images(seed=1), 1.0), (images(seed=2), 0.75))
    )
    (both,) = old("IPAdapterCombineEmbeds").batch(one, "concat", other)
    assert torch.equal(both, torch.cat([one, other]))
    model, nothing = old("IPAdapterEmbeds").apply_ipadapter(
        model=base,
        ipadapter=weights,
        pos_embed=both,
        clip_vision=clip_vision,
        weight=1.0,
        weight_type="linear",
        embeds_scaling="V only",
        start_at=0.0,
        end_at=0.7,
        attn_mask=None,
    )
    prompt = prompt_of(clip_vision, torch.cat([images(seed=1), images(seed=2)]))
    shares = torch.tensor([1.0, 0.75])
    positive = prompt.parts[0].positive
    positive = replace(
        positive,
        image_embeds=positive.image_embeds * shares[:, None],
        penultimate=positive.penultimate * shares[:, None, None],
    )
    prompt = replace(prompt, parts=(replace(prompt.parts[0], positive=positive),))
    assert close(model, apply_image_prompt(base, adapter, prompt, Strength(1.0, 0.0, 0.7))) and nothing is None


def test_embeds_that_others_have_averaged_are_applied(base, adapter, clip_vision):
    """Easy-Use keeps both sides and makes means of them itself."""
    made = [
        old("IPAdapterEncoder").encode(AdapterWeights(adapter), images(seed=seed), 1.0, None, clip_vision=clip_vision)
        for seed in (1, 2)
    ]
    positive, negative = (torch.cat([pair[side] for pair in made]).mean(dim=0, keepdim=True) for side in (0, 1))
    model = old("IPAdapterEmbeds").apply_ipadapter(
        base, AdapterWeights(adapter), positive, 0.7, "linear", 0.0, 1.0, neg_embed=negative, clip_vision=clip_vision
    )[0]
    two = torch.cat([images(seed=1), images(seed=2)])
    expected = old("IPAdapterAdvanced").apply_ipadapter(
        base, AdapterWeights(adapter), weight=0.7, image=two, combine_embeds="average", clip_vision=clip_vision
    )[0]
    assert close(model, expected)


def test_embeds_are_kept_in_a_file_that_others_read(tmp_path, monkeypatch, clip_vision):
    for folder in ("output", "input"):
        (tmp_path / folder).mkdir()
        monkeypatch.setattr(folder_paths, f"{folder}_directory", str(tmp_path / folder))
    weights = AdapterWeights(made_adapter("plus"))
    embeds, _ = old("IPAdapterEncoder").encode(weights, images(), 1.0, clip_vision=clip_vision)
    old("IPAdapterSaveEmbeds").save(embeds, "IP_embeds")
    (file,) = (tmp_path / "output").iterdir()
    assert torch.equal(torch.load(file, weights_only=True), embeds)
    (listed,) = OLD_NODES["IPAdapterLoadEmbeds"].INPUT_TYPES()["required"]["embeds"][0]
    assert listed == f"{file.name} [output]" and torch.equal(old("IPAdapterLoadEmbeds").load(listed)[0], embeds)


@pytest.mark.parametrize(("given", "sentence"), [([1.0], "the embeds are a list"), (torch.ones(2), r"shape \[2\]")])
def test_what_is_no_embeds_is_refused_in_a_sentence(given, sentence):
    with pytest.raises(IPAdapterError, match=sentence):
        old("IPAdapterCombineEmbeds").batch(given, "concat")


# Faces


def test_faces_act_at_twice_the_weight_and_leave_the_lora_to_their_loader(base, clip_vision, analysis):
    """As Krita sends it, which has put the LoRA on the model itself."""
    adapter = face_adapter()
    given = {"insightface": analysis, "clip_vision": clip_vision, "image": FACE_IMAGE, "weight": 0.8, "attn_mask": None}
    made = encode_faces(analysis, FACE_IMAGE, clip_vision)
    for said in ({"weight_faceidv2": 1.6}, {}):
        model, faces = old("IPAdapterFaceID").apply_ipadapter(base, AdapterWeights(adapter), **given, **said)
        used = replace(adapter, spec=replace(adapter.spec, face=FaceSettings(FaceVersion.V2, 1.6, lora=0.0)))
        assert same(model, apply_image_prompt(base, used, made.prompt, Strength(0.8)))
        assert not model.patches and torch.equal(faces, made.crops)


def test_faces_are_read_with_what_travels_in_the_pipeline(base, clip_vision, analysis):
    """As SwarmUI has it: its simple node is given no insightface."""
    given = pipeline_of(replace(face_adapter(), clip_vision=clip_vision, insightface=analysis), "CPU")
    model, faces = old("IPAdapter").apply_ipadapter(base, given, FACE_IMAGE, 0.8, 0.0, 1.0, "standard")
    assert faces is not None and not same(model, base)


# The small ones


def test_a_reference_is_cut_to_a_square_and_noise_is_made():
    (square,) = old("PrepImageForClipVision").prep_image(images(1, size=(64, 128)), crop_position="left")
    assert square.shape == (1, 224, 224, 3)
    (plain,), (blurred,) = (old("IPAdapterNoise").make_noise("fade", 1.0, blur) for blur in (0, 8))
    assert plain.shape == (1, 224, 224, 3) and blurred.std() < plain.std() / 2
    (mixed,) = old("IPAdapterNoise").make_noise("fade", 0.5, 0, image_optional=images(2))
    assert mixed.shape == (2, 64, 64, 3)


def test_weights_by_frame_are_lists():
    weights, inverted, count, first, second, strategy = old("IPAdapterWeights").weights("1, 0", "linear", 3)
    assert weights == [1.0, 0.5, 0.0] == inverted[::-1] and (count, first, second) == (3, None, None)
    assert old("IPAdapterWeightsFromStrategy").weights(weights_strategy=strategy)[0] == weights
    assert old("IPAdapterCombineWeights").combine(weights, 0.5) == ([1.0, 0.5, 0.0, 0.5], 4)
    assert old("IPAdapterPromptScheduleFromWeightsStrategy").prompt_schedule(strategy | {"frame_count": 1}, "a") == (
        '"0": "a",\n',
    )


def test_a_call_that_no_such_node_takes_fails_as_any_method_does(base):
    with pytest.raises(TypeError, match="unexpected keyword argument 'noise'"):
        old("IPAdapterAdvanced").apply_ipadapter(base, {}, noise=0.5)


# With the old pack beside this one


@pytest.mark.parametrize("given", ["weights", "pipeline"])
def test_apply_takes_the_adapter_of_another_packs_loader(base, clip_vision, given):
    file, prompt = adapter_file(SD15, "plus", hidden=HIDDEN), prompt_of(clip_vision, images())
    theirs = raw(file) if given == "weights" else pipeline(raw(file), clip_vision)
    model = ApplyIPAdapter.execute(base, theirs, prompt, 0.7, **TIME).args[0]
    assert same(model, apply_image_prompt(base, made_adapter("plus"), prompt, Strength(0.7)))


def test_apply_offers_both_sockets():
    found = {one.id: one.get_io_type() for one in ApplyIPAdapter.define_schema().inputs}
    assert found["ip_adapter"] == "IP_ADAPTER,IPADAPTER"
