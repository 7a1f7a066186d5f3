"""What is trained here is read by diffusers: its own loader on the file, and the same noise prediction."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from pack.ipadapter.adapters.families import BASE, FACE_ID, FACE_ID_PLUS, PLUS
from pack.ipadapter.adapters.family import Family
from pack.ipadapter.adapters.provenance import Provenance
from pack.ipadapter.adapters.writing import write_adapter
from pack.ipadapter.host.adapters.adapter import load_adapter_file
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.host.training.frozen import frozen_unet
from pack.ipadapter.prompts.prompt import ImagePrompt
from pack.ipadapter.strength.strength import Strength
from pack.ipadapter.training.loop import train
from pack.ipadapter.training.recipe import Recipe

from tests.image_prompts import face_prompt, image_prompt
from tests.oracle.reference import Features, Reference, roles_by_cfg
from tests.oracle.test_equality import TOLERANCE, features
from tests.oracle.test_faces import noise, projection_of, rows_of
from tests.oracle.test_training import start
from tests.small import MICRO, make_pair, make_reference_unet
from tests.world import Call, sample

STEPS = 3


def trained_file(kind: Family, folder: Path) -> Path:
    """An adapter after some steps, as the command and Save IP-Adapter write it."""
    with frozen_unet(make_pair(MICRO).host, None, gradient_checkpointing=False, kind=kind) as frozen:
        training, data = start(frozen, kind, MICRO)
        train(training, data, Recipe(kind, steps=STEPS, batch_size=2, learning_rate=1e-2), lambda step, loss: None)
        about = Provenance("small", STEPS).of(training.adapter.spec)
        return write_adapter(folder / "trained.safetensors", training.adapter, about)


def pipeline_with(file: Path) -> Reference:
    """diffusers' pipeline, which has read the file by its public way."""
    parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "safety_checker", "feature_extractor"))
    with torch.inference_mode(False):
        scheduler, unet = DDIMScheduler(clip_sample=False, steps_offset=1), make_reference_unet(MICRO)
        pipe = StableDiffusionPipeline(**parts, unet=unet, scheduler=scheduler, requires_safety_checker=False)
        pipe.load_ip_adapter(str(file.parent), "", file.name, image_encoder_folder=None, low_cpu_mem_usage=False)
        pipe.set_ip_adapter_scale(1.0)
    return Reference(MICRO, pipe.unet.eval())


def their_noise(reference: Reference, kind: Family, call: Call, prompt: ImagePrompt) -> torch.Tensor:
    """What diffusers predicts for a call of the host's."""
    if kind in (BASE, PLUS):
        given: list[Features] = [features(prompt, kind.title)]
        return reference.noise(call, roles_by_cfg(call), given)
    projection_of(reference).shortcut = True  # of version 2; FaceID has no such thing
    return noise(reference, call, rows_of(prompt, raw=False))


@pytest.mark.parametrize("kind", [BASE, PLUS, FACE_ID, FACE_ID_PLUS], ids=lambda kind: kind.title)
def test_diffusers_reads_what_was_trained_and_predicts_the_same_noise(kind, tmp_path):
    file = trained_file(kind, tmp_path)
    adapter = load_adapter_file(file, file.name)
    assert adapter.spec.family is kind
    prompt = image_prompt() if kind in (BASE, PLUS) else face_prompt()
    _, calls = sample(apply_image_prompt(make_pair(MICRO).host, adapter, prompt, Strength()), MICRO)
    reference = pipeline_with(file)
    worst = max((their_noise(reference, kind, call, prompt) - call.output).abs().max().item() for call in calls)
    assert calls and worst <= TOLERANCE
    _, plain = sample(make_pair(MICRO).host, MICRO)
    assert (plain[0].output - calls[0].output).abs().max() > 100 * TOLERANCE, "it does something"
