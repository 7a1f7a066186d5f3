"""The workflow for SD3.5 Large: one checkpoint with all its text encoders, and SigLIP for the picture."""

from __future__ import annotations

from . import notes
from .flux import empty_flux_latent
from .graph import Workflow
from .models import SD35_INSTANTX, SD35_LARGE
from .parts import (
    Models,
    Settings,
    Start,
    finish,
    load_checkpoint,
    load_ip_adapter,
    load_siglip,
    only_image_prompt,
    sample_prompted,
    text_prompt,
    with_base,
)

WEIGHT = 0.6
SAMPLING = Settings(cfg=4.5, steps=28, sampler="dpmpp_2m", scheduler="sgm_uniform")
WORDS = "A photograph in soft evening light, with fine detail."


def load_sd35_models() -> Models:
    return with_base(load_checkpoint(SD35_LARGE), load_ip_adapter(SD35_INSTANTX), load_siglip())


def sd35(name: str) -> Workflow:
    models = load_sd35_models()
    image, text = only_image_prompt(models, WEIGHT), text_prompt(models, WORDS)
    latent = empty_flux_latent()
    sampler = sample_prompted(image.model, text, Start(latent), SAMPLING)
    columns = (models.column, image.column(), text.column, *finish(name, models, sampler, (latent,)))
    return Workflow(name, notes.SD35, columns)
