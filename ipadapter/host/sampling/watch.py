"""What became of the image prompts of a run, told where the user looks: on the node that sampled, and in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from comfy_execution.utils import get_executing_context

from ...backbones.backbone import Place
from ..notes import show_text


@dataclass
class RunWatch:
    """Which layers a run was to reach and which have asked for their image prompts, counted while it samples."""

    displaced: str = ""  # why a layer would not ask
    meant: set[Place] = field(default_factory=set)
    asked: set[Place] = field(default_factory=set)
    stretched: bool = False  # a mask, over a part of the picture that nobody names
    pieces: bool = False  # whether there is a mask, and the node that samples has just begun its second run

    def expect(self, places: Iterable[Place], stretched: bool) -> None:
        """Note what a call brings."""
        self.meant.update(places)
        self.stretched = self.stretched or stretched

    def sentences(self) -> list[str]:
        """What the user should know; nothing where all went as it should."""
        found = {
            missed(self.meant, self.meant & self.asked, self.displaced): bool(self.meant - self.asked),
            STRETCHED: self.stretched,
            PIECES: self.pieces,
        }
        return [sentence for sentence, holds in found.items() if holds]


class RunCounter:
    """Counts the runs of a node's execution. A tile or a face that is a run of its own gets the whole mask."""

    def __init__(self) -> None:
        self.latest: Any = None
        self.runs = 0

    def is_second(self) -> bool:
        """Count a run, and say whether it is the second of the node that is running."""
        context = get_executing_context()
        self.runs = self.runs + 1 if context is not None and context == self.latest else 1
        self.latest = context
        return self.runs == 2


PIECES = (
    "IP-Adapter: this node samples more than once. Where these runs are pieces of a larger picture (tiles, faces), the "
    "mask is stretched over each of them."
)
STRETCHED = (
    "IP-Adapter: the model was called on parts of the picture, and nothing says which; the mask was stretched over "
    "each of them. Sample in one piece, or in tiles of ComfyUI's own context windows or areas."
)


def missed(meant: set[Place], reached: set[Place], why: str) -> str:
    """The sentence for layers that have not asked."""
    effect = f"acted in only {len(reached)} of {len(meant)} layers" if reached else "had no effect"
    return f"IP-Adapter: the image prompt {effect}, because {why}."


def tell(sentences: Iterable[str]) -> None:
    """Show them on the node that is running, once a run."""
    context = get_executing_context()
    show = show_text(context.node_id if context else None)
    for sentence in sentences:
        logging.warning(sentence)
        show(sentence)
