"""Image prompts as files: safetensors with every number as it was, and what they mean in the metadata.

Tensors are named `zero_pixels.<output>`, `black.image_embeds`, `parts.<i>.positive.<output>`,
`parts.<i>.negative.<output>` and `parts.<i>.region`, where an output is `image_embeds`, `penultimate`, `face` or
`character`. A part's other fields are JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import IPAdapterError
from ..files.opening import Container, inspect
from ..files.pickles import UnreadableError
from ..files.replacing import write_whole
from ..files.tensors import Tensors, is_plain, load_torch, refuse_unreadable_name
from ..numbers import WEIGHT
from ..version import VERSION
from .prompt import UNKNOWN, Feature, ImageFeatures, ImagePrompt, Order, Overlap, Part, Region

PROMPT_FORMAT, FORMAT_VERSION = "image-prompt", 1
OUTPUTS = {
    Feature.IMAGE_EMBEDS: "image_embeds",
    Feature.PENULTIMATE: "penultimate",
    Feature.FACE: "face",
    Feature.CHARACTER: "character",
}
OUTPUT_DIMENSIONS = {  # that each may have
    Feature.IMAGE_EMBEDS: (2, 3),  # (N, E), or (N, S, E) of an encoder without a projection
    Feature.PENULTIMATE: (3,),  # (N, S, D)
    Feature.FACE: (2,),  # (N, 512)
    Feature.CHARACTER: (3,),  # (N, 8 S, D)
}
MOST_PARTS = 10_000  # a file with more is damaged


@dataclass(frozen=True)
class PromptFile:
    """A file of ours before it is understood."""

    name: str
    tensors: Tensors
    metadata: Mapping[str, str]

    def wrong(self, what: str) -> IPAdapterError:
        """The refusal of a file that is damaged in some way."""
        return IPAdapterError(f"'{self.name}' {what}; the file is damaged: save the image prompt again.")


class UnwrittenFile(PromptFile):
    """One that is about to be written."""

    def wrong(self, what: str) -> IPAdapterError:
        """The refusal of what could not be read again."""
        return IPAdapterError(f"the {self.name} {what}, so that its file could not be loaded: encode its images anew.")


# Writing


def write_prompt(path: Path, prompt: ImagePrompt) -> Path:
    """Write a file. Raises IPAdapterError for what could not be read again, and where the disk does not take it.

    Nothing is replaced then.
    """
    if prompt.encoder == UNKNOWN:
        raise IPAdapterError(
            "the image prompt comes from another pack's file, which does not say which encoder made it: connect that "
            "encoder to clip_vision of Load Image Prompt, so that the new file can say it."
        )
    tensors = prompt_tensors(prompt)
    metadata = prompt_metadata(prompt, tensors)
    understand(UnwrittenFile("image prompt", tensors, metadata))
    return write_whole(path, save(tensors, metadata))


def prompt_tensors(prompt: ImagePrompt) -> Tensors:
    """Every tensor of a prompt, each with memory of its own, as the format asks."""
    named = feature_tensors("zero_pixels", prompt.zero_pixels)
    named |= feature_tensors("black", None if prompt.black is None else ImageFeatures(prompt.black))
    for index, part in enumerate(prompt.parts):
        named |= feature_tensors(f"parts.{index}.positive", part.positive)
        named |= feature_tensors(f"parts.{index}.negative", part.negative)
        named |= {f"parts.{index}.region": part.region.mask} if part.region else {}
    return {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in named.items()}


def feature_tensors(prefix: str, features: ImageFeatures | None) -> Tensors:
    """The encoder outputs that are there."""
    if features is None:
        return {}
    outputs = features.outputs.items()
    return {f"{prefix}.{OUTPUTS[feature]}": tensor for feature, tensor in outputs if tensor is not None}


def prompt_metadata(prompt: ImagePrompt, tensors: Tensors) -> dict[str, str]:
    """What the file says of itself."""
    parts = json.dumps([part_fields(part) for part in prompt.parts])
    return {
        "format": PROMPT_FORMAT,
        "version": str(FORMAT_VERSION),
        "pack": VERSION,
        "encoder": prompt.encoder,
        "shapes": json.dumps({name: list(tensor.shape) for name, tensor in sorted(tensors.items())}),
        "sha256": prompt_digest(tensors, prompt.encoder, parts),
        "parts": parts,
    }


def part_fields(part: Part) -> dict[str, Any]:
    """What of a part is no tensor."""
    return {
        "weights": None if part.weights is None else list(part.weights),
        "order": part.order.value,
        "weight": part.weight,
        "overlap": part.region.overlap.value if part.region else None,
    }


def prompt_digest(tensors: Tensors, encoder: str, parts: str) -> str:
    """SHA-256 of the features and what goes with them: names, types, shapes, numbers, the encoder and the fields."""
    made = hashlib.sha256(f"{encoder}\n{parts}\n".encode())
    for name, tensor in sorted(tensors.items()):
        made.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        made.update(tensor.flatten().view(torch.uint8).numpy().data)
    return made.hexdigest()


# Reading


def read_prompt(path: Path, name: str) -> ImagePrompt:
    """The prompt as it was saved, to the bit. Raises IPAdapterError for a file that is not whole or not ours."""
    file = open_prompt(path, name)
    refuse_no_prompt(file)
    encoder, listed = file.metadata.get("encoder", ""), file.metadata.get("parts", "")
    if file.metadata.get("sha256") != prompt_digest(file.tensors, encoder, listed):
        raise file.wrong("does not hold what was saved")
    return understand(file)


def understand(file: PromptFile) -> ImagePrompt:
    """The prompt in a file of ours. Raises IPAdapterError for one that no node makes."""
    encoder, listed = file.metadata.get("encoder", ""), file.metadata.get("parts", "")
    zero_pixels = required(features(file, "zero_pixels"), file, "zero_pixels")
    parts = tuple(read_part(file, index, fields) for index, fields in enumerate(read_fields(file, listed)))
    black = features(file, "black")
    prompt = ImagePrompt.known(parts, zero_pixels, encoder, None if black is None else black.image_embeds)
    refuse_inconsistent(file, prompt)
    return prompt


def open_prompt(path: Path, name: str) -> PromptFile:
    """A safetensors file, copied into memory so that it may be replaced later."""
    if inspect(path, name) is not Container.SAFETENSORS:
        raise IPAdapterError(f"'{name}' is no safetensors file, so it is no image prompt: save one with this pack.")
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            for key in names:
                refuse_unreadable_name(key, name)
            tensors = {key: file.get_tensor(key).clone() for key in names}
            return PromptFile(name, tensors, dict(file.metadata() or {}))
    except IPAdapterError:
        raise
    except Exception as error:  # of the format's own, and whatever torch makes of a header that lies
        raise IPAdapterError(f"'{name}' is damaged or cut short: save the image prompt again.") from error


def refuse_no_prompt(file: PromptFile) -> None:
    """Refuse files of other kinds and of later versions."""
    if file.metadata.get("format") != PROMPT_FORMAT:
        raise IPAdapterError(
            f"'{file.name}' holds no image prompt ({', '.join(sorted(file.tensors)[:3]) or 'nothing'} …): choose a "
            "file from Save Image Prompt."
        )
    version = file.metadata.get("version", "")
    if version != str(FORMAT_VERSION):
        raise IPAdapterError(
            f"'{file.name}' is an image prompt of format {version[:12] or 'unknown'}, and this version of the pack "
            f"reads format {FORMAT_VERSION}: update the pack."
        )


def read_fields(file: PromptFile, listed: str) -> list[dict[str, Any]]:
    """What of the parts is no tensor."""
    try:
        fields = json.loads(listed)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, list) or not 0 < len(fields) <= MOST_PARTS:
        raise file.wrong("does not say what its parts are")
    if not all(isinstance(one, dict) for one in fields):
        raise file.wrong("does not say what its parts are")
    return fields


def read_part(file: PromptFile, index: int, fields: dict[str, Any]) -> Part:
    """One part. Raises IPAdapterError for fields that no part has."""
    positive = required(features(file, f"parts.{index}.positive"), file, f"parts.{index}.positive")
    try:
        weights, weight = listed_weights(fields["weights"]), float(fields["weight"])
        order = Order(fields["order"])
        mask = file.tensors.get(f"parts.{index}.region")
        region = None if mask is None else Region(mask, Overlap(fields["overlap"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise file.wrong(f"has a part {index} with fields that no part has") from error
    if not all(WEIGHT.holds(number) for number in (weight, *(weights or ()))):
        raise file.wrong(f"has a part {index} with weights that are no numbers, or far too large")
    return Part(positive, features(file, f"parts.{index}.negative"), weights, order, weight, region)


def listed_weights(listed: Any) -> tuple[float, ...] | None:
    """Weights of a part's images, where it has any. Raises TypeError for what is no list."""
    if listed is not None and not isinstance(listed, list):
        raise TypeError(listed)
    return None if listed is None else tuple(float(weight) for weight in listed)


