"""CLIP: an image tower and a text tower that agree on which caption tells of which picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import store
from ..models import CLIP_CONFIG, CONTEXT, make_clip
from ..training import Recipe, Result, here, pictures_of, train
from ..world import (
    ATTRIBUTES,
    EVERYTHING,
    MENTIONS,
    Mention,
    Scene,
    caption,
    every_caption,
    held_out_scenes,
    train_scenes,
)


@dataclass(frozen=True)
class Round:
    """A part of the training. `naming` weighs linear heads that name the attributes from the image feature."""

    recipe: Recipe
    naming: float


ROUNDS = (
    Round(Recipe(steps=2000, batch=64, learning_rate=1e-3, weight_decay=0.05, average=0.998), 0.0),
    Round(Recipe(steps=3600, batch=32, learning_rate=1e-3, weight_decay=0.05, average=0.998), 0.5),
)
DAY, NIGHT = 12000, 4000
PARTIAL = tuple(one for one in MENTIONS if one != EVERYTHING)
FULL = 0.4  # share of captions that tell everything


def build(seed: int) -> dict[str, Any]:
    """Train, check on held-out scenes, save with only the words that captions use."""
    torch.manual_seed(seed)
    scenes = train_scenes(DAY, seed)
    pictures = torch.cat([pictures_of(scenes), pictures_of(scenes[:NIGHT], "night")])
    clip = make_clip()
    forget_unused_words(clip)
    results = [fit(clip, pictures, [*scenes, *scenes[:NIGHT]], one, seed + i) for i, one in enumerate(ROUNDS)]
    return finish(clip, results)


def finish(clip: open_clip.CLIP, results: list[Result]) -> dict[str, Any]:
    """Save, and say how the last round ended and how held-out scenes are understood."""
    forget_unused_words(clip)
    store.save("clip", compact(clip.state_dict()))
    seconds = sum(result.seconds for result in results)
    return {**vars(results[-1]), "seconds": seconds, "held_out": zero_shot(clip.eval(), held_out_scenes(480, 7))}


def tokens_of(texts: list[str]) -> Tensor:
    """Token ids (N, CONTEXT), padded as open_clip pads."""
    return open_clip.SimpleTokenizer(context_length=CONTEXT)(texts)


def used_words() -> Tensor:
    """Ids of every token of every caption, in order."""
    return tokens_of(list(every_caption())).unique()


def forget_unused_words(clip: open_clip.CLIP) -> None:
    """Words that no caption has say nothing, so that their rows need not be stored."""
    unused = torch.ones(clip.token_embedding.num_embeddings, dtype=torch.bool)
    unused[used_words()] = False
    with torch.no_grad():
        clip.token_embedding.weight[unused] = 0


def compact(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights with the used rows of the token embedding in place of all."""
    ids = used_words()
    kept = {key: tensor for key, tensor in state.items() if key not in ("token_embedding.weight", "attn_mask")}
    return {**kept, "token_embedding.ids": ids, "token_embedding.rows": state["token_embedding.weight"][ids]}


def normalised(pictures: Tensor) -> Tensor:
    """uint8 (N, H, W, 3) to what the image tower reads, (N, 3, H, W)."""
    chosen = CLIP_CONFIG["preprocess_cfg"]
    mean, std = (torch.tensor(chosen[key]).view(3, 1, 1) for key in ("mean", "std"))
    return (pictures.movedim(-1, 1).float() / 255 - mean) / std


def values_of(scenes: list[Scene]) -> Tensor:
    """Attributes as numbers, (N, 4)."""
    return torch.tensor([[names.index(getattr(s, key)) for key, names in ATTRIBUTES.items()] for s in scenes])


def mentioned(mention: Mention) -> list[bool]:
    """Which attributes a mention tells, in the order of ATTRIBUTES."""
    return [getattr(mention, key) for key in ATTRIBUTES]


def tells_of(values: Tensor, mentions: Tensor) -> Tensor:
    """Whether the caption of scene j, told as its mention says, is true of scene i: (N, N)."""
    same = values[:, None] == values[None]  # (N, N, 4)
    return (same | ~mentions[None]).all(-1)


