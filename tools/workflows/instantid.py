"""The workflow for InstantID: a face prompt that an adapter and a ControlNet read, and key points for the second."""

from __future__ import annotations

from ipadapter.adapters.families.instantid import INSTANTID as FAMILY

from . import notes
from .graph import Block, Column, Inputs, Node, Output, Workflow
from .models import INSTANTID, INSTANTID_CONTROLNET, SDXL
from .parts import (
    NARROW,
    WIDE,
    Models,
    Settings,
    Start,
    TextPrompt,
    empty_latent,
    finish,
    load_checkpoint,
    load_controlnet,
    load_image,
    load_ip_adapter,
    sample,
    text_prompt,
    with_base,
)

SIDE = 1024  # pixels
WEIGHT = 0.8
SAMPLING = Settings(cfg=5.0)
WORDS = "portrait of a person in a library, soft window light, photograph"


def load_instantid_models(controlnet: Node) -> Models:
    """InsightFace is what reads the picture here."""
    faces = Node("LoadInsightFace", {"model_name": FAMILY.face_pack})
    return with_base(load_checkpoint(SDXL), load_ip_adapter(INSTANTID), faces["insightface"], (controlnet,))


def control(text: TextPrompt, controlnet: Node, adapter: Output, face: Node, key_points: Node) -> Node:
    inputs: Inputs = {
        "positive": text.positive["CONDITIONING"],
        "negative": text.negative["CONDITIONING"],
        "control_net": controlnet["CONTROL_NET"],
        "ip_adapter": adapter,
        "image_prompt": face["image_prompt"],
        "image": key_points["key_points"],
    }
    return Node("ApplyInstantIDControlNet", inputs)


def instantid(name: str) -> Workflow:
    controlnet = load_controlnet(INSTANTID_CONTROLNET)
    models = load_instantid_models(controlnet)
    person, pose = load_image("Picture of a person"), load_image("Picture of the pose")
    face = Node("EncodeFacePrompt", {"insightface": models.encoder, "image": person["IMAGE"]})
    size: Inputs = {"width": SIDE, "height": SIDE}
    key_points = Node("DrawFaceKeyPoints", {"insightface": models.encoder, "image": pose["IMAGE"], **size})
    preview = Node("PreviewImage", {"images": key_points["key_points"]}, "Where the face is to be", height=260)
    inputs: Inputs = {"model": models.model, "ip_adapter": models.adapter}
    applied = Node("ApplyIPAdapter", {**inputs, "image_prompt": face["image_prompt"], "weight": WEIGHT})
    text, latent = text_prompt(models, WORDS), empty_latent(SIDE)
    guided = control(text, controlnet, models.adapter, face, key_points)
    sampler = sample(applied["model"], guided["positive"], guided["negative"], Start(latent), SAMPLING)
    columns = (
        models.column,
        Column(NARROW, (Block("Who it is", (person, face, applied)),)),
        Column(NARROW, (Block("Where the face is to be", (pose, key_points, preview)),)),
        Column(WIDE, (text.block, Block("ControlNet", (guided,)))),
        *finish(name, models, sampler, (latent,)),
    )
    return Workflow(name, notes.INSTANTID, columns)