def features(file: PromptFile, prefix: str) -> ImageFeatures | None:
    """Encoder outputs under a name; None where there are none."""
    found = {feature: file.tensors.get(f"{prefix}.{name}") for feature, name in OUTPUTS.items()}
    there = {feature: output for feature, output in found.items() if output is not None}
    if not there:
        return None
    if any(output.ndim not in OUTPUT_DIMENSIONS[feature] for feature, output in there.items()):
        raise file.wrong(f"holds {prefix} with other dimensions than an encoder's outputs")
    embeds = required(found[Feature.IMAGE_EMBEDS], file, f"{prefix}.{OUTPUTS[Feature.IMAGE_EMBEDS]}")
    return ImageFeatures(embeds, found[Feature.PENULTIMATE], found[Feature.FACE], found[Feature.CHARACTER])


def required(found: Any, file: PromptFile, what: str) -> Any:
    """What must be there."""
    if found is None:
        raise file.wrong(f"has no {what}")
    return found


def refuse_inconsistent(file: PromptFile, prompt: ImagePrompt) -> None:
    """Refuse what no encoder and no node makes: the hash tells damage, this tells a file that was made by hand."""
    if prompt_tensors(prompt).keys() != file.tensors.keys():
        raise file.wrong("holds tensors that no part has")
    if len(prompt.zero_pixels) != 1:
        raise file.wrong("has zero_pixels of more than one picture")
    if prompt.black is not None and prompt.black.shape != prompt.zero_pixels.image_embeds.shape:
        raise file.wrong("has a black picture of another shape than its encoder's embedding")
    for index, part in enumerate(prompt.parts):
        wrong = part_fault(part, prompt.zero_pixels)
        if wrong:
            raise file.wrong(f"has a part {index} {wrong}")
    for name, tensor in file.tensors.items():
        if not tensor.is_floating_point() or not bool(torch.isfinite(tensor.float()).all()):
            raise file.wrong(f"holds {name} with NaN, infinite or other than floating point numbers")


