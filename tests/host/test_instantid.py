"""InstantID's nodes in the host: key points drawn of pictures, and a ControlNet that alone reads the face."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import comfy.cldm.cldm
import comfy.controlnet
import comfy.t2i_adapter.adapter
import pytest
import torch
from insightface.app import FaceAnalysis
from pack.ipadapter.errors import IPAdapterError
from pack.ipadapter.host.faces.keypoints import draw_faces
from pack.ipadapter.host.sampling.identity_net import HeldTokens
from pack.ipadapter.prompts.prompt import Order
from pack.nodes.instantid import ApplyInstantIDControlNet, DrawFaceKeyPoints

from nodes import ConditioningSetMask, ControlNetApplyAdvanced
from tests.faces import DrawnFace, write_pack
from tests.faces import draw_faces as people
from tests.image_prompts import face_prompt
from tests.refusals import refusal
from tests.small import MICRO, SDXL, make_pair, scatter
from tests.world import Settings, adapter_file, conditioning, host_adapter, picture, sample

LARGE, SMALL = DrawnFace(300, 200, 90), DrawnFace(90, 330, 60, turned=30, tint=20)
TINY = replace(SDXL, channels=(64,), depth=(1,), heads=(1,), expected_layers=6)  # one level of SDXL
CPU = torch.device("cpu")
HINT = torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(82))
ONE_STEP = Settings(steps=1)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    pack = write_pack(tmp_path_factory.mktemp("packs") / "antelopev2")
    made = FaceAnalysis(str(pack), allowed_modules=["detection", "recognition"], providers=["CPUExecutionProvider"])
    made.prepare(ctx_id=0, det_size=(640, 640))
    return made


@cache
def control(layout=TINY, seed: int = 1):
    """The host's ControlNet, random weights."""
    with torch.inference_mode(False):
        model = comfy.cldm.cldm.ControlNet(hint_channels=3, num_head_channels=32, **layout.host_config).eval()
        scatter(model, seed, std=0.04)
    return comfy.controlnet.ControlNet(model.requires_grad_(False), load_device=CPU)


@cache
def adapter(family: str = "FaceID Portrait unnorm"):
    return host_adapter(adapter_file(TINY, family), "instantid.bin")


def texts():
    return conditioning(TINY, 11), conditioning(TINY, 12)


def apply(conds=None, net=None, made=None, prompt=None, image=HINT, strength=0.8, start=0.0, end=1.0):
    return ApplyInstantIDControlNet.execute(
        *(conds or texts()),
        net or control(),
        made or adapter(),
        prompt or face_prompt(),
        image,
        strength,
        start,
        end,
    ).result


# Key points


def test_the_key_points_of_the_chosen_face_of_each_picture_are_drawn(analysis):
    both = torch.cat([people(480, 640, SMALL, LARGE), people(480, 640, LARGE)])
    (drawn,) = DrawFaceKeyPoints.execute(analysis, both).result
    assert drawn.shape == (2, 480, 640, 3)
    x, y = LARGE.keypoints[2].round().long().tolist()
    assert drawn[:, y, x].tolist() == [[0, 0, 1], [0, 0, 1]]
    (other,) = DrawFaceKeyPoints.execute(analysis, both[:1], 1).result
    x, y = SMALL.keypoints[2].round().long().tolist()
    assert other[0, y, x].tolist() == [0, 0, 1] and not drawn[0, y, x].any()


def test_a_drawing_has_the_size_that_is_asked_for(analysis):
    (drawn,) = DrawFaceKeyPoints.execute(analysis, people(480, 640, LARGE), 0, 1280, 0).result
    assert drawn.shape == (1, 960, 1280, 3)


def test_a_picture_without_such_a_face_is_refused(analysis):
    assert "no face was found in image 1 of 1" in refusal(draw_faces, analysis, people(480, 640))
    assert "face is 1, counted from 0" in refusal(draw_faces, analysis, people(480, 640, LARGE), 1)
    assert "connect Load InsightFace" in refusal(draw_faces, None, people(480, 640, LARGE))


# ControlNet


def test_the_conditionings_that_are_given_stay_as_they_are():
    positive, negative = texts()
    before = [dict(positive[0][1]), dict(negative[0][1])]
    made = apply((positive, negative))
    assert [positive[0][1], negative[0][1]] == before
    assert made[0][0][0] is positive[0][0] and made[0][0][1]["control"] is made[1][0][1]["control"]


@pytest.mark.parametrize("given", [{"strength": 0.0}, {"prompt": "silent"}])
def test_what_weighs_nothing_changes_nothing(given):
    prompt = face_prompt()
    silent = replace(prompt, parts=(replace(prompt.parts[0], weight=0.0),))
    conds = texts()
    made = apply(conds, **{key: silent if value == "silent" else value for key, value in given.items()})
    assert made[0] is conds[0] and made[1] is conds[1]


