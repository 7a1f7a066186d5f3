"""Measuring: how well generated pictures follow their references and captions."""

from __future__ import annotations

import json

from torch import Tensor

from ..ipadapter.host.api import ClipVisionModel, io, ui
from ..ipadapter.host.evaluation.evaluator import Comparison, evaluate
from ..ipadapter.host.files import HOST_ENCODERS, missing_file
from ..ipadapter.host.node import Node
from ..ipadapter.host.notes import spoken
from ..ipadapter.host.pictures import single_pictures
from . import inputs
from .search import WORDS
from .sockets import MEASURING


def encoder_inputs() -> list[io.Input]:
    """What CLIP-I and CLIP-T are measured with."""
    return [
        inputs.encoder_file(
            "A file in models/clip_vision with both towers of an open_clip or CLIP model. The paper "
            "measures with OpenAI's ViT-L/14. A file without a text tower does for CLIP-I."
        ),
        inputs.architecture(
            "auto finds the architecture from the file's tensors, or from a .json of the same name "
            "beside it. Choose a -quickgelu name for weights trained by OpenAI: no tensor tells the two apart."
        ),
    ]


def caption_inputs() -> list[io.Input]:
    """What CLIP-T compares the pictures with."""
    return [
        inputs.long_text(
            "captions",
            "What the pictures should show, one caption a line: one for all, one for each picture, or "
            "one for each reference. Empty leaves CLIP-T out.",
        ),
        io.String.Input(
            "caption_prefix",
            default="",
            tooltip="Put before every caption. CLIPScore's code has 'A photo depicts', most others nothing.",
        ),
    ]


def lines_in(texts: list[str]) -> list[str]:
    """Every line that says something."""
    return [line.strip() for text in texts for line in text.splitlines() if line.strip()]


class EvaluateImagePrompt(Node):
    """CLIP-I, CLIP-T, DINO-I and more of generated pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EvaluateImagePrompt",
            display_name="Evaluate Image Prompt",
            category=MEASURING,
            description="Measures how well pictures follow their reference images (CLIP-I, and DINO-I where a DINO "
            "encoder is connected) and their captions (CLIP-T, as a cosine and as 2.5 times it), with the mean and its "
            "95 % interval. Methods that are conditioned on CLIP embeddings, as IP-Adapter is, score high on CLIP "
            "metrics: read DINO-I beside them.",
            search_aliases=WORDS["EvaluateImagePrompt"],
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Image.Input("generated", tooltip="The pictures to measure: a batch, or a list of any sizes."),
                io.Image.Input(
                    "references",
                    tooltip="The reference images: one for all pictures, one for each, or one for every block of as "
                    "many pictures, in their order (4 references and 8 pictures: the first two follow the first).",
                ),
                *encoder_inputs(),
                *caption_inputs(),
                io.ClipVision.Input(
                    "dino",
                    optional=True,
                    tooltip="A DINOv2 encoder from Load CLIP Vision, for a number that CLIP has no part in.",
                ),
                inputs.long_text(
                    "measures",
                    "What else to measure by, one a line: lpips and fid by their names, others with their file in "
                    "models/clip_vision, as dinov3=FILE, dinov2=FILE, csd=FILE, pickscore=FILE, hpsv2=FILE, or "
                    "vqascore=FOLDER.",
                    optional=True,
                ),
            ],
            outputs=[
                io.String.Output("text", tooltip="The result for people."),
                io.String.Output("json", tooltip="The result for programs: a row a picture, means and intervals."),
                io.Image.Output("plot", tooltip="Every picture's numbers as dots, with mean and interval."),
            ],
        )

    @classmethod
    def validate_inputs(cls, clip_name: list[str] | None = None) -> bool | str:
        missing = (missing_file(HOST_ENCODERS, name) for name in clip_name or () if isinstance(name, str))
        return next((sentence for sentence in missing if sentence), True)

    @classmethod
    def execute(
        cls,
        generated: list[Tensor],
        references: list[Tensor],
        clip_name: list[str],
        architecture: list[str],
        captions: list[str],
        caption_prefix: list[str],
        dino: list[ClipVisionModel] | None = None,
        measures: list[str] | None = None,
    ) -> io.NodeOutput:
        said = lines_in(captions)
        comparison = Comparison(single_pictures(generated), single_pictures(references), said, caption_prefix[0])
        more = lines_in(measures or [])
        made = evaluate(comparison, clip_name[0], architecture[0], dino[0] if dino else None, more)
        shown = ui.PreviewImage(made.plot, cls=cls).as_dict() | spoken(made.text)
        return io.NodeOutput(made.text, json.dumps(made.data, ensure_ascii=False, indent=1), made.plot, ui=shown)