def part_fault(part: Part, zero_pixels: ImageFeatures) -> str | None:
    """What is wrong with a part, to be read after its number; None where nothing is."""
    checks = (
        (features_fit(zero_pixels, zero_pixels), "whose encoder makes nothing"),
        (features_fit(part.positive, zero_pixels), "of other widths than its encoder's"),
        (part.negative is None or features_fit(part.negative, zero_pixels), "with a negative of other widths"),
        (part.weights is None or len(part.weights) == len(part.positive), "with other weights than images"),
        (part.region is None or is_mask(part.region.mask), "with a region that is no mask"),
    )
    return next((fault for good, fault in checks if not good), None)


def features_fit(made: ImageFeatures, zero_pixels: ImageFeatures) -> bool:
    """Whether features can be of what made these zero pixels. An embedding may be unknown: 0 wide."""
    embeds = made.image_embeds
    others = {feature: output for feature, output in made.outputs.items() if feature is not Feature.IMAGE_EMBEDS}
    known = embeds.shape[-1] > 0 or any(output is not None for output in others.values())
    widths = embeds.shape[-1] in (0, zero_pixels.image_embeds.shape[-1])
    fitting = (output_fits(output, zero_pixels.get(feature), len(embeds)) for feature, output in others.items())
    return known and widths and len(embeds) > 0 and all(fitting)


