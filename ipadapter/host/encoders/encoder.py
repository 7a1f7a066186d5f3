"""Pictures to features through a CLIP_VISION model of the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import comfy.clip_vision
import comfy.model_management
import comfy.utils
import torch
from torch import Tensor

from ...encoders.two_towers import FITS
from ...errors import IPAdapterError
from ...images.pixels import Fit, PixelFormat, black_picture, prepare_pixels, zero_pixels
from ...prompts.combining import join_features
from ...prompts.prompt import ImageFeatures, ImagePrompt, NoImage, merge_features
from ...prompts.reading import Reading, make_parts, views_of
from .tower import Pixels, SeveralLayers

ZERO_PIXELS = "image_prompt_adapter.zero_pixels"  # under which the host's patcher keeps them
BLACK_FEATURES = "image_prompt_adapter.black_picture"
PICTURES_A_PASS = 8  # pictures a pass: progress and bounded memory


def encode_image_prompt(
    clip_vision: comfy.clip_vision.ClipVisionModel,
    image: Tensor,
    fit: Fit,
    negative_image: Tensor | None = None,
    mask: Tensor | None = None,
) -> ImagePrompt:
    """Features of the reference images, of an optional negative image, and of "no image"."""
    return encode_references(clip_vision, image, Reading(fit), negative_image, mask)


def encode_references(
    clip_vision: comfy.clip_vision.ClipVisionModel,
    image: Tensor,
    reading: Reading,
    negative_image: Tensor | None = None,
    mask: Tensor | None = None,
) -> ImagePrompt:
    """An image prompt of reference images (N, H, W, C), read by tiles or in detail where `reading` says so."""
    form = pixel_format(clip_vision)
    reading.weights_of(len(image))  # a wrong number is refused before anything is encoded
    views = views_of(image, mask, reading, form.size)
    seen: list[Pixels] = [view.pixels for view in views]
    detail = [view.subtiles(form, reading.detail) for view in views] if reading.has_detail else []
    if negative_image is not None:
        seen.append(partial(prepare_pixels, negative_image, None, reading.negative_fit))
    features = encode_all(clip_vision, [*(pixels(form) for pixels in seen), *detail])
    whole, close = add_layers(clip_vision, features[: len(seen)], seen), features[len(seen) :]
    encoder, nothing = describe_encoder(clip_vision, whole[0]), no_image_of(clip_vision, whole[0])
    refuse_features_not_finite([*whole, *close], encoder)
    negative = whole.pop() if negative_image is not None else None
    return ImagePrompt(make_parts(views, whole, close, reading, len(image), negative), nothing, encoder)


def no_image_of(clip_vision: comfy.clip_vision.ClipVisionModel, made: ImageFeatures) -> NoImage:
    """What an encoder that has made these features makes of no image; IPAdapterError where that is not finite.

    On a card it is made at once, so that no prompt holds the encoder in memory; a CPU waits until it is read.
    """
    states = None if made.character is None else made.character.shape[1:]

    def zero_pixels() -> ImageFeatures:
        return nothing_beside(finite(clip_vision, encode_zero_pixels(clip_vision)), states)

    def black() -> Tensor:
        return finite(clip_vision, ImageFeatures(encode_black_picture(clip_vision))).image_embeds

    if takes_seconds(clip_vision.load_device):
        return NoImage(zero_pixels, black)
    return NoImage.known(zero_pixels(), black())


def takes_seconds(device: torch.device) -> bool:
    """Whether a pass of an encoder is worth saving there."""
    return device.type == "cpu"


def finite(clip_vision: comfy.clip_vision.ClipVisionModel, made: ImageFeatures) -> ImageFeatures:
    """What an encoder has made of no image. Raises IPAdapterError where that is no numbers."""
    refuse_features_not_finite([made], describe_encoder(clip_vision, made))
    return made


def add_layers(
    clip_vision: comfy.clip_vision.ClipVisionModel, features: list[ImageFeatures], seen: Sequence[Pixels]
) -> list[ImageFeatures]:
    """Features with several layers' hidden states of the same pictures, where the encoder gives them."""
    if not isinstance(clip_vision, SeveralLayers):
        return features
    return [replace(made, character=clip_vision.states(pixels)) for made, pixels in zip(features, seen, strict=True)]


def nothing_beside(nothing: ImageFeatures, states: torch.Size | None) -> ImageFeatures:
    """Features of no image, with zeros for several layers where an image's have such states (8 S, D)."""
    if states is None:
        return nothing
    return replace(nothing, character=nothing.image_embeds.new_zeros(1, 1, 1).expand(1, *states))


