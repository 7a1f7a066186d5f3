"""The adapter and the image encoder for a model, among the files a user has: which to take, or what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..adapters.checkpoint import checkpoint_header
from ..adapters.fit import acting_layers, agrees
from ..adapters.identify import identify
from ..adapters.module import load_adapter
from ..adapters.provenance import Provenance
from ..adapters.spec import AdapterSpec
from ..backbones.backbone import CrossAttentionLayer
from ..backbones.bases import PUBLISHED, BaseModel
from ..encoders.published import Encoder
from ..errors import IPAdapterError
from ..files.headers import read_header
from ..prompts.prompt import Feature
from .catalogue import ListedFile, Survey, listed
from .encoders import identify_encoder
from .kinds import Preset, public_file
from .published import ADAPTER_FOLDER, ENCODER_FOLDER, PublicAdapter, Traits, encoders_for, encoders_of


@dataclass(frozen=True)
class ModelTarget:
    """The model an adapter is looked for."""

    layers: tuple[CrossAttentionLayer, ...]
    model: BaseModel


@dataclass(frozen=True)
class ChosenAdapter:
    """The adapter file that was taken, and what has to be said about it."""

    file: ListedFile
    spec: AdapterSpec
    remark: str = ""


def read_adapter(path: Path, name: str) -> AdapterSpec:
    """What an adapter file is, by its header. Raises IPAdapterError for one that could not be loaded."""
    header = read_header(path, name)
    checkpoint = checkpoint_header(header)
    spec = identify(checkpoint)
    load_adapter(checkpoint, spec)  # shapes only: every tensor has its place
    return Provenance.read(header.metadata).told(spec)


def read_encoder(path: Path, name: str) -> Encoder:
    """Which image encoder a file holds, by its header. Raises IPAdapterError for one that is none."""
    return identify_encoder(read_header(path, name))


def choose_adapter(
    preset: Preset, target: ModelTarget, survey: Survey[AdapterSpec], searched: Sequence[str]
) -> ChosenAdapter:
    """The best file of a kind for a model. Raises IPAdapterError that says what was found and what to get."""
    fitting = [pair for pair in survey.found if adapter_objection(preset, target, pair[1]) is None]
    if not fitting:
        raise IPAdapterError(no_adapter(preset, target, survey, searched))
    file, spec = min(fitting, key=lambda pair: preset.rank(Traits.of(pair[1])))
    word = preset.other_word(file.name)
    remark = f"'{file.name}' was taken although its name says '{word}': no other file fits." if word else ""
    return ChosenAdapter(file, spec, remark)


def adapter_objection(preset: Preset, target: ModelTarget, spec: AdapterSpec) -> str | None:
    """Why a file is not the one, to be read after its name; None where it is."""
    if not agrees(spec, acting_layers(spec.family, target.layers), target.model.base):
        return f"is for {spec.base}" if spec.base != target.model.base else "has other layers than this model"
    return preset.objection(Traits.of(spec))


def no_adapter(preset: Preset, target: ModelTarget, survey: Survey[AdapterSpec], searched: Sequence[str]) -> str:
    """The sentence for an adapter that is missing. Files for such a model are named first."""
    found = sorted(survey.found, key=lambda pair: pair[1].base != target.model.base)
    objections = [(file.name, adapter_objection(preset, target, spec) or "") for file, spec in found]
    name = target.model.name
    model = f"model, {name}," if name.startswith(("a ", "the ")) else f"{name} model"  # "a pruned SDXL", "SD1.5"
    return (
        f"preset '{preset.title}' found no adapter for this {model} in {ADAPTER_FOLDER}: "
        f"{adapter_advice(preset, target.model)}. {listed(objections + list(survey.useless), searched)}"
    )


def adapter_advice(preset: Preset, model: BaseModel) -> str:
    """What to do about a missing adapter."""
    if not model.published:
        return f"no adapter is published for it, so use a model of {', '.join(PUBLISHED[:-1])} or {PUBLISHED[-1]}"
    public = public_file(preset, model.base)
    if public is None:
        return f"no such adapter is published for {model.base}, so choose another preset"
    word = preset.offer.word
    rename = f", or give yours a name with '{word}' if it is one" if word else ""
    return f"put {public.name} there, from {public.address}{rename}{encoder_beside(public)}"


def encoder_beside(adapter: PublicAdapter) -> str:
    """What a published adapter needs besides; nothing where only a face is read."""
    return "".join(f", and {one.name} into {ENCODER_FOLDER}, from {one.address}" for one in encoders_of(adapter))


def encoder_to_get(spec: AdapterSpec) -> bool:
    """Whether an image encoder is read at all; most FaceID adapters read a face alone."""
    return spec.feature is not Feature.FACE


def choose_encoders(
    spec: AdapterSpec, survey: Survey[Encoder], searched: Sequence[str]
) -> tuple[tuple[ListedFile, Encoder], ...]:
    """The files of the encoders an adapter needs, mostly of one. Raises IPAdapterError."""
    needed = encoders_for(spec)
    if not needed:
        raise IPAdapterError(
            f"'{spec.name}' reads {spec.feature.value} {spec.projection.feature_dim} wide, which no published image "
            "encoder makes: connect its own encoder from Load CLIP Vision or Load OpenCLIP Vision."
        )
    return tuple((choose_encoder(spec, encoder, survey, searched), encoder) for encoder in needed)


def choose_encoder(spec: AdapterSpec, needed: Encoder, survey: Survey[Encoder], searched: Sequence[str]) -> ListedFile:
    """The file of an encoder: the public name first, then the smallest. Raises IPAdapterError."""
    fitting = [file for file, encoder in survey.found if encoder is needed]
    if not fitting:
        raise IPAdapterError(no_encoder(spec, needed, survey, searched))
    return min(fitting, key=lambda file: (file.path.name.lower() != needed.name.lower(), file.size, file.name))


def no_encoder(spec: AdapterSpec, needed: Encoder, survey: Survey[Encoder], searched: Sequence[str]) -> str:
    """The sentence for an image encoder that is missing."""
    objections = [(file.name, f"is {encoder.short}") for file, encoder in survey.found]
    return (
        f"'{spec.name}' needs the image encoder {needed.short}, which no file in {ENCODER_FOLDER} is: get it from "
        f"{needed.address} and save it there as {needed.name}. "
        f"{listed(objections + list(survey.useless), searched)}"
    )