def output_fits(output: Tensor | None, zero: Tensor | None, images: int) -> bool:
    """Whether an output is as wide as the same encoder's of zero pixels, one for each image, or is not there."""
    if output is None:
        return True
    return zero is not None and output.shape[-1] == zero.shape[-1] and len(output) == images and 0 not in output.shape


def is_mask(mask: Tensor) -> bool:
    """(M, H, W) in 0 … 1."""
    if mask.ndim != 3 or 0 in mask.shape or not mask.is_floating_point():
        return False
    low, high = torch.aminmax(mask.float())
    return bool((low >= 0) & (high <= 1))


# Other packs' files


def is_feature_file(path: Path) -> bool:
    """Whether a file is of the kind other packs save features in: a torch file that holds one tensor."""
    return path.suffix.lower() == ".ipadpt"


def read_features(path: Path, name: str) -> Tensor:
    """Features (N, E) or (N, S, D) from a torch file. Raises IPAdapterError for any other content."""
    try:
        loaded = load_torch(path, name, inspect(path, name))
    except UnreadableError as error:
        raise IPAdapterError(
            f"'{name}' is damaged, or a pickle of more than tensors, so it was not opened: encode the image again."
        ) from error
    if not isinstance(loaded, Tensor) or not is_plain(loaded) or loaded.ndim not in (2, 3):
        what = f"a tensor of {loaded.ndim} dimensions" if isinstance(loaded, Tensor) else f"a {type(loaded).__name__}"
        raise IPAdapterError(
            f"'{name}' holds {what}, where one tensor of an encoder's features is needed, (images, width) or (images, "
            "tokens, width): encode the image again."
        )
    if not loaded.is_floating_point() or not bool(torch.isfinite(loaded.float()).all()):
        raise IPAdapterError(
            f"'{name}' holds NaN, infinite or other than floating point numbers: encode the image again."
        )
    return loaded.float().clone()


def prompt_of_unknown(found: Tensor) -> ImagePrompt:
    """Another pack's features without their encoder: base adapters read them, others with a negative prompt only."""
    made = features_of(found)
    return ImagePrompt.known((Part(made),), ImageFeatures(torch.zeros_like(made.image_embeds[:1])), UNKNOWN)


def features_of(found: Tensor) -> ImageFeatures:
    """Embeddings (N, E), or hidden states (N, S, D) with an embedding that is not known: 0 wide."""
    return ImageFeatures(found) if found.ndim == 2 else ImageFeatures(found.new_zeros(len(found), 0), found)


def prompt_of_features(found: Tensor, zero_pixels: ImageFeatures, encoder: str, name: str) -> ImagePrompt:
    """Another pack's features with what its encoder makes of no image.

    Raises IPAdapterError where the encoder is not the one that made them. Where only hidden states were saved, the
    image embedding is not known: it is 0 wide, which an adapter that reads it refuses.
    """
    made = features_of(found)
    refuse_other_encoder(made, zero_pixels, encoder, f"'{name}'")
    return ImagePrompt.known((Part(made),), zero_pixels, encoder)


def refuse_other_encoder(made: ImageFeatures, zero_pixels: ImageFeatures, encoder: str, name: str) -> None:
    """Refuse features that the encoder of these zero pixels cannot have made."""
    if features_fit(made, zero_pixels):
        return
    made_by = (one for one in (zero_pixels.image_embeds, zero_pixels.penultimate) if one is not None)
    theirs = " and ".join(" × ".join(map(str, one.shape[1:])) for one in made_by)
    found = made.image_embeds if made.penultimate is None else made.penultimate
    raise IPAdapterError(
        f"{name} holds features shaped {' × '.join(map(str, found.shape[1:]))}, but the connected encoder is "
        f"{encoder}, which makes {theirs}: connect the clip_vision that made them."
    )
