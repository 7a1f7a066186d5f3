"""The workflows about control: which layers, when, where, which images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ipadapter.adapters.family import USUAL_PACK

from . import notes
from .graph import Block, Column, Inputs, Node, Output, Workflow
from .models import FACE_ID, PLUS, SD15, SDXL, SDXL_PLUS
from .parts import (
    NARROW,
    PICTURE_HEIGHT,
    RESULT,
    WIDE,
    Models,
    Start,
    decode,
    empty_latent,
    encode_text,
    finish,
    image_prompt,
    load_image,
    load_models,
    only_image_prompt,
    sample,
    sample_prompted,
    text_prompt,
)

SMALL, LARGE = 512, 1024  # pixels a side: what SD1.5 and SDXL were made for
FRAMES = 8
PEOPLE = ("left", "middle", "right")
FADE = 32  # pixels over which a region's edge is soft


def layered(name: str, note: notes.Note, layers: str, weight: float, words: str) -> Workflow:
    """An SDXL graph whose image prompt reaches some layers only."""
    models = load_models(SDXL, SDXL_PLUS)
    image, text = only_image_prompt(models, weight, {"layers": layers}), text_prompt(models, words)
    latent = empty_latent(LARGE)
    sampler = sample_prompted(image.model, text, Start(latent))
    columns = (models.column, image.column(), text.column, *finish(name, models, sampler, (latent,)))
    return Workflow(name, note, columns)


def style_transfer(name: str) -> Workflow:
    return layered(name, notes.STYLE_TRANSFER, "style transfer", 1.0, "a lighthouse on a cliff, waves, seagulls")


def composition(name: str) -> Workflow:
    return layered(name, notes.COMPOSITION, "composition", 1.0, "a quiet street in an old town, photograph")


def style_and_composition(name: str) -> Workflow:
    models = load_models(SDXL, SDXL_PLUS)
    model = models.model
    style = image_prompt(models.encoder, models.adapter, model, 1.0, "Style", {"layers": "style transfer"})
    layout = image_prompt(models.encoder, models.adapter, style.model, 1.0, "Composition", {"layers": "composition"})
    text, latent = text_prompt(models), empty_latent(LARGE)
    sampler = sample_prompted(layout.model, text, Start(latent))
    prompts = (style.column("Style"), layout.column("Composition"))
    columns = (models.column, *prompts, text.column, *finish(name, models, sampler, (latent,)))
    return Workflow(name, notes.STYLE_AND_COMPOSITION, columns)


def weight_curve(name: str) -> Workflow:
    models = load_models(SD15, PLUS)
    curve = Node("ImagePromptCurve", {"keyframes": "0: 1, 0.4: 1, 0.8: 0.1", "interpolation": "smooth"}, height=360)
    image = only_image_prompt(models, 0.9, {"strength": curve["strength"]})
    text = text_prompt(models, "in deep winter, snow on the ground, warm evening light, oil painting")
    latent = empty_latent(SMALL)
    sampler = sample_prompted(image.model, text, Start(latent))
    columns = (
        models.column,
        image.column(),
        Column(WIDE, (Block("Weight over the sampling", (curve,)), text.block)),
        *finish(name, models, sampler, (latent,)),
    )
    return Workflow(name, notes.WEIGHT_CURVE, columns)


def wide_reference(name: str) -> Workflow:
    models = load_models(SD15, PLUS)
    reference = load_image("Reference image, not square")
    sharp = Node("PrepareReferenceImage", {"image": reference["IMAGE"], "crop": "none", "size": 0, "sharpening": 0.4})
    inputs: Inputs = {"clip_vision": models.encoder, "image": sharp["image"], "fit": "tiles"}
    prompt = Node("EncodeImagePrompt", inputs)
    applied = apply(models, models.model, prompt["image_prompt"], 0.9)
    text, latent = text_prompt(models), empty_latent(SMALL)
    sampler = sample_prompted(applied["model"], text, Start(latent))
    columns = (
        models.column,
        Column(NARROW, (Block("Reference", (reference, sharp)), Block("Image prompt", (prompt, applied)))),
        text.column,
        *finish(name, models, sampler, (latent,)),
    )
    return Workflow(name, notes.WIDE_REFERENCE, columns)


def faceid(name: str) -> Workflow:
    models, faces = load_models(SD15, FACE_ID), load_insightface()
    reference = load_image("Picture of a person")
    seen: Inputs = {"image": reference["IMAGE"], "clip_vision": models.encoder}
    prompt = Node("EncodeFacePrompt", {"insightface": faces["insightface"], **seen})
    preview = Node("PreviewImage", {"images": prompt["face_image"]}, "The face that is read", height=260)
    settings = Node("FaceIDSettings", {"ip_adapter": models.adapter, "structure": 1.0})
    inputs: Inputs = {"model": models.model, "ip_adapter": settings["ip_adapter"]}
    applied = Node("ApplyIPAdapter", {**inputs, "image_prompt": prompt["image_prompt"], "weight": 0.8})
    text = text_prompt(models, "portrait of a person in a library, soft window light, photograph")
    latent = empty_latent(SMALL)
    sampler = sample_prompted(applied["model"], text, Start(latent))
    columns = (
        Column(NARROW, (*models.column.blocks, Block("Faces", (faces,)))),
        Column(NARROW, (Block("Face prompt", (reference, prompt, preview)),)),
        Column(NARROW, (Block("Adapter", (settings, applied)),)),
        text.column,
        *finish(name, models, sampler, (latent,)),
    )
    return Workflow(name, notes.FACE_ID, columns)


def load_insightface() -> Node:
    return Node("LoadInsightFace", {"model_name": USUAL_PACK})


def attention_map(name: str) -> Workflow:
    models = load_models(SD15, PLUS)
    image, text = only_image_prompt(models, 0.6), text_prompt(models, "a castle on a hill, thunderstorm")
    recorder = Node("RecordImagePromptAttention", {"model": image.model})
    latent = empty_latent(SMALL)
    sampler = sample_prompted(recorder["model"], text, Start(latent))
    decoded = decode(models, sampler)
    shown = Node("ImagePromptAttention", {"record": recorder["record"], "image": decoded["IMAGE"]}, height=500)
    told = Node("PreviewAny", {"source": shown["text"]}, height=220)
    saved = Node("SaveImage", {"images": decoded["IMAGE"], "filename_prefix": name}, height=PICTURE_HEIGHT)
    columns = (
        models.column,
        image.column(),
        text.column,
        Column(NARROW, (Block("Sampling", (recorder, latent, sampler)),)),
        Column(RESULT, (Block("Result", (decoded, saved)),)),
        Column(RESULT, (Block("Where it acted", (shown, told)),)),
    )
    return Workflow(name, notes.ATTENTION_MAP, columns)


def animation(name: str) -> Workflow:
    """A batch whose frames go from one reference to another."""
    models = load_models(SD15, PLUS)
    model = models.model
    weights = tuple(frames(title, ends) for title, ends in (("First fades out", "1, 0"), ("Second fades in", "0, 1")))
    fading = [{"strength": one["strength"]} for one in weights]
    first = image_prompt(models.encoder, models.adapter, model, 0.9, "First reference", fading[0])
    second = image_prompt(models.encoder, models.adapter, first.model, 0.9, "Second reference", fading[1])
    text = text_prompt(models)
    latent = Node("EmptyLatentImage", {"width": SMALL, "height": SMALL, "batch_size": FRAMES})
    sampler = sample_prompted(second.model, text, Start(latent))
    columns = (
        models.column,
        first.column("First image prompt"),
        second.column("Second image prompt"),
        Column(WIDE, (Block("Weights by frame", weights), text.block)),
        *finish(name, models, sampler, (latent,)),
    )
    return Workflow(name, notes.ANIMATION, columns)


def frames(title: str, ends: str) -> Node:
    inputs: Inputs = {"weights": ends, "timing": "ease_in_out", "frames": FRAMES}
    return Node("ImagePromptFrames", inputs, title, height=360, after_run="fixed")


@dataclass(frozen=True)
class Region:
    """One person: the nodes that say who, where, and what the text says of them."""

    reference: Node
    prompt: Node
    mask: tuple[Node, ...]
    text: Node
    region: Node


def three_regions(name: str) -> Workflow:
    models = load_models(SD15, PLUS)
    empty = Node("SolidMask", {"value": 0.0, "width": SMALL * 3 // 2, "height": SMALL}, "Nowhere")
    people: list[Region] = []
    for index, who in enumerate(PEOPLE):
        people.append(region(models, empty, who, index, people[-1].region if people else None))
    applied = apply(models, models.model, people[-1].region["image_prompt"], 0.8)
    whole = text_prompt(models, "three people side by side, portrait, soft daylight, high quality")
    texts = join_texts([whole.positive["CONDITIONING"], *(one.region["positive"] for one in people)])
    latent = Node("EmptyLatentImage", {"width": SMALL * 3 // 2, "height": SMALL})
    sampler = sample(applied["model"], texts[-1]["CONDITIONING"], whole.negative["CONDITIONING"], Start(latent))
    columns = (
        models.column,
        *(
            Column(NARROW, (Block(who.capitalize(), (one.reference, one.prompt, *one.mask, one.text, one.region)),))
            for who, one in zip(PEOPLE, people, strict=True)
        ),
        Column(WIDE, (whole.block, Block("Together", (empty, *texts, applied)))),
        *finish(name, models, sampler, (latent,)),
    )
    return Workflow(name, notes.THREE_REGIONS, columns)


def region(models: Models, empty: Node, who: str, index: int, before: Node | None) -> Region:
    """One third of the picture."""
    reference = load_image(f"Person on the {who}" if who != "middle" else "Person in the middle")
    prompt = Node("EncodeImagePrompt", {"clip_vision": models.encoder, "image": reference["IMAGE"]})
    third = SMALL // 2
    solid = Node("SolidMask", {"value": 1.0, "width": third, "height": SMALL})
    soft = Node("FeatherMask", {"mask": solid["MASK"], "left": FADE, "right": FADE})
    placed: Inputs = {"destination": empty["MASK"], "source": soft["MASK"], "x": index * third, "operation": "add"}
    mask = Node("MaskComposite", placed)
    text = encode_text(models.clip, "a person smiling", "What this one does")
    inputs: Inputs = {"image_prompt": prompt["image_prompt"], "mask": mask["MASK"], "positive": text["CONDITIONING"]}
    chained = {**inputs, "regions": before["image_prompt"]} if before else inputs
    return Region(reference, prompt, (solid, soft, mask), text, Node("ImagePromptRegion", chained))


def join_texts(texts: list[Output]) -> tuple[Node, ...]:
    """All conditionings as one."""
    joined: list[Node] = []
    for text in texts[1:]:
        first = joined[-1]["CONDITIONING"] if joined else texts[0]
        joined.append(Node("ConditioningCombine", {"conditioning_1": first, "conditioning_2": text}))
    return tuple(joined)


def apply(models: Models, model: Output, prompt: Output, weight: float) -> Node:
    inputs: Inputs = {"model": model, "ip_adapter": models.adapter, "image_prompt": prompt}
    return Node("ApplyIPAdapter", {**inputs, "weight": weight})


CONTROL: dict[str, Callable[[str], Workflow]] = {
    "style_transfer": style_transfer,
    "composition": composition,
    "style_and_composition": style_and_composition,
    "three_regions": three_regions,
    "animation": animation,
    "weight_curve": weight_curve,
    "wide_reference": wide_reference,
    "attention_map": attention_map,
    "faceid": faceid,
}
