"""Image towers of open_clip checkpoints, built from the tensors alone.

open_clip is imported only where a tower is built: reading its list of architectures must not slow down start-up.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..errors import IPAdapterError
from ..files.tensors import Tensors, copied, read_tensors, shapes
from ..files.wrapped_names import unwrap
from ..numbers import Range, require_all, shorten
from ..progress import Progress, no_progress

AUTO = "auto"
QUICK_GELU = "-quickgelu"
QUICK_GELU_FILES = ("openai", "quickgelu", "dfn", "metaclip")  # words in the names of files trained with it
TIMM_HEADS = {"linear": "head.proj.weight", "mlp": "head.mlp.fc2.weight"}  # open_clip's, on a timm trunk
PREFIXES = ("visual.", "model.visual.")
SIZE, BLOCK_NUMBER = Range(-1e6, 1e6), Range(0, 1000, whole=True)  # of a user's own architecture
INSTALL = "open_clip is not installed: run `pip install open_clip_torch` in ComfyUI's Python environment and restart."
OLD_TIMM = "this tower needs a newer timm: run `pip install -U timm` in ComfyUI's Python environment and restart."
FILLERS = {
    getattr(Tensor, name) for name in ("add_", "clamp_", "copy_", "erfinv_", "fill_", "mul_", "normal_", "uniform_")
}
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

Colour = tuple[float, float, float]


class TowerOutput(NamedTuple):
    """In the order in which the host's own encoders return them."""

    last_hidden_state: Tensor
    penultimate: Tensor | None
    image_embeds: Tensor
    projected: None = None


@dataclass(frozen=True)
class Architecture:
    """One of open_clip's model configurations, or one of the user's own in the same words."""

    name: str
    embed_dim: int
    quick_gelu: bool
    vision: dict[str, Any]
    text: dict[str, Any] = field(default_factory=dict)
    preprocess: dict[str, Any] = field(default_factory=dict)  # what the user's own says; empty for open_clip's

    @property
    def image_size(self) -> int:
        """Side of the square the tower reads, in pixels."""
        size = self.vision.get("image_size", 224)
        return int(size[0] if isinstance(size, list) else size)

    @property
    def normalisation(self) -> tuple[Colour, Colour]:
        """Mean and standard deviation by channel."""
        mean, std = self.prepared("mean", CLIP_MEAN), self.prepared("std", CLIP_STD)
        return tuple(mean), tuple(std)

    @property
    def resize_mode(self) -> str:
        """How a picture becomes the tower's square: "shortest" (and a centre crop), "longest" or "squash"."""
        return str(self.prepared("resize_mode", "shortest"))

    def prepared(self, what: str, otherwise: Any) -> Any:
        """One word of the preprocessing: the user's own, else as most of open_clip's weights were trained."""
        from open_clip import get_pretrained_cfg, list_pretrained_tags_by_model

        if self.preprocess:
            return self.preprocess.get(what) or otherwise
        weights = (get_pretrained_cfg(self.name, tag) for tag in list_pretrained_tags_by_model(self.name))
        seen = Counter(hashable(config.get(what) or otherwise) for config in weights)
        return seen.most_common(1)[0][0] if seen else otherwise


def hashable(value: Any) -> Any:
    """Lists as tuples, so that they can be counted."""
    return tuple(value) if isinstance(value, list) else value


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
    return from_config(name, json.loads((folder / f"{name}.json").read_text(encoding="utf-8")), {})


def from_config(name: str, model: dict[str, Any], preprocess: dict[str, Any]) -> Architecture:
    """An architecture in open_clip's words: its `model_cfg` and `preprocess_cfg`."""
    text = model.get("text_cfg", {})
    return Architecture(name, model["embed_dim"], model.get("quick_gelu", False), model["vision_cfg"], text, preprocess)


