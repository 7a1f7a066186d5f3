"""What stands in the place of a transformer's whole block, around what stood there before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from comfy.model_patcher import ModelPatcher

from ...backbones.backbone import Place
from ...errors import IPAdapterError
from .feed import Feed, forward_call

REPLACED = "dit"  # the host's name for what stands in the place of blocks

BlockOutput = dict[str, Any]


class BlockPatch:
    """The block, or another node's patch that stood here before, with something done around it."""

    def __init__(self, place: Place, feed: Feed, block: Callable[..., BlockOutput] | None) -> None:
        self.place = place
        self.feed = feed
        self.block = block

    def run(self, args: dict[str, Any], extra_options: dict[str, Any]) -> BlockOutput:
        """What it is around."""
        if self.block is not None:
            return self.block(args, extra_options)
        out: BlockOutput = extra_options["original_block"](args)
        return out

    def to(self, device_or_dtype: Any) -> BlockPatch:
        """Follow the host's move: only another node's patch holds anything to move."""
        moved = forward_call(self.block, "to", device_or_dtype)
        return self if moved is None or moved is self.block else type(self)(self.place, self.feed, moved)

    def models(self) -> list[Any]:
        """Patchers for the host to load: the adapters', and those of another node's patch."""
        return [*self.feed.models, *(forward_call(self.block, "models") or [])]

    def cleanup(self) -> None:
        """After a run, finished, failed or interrupted: drop what was made for it."""
        self.feed.release()
        forward_call(self.block, "cleanup")


def options_given(args: dict[str, Any]) -> dict[str, Any]:
    """The host's options. Raises IPAdapterError where a block is called without them."""
    options: dict[str, Any] | None = args.get("transformer_options")
    if options is None:
        raise IPAdapterError(
            "a node between Apply IP-Adapter and the sampler replaces the model's forward and calls its blocks "
            "without ComfyUI's options (TeaCache does so), so the image prompt cannot act: leave out one of the two."
        )
    return options


def stand_around(model: ModelPatcher, slot: str, places: Iterable[Place], feed: Feed, patch: type[BlockPatch]) -> None:
    """Put a patch at every place, in the place of one of ours and around anybody else's."""
    for place in places:
        replaced = model.model_options["transformer_options"].get("patches_replace", {}).get(REPLACED, {})
        there = replaced.get((slot, place[1]))
        beneath = there.block if isinstance(there, BlockPatch) else there
        model.set_model_patch_replace(patch(place, feed, beneath), REPLACED, slot, place[1])
