"""What the nodes of ComfyUI_IPAdapter_plus do, by this pack's engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import comfy.clip_vision
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...errors import IPAdapterError
from ...faces.reading import FaceAnalysis
from ...legacy.held import HELD
from ...legacy.settings import LegacySettings, strengths_of
from ...library.finding import encoder_to_get
from ...prompts.prompt import UNKNOWN, ImagePrompt, Order, Overlap, Part, refuse_two_encoders
from ...prompts.regions import place_in_region
from ..adapters.adapter import Adapter, using
from ..adapters.lora import add_lora
from ..faces.reading import FaceReading, encode_faces
from ..library.finding import FINDER, Found, load_found
from ..sampling.conditioning import Conditioning, conds_within
from ..sampling.patching import apply_image_prompt
from .first import noisy_copy
from .params import RegionParams
from .reading import LegacyReading, combine_images, cut_tiles, read_images, times


@dataclass(frozen=True)
class Sources:
    """What an old node turns its images into a prompt with."""

    adapter: Adapter
    clip_vision: comfy.clip_vision.ClipVisionModel | None = None
    negative: Tensor | None = None
    insightface: FaceAnalysis | None = None
    noise: float = 0.0  # how noisy a copy of the reference stands in place of a negative image

    @property
    def encoder(self) -> comfy.clip_vision.ClipVisionModel:
        """The encoder that is connected, else the one found for the adapter. Raises IPAdapterError without any."""
        found = self.clip_vision or self.adapter.clip_vision
        if found is None:
            raise IPAdapterError(
                "there is no image encoder: connect clip_vision, or take ipadapter from Find IP-Adapter, which finds "
                f"it: {self.adapter.spec.encoder}."
            )
        return found

    @property
    def faces(self) -> FaceAnalysis:
        """What reads faces: what is connected, else what was found for the adapter. Raises IPAdapterError."""
        found = self.insightface or self.adapter.insightface
        if found is None:
            raise IPAdapterError(
                f"'{self.adapter.spec.name}' reads faces, and there is nothing to read them with: connect insightface "
                "from Load InsightFace."
            )
        return found

    def away_from(self, image: Tensor) -> Tensor | None:
        """The negative image: what is connected, else a noisy copy of the references, or none."""
        return noisy_copy(image, self.noise) if self.negative is None else self.negative

    def see(self, image: Tensor, reading: LegacyReading) -> SeenPrompt:
        """References as a prompt, by their faces where the adapter reads faces."""
        return SEE[self.adapter.spec.reads_face](self, image, reading)

    def read(self, image: Tensor, reading: LegacyReading) -> ImagePrompt:
        """References as a prompt."""
        return self.see(image, reading).prompt


@dataclass(frozen=True)
class SeenPrompt:
    """A prompt, and the pictures it was made of."""

    prompt: ImagePrompt
    pictures: Tensor


def see_images(sources: Sources, image: Tensor, reading: LegacyReading) -> SeenPrompt:
    """Whole pictures."""
    return SeenPrompt(read_images(sources.encoder, image, reading, sources.away_from(image)), image)


def see_faces(sources: Sources, image: Tensor, reading: LegacyReading) -> SeenPrompt:
    """The largest face of each picture."""
    clip_vision = sources.encoder if encoder_to_get(sources.adapter.spec) else None
    plain = FaceReading(order=reading.order)
    made = encode_faces(sources.faces, image, clip_vision, plain, sources.negative)
    if sources.noise > 0 and sources.negative is None:
        made = encode_faces(sources.faces, image, clip_vision, plain, sources.away_from(made.crops))
    if reading.order is Order.FRAME_BY_FRAME:
        return SeenPrompt(made.prompt, made.crops)
    return SeenPrompt(combine_images((made.prompt,), reading.combine), made.crops)


SEE: dict[bool, Callable[[Sources, Tensor, LegacyReading], SeenPrompt]] = {False: see_images, True: see_faces}


def weigh_faces(adapter: Adapter, structure: float, narrowed: float) -> Adapter:
    """An adapter with the old nodes' weights of FaceID; other adapters do not read them."""
    return using(adapter, replace(adapter.spec.face, structure=structure, narrowed=narrowed))


def without_lora(adapter: Adapter) -> Adapter:
    """An adapter whose LoRA is put on the model elsewhere, as old graphs do: by a loader, or by Load LoRA."""
    return using(adapter, replace(adapter.spec.face, lora=0.0))


def load_face_adapter(model: ModelPatcher, preset: str, lora: float, provider: str) -> Found:
    """A FaceID adapter for a model, and the model with its LoRA, from whichever file holds it."""
    found = load_found(FINDER, model, preset, lora, provider)
    return replace(found, model=add_lora(found.model, found.adapter, lora))


