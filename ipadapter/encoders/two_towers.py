"""Both towers of an open_clip model, for measuring how well pictures and captions agree.

A file may be open_clip's own state dict (either class) or in the layout of transformers' CLIPModel. open_clip is
imported only where a tower is built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..errors import IPAdapterError
from ..files.tensors import Tensors, copied, read_tensors, shapes
from ..files.wrapped_names import unwrap
from ..images.pixels import Fit, PixelFormat
from ..progress import Progress, no_progress
from .image_tower import (
    AUTO,
    INSTALL,
    PREFIXES,
    QUICK_GELU_FILES,
    Architecture,
    OpenCLIPTower,
    build_tower,
    candidate_architectures,
    described_architecture,
    load_tower,
    read_architecture,
)
from .transformers_layout import from_transformers, is_transformers_layout

Tokenizer = Callable[[list[str]], Tensor]

TEXT_PARTS = ("text_projection", "positional_embedding", "token_embedding.", "transformer.", "ln_final.", "cls_emb")
FITS = {"shortest": Fit.CROP, "longest": Fit.PAD, "squash": Fit.STRETCH}
OPENAI_WIDTHS = (768, 1024)  # of the image towers that OpenAI trained, all with QuickGELU
LARGEST_SCALE = 100.0
NOT_OPENAI_FILES = ("laion", "datacomp", "commonpool")


@dataclass(frozen=True)
class TowerFile:
    """The tensors of a file: of its image tower, and of its text tower where it has one."""

    name: str
    visual: Tensors
    text: Tensors
    quick_gelu: bool  # the likelier of two activations that no tensor tells apart
    scale: float


class Towers(nn.Module):
    """An image tower and, where the file has one, a text tower, which meet in one space of unit vectors."""

    def __init__(self, visual: OpenCLIPTower, text: nn.Module | None) -> None:
        super().__init__()
        self.visual, self.text = visual, text

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """(N, 3, size, size) to unit vectors (N, E) in float32."""
        return normalize(self.visual(pixels).image_embeds.float(), dim=-1)

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """(N, L) to unit vectors (N, E) in float32."""
        assert self.text is not None
        out = self.text(tokens)
        return normalize((out[0] if isinstance(out, tuple) else out).float(), dim=-1)


@dataclass(frozen=True)
class MetricEncoder:
    """What measures: towers, how pictures are prepared for them, and how captions become tokens."""

    name: str
    architecture: Architecture
    towers: Towers
    scale: float  # what its training multiplied cosines by

    @property
    def form(self) -> PixelFormat:
        return PixelFormat(self.architecture.image_size, *self.architecture.normalisation)

    @property
    def fit(self) -> Fit:
        return FITS.get(self.architecture.resize_mode, Fit.CROP)

    @property
    def label(self) -> str:
        """For people: the architecture and the file."""
        return f"{self.architecture.name} ({self.name})"


def open_towers(
    path: Path,
    name: str,
    architecture: str = AUTO,
    dtype: torch.dtype = torch.float32,
    progress: Progress = no_progress,
) -> MetricEncoder:
    """Read a file's towers. Raises IPAdapterError for a damaged file, or one of another architecture."""
    file = read_towers(path, name)
    if architecture != AUTO:
        chosen = read_architecture(architecture)
    else:
        chosen = described_architecture(path, name) or detect_towers(file, progress)
    text = load_text(chosen, file, dtype) if file.text else None
    towers = Towers(load_tower(chosen, file.visual, name, dtype), text)
    return MetricEncoder(name, chosen, towers.requires_grad_(False).eval(), file.scale)


def read_towers(path: Path, name: str) -> TowerFile:
    """Both towers' tensors, sorted. Raises IPAdapterError where there is no image tower."""
    flat = unwrap(read_tensors(path, name), name)
    theirs = is_transformers_layout(flat)
    flat = strip_prefix(from_transformers(flat) if theirs else flat)
    visual = {key.removeprefix("visual."): tensor for key, tensor in flat.items() if key.startswith("visual.")}
    if not visual:
        raise IPAdapterError(
            f"'{name}' has no CLIP image tower (no 'visual.' or 'vision_model.' tensors): choose a file that holds "
            "both towers of an open_clip model."
        )
    quick = any(word in name.lower() for word in QUICK_GELU_FILES) or (theirs and is_openai(name, visual))
    return TowerFile(name, copied(visual, name), copied(text_tensors(flat), name), quick, scale_of(flat))


def scale_of(flat: Tensors) -> float:
    """The temperature a file was trained to, or CLIP's own bound where it does not say."""
    scale = flat.get("logit_scale")
    return float(scale.float().exp()) if scale is not None and scale.numel() == 1 else LARGEST_SCALE


def is_openai(name: str, visual: Tensors) -> bool:
    """Whether a file in transformers' layout is likely OpenAI's: by its width, unless the name says otherwise."""
    stem = visual.get("conv1.weight")
    narrow = stem is not None and stem.shape[0] in OPENAI_WIDTHS
    return narrow and not any(word in name.lower() for word in NOT_OPENAI_FILES)


