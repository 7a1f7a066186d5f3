"""The workflows of the pack, one function each."""

from __future__ import annotations

from collections.abc import Callable

from . import notes
from .control import CONTROL
from .flux import FLUX
from .graph import Block, Column, Node, Workflow
from .instantid import instantid
from .models import BASE, CANNY, PLUS, SD15, SDXL, SDXL_PLUS, VIT_H
from .parts import (
    NARROW,
    RESULT,
    SHOWN_TEXT,
    WIDE,
    Settings,
    Start,
    apply_controlnet,
    batch,
    decode,
    empty_latent,
    encode_latent,
    evaluate,
    find_edges,
    find_models,
    finish,
    image_prompt,
    image_prompts,
    load_controlnet,
    load_image,
    load_ip_adapter,
    load_models,
    load_training_pictures,
    only_image_prompt,
    sample,
    sample_prompted,
    shrink,
    text_prompt,
    train,
)
from .sd35 import sd35

SMALL, LARGE = 512, 1024  # pixels a side: what SD1.5 and SDXL were made for
MEASURES = (("text", "Result"), ("json", "Each picture's numbers"))  # outputs of EvaluateImagePrompt


def image_prompt_alone(name: str) -> Workflow:
    models = find_models(SD15, "STANDARD (medium strength)", (BASE, VIT_H))
    image, text = only_image_prompt(models, 1.0), text_prompt(models)
    latent = empty_latent(SMALL)
    sampler = sample_prompted(image.model, text, Start(latent))
    columns = (models.column, image.column(), text.column, *finish(name, models, sampler, (latent,)))
    return Workflow(name, notes.IMAGE_PROMPT, columns)


def image_and_text_prompt(name: str) -> Workflow:
    models = load_models(SD15, PLUS)
    image = only_image_prompt(models, 0.5)
    text = text_prompt(models, "in deep winter, snow on the ground, warm evening light, oil painting")
    latent = empty_latent(SMALL)
    sampler = sample_prompted(image.model, text, Start(latent))
    columns = (models.column, image.column(), text.column, *finish(name, models, sampler, (latent,)))
    return Workflow(name, notes.IMAGE_AND_TEXT_PROMPT, columns)


def image_prompt_with_controlnet(name: str) -> Workflow:
    controlnet = load_controlnet(CANNY)
    models = load_models(SD15, PLUS, controlnet)
    image, text = only_image_prompt(models, 0.8), text_prompt(models)
    structure = load_image("Structure image")
    edges = find_edges(structure)
    preview = Node("PreviewImage", {"images": edges["IMAGE"]}, "Edges", height=260)
    control = apply_controlnet(text, controlnet, edges)
    latent = empty_latent(SMALL)
    sampler = sample(image.model, control["positive"], control["negative"], Start(latent))
    columns = (
        models.column,
        image.column(),
        Column(NARROW, (Block("Structure", (structure, edges, preview)),)),
        Column(WIDE, (text.block, Block("ControlNet", (control,)))),
        *finish(name, models, sampler, (latent,)),
    )
    return Workflow(name, notes.IMAGE_PROMPT_WITH_CONTROLNET, columns)


def image_to_image(name: str) -> Workflow:
    models = load_models(SD15, PLUS)
    image, text = only_image_prompt(models, 0.8), text_prompt(models)
    original = load_image("Image to change")
    scaled = shrink(original)
    latent = encode_latent(models, scaled)
    sampler = sample_prompted(image.model, text, Start(latent, denoise=0.6))
    start = Column(NARROW, (Block("Start", (original, scaled, latent)),))
    columns = (models.column, image.column(), start, text.column, *finish(name, models, sampler))
    return Workflow(name, notes.IMAGE_TO_IMAGE, columns)


def inpainting(name: str) -> Workflow:
    models = load_models(SD15, PLUS)
    image, text = only_image_prompt(models, 1.0), text_prompt(models)
    original = load_image("Image to repair, with a mask")
    scaled = shrink(original)
    latent = encode_latent(models, scaled)
    masked = Node("SetLatentNoiseMask", {"samples": latent["LATENT"], "mask": original["MASK"]})
    sampler = sample_prompted(image.model, text, Start(masked, denoise=0.9))
    start = Column(NARROW, (Block("Start", (original, scaled, latent, masked)),))
    columns = (models.column, image.column(), start, text.column, *finish(name, models, sampler))
    return Workflow(name, notes.INPAINTING, columns)


