"""The pictures a graph trains on: images, latents and conditionings, as the host's dataset nodes give them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.conds
import comfy.model_base
import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy.utils import reshape_mask
from torch import Tensor

from ...adapters.features import Read
from ...errors import IPAdapterError
from ...training.buckets import Buckets
from ...training.module import ModelText
from ...training.recipe import Recipe
from ..sampling.conditioning import Conditioning

ModelConds = dict[str, comfy.conds.CONDRegular]

# What training would silently pass over.
NOT_LEARNED = ("control", "area", "mask", "hooks", "gligen", "reference_latents")


@dataclass(frozen=True)
class GraphPictures:
    """What a graph gives, one entry a picture: (1, H, W, 3), (1, C, h, w), one conditioning."""

    images: list[Tensor]
    latents: list[Tensor]
    texts: list[list[Any]]  # each a tensor and its options
    empty: list[Any]
    areas: list[Tensor | None] = field(default_factory=list)  # (1, 1, H, W) each, of the latents' masks

    def __len__(self) -> int:
        return len(self.images)


def graph_pictures(
    images: Sequence[Tensor],
    latents: Sequence[dict[str, Tensor]],
    positive: Sequence[Conditioning],
    empty: Conditioning,
) -> GraphPictures:
    """Lists and batches as single pictures. Raises IPAdapterError where the counts do not fit each other."""
    pictures = [picture for batch in images for picture in batch.split(1)]
    samples = [sample for entry in latents for sample in entry["samples"].split(1)]
    areas = [area for entry in latents for area in areas_of(entry)]
    texts = [text for conditioning in positive for text in conditioning]
    texts = texts * len(pictures) if len(texts) == 1 else texts
    if not (len(pictures) == len(samples) == len(texts)) or not pictures:
        raise IPAdapterError(
            f"images has {len(pictures)} picture(s), latents {len(samples)} and positive {len(texts)} caption(s): give "
            "one latent for each picture, and one caption for each or one for all (Make Training Dataset does)."
        )
    for text in (*texts, *empty):
        refuse_unlearned(text[1])
    return GraphPictures(pictures, samples, texts, empty[0], areas)


def areas_of(latents: dict[str, Tensor]) -> list[Tensor | None]:
    """The mask of each latent, (1, 1, H, W), as Set Latent Noise Mask leaves it: the last ones repeat the first."""
    count, mask = len(latents["samples"]), latents.get("noise_mask")
    if mask is None:
        return [None] * count
    rows = mask.reshape(-1, 1, *mask.shape[-2:]).float()
    return [rows[number % len(rows)][None] for number in range(count)]


def refuse_unlearned(options: dict[str, Any]) -> None:
    """Refuse what a conditioning carries beside text that training would not see."""
    found = [key for key in NOT_LEARNED if options.get(key) is not None]
    if found:
        raise IPAdapterError(
            f"a conditioning carries {', '.join(found)}, which training does not use: connect the plain text "
            "conditioning."
        )


def buckets_of(latents: list[Tensor], recipe: Recipe) -> Buckets | None:
    """Pictures of one size, where they are of several and a batch holds several: a step is of one size then."""
    made = Buckets.of([latent.shape for latent in latents])
    return made if len(made.members) > 1 and recipe.batch_size > 1 else None


def refuse_mixed_texts(texts: Sequence[ModelConds], batch_size: int) -> None:
    """A batch is of texts that the host can join: some models take those of one length alone."""
    lengths = Counter(text["c_crossattn"].cond.shape[1] for text in texts)
    joined = all(text["c_crossattn"].can_concat(texts[0]["c_crossattn"]) for text in texts)
    if not joined and batch_size > 1:
        listed = ", ".join(f"{count} of {length} tokens" for length, count in lengths.most_common(4))
        raise IPAdapterError(
            f"captions are of {len(lengths)} lengths ({listed}), which this model does not take in one batch of "
            f"{batch_size}: shorten the longer ones, or set batch_size to 1 and grad_accumulation to what batch_size "
            "was."
        )


@dataclass(frozen=True)
class EncodedPictures:
    """`TrainingSet` of the trainer."""

    clean: list[Tensor]  # (1, C, h, w) each, in the model's own scale
    places: list[Tensor] | None  # (1, 1, h, w) each: how much of a picture is learned from
    conds: list[ModelConds]
    empty: list[ModelConds]  # the empty prompt, for each picture
    encoded: Read  # (N, E) or (N, S, D) each
    nothing: Read  # (1, E) or (1, S, D) each
    empty_text: list[Any]  # the empty prompt as the graph gave it

    def __len__(self) -> int:
        return len(self.clean)

    def latents(self, indices: Sequence[int]) -> Tensor:
        return torch.cat([self.clean[index] for index in indices])

    def areas(self, indices: Sequence[int]) -> Tensor | None:
        return None if self.places is None else torch.cat([self.places[index] for index in indices])

    def features(self, indices: Sequence[int], dropped: Sequence[bool]) -> Read:
        rows = list(zip(indices, dropped, strict=True))
        reads = zip(self.encoded, self.nothing, strict=True)
        return tuple(torch.cat([none if drop else seen[i : i + 1] for i, drop in rows]) for seen, none in reads)

    def text(self, indices: Sequence[int], dropped: Sequence[bool]) -> ModelText:
        rows = zip(indices, dropped, strict=True)
        return join_conds([(self.empty if drop else self.conds)[index] for index, drop in rows])


def join_conds(rows: list[ModelConds]) -> ModelText:
    """One row a picture, joined as the host joins them (texts of two lengths are repeated to a common one)."""
    first, *rest = rows
    return {name: cond.concat([row[name] for row in rest]) for name, cond in first.items()}


def encode_pictures(
    model: comfy.model_base.BaseModel, pictures: GraphPictures, features: Read, nothing: Read
) -> EncodedPictures:
    """Everything a step reads, made once, outside inference mode."""
    made: dict[tuple[int, torch.Size], ModelConds] = {}

    def conds(text: list[Any], latent: Tensor) -> ModelConds:
        key = (id(text), latent.shape)
        if key not in made:
            made[key] = model_conds(model, text, latent)
        return made[key]

    return EncodedPictures(
        clean=[model.process_latent_in(latent.clone().float()) for latent in pictures.latents],
        places=learned_places(pictures),
        conds=[conds(*pair) for pair in zip(pictures.texts, pictures.latents, strict=True)],
        empty=[conds(pictures.empty, latent) for latent in pictures.latents],
        encoded=tuple(one.clone() for one in features),
        nothing=tuple(one.clone() for one in nothing),
        empty_text=pictures.empty,
    )


def learned_places(pictures: GraphPictures) -> list[Tensor] | None:
    """Masks at the latents' size, as the host resizes them; all of a picture where only others have one."""
    if all(area is None for area in pictures.areas):
        return None
    pairs = zip(pictures.areas, (latent.shape[-2:] for latent in pictures.latents), strict=True)
    return [torch.ones(1, 1, *size) if area is None else reshape_mask(area, (1, 1, *size)) for area, size in pairs]


def model_conds(model: comfy.model_base.BaseModel, text: list[Any], latent: Tensor) -> ModelConds:
    """A caption as the host's model takes it for a picture of that size (SDXL is told the size)."""
    conds = comfy.sampler_helpers.convert_cond([text])
    encoded = comfy.samplers.encode_model_conds(model.extra_conds, conds, latent, latent.device, "positive")
    made: ModelConds = encoded[0]["model_conds"]
    return {name: type(cond)(cond.cond.clone()) for name, cond in made.items() if isinstance(cond.cond, Tensor)}