def apply_prompt(
    model: ModelPatcher, adapter: Adapter, prompt: ImagePrompt, settings: LegacySettings, mask: Tensor | None = None
) -> ModelPatcher:
    """A model that follows a prompt."""
    for strength in strengths_of(settings):
        model = apply_image_prompt(model, without_lora(adapter), prompt, strength, mask, fitting=HELD)
    return model


def apply_images(
    model: ModelPatcher,
    sources: Sources,
    image: Tensor,
    reading: LegacyReading,
    settings: LegacySettings,
    mask: Tensor | None = None,
) -> ModelPatcher:
    """A model that follows references."""
    return apply_prompt(model, sources.adapter, sources.read(image, reading), settings, mask)


@dataclass(frozen=True)
class Tiles:
    """A batch of references by tiles: the tiles, where each of them is, and the prompt of them all."""

    prompt: ImagePrompt
    images: Tensor  # (T · N, h, w, C)
    masks: Tensor  # (T, H, W)


def read_tiles(sources: Sources, image: Tensor, reading: LegacyReading, sharpening: float) -> Tiles:
    """Every tile as a part with its place in the picture."""
    made = cut_tiles(image, sharpening)
    prompts = [place_in_region(sources.read(tile, reading), mask, 1.0, Overlap.SHARE) for tile, mask in made]
    parts = tuple(part for prompt in prompts for part in prompt.parts)
    return Tiles(
        replace(prompts[0], parts=parts), torch.cat([tile for tile, _ in made]), torch.cat([mask for _, mask in made])
    )


@dataclass(frozen=True)
class StyleAndComposition:
    """What is taken from two pictures, and how strongly each."""

    style: float | Sequence[float]
    composition: float | Sequence[float]
    expand: bool


def apply_style_and_composition(
    model: ModelPatcher,
    sources: Sources,
    images: tuple[Tensor, Tensor],
    weights: StyleAndComposition,
    reading: LegacyReading,
    settings: LegacySettings,
    mask: Tensor | None = None,
) -> ModelPatcher:
    """One picture in the layers of style, or in all others too, and another in those of composition."""
    styled = replace(
        settings, weight=weights.style, weight_type="strong style transfer" if weights.expand else "style transfer"
    )
    composed = replace(settings, weight=weights.composition, weight_type="composition")
    for image, one in zip(images, (styled, composed), strict=True):
        model = apply_images(model, sources, image, reading, one, mask)
    return model


def encode_pair(sources: Sources, image: Tensor, weight: float, mask: Tensor | None) -> tuple[ImagePrompt, ImagePrompt]:
    """References with their features multiplied by a weight, and what stands for no image."""
    prompt = read_images(sources.encoder, image, LegacyReading(), None, mask)
    weighed = tuple(replace(part, positive=times(part.positive, weight)) for part in prompt.parts)
    return replace(prompt, parts=weighed), replace(prompt, parts=(Part(prompt.nothing),))


def pair_prompts(positive: ImagePrompt, negative: ImagePrompt | None, order: Order) -> ImagePrompt:
    """A prompt whose unconditional is another prompt. Raises IPAdapterError for two encoders."""
    parts = tuple(replace(part, order=order) for part in positive.parts)
    if negative is None:
        return replace(positive, parts=parts)
    if UNKNOWN not in (positive.encoder, negative.encoder):
        refuse_two_encoders(positive, negative)
    away = negative.parts[0].positive
    return replace(positive, parts=tuple(replace(part, negative=away) for part in parts))


def combine_embeds(prompts: Sequence[ImagePrompt | None], method: str) -> ImagePrompt:
    """All images of the prompts that are there. Raises IPAdapterError for two encoders."""
    given = tuple(prompt for prompt in prompts if prompt is not None)
    refuse_two_encoders(*given)
    return combine_images(given, method)


def apply_regions(
    model: ModelPatcher,
    sources: Sources,
    regions: Sequence[RegionParams],
    reading: LegacyReading,
    settings: LegacySettings,
) -> ModelPatcher:
    """A model that follows each reference in its place."""
    for region in regions:
        own = replace(
            settings,
            weight=region.weight,
            weight_type=region.weight_type,
            start_at=region.start_at,
            end_at=region.end_at,
        )
        model = apply_images(model, sources, region.image, reading, own, region.attn_mask)
    return model


def place_text(conditioning: Conditioning | None, mask: Tensor | None, strength: float) -> Conditioning | None:
    """A text prompt that acts within a mask, or everywhere without one."""
    return conditioning if mask is None else conds_within(conditioning, mask, strength)