def strip_prefix(flat: Tensors) -> Tensors:
    """Names as open_clip's own model has them, whatever a trainer put before."""
    prefixes = [prefix.removesuffix("visual.") for prefix in PREFIXES]
    found = next((p for p in prefixes if any(key.startswith(f"{p}visual.") for key in flat)), "")
    return {key.removeprefix(found): tensor for key, tensor in flat.items()}


def text_tensors(flat: Tensors) -> Tensors:
    """The text tower's, named as in open_clip's TextTransformer; empty where the file has none."""
    custom = {key.removeprefix("text."): tensor for key, tensor in flat.items() if key.startswith("text.")}
    return custom or {key: tensor for key, tensor in flat.items() if key.startswith(TEXT_PARTS)}


def detect_towers(file: TowerFile, progress: Progress = no_progress) -> Architecture:
    """The architecture whose every shape is the file's, in both towers."""
    candidates = candidate_architectures(file.visual, file.quick_gelu)
    for tried, architecture in enumerate(candidates):
        progress(tried, len(candidates))
        if shapes(dict(build_tower(architecture).state_dict())) == shapes(file.visual) and text_fits(
            architecture, file.text
        ):
            return architecture
    raise IPAdapterError(
        f"'{file.name}' fits none of the architectures of the installed open_clip: choose one by name, put an "
        f"open_clip_config.json beside it as '{Path(file.name).stem}.json', or update open_clip_torch."
    )


def text_fits(architecture: Architecture, text: Tensors) -> bool:
    """Whether an architecture's text tower has a file's shapes; a file without one fits every."""
    if not text:
        return True
    if "hf_model_name" in architecture.text:
        return False
    return shapes(dict(build_text(architecture).state_dict())) == shapes(text)


def build_text(architecture: Architecture) -> nn.Module:
    """A text tower with weights still to come, on the meta device."""
    try:
        from open_clip.model import _build_text_tower
    except ImportError as error:
        raise IPAdapterError(INSTALL) from error
    if architecture.text.get("hf_model_name"):
        raise IPAdapterError(
            f"the text tower of {architecture.name} is a model of transformers ({architecture.text['hf_model_name']}), "
            "which is not read here: choose an encoder whose text tower is open_clip's own, such as ViT-L-14."
        )
    with torch.device("meta"):
        tower: nn.Module = _build_text_tower(architecture.embed_dim, architecture.text, architecture.quick_gelu)
    return tower


def load_text(architecture: Architecture, file: TowerFile, dtype: torch.dtype) -> nn.Module:
    """A text tower with a file's weights. Raises IPAdapterError where the shapes differ."""
    text = build_text(architecture)
    expected, found = shapes(dict(text.state_dict())), shapes(file.text)
    if expected != found:
        key = min(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        raise IPAdapterError(
            f"the text tower of '{file.name}' is not a {architecture.name}'s: {key} is "
            f"{list(found.get(key, ())) or 'missing'}, where {list(expected.get(key, ())) or 'no such tensor'} is "
            "needed; choose 'auto' or the architecture it was trained as."
        )
    text.load_state_dict(file.text, assign=True)
    if getattr(text, "attn_mask", None) is not None:
        text.attn_mask = text.build_causal_mask()  # type: ignore[operator]
    return text.to(dtype)


def open_tokenizer(encoder: MetricEncoder) -> Tokenizer:
    """The tokenizer an encoder's text tower was trained with; captions that are too long are cut.

    Raises IPAdapterError for an encoder without a text tower, or a tokenizer that is not on this machine.
    """
    if encoder.towers.text is None:
        raise IPAdapterError(
            f"'{encoder.name}' has no text tower, so CLIP-T cannot be measured with it: choose a file with both towers "
            "of an open_clip model, or leave the captions out for CLIP-I alone."
        )
    try:
        return build_tokenizer(encoder.architecture.text)
    except Exception as error:  # of whatever library fetches and reads it
        reason = str(error).strip().partition("\n")[0]
        raise IPAdapterError(
            f"the tokenizer of {encoder.architecture.name} ({encoder.architecture.text.get('hf_tokenizer_name')}) "
            f"cannot be opened: {reason}; choose an encoder with CLIP's own tokenizer, such as ViT-L-14."
        ) from error


def build_tokenizer(text: dict[str, Any]) -> Tokenizer:
    """By the text tower's configuration, as open_clip chooses it."""
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer, SimpleTokenizer

    options = {"context_length": text.get("context_length", DEFAULT_CONTEXT_LENGTH), **text.get("tokenizer_kwargs", {})}
    made: Tokenizer
    if text.get("hf_tokenizer_name"):
        made = HFTokenizer(text["hf_tokenizer_name"], tokenizer_mode=text.get("tokenizer_mode"), **options)
    else:
        made = SimpleTokenizer(**options)
    return made
