"""Faces: a model that recognises them, and a prompt of who they are."""

from __future__ import annotations

from torch import Tensor

from ..ipadapter.faces.providers import AUTO_PROVIDER, CHOICES
from ..ipadapter.faces.reading import FaceAnalysis, FaceCrop
from ..ipadapter.host.api import ClipVisionModel, io
from ..ipadapter.host.faces.models import missing_pack, open_pack, pack_fingerprint, pack_names
from ..ipadapter.host.faces.reading import FaceReading, encode_faces
from ..ipadapter.host.node import Node
from ..ipadapter.prompts.prompt import Order
from ..ipadapter.prompts.weights import read_image_weights
from . import inputs
from .search import WORDS
from .sockets import FACES, InsightFaceSocket


class LoadInsightFace(Node):
    """Open a model pack that recognises faces."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadInsightFace",
            display_name="Load InsightFace",
            category=FACES,
            description="Opens an InsightFace model pack, with which FaceID adapters tell people apart. It needs the "
            "Python package insightface. The public packs may be used for research that is not commercial only.",
            search_aliases=WORDS["LoadInsightFace"],
            inputs=[
                io.Combo.Input(
                    "provider",
                    options=list(CHOICES),
                    default=AUTO_PROVIDER,
                    tooltip="What it computes with. auto takes the fastest that the installed onnxruntime knows.",
                ),
                io.Combo.Input(
                    "model_name",
                    options=pack_names(),
                    tooltip="A folder in models/insightface/models. Most FaceID adapters were made with buffalo_l, "
                    "Kolors' with antelopev2.",
                ),
            ],
            outputs=[InsightFaceSocket.Output("insightface", tooltip="For Encode Face Prompt.")],
        )

    @classmethod
    def validate_inputs(cls, model_name: str | None = None) -> bool | str:
        return (model_name is not None and missing_pack(model_name)) or True

    @classmethod
    def fingerprint_inputs(cls, provider: str | None = None, model_name: str | None = None) -> str:
        return pack_fingerprint(model_name)

    @classmethod
    def execute(cls, provider: str, model_name: str) -> io.NodeOutput:
        return io.NodeOutput(open_pack(model_name, provider))


def face_inputs() -> list[io.Input]:
    """Which face of a picture, and what is seen of it."""
    return [
        inputs.whole("face", 0, (0, 99), "Which face of each picture, by size: 0 is the largest.", optional=True),
        inputs.choice(
            "crop",
            FaceCrop.ALIGNED,
            "What FaceID Plus sees of the face: aligned turns and scales it as it was trained; square "
            "cuts it out as it is, for Kolors.",
            optional=True,
            advanced=True,
        ),
    ]


class EncodeFacePrompt(Node):
    """Make an image prompt of a face."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EncodeFacePrompt",
            display_name="Encode Face Prompt",
            category=FACES,
            description="Turns pictures of a person into a prompt for FaceID adapters: who it is, and for FaceID Plus "
            "also how the face looks. A batch is several pictures of one person.",
            search_aliases=WORDS["EncodeFacePrompt"],
            inputs=[
                InsightFaceSocket.Input("insightface", tooltip="From Load InsightFace or Find IP-Adapter."),
                inputs.image("A picture with a face, or a batch of them."),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="The image encoder that FaceID Plus adapters read the face with, most often ViT-H. Other "
                    "FaceID adapters need none.",
                ),
                *face_inputs(),
                inputs.order_of("faces"),
                inputs.weights_of("faces"),
            ],
            outputs=[
                inputs.image_prompt_output(),
                io.Image.Output("face_image", tooltip="The faces that were read, as the image encoder sees them."),
            ],
        )

    @classmethod
    def execute(
        cls,
        insightface: FaceAnalysis,
        image: Tensor,
        clip_vision: ClipVisionModel | None = None,
        face: int = 0,
        crop: str = FaceCrop.ALIGNED.value,
        order: str = Order.TOGETHER.value,
        weights: str = "",
    ) -> io.NodeOutput:
        reading = FaceReading(face, FaceCrop(crop), Order(order), read_image_weights(weights))
        made = encode_faces(insightface, image, clip_vision, reading)
        return io.NodeOutput(made.prompt, made.crops)
