"""Image towers of open_clip checkpoints, built from the tensors alone.

open_clip is imported only where a tower is built: reading its list of architectures must not slow down start-up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .checkpoint import Tensors, flatten, read_tensors
from .errors import IPAdapterError

AUTO = "auto"
QUICK_GELU = "-quickgelu"
PREFIXES = ("visual.", "module.visual.", "model.visual.")
INSTALL = "open_clip is not installed: run `pip install open_clip_torch` in ComfyUI's Python environment and restart."
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HALF = (0.5, 0.5, 0.5)


class TowerOutput(NamedTuple):
    """In the order in which the host's own encoders return them."""

    last_hidden_state: Tensor
    penultimate: Tensor | None
    image_embeds: Tensor
    projected: None = None


@dataclass(frozen=True)
class Architecture:
    """One of open_clip's model configurations, its image side."""

    name: str
    embed_dim: int
    quick_gelu: bool
    vision: dict[str, Any]

    @property
    def image_size(self) -> int:
        """Side of the square the tower reads, in pixels."""
        size = self.vision.get("image_size", 224)
        return int(size[0] if isinstance(size, list) else size)

    @property
    def normalisation(self) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
        """Mean and standard deviation by channel: SigLIP towers were trained with one half."""
        return (HALF, HALF) if "SigLIP" in self.name else (CLIP_MEAN, CLIP_STD)


def config_folder() -> Path | None:
    """Where the installed open_clip keeps its architectures."""
    spec = find_spec("open_clip")
    return (
        Path(spec.submodule_search_locations[0]) / "model_configs" if spec and spec.submodule_search_locations else None
    )


def architecture_names() -> list[str]:
    """Every architecture of the installed open_clip; none where it is not installed."""
    folder = config_folder()
    return sorted(path.stem for path in folder.glob("*.json")) if folder else []


def read_architecture(name: str) -> Architecture:
    """One architecture by name."""
    folder = config_folder()
    if folder is None:
        raise IPAdapterError(INSTALL)
    config = json.loads((folder / f"{name}.json").read_text())
    return Architecture(name, config["embed_dim"], config.get("quick_gelu", False), config["vision_cfg"])


def read_visual(path: Path, name: str) -> Tensors:
    """The image tower's tensors of a checkpoint, without their prefix."""
    flat = flatten(read_tensors(path, name), name)
    flat = {key.removeprefix("state_dict."): tensor for key, tensor in flat.items()}
    for prefix in PREFIXES:
        tower = {key.removeprefix(prefix): tensor for key, tensor in flat.items() if key.startswith(prefix)}
        if tower:
            return tower
    if "conv1.weight" in flat or any(key.startswith("trunk.") for key in flat):
        return flat
    raise IPAdapterError(
        f"'{name}' has no open_clip image tower (no 'visual.' tensors): for files in the transformers layout use "
        "Load CLIP Vision."
    )


def shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    """Names and shapes, to compare a file with an architecture."""
    return {key: tuple(tensor.shape) for key, tensor in tensors.items()}


def could_be(architecture: Architecture, tower: Tensors) -> bool:
    """A quick look, before a tower is built to compare every shape."""
    timm = any(key.startswith("trunk.") for key in tower)
    if timm != bool(architecture.vision.get("timm_model_name")):
        return False
    stem = tower.get("conv1.weight")
    return timm or (stem is not None and stem_width(architecture) == stem.shape[0])


def stem_width(architecture: Architecture) -> int:
    """Channels after the first convolution; a ResNet's stem starts at half its width."""
    width = int(architecture.vision.get("width", 768))
    return width // 2 if isinstance(architecture.vision.get("layers"), list) else width


def detect_architecture(tower: Tensors, name: str) -> Architecture:
    """The architecture whose every shape is the file's.

    GELU and QuickGELU towers have the same shapes: the file's name decides for OpenAI's, else the plain one is taken.
    """
    fitting = list(fitting_architectures(tower))
    if not fitting:
        raise IPAdapterError(
            f"'{name}' fits none of the {len(architecture_names())} architectures of the installed open_clip: choose one "
            "by name, or update open_clip_torch."
        )
    quick = any(word in name.lower() for word in ("openai", "quickgelu", "dfn"))
    return next((found for found in fitting if found.quick_gelu == quick), fitting[0])


def fitting_architectures(tower: Tensors) -> Iterator[Architecture]:
    """Architectures with the file's shapes, plainest name first."""
    if config_folder() is None:
        raise IPAdapterError(INSTALL)
    for name in sorted(architecture_names(), key=lambda name: (len(name), name)):
        architecture = read_architecture(name)
        if could_be(architecture, tower) and shapes(dict(build_tower(architecture).state_dict())) == shapes(tower):
            yield architecture


def build_tower(architecture: Architecture, dtype: torch.dtype = torch.float32) -> nn.Module:
    """The tower with weights still to come (on the meta device, so nothing is initialised)."""
    try:
        from open_clip.model import _build_vision_tower
    except ImportError as error:
        raise IPAdapterError(INSTALL) from error
    with torch.device("meta"):
        return _build_vision_tower(architecture.embed_dim, architecture.vision, architecture.quick_gelu, dtype)


class OpenCLIPTower(nn.Module):
    """An open_clip image tower that answers as the host's encoders do."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixel_values: Tensor, intermediate_output: int | str | None = None) -> TowerOutput:
        """(N, 3, size, size) to hidden states (N, S, D) of the last two layers and embeddings (N, E)."""
        pixels = pixel_values.to(next(self.visual.parameters()).dtype)
        if not getattr(self.visual, "transformer", None) and not hasattr(self.visual, "trunk"):
            embeds = self.visual(pixels)
            return TowerOutput(embeds.unsqueeze(1), None, embeds)
        out = self.visual.forward_intermediates(pixels, indices=2, output_fmt="NLC", output_extra_tokens=True)
        penultimate, last = (tokens for tokens in with_prefix(out))
        return TowerOutput(last, penultimate, out["image_features"])


def with_prefix(out: dict[str, Any]) -> list[Tensor]:
    """Patch tokens of each layer behind its class token, as transformers orders them."""
    prefixes = out.get("image_intermediates_prefix") or [None] * len(out["image_intermediates"])
    return [
        tokens if prefix is None else torch.cat([prefix, tokens], dim=1)
        for prefix, tokens in zip(prefixes, out["image_intermediates"], strict=True)
    ]


def load_tower(architecture: Architecture, tower: Tensors, name: str, dtype: torch.dtype) -> OpenCLIPTower:
    """A tower with a file's weights. Raises IPAdapterError where the file is of another architecture."""
    visual = build_tower(architecture, dtype)
    expected, found = shapes(dict(visual.state_dict())), shapes(tower)
    if expected != found:
        key = min(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        raise IPAdapterError(
            f"'{name}' is not a {architecture.name}: {key} is {list(found.get(key, ())) or 'missing'}, where "
            f"{list(expected.get(key, ())) or 'no such tensor'} is needed; choose 'auto' or the architecture it was trained as."
        )
    visual.load_state_dict({key: tensor.to(dtype) for key, tensor in tower.items()}, assign=True)
    return OpenCLIPTower(visual).requires_grad_(False).eval()
