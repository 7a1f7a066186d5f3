"""The adapter and the image encoder for a MODEL, found in the user's folders by looking inside the files."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import comfy.clip_vision
import comfy.model_management
import comfy.utils
import folder_paths
from comfy.model_patcher import ModelPatcher

from ...adapters.spec import AdapterSpec
from ...backbones.known import model_of, require_layers
from ...encoders.published import SIGLIP, Encoder
from ...errors import IPAdapterError
from ...faces.providers import AUTO_PROVIDER
from ...library.catalogue import Catalogue, ListedFile
from ...library.finding import (
    ChosenAdapter,
    ModelTarget,
    choose_adapter,
    choose_encoders,
    encoder_to_get,
    read_adapter,
    read_encoder,
)
from ...library.kinds import preset_of
from ...library.loras import LoRATraits, choose_lora, read_lora
from ..adapters.adapter import Adapter, load_adapter_file
from ..adapters.lora import load_lora
from ..backbones.replaced import own_attentions
from ..encoders.character import JoinedVision
from ..encoders.siglip import load_siglip_file
from ..faces.models import find_pack, open_pack
from ..files import HOST_ADAPTERS, HOST_ENCODERS, HOST_LORAS, file_names, searched

UNSEEN_SECONDS = 2.0  # seconds without a progress bar


@dataclass(frozen=True)
class Finder:
    """Looks through the user's folders, and remembers what their files were found to be: facts, never tensors."""

    adapters: Catalogue[AdapterSpec] = field(default_factory=lambda: Catalogue(read_adapter))
    encoders: Catalogue[Encoder] = field(default_factory=lambda: Catalogue(read_encoder))
    loras: Catalogue[LoRATraits] = field(default_factory=lambda: Catalogue(read_lora))

    def find_adapter(self, model: ModelPatcher, preset_title: str) -> ChosenAdapter:
        """The best adapter file of a kind for a model. Raises IPAdapterError where there is none."""
        preset = preset_of(preset_title)
        with own_attentions(model) as unet:
            layers = require_layers(unet, f"preset '{preset_title}' looks for an adapter for a UNet")
            target = ModelTarget(layers, model_of(unet, layers))
        survey = self.adapters.survey(listing(HOST_ADAPTERS), LateProgress())
        return choose_adapter(preset, target, survey, searched(HOST_ADAPTERS))

    def find_encoders(self, spec: AdapterSpec) -> tuple[tuple[ListedFile, Encoder], ...]:
        """The image encoder files an adapter needs, mostly one. Raises IPAdapterError for one that is missing."""
        survey = self.encoders.survey(listing(HOST_ENCODERS), LateProgress())
        return choose_encoders(spec, survey, searched(HOST_ENCODERS))

    def find_lora(self, spec: AdapterSpec) -> ListedFile:
        """The LoRA file an adapter was trained with. Raises IPAdapterError where there is none."""
        return choose_lora(spec, self.loras.survey(listing(HOST_LORAS), LateProgress()), searched(HOST_LORAS))


@dataclass(frozen=True)
class Files:
    """What a preset takes: all of it is found before any of it is loaded."""

    choice: ChosenAdapter
    encoders: tuple[tuple[ListedFile, Encoder], ...]  # none where only a face is read
    lora: ListedFile | None  # where the adapter's file has lost its own
    pack: str | None  # what faces are read with

    @property
    def text(self) -> str:
        """A line for each, for the user."""
        seen = [file for file, _ in self.encoders]
        found = [file.name for file in (self.choice.file, *seen, self.lora) if file]
        inside = ["with the LoRA in the adapter's file"] * bool(self.choice.spec.lora_rank)
        faces = [f"InsightFace {self.pack}"] * bool(self.pack)
        return "\n".join([*found, *inside, *faces, *([self.choice.remark] if self.choice.remark else [])])


@dataclass(frozen=True)
class Found:
    """A model, with the adapter's LoRA where that is a file of its own; the adapter, with what images are read by."""

    model: ModelPatcher
    adapter: Adapter
    text: str


def find_files(finder: Finder, model: ModelPatcher, preset_title: str) -> Files:
    """Everything an adapter of a kind needs. Raises IPAdapterError for the first that is missing."""
    choice = finder.find_adapter(model, preset_title)
    spec = choice.spec
    encoders = finder.find_encoders(spec) if encoder_to_get(spec) else ()
    lora = finder.find_lora(spec) if spec.lacks_lora else None
    return Files(choice, encoders, lora, find_pack(spec.family.face_pack).name if spec.reads_face else None)


def load_found(
    finder: Finder, model: ModelPatcher, preset_title: str, lora_weight: float = 1.0, provider: str = AUTO_PROVIDER
) -> Found:
    """Find all files before any is loaded, then load them."""
    files = find_files(finder, model, preset_title)
    if files.choice.remark:
        logging.warning("IP-Adapter: %s", files.choice.remark)
    adapter = load_adapter_file(files.choice.file.path, files.choice.file.name)
    clip_vision = load_encoders(files.encoders)
    insightface = None if files.pack is None else open_pack(files.pack, provider)
    if files.lora and lora_weight:
        model = load_lora(model, files.lora.path, files.lora.name, lora_weight)
    return Found(model, replace(adapter, clip_vision=clip_vision, insightface=insightface), files.text)


def load_encoders(files: Sequence[tuple[ListedFile, Encoder]]) -> comfy.clip_vision.ClipVisionModel | None:
    """One image encoder, or two put together; None where nothing but a face is read."""
    towers = [load_encoder(*one) for one in files]
    return JoinedVision(*towers) if len(towers) > 1 else next(iter(towers), None)


def load_encoder(file: ListedFile, kind: Encoder) -> comfy.clip_vision.ClipVisionModel:
    """An image encoder through the host's own loader, or a SigLIP through this pack's."""
    if kind is SIGLIP:
        return load_siglip_file(file.path, file.name)
    clip_vision = comfy.clip_vision.load(str(file.path))
    if clip_vision is None:
        raise IPAdapterError(f"'{file.name}' is an image encoder that ComfyUI's Load CLIP Vision does not load.")
    return clip_vision


def listing(folder: str) -> list[ListedFile]:
    """The files of a model folder as they are now. A name that leads nowhere any more is left out."""
    paths = [(name, folder_paths.get_full_path(folder, name)) for name in file_names(folder)]
    files = (listed_file(name, Path(path)) for name, path in paths if path is not None)
    return [file for file in files if file is not None]


def listed_file(name: str, path: Path) -> ListedFile | None:
    """A file with its size and time; None where it has just gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return ListedFile(name, path, status.st_size, status.st_mtime_ns)


def folders_fingerprint(*folders: str) -> str:
    """Another text whenever a file of these model folders comes, goes or changes."""
    lines = [f"{file.path}\0{file.size}\0{file.changed}" for folder in folders for file in listing(folder)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


class LateProgress:
    """The host's progress bar, for what takes longer than a moment; and the user's cancel."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if time.monotonic() - self.began > UNSEEN_SECONDS:
            comfy.utils.ProgressBar(of).update_absolute(done, of)


FINDER = Finder()
