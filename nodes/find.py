"""Finding: the adapter and the image encoder for a model; and saying what an adapter is."""

from __future__ import annotations

from ..ipadapter.errors import refusal
from ..ipadapter.host.adapters.adapter import Adapter
from ..ipadapter.host.adapters.describing import describe_loaded
from ..ipadapter.host.api import ModelPatcher, io
from ..ipadapter.host.files import HOST_ADAPTERS, HOST_ENCODERS, HOST_LORAS, nothing_to_find
from ..ipadapter.host.library.finding import FINDER, folders_fingerprint, load_found
from ..ipadapter.host.node import Node
from ..ipadapter.host.notes import spoken
from ..ipadapter.library.kinds import TITLES, preset_of
from .search import WORDS
from .sockets import CATEGORY, InsightFaceSocket, IPAdapterSocket


def found_outputs() -> list[io.Output]:
    """What was found, and the model."""
    return [
        io.Model.Output(
            "model",
            tooltip="The model that was given: unchanged, or with the LoRA file of a FaceID adapter that has "
            "lost its own.",
        ),
        IPAdapterSocket.Output("ip_adapter", tooltip="For Apply IP-Adapter. It carries its image encoder."),
        io.ClipVision.Output(
            "clip_vision", tooltip="The image encoder, for Encode Image Prompt; nothing where only faces count."
        ),
        InsightFaceSocket.Output(
            "insightface", tooltip="What faces are read with, for Encode Face Prompt; nothing for other kinds."
        ),
    ]


class FindIPAdapter(Node):
    """Find an adapter and its encoder by kind."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FindIPAdapter",
            display_name="Find IP-Adapter",
            category=CATEGORY,
            description="Finds the adapter of a kind for a model among your files, and the image encoder, LoRA and "
            "InsightFace model pack it needs, by looking inside them. File names and sub-folders do not matter, except "
            "where only a name tells: light, face, composition, and the versions of FaceID.",
            search_aliases=WORDS["FindIPAdapter"],
            inputs=[
                io.Model.Input("model", tooltip="The checkpoint the adapter is for. It is passed on as it is."),
                io.Combo.Input(
                    "preset",
                    options=list(TITLES),
                    default=TITLES[0],
                    tooltip="The kind of adapter. PLUS keeps most of the picture, STANDARD leaves more to the text, "
                    "LIGHT still more; PLUS FACE and FULL FACE are for faces, Composition for the layout. FACEID "
                    "kinds recognise a person and need the package insightface.",
                ),
            ],
            outputs=found_outputs(),
        )

    @classmethod
    def validate_inputs(cls, preset: str | None = None) -> bool | str:
        return nothing_to_find() or (preset is not None and refusal(lambda: preset_of(preset))) or True

    @classmethod
    def fingerprint_inputs(cls, model: None = None, preset: str | None = None) -> str:
        return folders_fingerprint(HOST_ADAPTERS, HOST_ENCODERS, HOST_LORAS)

    @classmethod
    def execute(cls, model: ModelPatcher, preset: str) -> io.NodeOutput:
        found = load_found(FINDER, model, preset)
        adapter = found.adapter
        outputs = (found.model, adapter, adapter.clip_vision, adapter.insightface)
        return io.NodeOutput(*outputs, ui=spoken(found.text))


class DescribeIPAdapter(Node):
    """Say what an adapter is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DescribeIPAdapter",
            display_name="Describe IP-Adapter",
            category=CATEGORY,
            description="Says what an adapter is, which models it fits, which image encoder it needs and where to get "
            "that, what stands for no image, and which weight to begin with.",
            search_aliases=WORDS["DescribeIPAdapter"],
            is_output_node=True,
            inputs=[
                IPAdapterSocket.Input("ip_adapter", tooltip="From Load IP-Adapter or Find IP-Adapter."),
                io.Model.Input("model", optional=True, tooltip="A model, to be told whether the adapter fits it."),
            ],
            outputs=[io.String.Output("text", tooltip="What was found, a line a fact.")],
        )

    @classmethod
    def execute(cls, ip_adapter: Adapter, model: ModelPatcher | None = None) -> io.NodeOutput:
        text = describe_loaded(ip_adapter, model)
        return io.NodeOutput(text, ui=spoken(text))
