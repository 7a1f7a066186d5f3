"""InstantID: a face's key points, and a ControlNet that reads them with the face's tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..ipadapter.faces.keypoints import DrawingSize
from ..ipadapter.faces.reading import FaceAnalysis
from ..ipadapter.host.api import io
from ..ipadapter.host.faces.keypoints import draw_faces
from ..ipadapter.host.legacy.exchange import GivenAdapter, adapter_of
from ..ipadapter.host.node import Node
from ..ipadapter.host.sampling.identity_net import ControlWindow, attach_identity_net
from ..ipadapter.prompts.prompt import ImagePrompt
from . import inputs
from .search import WORDS
from .sockets import FACES, InsightFaceSocket, IPAdapterSocket, OtherAdapterSocket

LARGEST = 16384  # pixels a side, as the host's own nodes have it


def side(name: str) -> io.Int.Input:
    """Of the drawing."""
    return inputs.whole(
        name,
        0,
        (0, LARGEST),
        f"The drawing's {name} in pixels, best that of the picture to be sampled. 0 follows the picture.",
        optional=True,
    )


class DrawFaceKeyPoints(Node):
    """Draw where a face is and how it is turned."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DrawFaceKeyPoints",
            display_name="Draw Face Key Points",
            category=FACES,
            description="Finds a face in each picture, and draws its eyes, its nose and the corners of its mouth as "
            "InstantID's ControlNet reads them: where the face is to be, and how it is turned.",
            search_aliases=WORDS["DrawFaceKeyPoints"],
            inputs=[
                InsightFaceSocket.Input("insightface", tooltip="From Load InsightFace or Find IP-Adapter."),
                inputs.image("A picture with a face in the place and pose that are wanted, or a batch of them."),
                inputs.whole(
                    "face", 0, (0, 99), "Which face of each picture, by size: 0 is the largest.", optional=True
                ),
                side("width"),
                side("height"),
            ],
            outputs=[io.Image.Output("key_points", tooltip="For Apply InstantID ControlNet.")],
        )

    @classmethod
    def execute(
        cls, insightface: FaceAnalysis, image: Tensor, face: int = 0, width: int = 0, height: int = 0
    ) -> io.NodeOutput:
        return io.NodeOutput(draw_faces(insightface, image, face, DrawingSize(width, height)))


class ApplyInstantIDControlNet(Node):
    """Attach InstantID's ControlNet to text prompts."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ApplyInstantIDControlNet",
            display_name="Apply InstantID ControlNet",
            category=FACES,
            description="Applies InstantID's ControlNet, which reads the tokens of a face in the place of the text. "
            "Other ControlNets of the same text prompts go on reading the text. Its adapter goes to Apply IP-Adapter.",
            search_aliases=WORDS["ApplyInstantIDControlNet"],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The text prompt."),
                io.Conditioning.Input("negative", tooltip="The negative text prompt: beside it stands no face."),
                io.ControlNet.Input(
                    "control_net", tooltip="InstantID's, for SDXL, from the host's Load ControlNet Model."
                ),
                io.MultiType.Input(
                    "ip_adapter",
                    types=[IPAdapterSocket, OtherAdapterSocket],
                    tooltip="InstantID's adapter, which makes the tokens: from Load IP-Adapter or Find IP-Adapter.",
                ),
                inputs.image_prompt("Who it is: from Encode Face Prompt, with antelopev2."),
                inputs.image("Where the face is to be: from Draw Face Key Points."),
                inputs.number("strength", 0.8, (0.0, 10.0), "How strongly it acts: 0.8 is its authors', 0 is none."),
                *inputs.window(),
            ],
            outputs=[
                io.Conditioning.Output("positive", tooltip="The text prompt with the ControlNet."),
                io.Conditioning.Output("negative", tooltip="The negative text prompt with the same."),
            ],
        )

    @classmethod
    def execute(
        cls,
        positive: Any,
        negative: Any,
        control_net: Any,
        ip_adapter: GivenAdapter,
        image_prompt: ImagePrompt,
        image: Tensor,
        strength: float,
        start_at: float,
        end_at: float,
    ) -> io.NodeOutput:
        window = ControlWindow(strength, start_at, end_at)
        adapter = adapter_of(ip_adapter)
        made = attach_identity_net((positive, negative), control_net, adapter, image_prompt, image, window)
        return io.NodeOutput(*made)
