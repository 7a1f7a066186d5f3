"""The laboratory's models as loader nodes, for a server that has this folder among its custom nodes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from comfy_api.v0_0_2 import ComfyExtension, io

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)  # last: the host has packages of its own called `nodes` and `utils`

from lab import files  # noqa: E402 (found only now)

CATEGORY = "image prompt/laboratory"
HostNode: Any = io.ComfyNode  # by this name ComfyUI Manager, which reads the source, does not take these for the pack's


class LoadLabModel(HostNode):
    """Everything a checkpoint loader gives, and the image encoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadLabModel",
            display_name="Load Laboratory Model",
            category=CATEGORY,
            description="The laboratory's miniature models: 64-pixel pictures of coloured shapes.",
            inputs=[
                io.Combo.Input(
                    "name", options=list(files.MODELS), default=files.MODELS[0], tooltip="fine-tuned draws by night."
                )
            ],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output(), io.ClipVision.Output()],
        )

    @classmethod
    def execute(cls, name: str) -> io.NodeOutput:
        return io.NodeOutput(files.load_model(name), files.load_clip(), files.load_vae(), files.load_clip_vision())


class LoadLabControlNet(HostNode):
    """Structure from a picture of outlines."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadLabControlNet",
            display_name="Load Laboratory ControlNet",
            category=CATEGORY,
            description="A miniature ControlNet that reads white outlines on black, 64 pixels square.",
            outputs=[io.ControlNet.Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(files.load_control_net())


class Laboratory(ComfyExtension):
    """The nodes of this folder."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [LoadLabModel, LoadLabControlNet]


async def comfy_entrypoint() -> ComfyExtension:
    """What the host calls."""
    return Laboratory()
