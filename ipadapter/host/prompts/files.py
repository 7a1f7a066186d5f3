"""Image prompts in the user's input and output folders, each with a small picture beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.clip_vision
import folder_paths
from PIL import Image
from torch import Tensor

from ...errors import IPAdapterError, refusal
from ...files.opening import refuse_name
from ...files.replacing import replacing
from ...prompts.files import (
    is_feature_file,
    prompt_of_features,
    prompt_of_unknown,
    read_features,
    read_prompt,
    refuse_other_encoder,
    write_prompt,
)
from ...prompts.prompt import UNKNOWN, ImageFeatures, ImagePrompt
from ..encoders.encoder import (
    describe_encoder,
    encode_zero_pixels,
    no_image_of,
    refuse_features_not_finite,
)
from ..files import fingerprint_of, given_file, next_path
from ..pictures import single_pictures, to_pil

PROMPT_FOLDER = "image_prompts"  # in the input and in the output folder
PROMPT_ENDINGS = (".safetensors", ".ipadpt")
THUMBNAIL = 256  # pixels, the longer side


@dataclass(frozen=True)
class Thumbnail:
    """A picture that the front end can show: where it is in one of the host's folders."""

    name: str
    subfolder: str
    folder: str  # "input" or "output"


def prompt_names() -> list[str]:
    """The files a user can choose, in the host's form: "x.safetensors" in input, "x.safetensors [output]"."""
    inputs, outputs = folder_paths.get_input_directory(), folder_paths.get_output_directory()
    return sorted(files_in(Path(inputs))) + [f"{name} [output]" for name in sorted(files_in(Path(outputs)))]


def files_in(root: Path) -> Iterator[str]:
    """Files that may hold image prompts: those of the root, and all below its folder for them."""
    top = [entry.name for entry in os.scandir(root) if entry.is_file()] if root.is_dir() else []
    below = ((Path(folder), names) for folder, _, names in os.walk(root / PROMPT_FOLDER, followlinks=True))
    for folder, names in ((root, top), *below):
        yield from (
            (folder / name).relative_to(root).as_posix() for name in names if name.lower().endswith(PROMPT_ENDINGS)
        )


def find_prompt(name: str) -> Path:
    """The path of a listed file. Raises IPAdapterError where it is not there, or outside the two folders."""
    refuse_name(name)
    path = given_file(name)
    if path is None:
        raise IPAdapterError(
            f"'{name}' is not in ComfyUI's input or output folder: choose a file from the list, or put it into "
            f"input/{PROMPT_FOLDER} and press R."
        )
    return path


def missing_prompt(name: str) -> str | None:
    """The sentence for a file that a graph names and nobody has, or None where it is there."""
    return refusal(lambda: find_prompt(name))


def prompt_fingerprint(name: str) -> str:
    """Another text whenever the file changes."""
    return fingerprint_of(lambda: [find_prompt(name)])


def save_prompt(prompt: ImagePrompt, prefix: str, image: Tensor | None = None) -> Path:
    """Write a prompt under the next free number, and the first of some pictures beside it."""
    picture = None if image is None else to_pil(single_pictures([image])[0])
    path = write_prompt(next_path(prefix), prompt)
    if picture is not None:
        write_thumbnail(path.with_suffix(".png"), picture)
    return path


def write_thumbnail(path: Path, picture: Image.Image) -> None:
    """A small copy of a picture."""
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")


def load_prompt(name: str, clip_vision: comfy.clip_vision.ClipVisionModel | None = None) -> ImagePrompt:
    """The prompt in a listed file. Other packs' files do not say which encoder made them: that may be connected."""
    path = find_prompt(name)
    if not is_feature_file(path):
        return read_prompt(path, name)
    found = read_features(path, name)
    if clip_vision is None:
        return prompt_of_unknown(found)
    prompt = prompt_of_features(found, *features_of_nothing(clip_vision), name)
    return replace(prompt, no_image=no_image_of(clip_vision, prompt.zero_pixels))


def with_encoder(prompt: ImagePrompt, clip_vision: comfy.clip_vision.ClipVisionModel | None) -> ImagePrompt:
    """A prompt whose file did not name its encoder, with that encoder. Raises IPAdapterError where it is another."""
    if prompt.encoder != UNKNOWN or clip_vision is None:
        return prompt
    nothing, encoder = features_of_nothing(clip_vision)
    for part in prompt.parts:
        refuse_other_encoder(part.positive, nothing, encoder, "the image prompt")
    return replace(prompt, no_image=no_image_of(clip_vision, nothing), encoder=encoder)


def features_of_nothing(clip_vision: comfy.clip_vision.ClipVisionModel) -> tuple[ImageFeatures, str]:
    """What an encoder makes of zeros in place of normalised pixels, and the encoder in users' words."""
    nothing = encode_zero_pixels(clip_vision)
    encoder = describe_encoder(clip_vision, nothing)
    refuse_features_not_finite([nothing], encoder)
    return nothing, encoder


def thumbnail_of(path: Path) -> Thumbnail | None:
    """The picture beside a file; None where there is none."""
    picture = path.with_suffix(".png")
    roots = (("output", folder_paths.get_output_directory()), ("input", folder_paths.get_input_directory()))
    for folder, root in ((folder, os.path.abspath(root)) for folder, root in roots):
        if picture.is_file() and picture.is_relative_to(root):
            return Thumbnail(picture.name, picture.parent.relative_to(root).as_posix(), folder)
    return None


def summary(prompt: ImagePrompt) -> str:
    """A prompt in a line."""
    images = sum(len(part.positive) for part in prompt.parts)
    return f"{images} image(s) in {len(prompt.parts)} part(s), made by {prompt.encoder}"
