"""What the user chose for a run: model files, an image and a device, by variables of `make` or of the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.environment import LAYOUT

PHOTO = LAYOUT.root / "tests" / "data" / "photo.jpg"
MODEL_VARIABLES = {"CHECKPOINT": "checkpoints", "ADAPTER": "ipadapter", "ENCODER": "clip_vision"}


class ChoiceError(Exception):
    """The chosen files cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Models:
    """File names as the host's loader nodes list them."""

    checkpoint: str
    adapter: str
    encoder: str


STAND_INS = Models(
    "v1-5-pruned-emaonly-fp16.safetensors",
    "ip-adapter_sd15.safetensors",
    "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
)


@dataclass(frozen=True)
class Chosen:
    """A run's real model files by variable name (none of them, or all three), its image and its device."""

    files: Mapping[str, Path]
    image: Path
    device: str
    own_image: bool = False  # whether the user named the image

    @property
    def models(self) -> Models:
        if not self.files:
            return STAND_INS
        checkpoint, adapter, encoder = (self.files[name].name for name in MODEL_VARIABLES)
        return Models(checkpoint, adapter, encoder)

    @property
    def model_files(self) -> dict[str, Path]:
        """Place below a models folder, as "folder/name" -> the file to show there."""
        return {f"{MODEL_VARIABLES[name]}/{path.name}": path for name, path in self.files.items()}


def existing(variable: str, value: str) -> Path:
    path = Path(value).expanduser()
    if not path.is_file():
        raise ChoiceError(f"{variable}={value} names no file.")
    return path.resolve()


def read_choice(environment: Mapping[str, str]) -> Chosen:
    """Raise ChoiceError for a file that is not there, or a mixture of real models and stand-ins."""
    named = {name: environment[name] for name in MODEL_VARIABLES if environment.get(name)}
    lacking = [name for name in MODEL_VARIABLES if name not in named]
    if named and lacking:
        raise ChoiceError(
            f"{' and '.join(named)} are real but {' and '.join(lacking)} would be stand-ins, which fit each other "
            f"only: name {', '.join(MODEL_VARIABLES)} together, or none of them."
        )
    files = {name: existing(name, value) for name, value in named.items()}
    image = existing("IMAGE", environment.get("IMAGE") or str(PHOTO))
    return Chosen(files, image, environment.get("DEVICE") or "cpu", own_image=bool(environment.get("IMAGE")))