def described_architecture(path: Path, name: str) -> Architecture | None:
    """What `<file stem>.json` beside a weights file says it is, in the layout of open_clip_config.json.

    None where there is no such file, or one that is about something else. Raises IPAdapterError for a bad one.
    """
    beside = path.with_suffix(".json")
    try:
        config = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else None
        if not isinstance(config, dict) or "model_cfg" not in config:
            return None
        made = from_config(path.stem, config["model_cfg"], config.get("preprocess_cfg") or {})
        sizes = list(numbers_in(config))
        depths = [depth for tower in (made.vision, made.text) for depth in numbers_in(tower.get("layers"))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = shorten(str(error) or type(error).__name__)
        raise IPAdapterError(
            f"'{beside.name}' beside '{name}' does not describe an open_clip architecture ({reason}): it needs "
            "model_cfg with embed_dim, vision_cfg and text_cfg, as open_clip_config.json has them."
        ) from error
    require_all(sizes, f"a number in '{beside.name}'", SIZE)
    require_all(depths, f"layers in '{beside.name}'", BLOCK_NUMBER)
    return made


def numbers_in(config: Any) -> Iterator[float]:
    """Every number of a configuration."""
    if isinstance(config, (int, float)):
        yield config
    members = config.values() if isinstance(config, dict) else config if isinstance(config, list) else ()
    for member in members:
        yield from numbers_in(member)


def read_visual(path: Path, name: str) -> Tensors:
    """The image tower's tensors of a checkpoint, without their prefix."""
    flat = unwrap(read_tensors(path, name), name)
    for prefix in PREFIXES:
        tower = {key.removeprefix(prefix): tensor for key, tensor in flat.items() if key.startswith(prefix)}
        if tower:
            return copied(tower, name)
    if "conv1.weight" in flat or any(key.startswith("trunk.") for key in flat):
        return copied(flat, name)
    raise IPAdapterError(
        f"'{name}' has no open_clip image tower (no 'visual.' tensors): for files in the transformers layout use "
        "Load CLIP Vision."
    )


def could_be(architecture: Architecture, tower: Tensors) -> bool:
    """A quick look, before a tower is built to compare every shape."""
    if any(key.startswith("trunk.") for key in tower) != bool(architecture.vision.get("timm_model_name")):
        return False
    if architecture.vision.get("timm_model_name"):
        return head_fits(architecture, tower)
    stem = tower.get("conv1.weight")
    return stem is not None and stem.ndim == 4 and stem_width(architecture) == stem.shape[0]


def head_fits(architecture: Architecture, tower: Tensors) -> bool:
    """Whether a timm tower's projection is of the architecture's kind and width."""
    wanted = TIMM_HEADS.get(architecture.vision.get("timm_proj", "linear"))
    if [key for key in TIMM_HEADS.values() if key in tower] != ([wanted] if wanted else []):
        return False
    return wanted is None or tower[wanted].shape[:1] == (architecture.embed_dim,)


def stem_width(architecture: Architecture) -> int:
    """Channels after the first convolution; a ResNet's stem starts at half its width."""
    width = int(architecture.vision.get("width", 768))
    return width // 2 if isinstance(architecture.vision.get("layers"), list) else width


def detect_architecture(tower: Tensors, name: str, progress: Progress = no_progress) -> Architecture:
    """The architecture whose every shape is the file's, found by building candidates until one fits.

    GELU and QuickGELU towers have the same shapes: the file's name decides for OpenAI's, else the plain one is taken.
    """
    candidates = candidate_architectures(tower, any(word in name.lower() for word in QUICK_GELU_FILES))
    for tried, architecture in enumerate(candidates):
        progress(tried, len(candidates))
        if shapes(dict(build_tower(architecture).state_dict())) == shapes(tower):
            return architecture
    raise IPAdapterError(
        f"'{name}' fits none of the {len(architecture_names())} architectures of the installed open_clip: choose one "
        "by name, or update open_clip_torch."
    )


def candidate_architectures(tower: Tensors, quick_gelu: bool) -> list[Architecture]:
    """What a tower could be: architectures of the wanted activation first, and of them the plainest name."""
    if config_folder() is None:
        raise IPAdapterError(INSTALL)

    def preference(architecture: Architecture) -> tuple[bool, bool, int, str]:
        plain = architecture.name.removesuffix(QUICK_GELU)
        other_text = plain[0].islower()  # a ViT with another text tower: roberta-ViT-B-32, coca_ViT-L-14
        return architecture.quick_gelu != quick_gelu, other_text, len(plain), plain

    return sorted((a for a in map(read_architecture, architecture_names()) if could_be(a, tower)), key=preference)


class Unfilled(TorchFunctionMode):
    """Leaves tensors of the meta device alone, which hold nothing: filling those of a dozen towers takes seconds."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in FILLERS and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def build_tower(architecture: Architecture) -> nn.Module:
    """The tower with weights still to come (on the meta device, where nothing is initialised)."""
    try:
        from open_clip.model import _build_vision_tower
    except ImportError as error:
        raise IPAdapterError(INSTALL) from error
    with torch.device("meta"), Unfilled():
        tower: nn.Module = _build_vision_tower(architecture.embed_dim, architecture.vision, architecture.quick_gelu)
    return tower


class OpenCLIPTower(nn.Module):
    """An open_clip image tower that answers as the host's encoders do."""

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixel_values: Tensor, intermediate_output: int | str | None = None) -> TowerOutput:
        """(N, 3, size, size) to hidden states (N, S, D) of the last two layers and embeddings (N, E)."""
        pixels = pixel_values.to(next(self.visual.parameters()).dtype)
        out = self.visual.forward_intermediates(  # type: ignore[operator]
            pixels, indices=2, output_fmt="NCHW", output_extra_tokens=has_class_token(self.visual)
        )
        penultimate, last = hidden_states(out)
        return TowerOutput(last, penultimate, out["image_features"])


