"""What an adapter reads of an image prompt, and what stands for no image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import IPAdapterError
from ..prompts.prompt import UNKNOWN, Feature, ImageFeatures, ImagePrompt, Part, merge_features
from .family import Unconditional
from .spec import AdapterSpec

Read = tuple[Tensor, ...]  # what a projection takes, one after another
DIMENSIONS = {  # (N, E), (N, S, D), (N, 512) and (N, 8 S, D)
    Feature.IMAGE_EMBEDS: 2,
    Feature.PENULTIMATE: 3,
    Feature.FACE: 2,
    Feature.CHARACTER: 3,
}


def features_for(spec: AdapterSpec, prompt: ImagePrompt, part: Part) -> tuple[Read, Read]:
    """What an adapter reads of a part of a prompt: of its images, and of what stands for no image, which is nothing
    where the images themselves stand on that side too.

    Raises IPAdapterError where the prompt's encoder is not the one the adapter was made for.
    """
    refuse_other_features(spec, prompt, part.positive)
    shown = read_features_for(spec, part.positive)
    if part.negative is None and spec.family.nothing is Unconditional.THE_IMAGE:
        return shown, ()
    nothing = unconditional(spec, prompt, part)
    refuse_other_features(spec, prompt, nothing)
    return shown, read_features_for(spec, nothing)


def refuse_other_features(spec: AdapterSpec, prompt: ImagePrompt, features: ImageFeatures) -> None:
    """Refuse features that are not there, or not as the adapter's own encoder makes them."""
    for feature, width in spec.projection.reads:
        found = features.get(feature)
        if found is None or found.ndim != DIMENSIONS[feature] or found.shape[-1] != width:
            made = "none" if found is None else f"{' × '.join(map(str, found.shape))} numbers"
            raise IPAdapterError(
                f"'{spec.name}' reads {feature.value} {width} wide, but the image prompt's encoder is "
                f"{prompt.encoder}, which gives {made}: encode with {spec.encoder}."
            )
        if feature is Feature.FACE and spec.family.raw_face and is_normalised(found):
            raise IPAdapterError(
                f"'{spec.name}' reads face embeddings as the recognition model makes them, but those of the image "
                f"prompt ({prompt.encoder}) are normalised to length 1: encode with {spec.encoder}."
            )


def is_normalised(face: Tensor) -> bool:
    """Whether embeddings (N, 512) have length 1, which no recognition model makes by itself."""
    length = torch.linalg.vector_norm(face.float(), dim=-1)
    return bool(torch.allclose(length, torch.ones_like(length), atol=1e-3))


def read_features_for(spec: AdapterSpec, features: ImageFeatures) -> Read:
    """What the projection takes of some images."""
    taken = [PREPARE[feature](spec, present(features.get(feature))) for feature, _ in spec.projection.reads]
    return (*taken, *spec.family.settings(spec.face))


def face_for(spec: AdapterSpec, face: Tensor) -> Tensor:
    """Face embeddings as an adapter was trained on them. Zero stays zero."""
    return face if spec.family.raw_face else normalize(face.float(), dim=-1)


PREPARE: dict[Feature, Callable[[AdapterSpec, Tensor], Tensor]] = {
    Feature.IMAGE_EMBEDS: lambda spec, embeds: embeds,
    Feature.PENULTIMATE: lambda spec, hidden: hidden,
    Feature.FACE: face_for,
    Feature.CHARACTER: lambda spec, states: states,
}


def unconditional(spec: AdapterSpec, prompt: ImagePrompt, part: Part) -> ImageFeatures:
    """The user's negative image, else what the reference puts in place of an image."""
    return NOTHING[spec.family.nothing](spec, prompt, part) if part.negative is None else part.negative


def of_zero_embedding(spec: AdapterSpec, prompt: ImagePrompt, part: Part) -> ImageFeatures:
    """Zeros in place of whatever the encoder makes: nothing is asked of it."""
    return merge_features([part.positive[:1]], lambda tensors: torch.zeros_like(tensors[0]))


def of_zero_pixels(spec: AdapterSpec, prompt: ImagePrompt, part: Part) -> ImageFeatures:
    """What the encoder makes of zeros in place of normalised pixels."""
    refuse_unknown(spec, prompt)
    return prompt.zero_pixels


def of_black_picture(spec: AdapterSpec, prompt: ImagePrompt, part: Part) -> ImageFeatures:
    """What the encoder makes of a black picture."""
    refuse_unknown(spec, prompt)
    if prompt.black is None:
        raise IPAdapterError(
            f"'{spec.name}' reads what the image encoder makes of a black picture where there is no image, which the "
            "image prompt does not hold: encode its images anew."
        )
    return replace(of_zero_embedding(spec, prompt, part), image_embeds=prompt.black)


def refuse_unknown(spec: AdapterSpec, prompt: ImagePrompt) -> None:
    """Refuse features of an encoder that nobody has named, where that encoder is asked."""
    if prompt.encoder == UNKNOWN:
        raise IPAdapterError(
            f"'{spec.name}' reads what the image encoder makes of no image, and the image prompt comes from "
            f"{UNKNOWN}: connect that encoder to clip_vision of Load Image Prompt."
        )


NOTHING: dict[Unconditional, Callable[[AdapterSpec, ImagePrompt, Part], ImageFeatures]] = {
    Unconditional.ZERO_EMBEDDING: of_zero_embedding,
    Unconditional.ZERO_PIXELS: of_zero_pixels,
    Unconditional.BLACK_PICTURE: of_black_picture,
}


def present(features: Tensor | None) -> Tensor:
    """Narrow features that the positive ones of the same encoder have shown to exist."""
    if features is None:
        raise IPAdapterError("the image prompt's negative was made by another encoder than its images.")
    return features
