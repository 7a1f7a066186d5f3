"""The host's TorchCompileModel with Inductor: right after a change of weight, image and window."""

from __future__ import annotations

import torch
from comfy_extras.nodes_torch_compile import TorchCompileModel
from pack.ipadapter.strength.strength import Strength

from tests.gpu.models import applied
from tests.small import MICRO
from tests.world import Settings, picture

SETTINGS = Settings(steps=4, cfg=3.0)
TOLERANCE = 2e-3  # of generated code
CHANGES = (
    {},
    {"strength": Strength(0.4)},
    {"seed": 4},
    {"strength": Strength(1.0, 0.0, 0.5)},
    {"strength": Strength(1.0, 0.5, 1.0)},
    {},
)


def compiled(model):
    return TorchCompileModel.execute(model, "inductor").result[0]


def test_generated_code_draws_the_right_picture_after_each_change():
    for change in CHANGES:
        model = applied(MICRO, **change)
        ours, theirs = (picture(each, MICRO, SETTINGS) for each in (compiled(model), model))
        torch.testing.assert_close(ours, theirs, atol=TOLERANCE, rtol=0)


def test_a_change_of_weight_or_image_generates_nothing_anew():
    picture(compiled(applied(MICRO)), MICRO, SETTINGS)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for change in CHANGES[1:3]:
        picture(compiled(applied(MICRO, **change)), MICRO, SETTINGS)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before > 0
