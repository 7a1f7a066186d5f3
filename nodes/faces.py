"""Faces: a model that recognises them, and a prompt of who they are."""

from __future__ import annotations

from torch import Tensor

from ..ipadapter.faces.providers import AUTO, CHOICES
from ..ipadapter.faces.reading import Crop, FaceAnalysis
from ..ipadapter.host.api import ClipVisionModel, io
from ..ipadapter.host.faces.models import missing_pack, open_pack, pack_fingerprint, pack_names
from ..ipadapter.host.faces.reading import FaceReading, encode_faces
from ..ipadapter.host.node import Node
from ..ipadapter.prompts.prompt import Order
from ..ipadapter.prompts.weights import read_weights
from .sockets import CATEGORY, ImagePromptSocket, InsightFaceSocket


class LoadInsightFace(Node):
    """Open a model pack that recognises faces."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadInsightFace",
            display_name="Load InsightFace",
            category=CATEGORY,
            description="Opens an InsightFace model pack, with which FaceID adapters tell people apart. It needs the "
            "Python package insightface. The public packs may be used for research that is not commercial only.",
            search_aliases=["insightface", "face analysis", "IPAdapterInsightFaceLoader", "buffalo_l", "antelopev2"],
            inputs=[
                io.Combo.Input(
                    "provider",
                    options=list(CHOICES),
                    default=AUTO,
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


class EncodeFacePrompt(Node):
    """Make an image prompt of a face."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EncodeFacePrompt",
            display_name="Encode Face Prompt",
            category=CATEGORY,
            description="Turns pictures of a person into a prompt for FaceID adapters: who it is, and for FaceID Plus "
            "also how the face looks. A batch is several pictures of one person.",
            search_aliases=["faceid", "face id", "ip adapter", "IPAdapterFaceID", "portrait"],
            inputs=[
                InsightFaceSocket.Input("insightface", tooltip="From Load InsightFace or Find IP-Adapter."),
                io.Image.Input("image", tooltip="A picture with a face, or a batch of them."),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="The image encoder that FaceID Plus adapters read the face with, most often ViT-H. Other "
                    "FaceID adapters need none.",
                ),
                io.Int.Input(
                    "face",
                    default=0,
                    min=0,
                    max=99,
                    optional=True,
                    tooltip="Which face of each picture, by size: 0 is the largest.",
                ),
                io.Combo.Input(
                    "crop",
                    options=[crop.value for crop in Crop],
                    default=Crop.ALIGNED.value,
                    optional=True,
                    tooltip="What FaceID Plus sees of the face: aligned turns and scales it as it was trained; square "
                    "cuts it out as it is, for Kolors.",
                    advanced=True,
                ),
                io.Combo.Input(
                    "order",
                    options=[order.value for order in Order],
                    default=Order.TOGETHER.value,
                    optional=True,
                    tooltip="Of a batch: together, all faces speak to every picture; frame by frame, the first to the "
                    "first picture, the second to the second.",
                    advanced=True,
                ),
                io.String.Input(
                    "weights",
                    default="",
                    optional=True,
                    tooltip="One number for all faces, or one for each, such as 1, 0.5. Empty: 1 for each.",
                    advanced=True,
                ),
            ],
            outputs=[
                ImagePromptSocket.Output("image_prompt", tooltip="For Apply IP-Adapter."),
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
        crop: str = Crop.ALIGNED.value,
        order: str = Order.TOGETHER.value,
        weights: str = "",
    ) -> io.NodeOutput:
        reading = FaceReading(face, Crop(crop), Order(order), read_weights(weights))
        made = encode_faces(insightface, image, clip_vision, reading)
        return io.NodeOutput(made.prompt, made.crops)
