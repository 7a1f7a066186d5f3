"""FLUX.1 dev in the host, narrow with all its blocks or by its public shapes alone, and one run and one call of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.sample
import comfy.supported_models
import torch
from torch import Tensor

from tools.bench.models import LATENT_SCALE, META, Model
from tools.bench.noise import SEED, fill_module
from tools.standins.flux import FLUX_DEV, HEAD, LATENT_CHANNELS, POOLED, FluxShape

# K' and V' are as wide as the model, however wide the text is from which they are made.
SHORT_TEXT = 64
NARROW, WIDE = FluxShape(HEAD, SHORT_TEXT), replace(FLUX_DEV, text=SHORT_TEXT)
PIXELS, COUNTED_PIXELS = 1024, 64
TEXT_ROWS, COUNTED_TEXT_ROWS = 512, 32
GUIDANCE = 3.5
DTYPE = torch.bfloat16  # as the host has it where it can
COUNTED_STEPS = 4  # so that the last is after half of the sampling


def build_flux(shape: FluxShape, device: torch.device, dtype: torch.dtype) -> Model:
    """A model as the host's loader wraps it. One on the meta device has shapes only."""
    config = comfy.supported_models.Flux({"image_model": "flux", **shape.config()})
    config.set_inference_dtype(dtype, None)
    config.unet_config["dtype"] = dtype
    model = comfy.model_base.Flux(config, device=device)
    if device == META:
        model.model_sampling.to(META)
    else:
        fill_module(model.diffusion_model)
    offload = torch.device("cpu") if device == META else device
    return comfy.model_patcher.CoreModelPatcher(
        model, load_device=comfy.model_management.get_torch_device(), offload_device=offload
    )


def random(*shape: int, seed: int = SEED) -> Tensor:
    """Numbers from a seed."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), device="cpu")


def sample_narrow(model: Model, pictures: int = 1) -> Tensor:
    """Sample small pictures as FLUX.1 dev is, without CFG: one conditioning to a call."""
    side = COUNTED_PIXELS // LATENT_SCALE
    latent = torch.zeros(pictures, LATENT_CHANNELS, side, side)
    words = random(1, COUNTED_TEXT_ROWS, SHORT_TEXT)
    text = [[words, {"pooled_output": random(1, POOLED), "guidance": GUIDANCE}]]
    run = (COUNTED_STEPS, 1.0, "euler", "simple")
    return comfy.sample.sample(model, random(*latent.shape), *run, text, text, latent, disable_pbar=True, seed=SEED)


def call_flux(model: Model, shape: FluxShape) -> Tensor:
    """One call of a model that has shapes only, with its patches and wrappers as a sampler would."""
    side = PIXELS // LATENT_SCALE
    options = {
        **model.model_options["transformer_options"],
        "wrappers": model.wrappers,
        "cond_or_uncond": [0],
    }
    given = {
        "c_crossattn": torch.empty(1, TEXT_ROWS, shape.text, device=META, dtype=DTYPE),
        "y": torch.empty(1, POOLED, device=META, dtype=DTYPE),
        "guidance": torch.empty(1, device=META),
    }
    x, sigma = torch.empty(1, LATENT_CHANNELS, side, side, device=META), torch.full((1,), 0.5, device=META)
    with objects_patched(model):
        return model.model.apply_model(x, sigma, transformer_options=options, **given)


@contextmanager
def objects_patched(model: Model) -> Iterator[None]:
    """With the parts of a model in place that another pack has put there, as the host does when it loads one."""
    model.patch_model(load_weights=False)
    try:
        yield
    finally:
        model.unpatch_model(unpatch_weights=False)
