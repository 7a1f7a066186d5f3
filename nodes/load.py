"""Loading: adapters, and image encoders that the host does not load, or not whole."""

from __future__ import annotations

from ..ipadapter.host.adapters.adapter import open_adapter
from ..ipadapter.host.api import ClipVisionModel, io
from ..ipadapter.host.encoders.character import JoinedVision
from ..ipadapter.host.encoders.open_clip import open_encoder
from ..ipadapter.host.encoders.siglip import open_siglip
from ..ipadapter.host.files import HOST_ADAPTERS, HOST_ENCODERS, file_fingerprint, file_names, missing_file
from ..ipadapter.host.node import Node
from ..ipadapter.library.beginning import menu, usual
from . import inputs
from .search import WORDS
from .sockets import CATEGORY, LOADERS, IPAdapterSocket


class LoadIPAdapter(Node):
    """Open an adapter file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        names = file_names(HOST_ADAPTERS)
        return io.Schema(
            node_id="LoadIPAdapter",
            display_name="Load IP-Adapter",
            category=CATEGORY,
            description="Opens an IP-Adapter file for SD1.5, SD2.1, SDXL or Kolors. Its kind is read from its tensors, "
            "so any file name will do.",
            search_aliases=WORDS["LoadIPAdapter"],
            inputs=[
                io.Combo.Input(
                    "ip_adapter_name",
                    options=menu(names),
                    default=usual(names),
                    tooltip="A file in models/ipadapter (or a folder of that name in extra_model_paths.yaml).",
                )
            ],
            outputs=[IPAdapterSocket.Output("ip_adapter", tooltip="For Apply IP-Adapter.")],
        )

    @classmethod
    def validate_inputs(cls, ip_adapter_name: str | None = None) -> bool | str:
        return (ip_adapter_name is not None and missing_file(HOST_ADAPTERS, ip_adapter_name)) or True

    @classmethod
    def fingerprint_inputs(cls, ip_adapter_name: str | None = None) -> str:
        return file_fingerprint(HOST_ADAPTERS, ip_adapter_name)

    @classmethod
    def execute(cls, ip_adapter_name: str) -> io.NodeOutput:
        return io.NodeOutput(open_adapter(ip_adapter_name))


class EncoderLoader(Node):
    """What opens an image encoder file."""

    @classmethod
    def validate_inputs(cls, clip_name: str | None = None) -> bool | str:
        return (clip_name is not None and missing_file(HOST_ENCODERS, clip_name)) or True

    @classmethod
    def fingerprint_inputs(cls, clip_name: str | None = None, **others: object) -> str:
        return file_fingerprint(HOST_ENCODERS, clip_name)


class LoadOpenCLIPVision(EncoderLoader):
    """Open an image encoder that the host's own loader does not know."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadOpenCLIPVision",
            display_name="Load OpenCLIP Vision",
            category=LOADERS,
            description="Opens the image tower of any open_clip checkpoint. The output can be used wherever a "
            "CLIP_VISION can. For ViT-H, bigG and L in the usual files, Load CLIP Vision does as well.",
            search_aliases=WORDS["LoadOpenCLIPVision"],
            inputs=[
                inputs.encoder_file("A file in models/clip_vision."),
                inputs.architecture(
                    "auto finds the architecture from the file's tensors. Choose a -quickgelu name for weights "
                    "trained by OpenAI: no tensor tells the two apart."
                ),
            ],
            outputs=[io.ClipVision.Output("clip_vision", tooltip="An image encoder.")],
        )

    @classmethod
    def execute(cls, clip_name: str, architecture: str) -> io.NodeOutput:
        return io.NodeOutput(open_encoder(clip_name, architecture))


class LoadSigLIPVision(EncoderLoader):
    """Open a SigLIP image encoder whole."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadSigLIPVision",
            display_name="Load SigLIP Vision",
            category=LOADERS,
            description="Opens a SigLIP image encoder with its pooling head, which Load CLIP Vision leaves out and "
            "some FLUX adapters read. The output can be used wherever a CLIP_VISION can.",
            search_aliases=WORDS["LoadSigLIPVision"],
            inputs=[
                inputs.encoder_file("A file in models/clip_vision, such as sigclip_vision_patch14_384.safetensors.")
            ],
            outputs=[io.ClipVision.Output("clip_vision", tooltip="An image encoder.")],
        )

    @classmethod
    def execute(cls, clip_name: str) -> io.NodeOutput:
        return io.NodeOutput(open_siglip(clip_name))


class JoinImageEncoders(Node):
    """Put two image encoders beside each other."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JoinImageEncoders",
            display_name="Join Image Encoders",
            category=LOADERS,
            description="Puts DINOv2-giant beside SigLIP, as InstantCharacter reads both. Connect the output to Encode "
            "Image Prompt; wherever else a CLIP_VISION can be used it is the SigLIP.",
            search_aliases=WORDS["JoinImageEncoders"],
            inputs=[
                io.ClipVision.Input(
                    "siglip", tooltip="SigLIP so400m/14-384, from Load SigLIP Vision or Load CLIP Vision."
                ),
                io.ClipVision.Input("dinov2", tooltip="DINOv2-giant, from Load CLIP Vision."),
            ],
            outputs=[io.ClipVision.Output("clip_vision", tooltip="Both, for Encode Image Prompt.")],
        )

    @classmethod
    def execute(cls, siglip: ClipVisionModel, dinov2: ClipVisionModel) -> io.NodeOutput:
        return io.NodeOutput(JoinedVision(siglip, dinov2))
