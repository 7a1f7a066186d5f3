"""Keeping image prompts: to a file and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from ..ipadapter.host.api import ClipVisionModel, io, ui
from ..ipadapter.host.node import Node
from ..ipadapter.host.notes import spoken
from ..ipadapter.host.prompts.files import (
    find_prompt,
    load_prompt,
    missing_prompt,
    prompt_fingerprint,
    prompt_names,
    save_prompt,
    summary,
    thumbnail_of,
)
from ..ipadapter.prompts.prompt import ImagePrompt
from . import inputs
from .search import WORDS
from .sockets import PROMPTS


def shown(path: Path, text: str, line: str = "") -> dict[str, Any]:
    """A text, a line of its own for the node, and the picture beside a file where there is one."""
    found = thumbnail_of(path)
    pictures = [ui.SavedResult(found.name, found.subfolder, io.FolderType(found.folder))] if found else []
    return spoken(text, line) | (ui.SavedImages(pictures).as_dict() if pictures else {})


class SaveImagePrompt(Node):
    """Write an image prompt to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveImagePrompt",
            display_name="Save Image Prompt",
            category=PROMPTS,
            description="Writes an image prompt to a safetensors file in the output folder, with every part, weight "
            "and region, so that it can be used again without the pictures and without encoding them.",
            search_aliases=WORDS["SaveImagePrompt"],
            is_output_node=True,
            inputs=[
                inputs.image_prompt(),
                inputs.filename_prefix("image_prompts/prompt"),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="A picture to know the file by: a small copy is saved beside it as .png.",
                ),
            ],
            outputs=[],
        )

    @classmethod
    def execute(cls, image_prompt: ImagePrompt, filename_prefix: str, image: Tensor | None = None) -> io.NodeOutput:
        path = save_prompt(image_prompt, filename_prefix, image)
        return io.NodeOutput(ui=shown(path, str(path), f"Saved as {path.name}"))


class LoadImagePrompt(Node):
    """Read an image prompt from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadImagePrompt",
            display_name="Load Image Prompt",
            category=PROMPTS,
            description="Reads an image prompt that Save Image Prompt wrote, every number as it was, and .ipadpt "
            "files of other packs.",
            search_aliases=WORDS["LoadImagePrompt"],
            inputs=[
                io.Combo.Input(
                    "image_prompt_name",
                    options=prompt_names(),
                    tooltip="A file in the input or output folder, or in image_prompts there. Press R after saving.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="The image encoder that made the features. Only for .ipadpt files, which do not say it: "
                    "adapters of the Plus family need to know.",
                ),
            ],
            outputs=[inputs.image_prompt_output()],
        )

    @classmethod
    def validate_inputs(cls, image_prompt_name: str | None = None) -> bool | str:
        return (image_prompt_name is not None and missing_prompt(image_prompt_name)) or True

    @classmethod
    def fingerprint_inputs(cls, image_prompt_name: str | None = None, clip_vision: None = None) -> str:
        return "" if image_prompt_name is None else prompt_fingerprint(image_prompt_name)

    @classmethod
    def execute(cls, image_prompt_name: str, clip_vision: ClipVisionModel | None = None) -> io.NodeOutput:
        prompt = load_prompt(image_prompt_name, clip_vision)
        return io.NodeOutput(prompt, ui=shown(find_prompt(image_prompt_name), summary(prompt)))
