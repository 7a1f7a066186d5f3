"""The model files of a run, opened through the host's loaders, and what its encoders make of pictures and texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...adapters.families import reads_faces, sees
from ...adapters.family import Family
from ...adapters.features import Read
from ...backbones.backbone import Backbone
from ...backbones.flux import FLUX
from ...errors import IPAdapterError
from ...files.headers import read_header
from ...files.opening import inspect
from ...files.pickles import UnreadableError
from ...training.module import ModelText
from ..encoders.open_clip import load_encoder_file
from ..faces.models import open_pack
from .data import join_conds, model_conds
from .sight import EncoderSight, FaceSight, PictureSight

MOST_TOKENS = 256  # tokens of a text
# What the host is to make of two files.
TEXT_ENCODERS: dict[Backbone, comfy.sd.CLIPType] = {FLUX: comfy.sd.CLIPType.FLUX}


@dataclass(frozen=True)
class ModelFiles:
    """A checkpoint, or its parts; a part that is given beside a checkpoint is taken in place of the checkpoint's."""

    clip_vision: Path | None
    checkpoint: Path | None = None
    unet: Path | None = None
    clips: tuple[Path, ...] = ()
    vae: Path | None = None
    insightface: str | None = None  # the pack that faces are read with; None: they are not

    @property
    def of_encoders(self) -> list[Path]:
        """The files that the encoded data depends on."""
        base = [self.checkpoint] if self.checkpoint else [self.unet]
        return [path for path in (*base, *self.clips, self.vae, self.clip_vision) if path is not None]


def opened(path: Path, what: str, load: Callable[[str], Any]) -> Any:
    """What a loader makes of a file. Raises IPAdapterError naming the file where it makes nothing."""
    if not path.is_file():
        raise IPAdapterError(f"'{path}' is not a file: {what} is read from there.")
    inspect(path, path.name)
    try:
        made = load(str(path))
    except Exception as error:  # loaders raise whatever a file of another kind leads them to
        refuse_unreadable(path)
        reason = str(error).removeprefix("ERROR: ").splitlines() or [type(error).__name__]
        raise IPAdapterError(f"'{path.name}' cannot be opened as {what}: {reason[0]}") from error
    if made is None:
        raise IPAdapterError(f"'{path.name}' is not {what} that ComfyUI knows.")
    return made


def refuse_unreadable(path: Path) -> None:
    """Refuse a file that is damaged or would run code in this pack's words: torch's own advise to let it run."""
    try:
        read_header(path, path.name)
    except UnreadableError:
        raise
    except IPAdapterError:  # it can be read, and holds no adapter
        return


def open_base(files: ModelFiles) -> ModelPatcher:
    """The diffusion model."""
    if files.checkpoint is not None:
        return opened(files.checkpoint, "a checkpoint", lambda path: from_checkpoint(path, "model")[0])
    assert files.unet is not None  # the configuration has one of the two
    return opened(files.unet, "a diffusion model", lambda path: comfy.sd.load_diffusion_model(path))


def from_checkpoint(path: str, *parts: str) -> Any:
    """Some of a checkpoint's parts, "model", "clip" and "vae", in this order."""
    wanted = {f"output_{part}": part in parts for part in ("model", "clip", "vae")}
    return comfy.sd.load_checkpoint_guess_config(path, disable_dynamic=True, **wanted)


def open_text_and_vae(
    files: ModelFiles, clip_type: comfy.sd.CLIPType = comfy.sd.CLIPType.STABLE_DIFFUSION
) -> tuple[comfy.sd.CLIP, comfy.sd.VAE]:
    """The text encoder and the VAE."""
    clip = vae = None
    if files.checkpoint is not None and not (files.clips and files.vae):
        _, clip, vae, *_ = opened(files.checkpoint, "a checkpoint", lambda path: from_checkpoint(path, "clip", "vae"))
    if files.clips:
        for path in files.clips:
            opened(path, "a text encoder", lambda path: path)
        paths = [str(path) for path in files.clips]
        clip = opened(files.clips[0], "a text encoder", lambda _: comfy.sd.load_clip(paths, clip_type=clip_type))
    if files.vae is not None:
        vae = opened(files.vae, "a VAE", open_vae)
    if clip is None or vae is None or vae.first_stage_model is None:
        lacking = "text encoder: name one in model.clip" if clip is None else "VAE: name one in model.vae"
        raise IPAdapterError(f"'{(files.checkpoint or files.vae or Path()).name}' holds no {lacking}.")
    return clip, vae


def open_decoder(files: ModelFiles) -> comfy.sd.VAE:
    """The VAE alone."""
    if files.vae is not None:
        return opened(files.vae, "a VAE", open_vae)
    assert files.checkpoint is not None  # the configuration has one of the two
    return opened(files.checkpoint, "a checkpoint", lambda path: from_checkpoint(path, "vae")[2])


def open_vae(path: str) -> comfy.sd.VAE:
    """A VAE file."""
    import comfy.utils

    weights, metadata = comfy.utils.load_torch_file(path, return_metadata=True)
    return comfy.sd.VAE(sd=weights, metadata=metadata)


