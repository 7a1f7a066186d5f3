"""The models of the soak's server: the laboratory's, small enough for hundreds of pictures, and faces for them."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import save_file

from lab.files import unpack_clip
from lab.store import path_of
from tests.adapters import random_adapter
from tools.environment import LAYOUT
from tools.lab import reference_pictures
from tools.server import FOLDERS

SIGLIP = "clip_vision/sigclip_vision_patch14_384.safetensors"
CHANNELS, CONTEXT, WIDTH = (64, 128, 128, 128, 64, 64, 128), 128, 128  # of the laboratory's UNet, text and encoder
FACE_PICTURES = 20  # five times as many as there are others
FACES = {
    "lab-faceid.safetensors": random_adapter("FaceID", CHANNELS, CONTEXT),
    "lab-faceid-plusv2.safetensors": random_adapter("FaceID Plus", CHANNELS, CONTEXT, hidden=WIDTH, depth=1),
}


def write_models(models: Path) -> None:
    """All model folders; what is there is replaced."""
    shutil.rmtree(models, ignore_errors=True)
    adapters = models / "ipadapter"
    adapters.mkdir(parents=True)
    for name in ("ip-adapter", "ip-adapter-plus"):
        shutil.copy(path_of(name), adapters / f"{name}-lab.safetensors")
    for name, file in FACES.items():
        save_file(file.flat(), adapters / name)
    unpack_clip(models / "clip_vision")
    (models / SIGLIP).symlink_to(LAYOUT.models / SIGLIP)
    (models / "insightface").symlink_to(LAYOUT.models / "insightface")


def write_pictures(directory: Path, face: Path) -> None:
    """What Load Image offers."""
    for name in FOLDERS:
        (directory / name).mkdir(parents=True, exist_ok=True)
    for name, picture in reference_pictures().items():
        (directory / "input" / name).write_bytes(picture)
    for number in range(FACE_PICTURES):
        shutil.copy(face, directory / "input" / f"face {number}.png")
