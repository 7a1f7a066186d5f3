"""Fifty steps on a card: the loss falls, the base model stays, and what was learned is saved and read again."""

from __future__ import annotations

import comfy.clip_vision
import pytest
import torch
from pack.ipadapter.adapters.families import BASE, PLUS
from pack.ipadapter.host.adapters.adapter import load_adapter_file
from pack.ipadapter.host.adapters.saving import save_to_output
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.host.training.data import graph_pictures
from pack.ipadapter.host.training.node import train_adapter
from pack.ipadapter.host.training.watching import TrainingWatch
from pack.ipadapter.strength.strength import Strength
from pack.ipadapter.training.recipe import Drops, Recipe

from tests.adapters import EMBED, HIDDEN
from tests.gpu.models import loaded_model
from tests.image_prompts import image_prompt
from tests.small import MICRO
from tests.world import Settings, conditioning, picture

STEPS, PICTURES = 50, 3
ENCODER = {
    "model_type": "clip_vision_model",
    "hidden_size": HIDDEN,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "hidden_act": "gelu",
    "image_size": 56,
    "patch_size": 14,
    "num_channels": 3,
    "projection_dim": EMBED,
}


def encoder() -> comfy.clip_vision.ClipVisionModel:
    """A small random image encoder, loaded as the host loads a file."""
    generator = torch.Generator().manual_seed(8)
    made = comfy.clip_vision.ClipVisionModel(dict(ENCODER))
    shapes = {key: tensor.shape for key, tensor in plain_layers().items()}
    made.load_sd({key: torch.randn(shape, generator=generator).half() * 0.1 for key, shape in shapes.items()})
    return made


def plain_layers() -> dict[str, torch.Tensor]:
    """Every tensor of the encoder, by torch's own layers."""
    from comfy.clip_model import CLIPVisionModelProjection

    class Operations(torch.nn.Module):
        Linear, LayerNorm, Embedding, Conv2d = (
            torch.nn.Linear,
            torch.nn.LayerNorm,
            torch.nn.Embedding,
            torch.nn.Conv2d,
        )

    return CLIPVisionModelProjection(dict(ENCODER), None, "meta", Operations).state_dict()


def pictures():
    generator = torch.Generator().manual_seed(3)
    images = [torch.rand(1, 64, 80, 3, generator=generator) for _ in range(PICTURES)]
    latents = [{"samples": torch.randn(1, 4, 16, 16, generator=generator) * 4} for _ in range(PICTURES)]
    texts = [conditioning(MICRO, 20 + number) for number in range(PICTURES)]
    return graph_pictures(images, latents, texts, conditioning(MICRO, 9))


@pytest.mark.parametrize("checkpointing", [False, True], ids=["", "checkpointed"])
@pytest.mark.parametrize("kind", [BASE, PLUS], ids=lambda kind: kind.title)
def test_a_run_learns_and_leaves_the_base_model_alone(kind, checkpointing, output):
    model, settings = loaded_model(MICRO), Settings(steps=2)
    plain = picture(model, MICRO, settings)
    recipe = Recipe(kind, steps=STEPS, batch_size=3, learning_rate=3e-3, drops=Drops(0, 0, 0))
    watch = TrainingWatch(recipe.steps, lambda line: None)
    trained = train_adapter(model, encoder(), pictures(), recipe, "auto", checkpointing, None, watch)
    assert sum(trained.losses[-8:]) < 0.97 * sum(trained.losses[:8])
    assert torch.equal(picture(model, MICRO, settings), plain)

    path = save_to_output(trained.adapter, "ipadapter/mine")
    again = load_adapter_file(path, path.name)
    drawn = [
        picture(apply_image_prompt(model, adapter, image_prompt(), Strength()), MICRO, settings)
        for adapter in (trained.adapter, again)
    ]
    assert torch.equal(*drawn) and not torch.equal(drawn[0], plain)
