"""The noise prediction on a card against diffusers' on the CPU in float32.

In float32 (run with NVIDIA_TF32_OVERRIDE=0) they are at most 1e-4 apart. In half precision the model with an image
prompt is at most 1.2 times as far from its reference as the bare model is from its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from comfy.model_patcher import ModelPatcher
from pack.ipadapter.adapters.face_settings import FaceSettings
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.strength.strength import Strength
from torch import Tensor

from tests.gpu.models import loaded_model, on_cpu
from tests.image_prompts import face_prompt, image_prompt
from tests.oracle.reference import reference_with, roles_by_cfg
from tests.oracle.test_equality import features
from tests.oracle.test_faces import noise, reference_faces, rows_of
from tests.oracle.test_masks import halves
from tests.small import SD15, SDXL, Layout, make_reference_unet
from tests.world import Call, Settings, adapter_file, host_adapter, sample

SINGLE, HALF = 1e-4, 1.2  # relative distance; and share of the bare model's own
SETTINGS = Settings(steps=2, batch=2)
LAYOUTS = {"SD1.5": SD15, "SDXL": SDXL}

Predict = Callable[[Call], Tensor]


@dataclass(frozen=True)
class Compared:
    """A model of the host, and what its reference predicts for a call of it."""

    model: ModelPatcher
    reference: Predict

    def distance(self, layout: Layout) -> float:
        """The largest relative distance of a call of a run: ‖ours - theirs‖ / ‖theirs‖."""
        _, calls = sample(self.model, layout, SETTINGS)
        assert calls and all(bool(torch.isfinite(call.output).all()) for call in calls)
        return max(relative(call.output, self.reference(call)) for call in map(on_cpu, calls))


def relative(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


def bare(layout: Layout, model: ModelPatcher) -> Compared:
    reference = reference_with(layout, [adapter_file(layout, "base")], 0.0, make_reference_unet(layout))
    given = [features(image_prompt(), "base")]
    return Compared(model, lambda call: reference.noise(call, roles_by_cfg(call), given))


def adapters(layout: Layout, model: ModelPatcher, families: tuple[str, ...], mask: Tensor | None = None) -> Compared:
    """One adapter after another, each with a prompt of its own, all under one mask where there is one."""
    files = [adapter_file(layout, family, seed) for seed, family in enumerate(families, 20)]
    prompts = [image_prompt(seed=seed) for seed, _ in enumerate(families, 5)]
    for file, prompt in zip(files, prompts, strict=True):
        model = apply_image_prompt(model, host_adapter(file), prompt, Strength(0.8), mask)
    reference = reference_with(layout, files, 0.8, make_reference_unet(layout))
    given = [features(*pair) for pair in zip(prompts, families, strict=True)]
    masks = None if mask is None else [mask.unsqueeze(1)] * len(files)
    return Compared(model, lambda call: reference.noise(call, roles_by_cfg(call), given, masks))


def face(layout: Layout, model: ModelPatcher) -> Compared:
    """FaceID with the LoRA in its file."""
    file, settings, prompt = adapter_file(layout, "FaceID"), FaceSettings(), face_prompt()
    reference = reference_faces(layout, file, 1.0, settings)
    applied = apply_image_prompt(model, host_adapter(file), prompt, Strength(1.0))
    return Compared(applied, lambda call: noise(reference, call, rows_of(prompt, raw=False)))


CASES: dict[str, Callable[[Layout, ModelPatcher], Compared]] = {
    "bare": bare,
    "base": lambda layout, model: adapters(layout, model, ("base",)),
    "plus": lambda layout, model: adapters(layout, model, ("plus",)),
    "masked": lambda layout, model: adapters(layout, model, ("base",), halves(128, 128)),
    "two adapters": lambda layout, model: adapters(layout, model, ("base", "plus")),
    "FaceID with its LoRA": face,
}
PROMPTED = [name for name in CASES if name != "bare"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_in_float32_the_noise_prediction_is_the_references(layout, case, record_property):
    distance = CASES[case](layout, loaded_model(layout)).distance(layout)
    record_property("relative distance", distance)
    assert distance <= SINGLE


@pytest.fixture(scope="module")
def own_distance() -> Callable[[Layout, torch.dtype], float]:
    """How far the bare model is from its reference."""
    known: dict[tuple[str, torch.dtype], float] = {}

    def distance(layout: Layout, dtype: torch.dtype) -> float:
        if (layout.name, dtype) not in known:
            known[layout.name, dtype] = bare(layout, loaded_model(layout, dtype)).distance(layout)
        return known[layout.name, dtype]

    return distance


@pytest.mark.parametrize("case", PROMPTED)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_half_precision_is_as_near_as_the_bare_models(layout, dtype, case, own_distance, record_property):
    distance = CASES[case](layout, loaded_model(layout, dtype)).distance(layout)
    record_property("share of the bare model's distance", distance / own_distance(layout, dtype))
    assert distance <= HALF * own_distance(layout, dtype)
