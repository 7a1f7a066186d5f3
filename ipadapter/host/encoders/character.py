"""What InstantCharacter reads of a picture: several layers of SigLIP and of DINOv2, beside each other.

Source: Tencent's InstantCharacter `pipeline.py`, `encode_image_emb`. DINOv2 places its patches as in transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import comfy.clip_vision
import comfy.model_management
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ...errors import IPAdapterError
from ...images.pixels import PixelFormat
from ...prompts.details import cut_subtiles
from .encoder import PICTURES_A_PASS, pixel_format
from .tower import Pixels, SeveralLayers

QUARTERS = 2  # a side, of the picture at so many times the size


@dataclass(frozen=True)
class TowerLayers:
    """Where one kind of tower has what is read: its layers, those read early, and how many tokens stand first."""

    layers: Callable[[nn.Module], Sequence[nn.Module]]
    shallow: tuple[int, ...]  # counted from 0
    first: int = 0


KINDS_OF_TOWER: dict[str, TowerLayers] = {
    "siglip_vision_model": TowerLayers(lambda model: model.vision_model.encoder.layers, (6, 12, 25)),  # type: ignore
    "dinov2": TowerLayers(lambda model: model.encoder.layer, (8, 18, 28), first=1),  # type: ignore
}


@dataclass(frozen=True)
class Depths:
    """Hidden states of M pictures: after all layers and the last norm, and after each of the shallow ones."""

    deep: Tensor  # (M, S, D)
    shallow: Tensor  # (M, 3 S, D)


class JoinedVision(comfy.clip_vision.ClipVisionModel, SeveralLayers):  # type: ignore[misc]  # the host has no types
    """A SigLIP with a DINOv2 beside it: the SigLIP for whoever does not ask for several layers.

    Raises IPAdapterError for encoders of another kind.
    """

    def __init__(self, siglip: comfy.clip_vision.ClipVisionModel, dinov2: comfy.clip_vision.ClipVisionModel) -> None:
        self.towers = {"siglip_vision_model": siglip, "dinov2": dinov2}
        for kind, tower in self.towers.items():
            refuse_other_tower(tower, kind)
        self.__dict__ = vars(siglip) | {"towers": self.towers}
        self.config = siglip.config | {"architecture": f"{siglip.config.get('architecture', 'SigLIP')} and DINOv2"}

    def states(self, pixels: Pixels) -> Tensor:
        """Late states of SigLIP's square, its early ones, and the late ones of its quarters at twice the size."""
        size = pixel_format(self).size
        whole, quarters = [], []
        for tower in self.towers.values():
            form = pixel_format(tower)
            whole.append(read_depths(tower, pixels(PixelFormat(size, form.mean, form.std))))
            large = pixels(PixelFormat(QUARTERS * size, form.mean, form.std))
            late = read_depths(tower, cut_subtiles(large, QUARTERS)).deep  # (4 N, S, D)
            quarters.append(late.reshape(len(large), -1, late.shape[-1]))
        sides = ([one.deep for one in whole], [one.shallow for one in whole], quarters)
        return torch.cat([torch.cat(side, dim=-1) for side in sides], dim=1)


def refuse_other_tower(clip_vision: comfy.clip_vision.ClipVisionModel, kind: str) -> None:
    """Raises IPAdapterError for an encoder of another kind, or with too few layers."""
    found = clip_vision.config.get("model_type", "an unknown encoder")
    needed = max(KINDS_OF_TOWER[kind].shallow) + 1
    depth = len(KINDS_OF_TOWER[kind].layers(clip_vision.model)) if found == kind else 0
    if depth < needed:
        layers = f" of {depth} layers" if depth else ""
        raise IPAdapterError(
            f"InstantCharacter reads a {kind} of at least {needed} layers here, but is given a {found}{layers}: load "
            "SigLIP so400m/14-384 and DINOv2-giant."
        )


def read_depths(clip_vision: comfy.clip_vision.ClipVisionModel, pixels: Tensor) -> Depths:
    """Normalised pixels (M, 3, size, size) through one of the two towers, a few pictures at a time."""
    comfy.model_management.load_model_gpu(clip_vision.patcher)
    store = comfy.model_management.intermediate_device()
    made = []
    for chunk in pixels.split(PICTURES_A_PASS):
        comfy.model_management.throw_exception_if_processing_interrupted()
        read = read_pass(clip_vision, chunk.to(clip_vision.load_device))
        made.append(Depths(read.deep.float().to(store), read.shallow.float().to(store)))
    return Depths(torch.cat([one.deep for one in made]), torch.cat([one.shallow for one in made]))


def read_pass(clip_vision: comfy.clip_vision.ClipVisionModel, pixels: Tensor) -> Depths:
    """One pass, in which all layers that are read are caught."""
    model = clip_vision.model
    tower = KINDS_OF_TOWER[clip_vision.config["model_type"]]
    layers = tower.layers(model)
    with ExitStack() as stack:
        caught = [stack.enter_context(catching(layers[index])) for index in tower.shallow]
        if tower.first:
            stack.enter_context(placing(model.embeddings))
        deep = model(pixel_values=pixels)[0]
    return Depths(deep[:, tower.first :], torch.cat([one[0][:, tower.first :] for one in caught], dim=1))


@contextmanager
def catching(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What a layer gives meanwhile, copied: the next one may add to it in place."""
    seen: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, given, out: seen.append(out.clone()))
    try:
        yield seen
    finally:
        hook.remove()


@contextmanager
def placing(embeddings: nn.Module) -> Iterator[None]:
    """DINOv2's positions resized to the grid's own size; the host's go by a factor that is a little larger."""
    hook = embeddings.register_forward_hook(lambda module, given, out: embed_patches(module, given[0]))
    try:
        yield
    finally:
        hook.remove()


def embed_patches(embeddings: nn.Module, pixels: Tensor) -> Tensor:
    """Patches and the class token with their positions: (M, 3, H, W) to (M, 1 + S, D)."""
    patches: Tensor = embeddings.patch_embeddings(pixels)  # type: ignore[operator]  # (M, S, D)
    first, positions = (getattr(embeddings, name).to(patches) for name in ("cls_token", "position_embeddings"))
    side, sides = round(patches.shape[1] ** 0.5), round((positions.shape[1] - 1) ** 0.5)
    grid = positions[:, 1:].unflatten(1, (sides, sides)).movedim(-1, 1).float()  # (1, D, h, w)
    if side != sides:
        grid = interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    placed = torch.cat((positions[:, :1], grid.flatten(2).transpose(1, 2).to(patches)), dim=1)  # (1, 1 + S, D)
    return torch.cat((first.expand(len(patches), -1, -1), patches), dim=1) + placed