def contrast(logits: Tensor, pairs: Tensor) -> Tensor:
    """Cross-entropy of each row with all its true columns, evenly."""
    target = pairs.float() / pairs.sum(1, keepdim=True)
    return functional.cross_entropy(logits.float(), target)


@dataclass(frozen=True)
class Batch:
    """Some scenes, each with a caption."""

    pixels: Tensor  # (N, 3, H, W)
    text: Tensor  # (N, tokens)
    values: Tensor  # (N, 4), the attributes
    mentions: Tensor  # (N, 4), which of them the caption tells


class Batches:
    """Draws scenes and captions at random."""

    def __init__(self, pictures: Tensor, scenes: list[Scene], size: int, seed: int) -> None:
        self.pictures, self.scenes, self.size = pictures, scenes, size
        self.values = values_of(scenes)
        self.generator = torch.Generator().manual_seed(seed)
        texts = list(every_caption())
        self.words = dict(zip(texts, tokens_of(texts), strict=True))

    def draw(self) -> Batch:
        """The next batch, its pixels a little noisy."""
        chosen = torch.randint(len(self.scenes), (self.size,), generator=self.generator)
        told = [self.mention() for _ in chosen]
        text = torch.stack([self.words[caption(self.scenes[i], m)] for i, m in zip(chosen, told, strict=True)])
        pixels = normalised(self.pictures[chosen])
        strength = 0.15 * torch.rand(self.size, 1, 1, 1, generator=self.generator)
        pixels = pixels + strength * torch.randn(pixels.shape, generator=self.generator)
        told_of = torch.tensor([mentioned(m) for m in told])
        return Batch(here(pixels), here(text), here(self.values[chosen]), here(told_of))

    def mention(self) -> Mention:
        full, which = torch.rand(2, generator=self.generator).tolist()
        return EVERYTHING if full < FULL else PARTIAL[int(which * len(PARTIAL))]


def fit(clip: open_clip.CLIP, pictures: Tensor, scenes: list[Scene], one: Round, seed: int) -> Result:
    """Both directions of the contrastive loss, every true pair in a batch counted as one."""
    batches = Batches(pictures, scenes, one.recipe.batch, seed)
    heads = nn.ModuleList(nn.Linear(clip.visual.output_dim, len(names)) for names in ATTRIBUTES.values())

    def loss_of(step: int) -> Tensor:
        batch = batches.draw()
        seen, told = clip.encode_image(batch.pixels), clip.encode_text(batch.text, True)
        logits = clip.logit_scale.exp().clamp(max=100) * functional.normalize(seen, dim=-1) @ told.T
        pairs = tells_of(batch.values, batch.mentions)
        named = sum(functional.cross_entropy(h(seen).float(), v) for h, v in zip(heads, batch.values.T, strict=True))
        return 0.5 * (contrast(logits, pairs) + contrast(logits.T, pairs.T)) + one.naming * named

    return train(nn.ModuleList([clip, heads]), loss_of, one.recipe, "clip")


@torch.no_grad()
def zero_shot(clip: open_clip.CLIP, scenes: list[Scene]) -> dict[str, float]:
    """How often the most similar of an attribute's captions is the true one."""
    seen = clip.encode_image(normalised(pictures_of(scenes)), True)
    return {key: share_right(clip, seen, scenes, key) for key in ATTRIBUTES}


def share_right(clip: open_clip.CLIP, seen: Tensor, scenes: list[Scene], key: str) -> float:
    """One attribute, by captions that tell it alone."""
    mention = Mention(**{name: name == key for name in ATTRIBUTES})
    changes: list[dict[str, Any]] = [{key: name} for name in ATTRIBUTES[key]]
    alike = [caption(replace(scenes[0], **change), mention) for change in changes]
    told = clip.encode_text(tokens_of(alike), True)
    best = (seen @ told.T).argmax(1)
    return float((best == values_of(scenes)[:, list(ATTRIBUTES).index(key)]).float().mean())
