"""The configuration of a run: a TOML file, checked before anything is loaded.

Every setting has the reference trainer's default where it has one. What is unknown, of another type or impossible is
refused in a sentence that names the setting as the file has it, e.g. `training.batch_size`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import pydantic
import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from ...adapters.families import FACE_ID, TRAINABLE, reads_faces, sees
from ...adapters.family import USUAL_PACK
from ...backbones.unet import UNET
from ...errors import IPAdapterError
from ...files.opening import refuse_name
from ...images.pixels import SMALLEST_SIDE
from ...numbers import shorten, show
from ...training.buckets import STEP
from ...training.recipe import Drops, Recipe
from .encoding import Settings
from .trackers import TENSORBOARD

DTYPE_OF = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32, "no": torch.float32}
FAULTS_NAMED = 6  # faults named in a sentence
FOLDER_KEY = "folder"  # of the validation context: where the file lies, which its relative paths are relative to


def beside_the_file(path: Path, info: ValidationInfo) -> Path:
    """A path of the file, relative to the file's own folder. Raises ValueError, as pydantic has it, for none."""
    base = (info.context or {}).get(FOLDER_KEY, Path())
    try:
        refuse_name(str(path))
        return Path(base, path.expanduser())
    except IPAdapterError as error:
        raise ValueError(f"is no path: {error}".rstrip(".")) from error
    except RuntimeError as error:
        raise ValueError(f"is '{path}', which begins with the home folder of somebody who is not here") from error


def as_list(value: Any) -> Any:
    """One name where several may stand."""
    return [value] if isinstance(value, str) else value


FilePath = Annotated[Path, AfterValidator(beside_the_file)]
FilePaths = Annotated[list[FilePath], BeforeValidator(as_list)]
Count = Annotated[int, Field(strict=True, gt=0, le=10_000_000)]
Pictures = Annotated[int, Field(strict=True, gt=0, le=1024)]  # at a time
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
Flag = Annotated[bool, Field(strict=True)]
Probability = Annotated[float, Field(strict=True, ge=0, le=1)]


class Section(BaseModel):
    """One table of the file: nothing unknown, nothing converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ModelSection(Section):
    """What is trained, and on what."""

    checkpoint: FilePath | None = None
    unet: FilePath | None = None
    clip: FilePaths = []
    vae: FilePath | None = None
    clip_vision: FilePath | None = None
    insightface: Annotated[str, Field(min_length=1)] = USUAL_PACK
    kind: Literal["base", "plus", "XLabs FLUX", "FaceID", "FaceID Plus"] = "base"
    tokens: Annotated[int, Field(strict=True, ge=0, le=1024)] = 0
    init_from: FilePath | None = None

    @model_validator(mode="after")
    def one_source(self) -> ModelSection:
        """A checkpoint has all three parts; without one each is named."""
        if self.checkpoint is None and not (self.unet and self.clip and self.vae):
            raise ValueError("needs checkpoint, or all of unet, clip and vae")
        if self.checkpoint is not None and self.unet is not None:
            raise ValueError("has both checkpoint and unet, which would be two base models: leave one out")
        return self

    @model_validator(mode="after")
    def what_the_kind_reads(self) -> ModelSection:
        """Pictures are read by an image encoder, those of faces too; embeddings of faces are not."""
        if self.clip_vision is None and self.sees:
            raise ValueError(f"needs clip_vision, which kind {self.kind} reads pictures with")
        return self

    @property
    def reads_faces(self) -> bool:
        """Whether faces are learned from."""
        return reads_faces(TRAINABLE[self.kind])

    @property
    def sees(self) -> bool:
        """Whether an image encoder is learned with."""
        return sees(TRAINABLE[self.kind])


class DataSection(Section):
    """The pictures and their captions."""

    folder: FilePath | None = None
    shards: FilePaths = []
    resolution: Annotated[int, Field(strict=True, ge=SMALLEST_SIDE, le=4096, multiple_of=UNET.pixels)] = 512
    caption_extension: Annotated[str, Field(pattern=r"^\.?[A-Za-z0-9_.-]+$")] = "txt"
    missing_captions: Literal["refuse", "empty"] = "refuse"
    skip_bad: Flag = False
    alpha_is_mask: Flag = False
    face_embeddings: Flag = False
    buckets: Flag = False

    @model_validator(mode="after")
    def one_source(self) -> DataSection:
        """Pictures come from one place."""
        if (self.folder is None) == (not self.shards):
            raise ValueError("needs one of folder and shards")
        if self.face_embeddings and self.folder is None:
            raise ValueError("has face_embeddings, which are files beside pictures, and no folder: set folder")
        return self

    @model_validator(mode="after")
    def square_that_is_a_bucket(self) -> DataSection:
        """The sides of buckets are multiples of so many pixels."""
        if self.buckets and self.resolution % STEP:
            raise ValueError(f"has buckets and resolution {self.resolution}, which must be a multiple of {STEP} then")
        return self


class TrainingSection(Section):
    """The recipe. `batch_size` is a process's."""

    steps: Count = 1000
    batch_size: Pictures = 1
    grad_accumulation: Pictures = 1
    learning_rate: Annotated[float, Field(strict=True, gt=0, le=1)] = 1e-4
    weight_decay: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.01
    drop_text: Probability = 0.05
    drop_image: Probability = 0.05
    drop_both: Probability = 0.05
    mixed_precision: Literal["no", "fp16", "bf16"] = "no"
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: Annotated[int, Field(strict=True, ge=0, le=10_000_000)] = 0
    min_snr: Annotated[float, Field(strict=True, ge=0, le=1000)] = 0.0
    ema_decay: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    gradient_checkpointing: Flag = False
    seed: Seed = 0