def open_image_encoder(path: Path) -> comfy.clip_vision.ClipVisionModel:
    """An image encoder, through the host's loader or, for those it does not know, through open_clip."""
    if path.is_file() and (known := load_known(path)) is not None:
        return known
    return opened(path, "an image encoder", lambda _: load_encoder_file(path, path.name))


def load_known(path: Path) -> comfy.clip_vision.ClipVisionModel | None:
    """What the host's own loader makes of a file, or None where it does not know it."""
    try:
        return comfy.clip_vision.load(str(path))
    except Exception:  # of a file of another kind; the other loader says what is wrong with it
        return None


@dataclass(frozen=True)
class HostEncoders:
    """`Encoders` of the cache, over the host's models."""

    model: ModelPatcher
    clip: comfy.sd.CLIP
    vae: comfy.sd.VAE
    sight: PictureSight

    def latents(self, pixels: Tensor) -> Tensor:
        """(N, R, R, 3) to (N, C, R / 8, R / 8), the mode of the VAE's distribution, in the model's own scale."""
        out: Tensor = self.model.model.process_latent_in(self.vae.encode(pixels).float())
        return out

    def features(self, pictures: Sequence[Tensor]) -> Read:
        """What an adapter of this kind reads: (N, E) or (N, S, D) each."""
        return self.sight.features(pictures)

    def no_picture(self) -> Read:
        """What it reads of no picture: (1, E) or (1, S, D) each."""
        return self.sight.no_picture()

    def text(self, caption: str) -> tuple[Tensor, Tensor | None]:
        """The first 77 tokens of CLIP, as the reference trains on, and 256 of T5, to which the host fills up shorter
        texts; brackets and the like are letters, not weights."""
        tokens = self.clip.tokenize(caption, disable_weights=True)
        first = {name: [cut(batches[0])] for name, batches in tokens.items()}
        context, pooled = self.clip.encode_from_tokens(first, return_pooled=True)
        return context[0], None if pooled is None else pooled[0]


def cut(tokens: list[Any]) -> list[Any]:
    """A text's first tokens, and the last, which ends it."""
    return tokens if len(tokens) <= MOST_TOKENS else [*tokens[: MOST_TOKENS - 1], tokens[-1]]


def open_encoders(files: ModelFiles, model: ModelPatcher, kind: Family) -> HostEncoders:
    """All that a cache is made with."""
    clip, vae = open_text_and_vae(files, TEXT_ENCODERS.get(kind.backbone, comfy.sd.CLIPType.STABLE_DIFFUSION))
    return HostEncoders(model, clip, vae, open_sight(files, kind))


def open_sight(files: ModelFiles, kind: Family) -> PictureSight:
    """What a kind of adapter sees pictures with."""
    encoder = None
    if sees(kind):
        assert files.clip_vision is not None  # the configuration asks for one
        encoder = EncoderSight(open_image_encoder(files.clip_vision), kind)
    if encoder is None or reads_faces(kind):
        return FaceSight(None if files.insightface is None else open_pack(files.insightface), encoder)
    return encoder


def release() -> None:
    """Give back the memory of models that nothing refers to any more."""
    comfy.model_management.unload_all_models()
    comfy.model_management.soft_empty_cache()


@dataclass(frozen=True)
class HostText:
    """What the base model is told, made from the cache's rows as the sampler makes it from a conditioning."""

    model: ModelPatcher
    resolution: int

    def __call__(self, context: Tensor, pooled: Tensor | None, sizes: Tensor) -> ModelText:
        """Contexts (B, L, C), pooled embeddings (B, P) and sizes (B, 4 | 6) to the model's inputs."""
        rows = [self.options(row, pooled, sizes) for row in range(len(context))]
        latent = self.latent_of(rows[0]["target_height"], rows[0]["target_width"])
        pairs = zip(context.split(1), rows, strict=True)
        return join_conds([model_conds(self.model.model, [text, options], latent) for text, options in pairs])

    def options(self, row: int, pooled: Tensor | None, sizes: Tensor) -> dict[str, Any]:
        """One conditioning's: SDXL is told the picture's size, where its crop begins, and the crop's size."""
        height, width, top, left, *target = sizes[row].tolist()
        told = {"height": height, "width": width, "crop_h": top, "crop_w": left}
        target_height, target_width = target or (self.resolution, self.resolution)
        told |= {"target_height": target_height, "target_width": target_width}
        return told | ({} if pooled is None else {"pooled_output": pooled[row : row + 1]})

    @property
    def empty_latent(self) -> Tensor:
        """Of a square picture, (1, C, h, w)."""
        return self.latent_of(self.resolution, self.resolution)

    def latent_of(self, height: int, width: int) -> Tensor:
        """Zeros for a picture of so many pixels, (1, C, h, w)."""
        return torch.zeros(1, self.model.model.latent_format.latent_channels, height // 8, width // 8)

    def conditioning(self, context: Tensor, pooled: Tensor | None) -> list[Any]:
        """A text (L, C) and its pooled embedding (P,) for a picture that is drawn whole: a row of a conditioning."""
        sizes = torch.tensor([[self.resolution, self.resolution, 0, 0]])
        return [context[None], self.options(0, None if pooled is None else pooled[None], sizes)]