@dataclass(frozen=True)
class KeptFeatures:
    """Features of what is no image, and the weights that made them by the host's name for their patches."""

    features: ImageFeatures
    patches: UUID


def encode_zero_pixels(clip_vision: comfy.clip_vision.ClipVisionModel) -> ImageFeatures:
    """Features of zeros in place of normalised pixels (N = 1)."""
    return kept_features(clip_vision, ZERO_PIXELS, zero_pixels)


def encode_black_picture(clip_vision: comfy.clip_vision.ClipVisionModel) -> Tensor:
    """The embedding of a black picture, (1, E), or (1, S, E) of an encoder without a projection."""
    return kept_features(clip_vision, BLACK_FEATURES, black_picture).image_embeds


def kept_features(
    clip_vision: comfy.clip_vision.ClipVisionModel, name: str, pixels: Callable[[PixelFormat], Tensor]
) -> ImageFeatures:
    """Features of such pixels (N = 1), made once an encoder and kept for as long as it is."""
    encoder = clip_vision.patcher
    kept: KeptFeatures | None = encoder.get_attachment(name)
    if kept is None or kept.patches != encoder.patches_uuid:
        made = encode_all(clip_vision, [pixels(pixel_format(clip_vision))])
        with torch.inference_mode(False):  # the next who asks may be a training
            kept = KeptFeatures(merge_features(made, lambda tensors: tensors[0].clone()), encoder.patches_uuid)
        encoder.set_attachments(name, kept)
    return kept.features


def pixel_format(clip_vision: comfy.clip_vision.ClipVisionModel) -> PixelFormat:
    """Size and normalisation of the encoder; a flexible SigLIP2 is given its nominal square."""
    patches = clip_vision.config.get("num_patches", 256)
    flexible = int(patches**0.5) * clip_vision.config.get("patch_size", 16)
    size = clip_vision.image_size if clip_vision.image_size > 0 else flexible
    return PixelFormat(size, tuple(clip_vision.image_mean), tuple(clip_vision.image_std))


def usual_fit(clip_vision: comfy.clip_vision.ClipVisionModel) -> Fit:
    """How its makers' preprocessing makes a square of a picture: most take the middle, SigLIP's stretches it."""
    squashed = "siglip" in clip_vision.config.get("model_type", "")
    return FITS.get(clip_vision.config.get("resize_mode", "squash" if squashed else "shortest"), Fit.CROP)


def encode_all(clip_vision: comfy.clip_vision.ClipVisionModel, batches: list[Tensor]) -> list[ImageFeatures]:
    """Each batch of normalised pixels to its features, with the host's progress bar over all of them."""
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    progress = comfy.utils.ProgressBar(sum(len(batch) for batch in batches))
    return [join_features(list(encode_chunks(clip_vision, batch, progress))) for batch in batches]


def encode_chunks(
    clip_vision: comfy.clip_vision.ClipVisionModel, pixels: Tensor, progress: comfy.utils.ProgressBar
) -> Iterator[ImageFeatures]:
    """Features of a few pictures at a time. Called past `encode_image`, which would preprocess again."""
    store = comfy.model_management.intermediate_device()
    for chunk in pixels.split(PICTURES_A_PASS):
        comfy.model_management.throw_exception_if_processing_interrupted()
        out = clip_vision.model(pixel_values=chunk.to(clip_vision.load_device), intermediate_output=-2)
        yield ImageFeatures(out[2].float().to(store), None if out[1] is None else out[1].float().to(store))
        progress.update(len(chunk))


def refuse_features_not_finite(features: list[ImageFeatures], encoder: str) -> None:
    """Refuse what a damaged encoder, or one that half precision is too narrow for, makes of good pictures."""
    outputs = [output for made in features for output in made.outputs.values() if output is not None]
    if not all(bool(torch.isfinite(output).all()) for output in outputs):
        raise IPAdapterError(
            f"the image encoder {encoder} made NaN or infinite features: its file is damaged, or half precision is too "
            "narrow for it; use another copy, or start ComfyUI with --fp32-text-enc."
        )


def describe_encoder(clip_vision: comfy.clip_vision.ClipVisionModel, features: ImageFeatures) -> str:
    """The encoder in users' words."""
    config = clip_vision.config
    name = config.get("architecture") or config.get("model_type", "an image encoder")
    return f"{name} ({pixel_format(clip_vision).size} px, {features.image_embeds.shape[-1]}-wide embedding)"
