"""What of a FaceID adapter can be set."""

from __future__ import annotations

from dataclasses import replace

from ..ipadapter.adapters.face_settings import FaceVersion
from ..ipadapter.host.adapters.adapter import Adapter, with_face
from ..ipadapter.host.api import io
from ..ipadapter.host.node import Node
from . import inputs
from .search import WORDS
from .sockets import FACES, IPAdapterSocket

AS_NAMED = "as the file is named"


def version_input() -> io.Combo.Input:
    """What no tensor tells."""
    return io.Combo.Input(
        "version",
        options=[AS_NAMED, *(version.value for version in FaceVersion)],
        default=AS_NAMED,
        tooltip="The version of FaceID Plus, which no tensor tells: v2 where the file's name says v2, and "
        "for SDXL and Kolors; else v1.",
    )


class FaceIDSettings(Node):
    """Set how a FaceID adapter is used."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceIDSettings",
            display_name="FaceID Settings",
            category=FACES,
            description="Sets how a FaceID adapter is used: the version of FaceID Plus, how much of the face's picture "
            "it follows, and how strongly the LoRA in its file acts. Without this node all of that is as the adapter "
            "was trained.",
            search_aliases=WORDS["FaceIDSettings"],
            inputs=[
                IPAdapterSocket.Input("ip_adapter", tooltip="A FaceID adapter, from Load or Find IP-Adapter."),
                version_input(),
                inputs.number(
                    "structure",
                    1.0,
                    (-1.0, 5.0),
                    "FaceID Plus v2: how much the picture of the face counts beside who it is. Lower leaves "
                    "hair, pose and light to the text.",
                ),
                inputs.number(
                    "lora_weight",
                    1.0,
                    (-2.0, 2.0),
                    "How strongly the LoRA in the adapter's file acts. 0 where Load LoRA loads it.",
                ),
            ],
            outputs=[IPAdapterSocket.Output("ip_adapter", tooltip="The adapter with these settings.")],
        )

    @classmethod
    def execute(cls, ip_adapter: Adapter, version: str, structure: float, lora_weight: float) -> io.NodeOutput:
        face = ip_adapter.spec.face
        chosen = face.version if version == AS_NAMED else FaceVersion(version)
        used = replace(face, version=chosen, structure=structure, lora=lora_weight)
        return io.NodeOutput(with_face(ip_adapter, used))
