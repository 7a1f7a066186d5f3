"""Where a judge's weights are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import IPAdapterError


@dataclass(frozen=True)
class WeightSource:
    """What stands behind a measure's name: a file or folder, or a word that its library knows; empty for nothing."""

    text: str
    path: Path | None = None

    @property
    def name(self) -> str:
        return self.path.name if self.path else self.text

    @property
    def file(self) -> Path:
        """Raises IPAdapterError where it is none."""
        if self.path is None or not self.path.is_file():
            raise IPAdapterError(f"'{self.text}' is not there, where a file of weights is needed.")
        return self.path

    @property
    def folder(self) -> Path:
        """Raises IPAdapterError where it is none."""
        if self.path is None or not self.path.is_dir():
            raise IPAdapterError(f"'{self.text}' is not there, where a folder with a model of transformers is needed.")
        return self.path


def library_file(address: str, measure: str) -> Path:
    """Where torch's libraries keep what they fetch from an address, which is not done here.

    Raises IPAdapterError where it is not there.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", address.rsplit("/", 1)[-1])
    if not path.is_file():
        raise IPAdapterError(
            f"{measure} needs {path.name}, which is not in '{path.parent}', and nothing is downloaded here: get it "
            f"from {address} and save it there."
        )
    return path
