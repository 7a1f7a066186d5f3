"""The workflows for FLUX: a model whose parts come in files of their own, sampled without a negative prompt."""

from __future__ import annotations

from collections.abc import Callable

from . import notes
from .graph import Block, Column, Inputs, Node, Workflow
from .models import (
    CLIP_L,
    DINOV2,
    FLUX_CANNY,
    FLUX_CHARACTER,
    FLUX_DEV,
    FLUX_VAE,
    FLUX_XLABS,
    T5_XXL,
    VIT_L,
)
from .parts import (
    NARROW,
    WIDE,
    Base,
    Models,
    Settings,
    Start,
    TextPrompt,
    apply_controlnet,
    encode_text,
    find_edges,
    finish,
    load_controlnet,
    load_image,
    load_image_encoder,
    load_ip_adapter,
    load_siglip,
    only_image_prompt,
    sample,
    sample_prompted,
    with_base,
)

SIDE = 1024  # pixels
GUIDANCE, WEIGHT, STRUCTURE = 3.5, 0.8, 0.7
CHARACTER_WEIGHT = 0.85
SAMPLING = Settings(cfg=1.0, steps=25, sampler="euler", scheduler="simple")
WORDS = "A photograph in soft evening light, with fine detail."
SCENE = "Walking through a narrow street in the rain at night, lit by shop windows, seen from the front."


def load_flux() -> Base:
    model = Node("UNETLoader", {"unet_name": FLUX_DEV.name, "weight_dtype": "default"}, models=(FLUX_DEV,))
    names: Inputs = {"clip_name1": CLIP_L.name, "clip_name2": T5_XXL.name, "type": "flux", "device": "default"}
    text = Node("DualCLIPLoader", names, models=(CLIP_L, T5_XXL))
    vae = Node("VAELoader", {"vae_name": FLUX_VAE.name}, models=(FLUX_VAE,))
    return Base((model, text, vae), model["MODEL"], text["CLIP"], vae["VAE"])


def load_flux_models(*others: Node) -> Models:
    return with_base(load_flux(), load_ip_adapter(FLUX_XLABS), load_image_encoder(VIT_L), others)


def load_character_models() -> Models:
    """Two image encoders beside each other are what InstantCharacter reads."""
    siglip, dinov2 = load_siglip(), load_image_encoder(DINOV2)
    both = Node("JoinImageEncoders", {"siglip": siglip, "dinov2": dinov2})
    others = (siglip.node, dinov2.node)
    return with_base(load_flux(), load_ip_adapter(FLUX_CHARACTER), both["clip_vision"], others)


def guided_text(models: Models, words: str = WORDS) -> TextPrompt:
    """A text with FLUX's guidance, and no negative one."""
    encoded = encode_text(models.clip, words, "Positive prompt")
    guided = Node("FluxGuidance", {"conditioning": encoded["CONDITIONING"], "guidance": GUIDANCE})
    nothing = Node("ConditioningZeroOut", {"conditioning": encoded["CONDITIONING"]}, "No negative prompt")
    return TextPrompt(guided, nothing, (encoded,))


def empty_flux_latent() -> Node:
    return Node("EmptySD3LatentImage", {"width": SIDE, "height": SIDE})


def flux(name: str) -> Workflow:
    models = load_flux_models()
    image, text = only_image_prompt(models, WEIGHT), guided_text(models)
    latent = empty_flux_latent()
    sampler = sample_prompted(image.model, text, Start(latent), SAMPLING)
    columns = (models.column, image.column(), text.column, *finish(name, models, sampler, (latent,)))
    return Workflow(name, notes.FLUX, columns)


def flux_controlnet(name: str) -> Workflow:
    controlnet = load_controlnet(FLUX_CANNY)
    models = load_flux_models(controlnet)
    image, text = only_image_prompt(models, WEIGHT), guided_text(models)
    structure = load_image("Structure image")
    edges = find_edges(structure)
    preview = Node("PreviewImage", {"images": edges["IMAGE"]}, "Edges", height=260)
    control = apply_controlnet(text, controlnet, edges, STRUCTURE)
    latent = empty_flux_latent()
    sampler = sample(image.model, control["positive"], control["negative"], Start(latent), SAMPLING)
    columns = (
        models.column,
        image.column(),
        Column(NARROW, (Block("Structure", (structure, edges, preview)),)),
        Column(WIDE, (text.block, Block("ControlNet", (control,)))),
        *finish(name, models, sampler, (latent,)),
    )
    return Workflow(name, notes.FLUX_CONTROLNET, columns)


def flux_character(name: str) -> Workflow:
    models = load_character_models()
    image, text = only_image_prompt(models, CHARACTER_WEIGHT), guided_text(models, SCENE)
    latent = empty_flux_latent()
    sampler = sample_prompted(image.model, text, Start(latent), SAMPLING)
    columns = (models.column, image.column(), text.column, *finish(name, models, sampler, (latent,)))
    return Workflow(name, notes.FLUX_CHARACTER, columns)


FLUX: dict[str, Callable[[str], Workflow]] = {
    "flux": flux,
    "flux_controlnet": flux_controlnet,
    "flux_character": flux_character,
}
