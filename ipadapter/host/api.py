"""The host's node API and the types of its sockets, imported here for the nodes, so that another version is one line
away."""

from comfy.clip_vision import ClipVisionModel
from comfy.model_patcher import ModelPatcher
from comfy_api.v0_0_2 import ComfyAPI, ComfyExtension, io, ui

__all__ = ["ClipVisionModel", "ComfyAPI", "ComfyExtension", "ModelPatcher", "io", "ui"]
