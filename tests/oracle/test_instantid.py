"""InstantID against its authors' formula: diffusers' UNet, and its ControlNet with a face's tokens for a text."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength
from pack.nodes.instantid import ApplyInstantIDControlNet
from torch.nn.functional import normalize

from nodes import ControlNetApplyAdvanced
from tests.image_prompts import face_prompt, image_prompt
from tests.oracle.instantid import LAYOUT, Controlling, host_control, noise_with, reference_control
from tests.oracle.reference import reference_with
from tests.oracle.test_faces import add_loras
from tests.small import make_pair, make_reference_unet
from tests.world import Settings, adapter_file, conditioning, host_adapter, sample

TOLERANCE = 1e-5
IDENTITY, DEPTH = 80, 81  # seeds of two ControlNets
KEY_POINTS, OTHER_HINT = (torch.rand(1, 128, 128, 3, generator=torch.Generator().manual_seed(n)) for n in (82, 83))
ONE_STEP = Settings(steps=1)


def file():
    return adapter_file(LAYOUT, "InstantID", seed=4)


@cache
def adapter():
    return host_adapter(file(), "ip-adapter.bin")


def applied(prompt):
    return apply_image_prompt(make_pair(LAYOUT).host, adapter(), prompt, Strength(0.8))


def texts():
    return conditioning(LAYOUT, 11), conditioning(LAYOUT, 12)


def with_identity(conds, prompt, strength=0.8, start=0.0, end=1.0):
    return ApplyInstantIDControlNet.execute(
        *conds, host_control(IDENTITY), adapter(), prompt, KEY_POINTS, strength, start, end
    ).result


def with_depth(conds):
    return ControlNetApplyAdvanced().apply_controlnet(*conds, host_control(DEPTH), OTHER_HINT, 0.6, 0.0, 1.0)


def sequences(prompt):
    """What diffusers' projection reads, for the positive and the negative: a sequence of one, as it is, and zero."""
    face = prompt.parts[0].positive.face.unsqueeze(1)
    return face, torch.zeros_like(face)


def identity(reference, prompt, strength=0.8, place=0):
    """The reference's ControlNet: the tokens are what its own projection makes."""
    projection = reference.unet.encoder_hid_proj.image_projection_layers[place]
    tokens = tuple(projection(one).flatten(0, 1).unsqueeze(0) for one in sequences(prompt))
    return Controlling(reference_control(IDENTITY), KEY_POINTS.movedim(-1, 1), strength, tokens)


def depth():
    return Controlling(reference_control(DEPTH), OTHER_HINT.movedim(-1, 1), 0.6)


def worst(reference, calls, given, nets):
    assert calls
    return max((noise_with(reference, call, given, nets) - call.output).abs().max().item() for call in calls)


@pytest.mark.parametrize("images", [1, 2])
def test_adapter_and_controlnet_equal_the_authors_formula(images):
    prompt = face_prompt(images)
    settings = Settings(steps=1, batch=images)
    _, calls = sample(applied(prompt), LAYOUT, settings, conds=with_identity(texts(), prompt))
    reference = reference_with(LAYOUT, [file()], 0.8)
    given = [[one] for one in sequences(prompt)]
    net = identity(reference, prompt)
    assert worst(reference, calls, given, [net]) <= TOLERANCE
    assert worst(reference, calls, given, [replace(net, tokens=None)]) > 100 * TOLERANCE  # it reads the text


@pytest.mark.parametrize("identity_first", [True, False])
def test_other_controlnets_go_on_reading_the_text(identity_first):
    prompt = face_prompt()
    first, second = (lambda conds: with_identity(conds, prompt)), with_depth
    conds = second(first(texts())) if identity_first else first(second(texts()))
    model = applied(prompt)
    _, calls = sample(model, LAYOUT, ONE_STEP, conds=conds)
    reference = reference_with(LAYOUT, [file()], 0.8)
    given = [[one] for one in sequences(prompt)]
    assert len(calls) == 1  # positive and negative went through the model together
    assert worst(reference, calls, given, [identity(reference, prompt), depth()]) <= TOLERANCE


def test_two_faces_have_a_controlnet_each():
    one, other = face_prompt(seed=3), face_prompt(seed=5)
    conds = with_identity(with_identity(texts(), one), other, 0.5)
    model = applied(one)
    _, calls = sample(model, LAYOUT, ONE_STEP, conds=conds)
    reference = reference_with(LAYOUT, [file()], 0.8)
    nets = [identity(reference, one), identity(reference, other, 0.5)]
    assert worst(reference, calls, [[one] for one in sequences(one)], nets) <= TOLERANCE


def test_it_chains_with_faceid_and_plus_in_any_order():
    files = [file(), adapter_file(LAYOUT, "FaceID", seed=5), adapter_file(LAYOUT, "plus", seed=6)]
    face, seen = face_prompt(), image_prompt(seed=6)
    prompts, weights = (face, face_prompt(seed=7), seen), (0.8, 0.6, 0.4)
    conds, adapters = with_identity(texts(), face), [adapter(), *map(host_adapter, files[1:])]
    unit = normalize(prompts[1].parts[0].positive.face, dim=-1)
    whole, none = sequences(face)
    given = [[whole, unit, seen.parts[0].positive.penultimate]]
    given += [[none, torch.zeros_like(unit), seen.zero_pixels.penultimate]]
    reference = reference_with(LAYOUT, files, [*weights], make_reference_unet(LAYOUT))
    add_loras(reference, files[1])
    found = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        model = make_pair(LAYOUT).host
        for place in order:
            model = apply_image_prompt(model, adapters[place], prompts[place], Strength(weights[place]))
        _, calls = sample(model, LAYOUT, ONE_STEP, conds=conds)
        found.append(calls[0])
    expected = noise_with(reference, found[0], given, [identity(reference, face)])
    assert all((expected - call.output).abs().max() <= TOLERANCE for call in found)


def test_outside_its_window_it_is_not_there():
    prompt = face_prompt()
    model = make_pair(LAYOUT).host
    _, calls = sample(model, LAYOUT, Settings(steps=2), conds=with_identity(texts(), prompt, end=0.4))
    assert [bool(call.control) for call in calls] == [True, False]
