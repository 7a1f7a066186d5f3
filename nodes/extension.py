"""What a user drags: the pack's nodes, gathered for the host."""

from __future__ import annotations

from ..ipadapter.host.api import ComfyExtension, io
from ..ipadapter.host.faces.models import register_face_folder
from ..ipadapter.host.files import register_adapter_folder
from ..ipadapter.host.legacy.old_ids import register_old_ids
from ..ipadapter.host.legacy.opening import register_opening
from ..ipadapter.host.legacy.replacing import register_replacements
from ..ipadapter.host.server.contents import register_contents
from .apply import ApplyIPAdapter, ApplyIPAdapterToConditioning
from .attention import ImagePromptAttention, RecordImagePromptAttention
from .combine import CombineImagePrompts
from .encode import EncodeImagePrompt
from .evaluate import EvaluateImagePrompt
from .face_settings import FaceIDSettings
from .faces import EncodeFacePrompt, LoadInsightFace
from .find import DescribeIPAdapter, FindIPAdapter
from .grid import ImagePromptGrid
from .instantid import ApplyInstantIDControlNet, DrawFaceKeyPoints
from .legacy import LEGACY_NODES
from .legacy.old_nodes import OLD_NODES, TITLES_OF_OLD
from .load import JoinImageEncoders, LoadIPAdapter, LoadOpenCLIPVision, LoadSigLIPVision
from .prompt_files import LoadImagePrompt, SaveImagePrompt
from .reference import ImagePromptNoise, PrepareReferenceImage
from .region import ImagePromptRegion
from .strength import ImagePromptCurve, ImagePromptFrames, ImagePromptLayers
from .train import SaveIPAdapter, TrainIPAdapter

# What ComfyUI Manager reads without running anything: a table of literals by this name.
NODE_CLASS_MAPPINGS = {
    "LoadIPAdapter": LoadIPAdapter,
    "FindIPAdapter": FindIPAdapter,
    "DescribeIPAdapter": DescribeIPAdapter,
    "LoadOpenCLIPVision": LoadOpenCLIPVision,
    "LoadSigLIPVision": LoadSigLIPVision,
    "JoinImageEncoders": JoinImageEncoders,
    "LoadInsightFace": LoadInsightFace,
    "EncodeFacePrompt": EncodeFacePrompt,
    "FaceIDSettings": FaceIDSettings,
    "DrawFaceKeyPoints": DrawFaceKeyPoints,
    "PrepareReferenceImage": PrepareReferenceImage,
    "EncodeImagePrompt": EncodeImagePrompt,
    "CombineImagePrompts": CombineImagePrompts,
    "ImagePromptNoise": ImagePromptNoise,
    "ImagePromptRegion": ImagePromptRegion,
    "SaveImagePrompt": SaveImagePrompt,
    "LoadImagePrompt": LoadImagePrompt,
    "ApplyIPAdapter": ApplyIPAdapter,
    "ApplyIPAdapterToConditioning": ApplyIPAdapterToConditioning,
    "ApplyInstantIDControlNet": ApplyInstantIDControlNet,
    "ImagePromptLayers": ImagePromptLayers,
    "ImagePromptCurve": ImagePromptCurve,
    "ImagePromptFrames": ImagePromptFrames,
    "RecordImagePromptAttention": RecordImagePromptAttention,
    "ImagePromptAttention": ImagePromptAttention,
    "TrainIPAdapter": TrainIPAdapter,
    "SaveIPAdapter": SaveIPAdapter,
    "EvaluateImagePrompt": EvaluateImagePrompt,
    "ImagePromptGrid": ImagePromptGrid,
}


class IPAdapterExtension(ComfyExtension):
    """The pack as the host loads it."""

    async def on_load(self) -> None:
        register_adapter_folder()
        register_face_folder()
        await register_replacements()
        register_old_ids(OLD_NODES, TITLES_OF_OLD)
        register_opening()
        register_contents()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [*NODE_CLASS_MAPPINGS.values(), *LEGACY_NODES]