class CacheSection(Section):
    """What the frozen encoders make of the data, once."""

    folder: FilePath | None = None
    dtype: Literal["fp16", "fp32"] = "fp16"
    chunk: Count = 256
    batch_size: Pictures = 8


class OutputSection(Section):
    """What a run leaves behind."""

    folder: FilePath
    checkpoint_every: Count = 1000
    keep: Count = 3
    log_every: Count = 10
    tensorboard: Flag = True
    trackers: Annotated[list[str], BeforeValidator(as_list)] = []
    project: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")] = "curves"
    license: str = ""

    @property
    def all_trackers(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(dict.fromkeys([*([TENSORBOARD] if self.tensorboard else []), *self.trackers]))


class ValidationSection(Section):
    """Pictures that are drawn as the run goes on. None where neither references nor held_out is set."""

    references: FilePath | None = None
    held_out: Annotated[int, Field(strict=True, ge=0, le=1024)] = 0
    every: Count = 1000
    prompts: Annotated[list[str], BeforeValidator(as_list)] = []
    seeds: Annotated[list[Seed], Field(min_length=1)] = [0]
    steps: Annotated[int, Field(strict=True, gt=0, le=1000)] = 20
    weight: Annotated[float, Field(strict=True, ge=-1000, le=1000)] = 1.0
    guidance: Annotated[float, Field(strict=True, ge=0, le=100)] | None = None
    encoder: FilePath | None = None

    @property
    def wanted(self) -> bool:
        """Whether anything is drawn."""
        return self.references is not None or self.held_out > 0

    @model_validator(mode="after")
    def references_from_one_place(self) -> ValidationSection:
        """Settings without references would draw nothing."""
        if self.references is not None and self.held_out:
            raise ValueError("has both references and held_out: leave one out")
        if self.model_fields_set - {"held_out"} and not self.wanted:
            raise ValueError("needs references, or held_out above 0")
        return self


class HostSection(Section):
    """ComfyUI, whose loaders open the model files."""

    path: FilePath | None = None
    options: list[str] = []


class Config(Section):
    """The whole file."""

    model: ModelSection
    data: DataSection
    training: TrainingSection = TrainingSection()
    cache: CacheSection = CacheSection()
    output: OutputSection
    validation: ValidationSection = ValidationSection()
    host: HostSection = HostSection()

    @model_validator(mode="after")
    def faces_for_a_face(self) -> Config:
        """Only an adapter of faces reads their embeddings, and one that reads pictures of them too has to find them."""
        if self.data.face_embeddings and not self.model.reads_faces:
            raise ValueError(f"data.face_embeddings is true, but model.kind {self.model.kind} reads no faces")
        if self.data.face_embeddings and self.model.sees:
            raise ValueError(
                f"data.face_embeddings is true, but model.kind {self.model.kind} also reads the picture of each face, "
                f"which InsightFace finds: set it to false, or model.kind to {FACE_ID.title}"
            )
        return self

    @property
    def recipe(self) -> Recipe:
        """The engine's numbers. Raises IPAdapterError where they do not go together."""
        t = self.training
        return Recipe(
            kind=TRAINABLE[self.model.kind],
            tokens=self.model.tokens,
            steps=t.steps,
            batch_size=t.batch_size,
            grad_accumulation=t.grad_accumulation,
            learning_rate=t.learning_rate,
            weight_decay=t.weight_decay,
            drops=Drops(t.drop_text, t.drop_image, t.drop_both),
            seed=t.seed,
            schedule=t.schedule,
            warmup_steps=t.warmup_steps,
            min_snr=t.min_snr,
        )

    @property
    def reader(self) -> str:
        """What the adapter will have been trained with, in users' words."""
        if self.data.face_embeddings:
            return "face embeddings from files"
        faces = [f"InsightFace {self.model.insightface}"] if self.model.reads_faces else []
        seen = [self.model.clip_vision.stem] if self.model.sees and self.model.clip_vision else []
        return " and ".join(faces + seen)

    @property
    def settings(self) -> Settings:
        """How pictures are read and kept."""
        return Settings(
            resolution=self.data.resolution,
            dtype=DTYPE_OF[self.cache.dtype],
            chunk=self.cache.chunk,
            batch_size=self.cache.batch_size,
            skip_bad=self.data.skip_bad,
            alpha_is_mask=self.data.alpha_is_mask,
            buckets=self.data.buckets,
            reads_faces=self.model.reads_faces,
            face_embeddings=self.data.face_embeddings,
        )

    @property
    def cache_folder(self) -> Path:
        """Where the encoded data is kept."""
        return self.cache.folder or self.output.folder / "cache"


def read_config(path: Path) -> Config:
    """Read and check a file. Raises IPAdapterError naming the file and everything that is wrong in it."""
    try:
        table = toml_reader().loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise IPAdapterError(f"'{path}' cannot be read: {error.strerror}.") from error
    except RecursionError as error:
        raise IPAdapterError(f"'{path}' is not TOML that can be used: it has too many brackets.") from error
    except ValueError as error:  # the reader's own error, and text that is not UTF-8
        raise IPAdapterError(f"'{path}' is not TOML: {error}.") from error
    config = check(table, path)
    config.recipe  # noqa: B018 (its own checks, before anything is loaded)
    return config


def check(table: dict[str, Any], path: Path) -> Config:
    """The file's tables as a Config."""
    try:
        return Config.model_validate(table, context={FOLDER_KEY: path.absolute().parent})
    except pydantic.ValidationError as error:
        faults = [describe_fault(fault) for fault in error.errors()]
        more = f"; and {len(faults) - FAULTS_NAMED} more" if len(faults) > FAULTS_NAMED else ""
        raise IPAdapterError(f"'{path}' cannot be used: {'; '.join(faults[:FAULTS_NAMED])}{more}.") from error


def describe_fault(fault: Any) -> str:
    """One fault in users' words: the setting's path, what is wrong, and what was given."""
    names = [str(part) for part in fault["loc"] if "[" not in str(part)]  # without the branches of a union
    place = shorten(".".join(names)) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"{place} is not a setting{suggestion(names)}"
    if fault["type"] == "missing":
        return f"{place} is missing"
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "value_error":
        return f"{place} {message}"
    given = fault["input"]
    written = repr(given) if isinstance(given, float) else show(given)  # 3.0, where 3 is asked for
    return f"{place} is {written}: {message[:1].lower()}{message[1:]}"


def suggestion(names: list[str]) -> str:
    """What may have been meant."""
    known = settings(names[:-1])
    return f" (there {'is' if len(known) == 1 else 'are'} {', '.join(known)})" if known else ""


def settings(section: list[str]) -> list[str]:
    """The names a section, or the file, may have."""
    fields = Config.model_fields
    if not section:
        return list(fields)
    annotation = fields[section[0]].annotation if section[0] in fields else None
    return list(annotation.model_fields) if isinstance(annotation, type) and issubclass(annotation, Section) else []


def toml_reader() -> ModuleType:
    """Python's reader (3.11 and later), or the package it came from."""
    for name in ("tomllib", "tomli"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise IPAdapterError("reading the configuration needs Python 3.11, or the package tomli: pip install tomli.")