def two_adapters(name: str) -> Workflow:
    base = load_ip_adapter(BASE)
    models = load_models(SD15, PLUS, base)
    subject = image_prompt(models.encoder, models.adapter, models.model, 0.7, "Subject")
    mood = image_prompt(models.encoder, base["ip_adapter"], subject.model, 0.4, "Mood")
    text = text_prompt(models)
    latent = empty_latent(SMALL)
    sampler = sample_prompted(mood.model, text, Start(latent))
    prompts = (subject.column("First image prompt"), mood.column("Second image prompt"))
    columns = (models.column, *prompts, text.column, *finish(name, models, sampler, (latent,)))
    return Workflow(name, notes.TWO_ADAPTERS, columns)


def sdxl_plus(name: str) -> Workflow:
    models = load_models(SDXL, SDXL_PLUS)
    image, text = only_image_prompt(models, 0.7), text_prompt(models)
    latent = empty_latent(LARGE)
    sampler = sample_prompted(image.model, text, Start(latent), Settings(cfg=6.0))
    columns = (models.column, image.column(), text.column, *finish(name, models, sampler, (latent,)))
    return Workflow(name, notes.SDXL_PLUS, columns)


def train_ip_adapter(name: str) -> Workflow:
    models = load_models(SD15, BASE)
    pictures = load_training_pictures(models, SMALL)
    training = train(models, pictures, steps=1000, batch_size=4)
    saved = Node(
        "SaveIPAdapter",
        {"ip_adapter": training["ip_adapter"], "filename_prefix": "ipadapter/trained"},
        grows=SHOWN_TEXT,
    )
    losses = Node("LossGraphNode", {"loss": training["loss_map"]}, height=260)
    image = image_prompt(models.encoder, training["ip_adapter"], models.model, 1.0)
    text = text_prompt(models)
    latent = empty_latent(SMALL)
    sampler = sample_prompted(image.model, text, Start(latent))
    columns = (
        models.column,
        pictures.column,
        Column(WIDE, (Block("Training", (training,)), Block("The trained adapter", (saved, losses)))),
        image.column("The trained adapter at work"),
        text.column,
        *finish(name, models, sampler, (latent,)),
    )
    return Workflow(name, notes.TRAIN_IP_ADAPTER, columns)


def evaluate_image_prompt(name: str) -> Workflow:
    models, caption = load_models(SD15, BASE), "a photograph in warm evening light"
    reference = load_image("Reference image")
    prompt = Node("EncodeImagePrompt", {"clip_vision": models.encoder, "image": reference["IMAGE"]})
    applied = image_prompts(models, prompt, (0.0, 0.5, 1.0))
    text, latent = text_prompt(models, caption), empty_latent(SMALL)
    same = Settings(after_run="fixed")  # one seed for all
    samplers = tuple(sample_prompted(one["model"], text, Start(latent), same) for one in applied)
    decoded = tuple(decode(models, sampler) for sampler in samplers)
    pictures = batch(decoded)
    labels = {"column_labels": "weight 0, weight 0.5, weight 1", "title": caption}
    images = {"images": pictures["IMAGE"], "references": reference["IMAGE"]}
    sheet = Node("ImagePromptGrid", {**images, **labels, "cell_size": 256}, height=420)
    saved = Node("SaveImage", {"images": sheet["image"], "filename_prefix": name}, height=300)
    measured = evaluate(pictures, reference, caption)
    shown = (Node("PreviewAny", {"source": measured[output]}, title, height=220) for output, title in MEASURES)
    columns = (
        models.column,
        Column(NARROW, (Block("Image prompt", (reference, prompt)), Block("Three weights", applied))),
        Column(WIDE, (text.block, Block("Size", (latent,)))),
        *(Column(NARROW, (Block("Sampling", pair),)) for pair in zip(samplers, decoded, strict=True)),
        Column(NARROW, (Block("All pictures", (pictures,)),)),
        Column(RESULT, (Block("Look", (sheet, saved)),)),
        Column(RESULT, (Block("Measure", (measured, *shown)),)),
    )
    return Workflow(name, notes.EVALUATE_IMAGE_PROMPT, columns)


DECLARED: dict[str, Callable[[str], Workflow]] = {
    "image_prompt": image_prompt_alone,
    "image_and_text_prompt": image_and_text_prompt,
    "image_prompt_with_controlnet": image_prompt_with_controlnet,
    "image_to_image": image_to_image,
    "inpainting": inpainting,
    "two_adapters": two_adapters,
    "sdxl_plus": sdxl_plus,
    "train_ip_adapter": train_ip_adapter,
    "evaluate_image_prompt": evaluate_image_prompt,
    **CONTROL,
    **FLUX,
    "sd35": sd35,
    "instantid": instantid,
}
SHIPPED = tuple(declare(name) for name, declare in DECLARED.items())
