"""How legacy nodes deal frames and masks out to pictures."""

from __future__ import annotations

from collections.abc import Sequence

from ..attention.application import Application, Fitting


class Held(Fitting):
    """There may be frames and masks for more pictures than are sampled, and fewer, of which the last is held."""

    def refuse(self, app: Application, pictures: int) -> None:
        """Nothing is refused."""

    def masks_for(self, masks: int, frames: Sequence[int]) -> list[int]:
        return [min(frame, masks - 1) for frame in frames]


HELD = Held()