def has_class_token(visual: nn.Module) -> bool:
    """Whether other tokens stand before the patches: open_clip's own ViTs have one, timm's trunks say so."""
    trunk = getattr(visual, "trunk", None)
    return trunk is None or getattr(trunk, "num_prefix_tokens", 0) > 0


def hidden_states(out: dict[str, Any]) -> list[Tensor]:
    """Tokens (N, S, D) of the last two blocks (of a convolutional tower: stages), the class token first."""
    patches = [grid.flatten(2).transpose(1, 2) for grid in out["image_intermediates"]]  # (N, D, h, w) to (N, h · w, D)
    prefixes = out.get("image_intermediates_prefix")
    return [torch.cat(pair, dim=1) for pair in zip(prefixes, patches, strict=True)] if prefixes else patches


def load_tower(architecture: Architecture, tower: Tensors, name: str, dtype: torch.dtype) -> OpenCLIPTower:
    """A tower with a file's weights. Raises IPAdapterError where the file is of another architecture."""
    visual = build_tower(architecture)
    expected, found = shapes(dict(visual.state_dict())), shapes(tower)
    if expected != found:
        key = min(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        raise IPAdapterError(
            f"'{name}' is not a {architecture.name}: {key} is {list(found.get(key, ())) or 'missing'}, where "
            f"{list(expected.get(key, ())) or 'no such tensor'} is needed; choose 'auto' or the architecture it was "
            "trained as."
        )
    visual.load_state_dict(tower, assign=True)
    compute_constants(visual)
    return OpenCLIPTower(visual).to(dtype).requires_grad_(False).eval()


def compute_constants(visual: nn.Module) -> None:
    """Rotary tables, window masks and the like, which timm computes and no file holds."""
    for module in visual.modules():
        missing = [name for name, buffer in module.named_buffers(recurse=False) if buffer.is_meta]
        for name in missing:
            setattr(module, name, torch.empty_like(getattr(module, name), device="cpu"))
        if missing:
            if not hasattr(module, "init_non_persistent_buffers"):
                raise IPAdapterError(OLD_TIMM)
            module.init_non_persistent_buffers()  # type: ignore[operator]
