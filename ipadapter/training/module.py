"""One training step's forward pass: noise, image tokens, the frozen model, the loss (paper eq. 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ..adapters.features import Read
from ..adapters.layer import LayerProjection
from ..adapters.module import IPAdapter
from ..attention.decoupled import Branch, Branches, split_heads
from ..backbones.backbone import CrossAttentionLayer
from .draws import Draw
from .objective import Prediction, prediction_errors, refuse_min_snr
from .recipe import Drops
from .sending import send

# What a model is told, by the host's names: c_crossattn (B, L, C), y (B, P), guidance (B,).
ModelText = dict[str, Tensor]


class FrozenModel(Protocol):
    """The base model, as training needs it."""

    @property
    def layers(self) -> tuple[CrossAttentionLayer, ...]:
        """Those of its layers that an adapter is trained for, in the order of the adapter files' numbers."""

    @property
    def prediction(self) -> Prediction:
        """What it was trained to predict."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def sigma(self, time: float) -> float:
        """The noise level for a uniform draw in 0 … 1, known without asking the device."""

    def add_noise(self, clean: Tensor, noise: Tensor, sigma: Tensor) -> Tensor:
        """The noisy latents, (B, C, h, w)."""

    def learn(self, lora: Mapping[str, Tensor]) -> None:
        """Let a LoRA of all its attentions, by the names of adapter files, act in what follows."""

    def denoise(self, noisy: Tensor, sigma: Tensor, text: ModelText, branches: Branches) -> Tensor:
        """The denoised latents (B, C, h, w), with the image prompt's branches in the cross-attention layers."""


class TrainingSet(Protocol):
    """Pictures with their captions, encoded."""

    def __len__(self) -> int: ...

    def latents(self, indices: Sequence[int]) -> Tensor:
        """What the base model denoises, in its own scale: (B, C, h, w). Of one size."""

    def areas(self, indices: Sequence[int]) -> Tensor | None:
        """How much each place of a picture is learned from, (B, 1, h, w) in 0 … 1; None: all of every picture."""

    def features(self, indices: Sequence[int], dropped: Sequence[bool]) -> Read:
        """What the projection reads, the family's "no image" where dropped: (B, E) or (B, S, D) each."""

    def text(self, indices: Sequence[int], dropped: Sequence[bool]) -> ModelText:
        """What the base model is told, the empty prompt where dropped."""


@dataclass(frozen=True)
class Batch:
    """All that one forward pass reads."""

    latents: Tensor  # (B, C, h, w)
    noise: Tensor  # (B, C, h, w)
    sigma: Tensor  # (B,)
    features: Read  # (B, E) or (B, S, D) each
    text: ModelText
    area: Tensor | None  # (B, 1, h, w)


def make_batch(data: TrainingSet, model: FrozenModel, draws: Sequence[Draw], drops: Drops) -> Batch:
    """Examples of these draws, on the model's device or on their way there."""
    indices = [draw.index for draw in draws]
    dropped = [drops.decide(draw.drop) for draw in draws]
    latents, without_image = data.latents(indices).float(), [each.image for each in dropped]
    text, area = data.text(indices, [each.text for each in dropped]), data.areas(indices)
    return Batch(
        latents=send(latents, model.device),
        noise=send(torch.stack([draw.noise(tuple(latents.shape[1:])) for draw in draws]), model.device),
        sigma=send(torch.tensor([model.sigma(draw.time) for draw in draws]), model.device),
        features=tuple(send(one.float(), model.device) for one in data.features(indices, without_image)),
        text={name: send(tensor, model.device) for name, tensor in text.items()},
        area=None if area is None else send(area.float(), model.device),
    )


class AdapterTraining(nn.Module):
    """Its parameters are the adapter's and no others; calling it gives the loss of a batch."""

    def __init__(self, adapter: IPAdapter, model: FrozenModel, min_snr: float = 0.0) -> None:
        super().__init__()
        refuse_min_snr(model.prediction, min_snr)
        self.adapter = adapter.to(model.device).train()
        self.model, self.min_snr = model, min_snr
        if adapter.lora:
            adapter.lora = {key: nn.Parameter(adapter.lora[key].to(model.device)) for key in sorted(adapter.lora)}
            self.lora = nn.ParameterList(adapter.lora.values())
            model.learn(adapter.lora)

    def forward(self, batch: Batch) -> Tensor:
        """The loss, one number."""
        noisy = self.model.add_noise(batch.latents, batch.noise, batch.sigma)
        branches = image_branches(self.adapter, batch.features, self.model.layers)
        denoised = self.model.denoise(noisy, batch.sigma, batch.text, branches)
        errors = prediction_errors(self.model.prediction, denoised, batch.latents, batch.sigma, self.min_snr)
        return (errors if batch.area is None else errors * batch.area).mean()


def image_branches(adapter: IPAdapter, features: Read, layers: tuple[CrossAttentionLayer, ...]) -> Branches:
    """K' and V' of every layer, a row for each example (paper eq. 4)."""
    family = adapter.spec.family
    tokens, joining = adapter.image_proj(*features, *family.settings(adapter.spec.face)), family.joining  # (B, T, C)
    return {
        layer.place: (image_branch(tokens, projection, layer)._replace(joining=joining),)
        for layer, projection in zip(layers, adapter.layer_projections(), strict=True)
    }


def image_branch(tokens: Tensor, projection: LayerProjection, layer: CrossAttentionLayer) -> Branch:
    """K' and V' of one layer, (B, H, T, d)."""
    pair = projection.keys(tokens, layer.heads), projection.values(tokens)
    keys, values = (split_heads(one, layer.heads) for one in pair)
    return Branch(keys, values, mask=None)
