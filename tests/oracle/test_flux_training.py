"""Training an adapter for FLUX: gradients and files are as diffusers' transformer and its loader have them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from diffusers.loaders.ip_adapter import FluxIPAdapterMixin
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor
from pack.ipadapter.adapters.families import XLABS
from pack.ipadapter.adapters.provenance import Provenance
from pack.ipadapter.adapters.writing import write_adapter
from pack.ipadapter.host.adapters.adapter import load_adapter_file
from pack.ipadapter.host.sampling.patching import apply_image_prompt
from pack.ipadapter.host.training.data import encode_pictures, graph_pictures
from pack.ipadapter.host.training.frozen import frozen_unet
from pack.ipadapter.strength.strength import Strength
from pack.ipadapter.training.batches import Batches
from pack.ipadapter.training.fresh import continued
from pack.ipadapter.training.loop import train, train_step
from pack.ipadapter.training.module import AdapterTraining
from pack.ipadapter.training.recipe import Recipe
from torch import Tensor

from tests.adapters import EMBED
from tests.flux import FLUX, LATENTS, SMALL, conditioning, flux_adapter, flux_prompt, make_flux, sample_flux
from tests.oracle.flux_reference import predict, reference_flux
from tests.oracle.flux_training import flux_training
from tests.oracle.test_flux import worst
from tests.oracle.test_training import MANY_DROPS, PICTURES, examples_of, gradients
from tests.world import host_adapter

RECIPE = Recipe(XLABS, tokens=4, batch_size=4, drops=MANY_DROPS, seed=5)
TOLERANCE = 1e-5


def encoded(frozen):
    """Pictures of an odd height, their captions, and embeddings of theirs and of a black one."""
    generator = torch.Generator().manual_seed(3)
    latents = [{"samples": torch.randn(1, LATENTS, *FLUX.size, generator=generator)} for _ in range(PICTURES)]
    images = [torch.zeros(1, 16, 16, 3)] * PICTURES
    graph = graph_pictures(images, latents, [conditioning(20 + i) for i in range(PICTURES)], conditioning(50))
    features, nothing = (torch.randn(count, EMBED, generator=generator) for count in (PICTURES, 1))
    return encode_pictures(frozen.patcher.model, graph, (features,), (nothing,))


def by_matrix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each weight with its bias. That of the keys has no gradient: it adds the same to every token's score."""
    names = {name.rpartition(".")[0] for name in tensors}
    return {name: torch.cat([tensors[f"{name}.{end}"].flatten() for end in ("weight", "bias")]) for name in names}


def relative(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest difference, each beside the matrix that it is in."""
    assert ours.keys() == theirs.keys()
    ours, theirs = by_matrix(ours), by_matrix(theirs)
    return max(float((ours[name] - theirs[name]).norm() / theirs[name].norm()) for name in ours)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "computed again"])
def test_gradients_of_every_trained_tensor_equal_diffusers(checkpointing):
    file = flux_adapter("XLabs FLUX")
    start = host_adapter(file).patcher.model
    with frozen_unet(make_flux(), None, checkpointing, XLABS) as frozen:
        training, data = AdapterTraining(continued(start), frozen), encoded(frozen)
        keep = torch.optim.SGD(training.parameters(), lr=0.0)
        keep.zero_grad = lambda set_to_none=True: None  # keep the gradients to look at
        loss = train_step(training, Batches(data, frozen, RECIPE), keep, step=0)
        reference = flux_training(file)
        theirs = reference.loss(examples_of(data, RECIPE, 0))
        theirs.backward()
        assert loss == pytest.approx(theirs.item(), rel=TOLERANCE)
        assert relative(gradients(training), reference.public(lambda p: p.grad)) < TOLERANCE


@dataclass
class Pipeline(FluxIPAdapterMixin):
    """As much of diffusers' pipeline as loads a file."""

    transformer: Any


def test_a_trained_file_gives_the_same_here_and_through_diffusers_own_loader(tmp_path):
    start = host_adapter(flux_adapter("XLabs FLUX")).patcher.model
    with frozen_unet(make_flux(), None, False, XLABS) as frozen:
        training = AdapterTraining(continued(start), frozen)
        train(training, encoded(frozen), replace(RECIPE, steps=2), lambda step, loss: None)
        path = write_adapter(tmp_path / "trained.safetensors", training.adapter, Provenance("small", 2))
    pipeline, prompt = Pipeline(reference_flux()), flux_prompt()
    with torch.inference_mode(False):
        pipeline.transformer.set_attn_processor(FluxAttnProcessor())
        pipeline.load_ip_adapter(str(tmp_path), path.name, "", None, low_cpu_mem_usage=False)
    given = [prompt.parts[0].positive.image_embeds.unsqueeze(0)]
    applied = apply_image_prompt(make_flux(), load_adapter_file(path, path.name), prompt, Strength())
    _, calls = sample_flux(applied)

    def velocity(call, row, role):
        return predict(pipeline.transformer, SMALL, call, row, ip_adapter_image_embeds=given)

    assert worst(calls, velocity) <= TOLERANCE