def test_the_face_and_the_strength_change_the_picture():
    model, conds = make_pair(TINY).host, texts()
    made = [apply(conds), apply(conds, prompt=face_prompt(seed=9)), apply(conds, strength=0.4), conds]
    pictures = [picture(model, TINY, ONE_STEP, conds=one) for one in made]
    for index, one in enumerate(pictures):
        assert not any(torch.allclose(one, other, atol=1e-3) for other in pictures[:index])


def test_a_copy_reads_the_face_too():
    """Tiled upscalers copy a ControlNet to give each tile its part of the hint."""
    positive, negative = apply()
    copied = positive[0][1]["control"].copy()
    others = [[[one[0][0], one[0][1] | {"control": copied}]] for one in (positive, negative)]
    model = make_pair(TINY).host
    assert torch.equal(
        picture(model, TINY, ONE_STEP, conds=tuple(others)), picture(model, TINY, ONE_STEP, conds=(positive, negative))
    )


def test_it_stays_with_the_masks_of_a_conditioning():
    mask = torch.zeros(1, 16, 16)
    mask[..., :8] = 1
    positive, negative = apply()
    (masked,) = ConditioningSetMask().append(positive, mask, "default", 1.0)
    model = make_pair(TINY).host
    _, calls = sample(model, TINY, ONE_STEP, conds=(masked, negative))
    assert all(call.control for call in calls)


def test_faces_frame_by_frame_go_to_their_pictures_and_the_last_is_held():
    prompt = face_prompt(images=2)
    framed = replace(prompt, parts=(replace(prompt.parts[0], order=Order.FRAME_BY_FRAME),))
    model = make_pair(TINY).host
    made = picture(model, TINY, Settings(steps=1, batch=3), conds=apply(prompt=framed))
    part = prompt.parts[0]
    for frame, face in ((0, 0), (1, 1), (2, 1)):
        one = replace(prompt, parts=(replace(part, positive=part.positive[face : face + 1]),))
        alone = picture(model, TINY, Settings(steps=1, batch=3), conds=apply(prompt=one))
        assert (made[frame] - alone[frame]).abs().max() <= 1e-5 * made.abs().max()
    rows = torch.arange(2.0).view(2, 1, 1)
    assert HeldTokens(rows).process_cond(4).cond.flatten().tolist() == [0, 1, 1, 1]


def test_a_text_prompt_that_has_lost_the_tokens_is_refused():
    positive, negative = apply()
    lost = [[positive[0][0], {key: one for key, one in positive[0][1].items() if key != "model_conds"}]]
    with pytest.raises(IPAdapterError, match="a text prompt without the face's tokens"):
        picture(make_pair(TINY).host, TINY, ONE_STEP, conds=(lost, negative))


def test_another_adapter_is_refused():
    said = refusal(apply, made=adapter("plus"))
    assert said.startswith("ip_adapter is 'instantid.bin', of the family plus, but InstantID's ControlNet reads")


def test_another_controlnet_is_refused():
    t2i = comfy.controlnet.T2IAdapter(torch.nn.Identity(), 3, 8, "nearest-exact", CPU)
    assert "control_net is a T2IAdapter, which reads no text: load InstantID's" in refusal(apply, net=t2i)
    said = refusal(apply, net=control(MICRO))
    assert "control_net is a ControlNet that reads text 768 wide, where 'instantid.bin' has 2048" in said
    other = comfy.controlnet.ControlNet(torch.nn.Identity(), load_device=CPU)
    assert "control_net is a ControlNet for another kind of model than SDXL" in refusal(apply, net=other)


def test_numbers_and_pictures_that_do_not_fit_are_refused():
    assert "strength is nan" in refusal(apply, strength=float("nan"))
    assert "start_at (0.6) is not before end_at (0.5)" in refusal(apply, start=0.6, end=0.5)
    assert "image has shape" in refusal(apply, image=HINT[0])
    assert "image holds NaN" in refusal(apply, image=HINT * float("nan"))


def test_a_controlnet_after_it_keeps_it():
    conds = ControlNetApplyAdvanced().apply_controlnet(*apply(), control(seed=2), HINT, 0.6, 0.0, 1.0)
    model = make_pair(TINY).host
    with_both = picture(model, TINY, ONE_STEP, conds=conds)
    alone = ControlNetApplyAdvanced().apply_controlnet(*texts(), control(seed=2), HINT, 0.6, 0.0, 1.0)
    assert not torch.allclose(with_both, picture(model, TINY, ONE_STEP, conds=alone), atol=1e-3)
