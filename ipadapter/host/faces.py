"""Faces of pictures as an image prompt: InsightFace's model packs in the user's folders, and what they make."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import comfy.clip_vision
import comfy.model_management
import comfy.utils
import folder_paths
import torch
from torch import Tensor

from ..errors import IPAdapterError
from ..faces import CROP, Analysis, Crop, Face, choose_face, crop_face, crop_side, find_faces
from ..families import FACE_WIDTH
from ..image_prompt import ImageFeatures, ImagePrompt, Order, Part
from ..image_weights import Weights, share_weights, unless_plain
from ..pixels import refuse_unusable
from ..public_files import PACK, PACK_FOLDER, pack_address
from ..reading import Reading
from .encoder import encode_references, pixel_format

FOLDER = "insightface"
PLACES = ("models/*", "*", "models/*/*", "*/*")
MODULES = ["detection", "recognition"]
AUTO = "auto"
PROVIDERS = {
    "CPU": "CPUExecutionProvider",
    "CUDA": "CUDAExecutionProvider",
    "ROCM": "ROCMExecutionProvider",
    "DirectML": "DmlExecutionProvider",
    "OpenVINO": "OpenVINOExecutionProvider",
    "CoreML": "CoreMLExecutionProvider",
}
MISSING = (
    "FaceID adapters read faces with InsightFace, which is not installed: run 'python -m pip install insightface' with "
    "the Python that ComfyUI runs on, and start ComfyUI again."
)


def register_face_folder() -> None:
    """Make `models/insightface` known beside what `extra_model_paths.yaml` has named."""
    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))


def find_packs() -> dict[str, Path]:
    """Model packs by name: folders with ONNX files, where the library puts them, or beside it, or one folder deeper."""
    packs: dict[str, Path] = {}
    roots = [Path(root) for root in folder_paths.get_folder_paths(FOLDER)]
    for path in (path for pattern in PLACES for root in roots for path in sorted(root.glob(pattern))):
        if path.is_dir() and any(path.glob("*.onnx")):
            packs.setdefault(path.name, path)
    return packs


def pack_names() -> list[str]:
    """Their names, the usual one first."""
    return sorted(find_packs(), key=lambda name: (name != PACK, name))


def find_pack(name: str) -> Path:
    """A model pack's folder. Raises IPAdapterError that says where to get the usual one."""
    packs = find_packs()
    if name in packs:
        return packs[name]
    searched = ", ".join(folder_paths.get_folder_paths(FOLDER))
    raise IPAdapterError(
        f"there is no InsightFace model pack '{name}' (searched: {searched}; found: {', '.join(packs) or 'none'}): "
        f"unpack {pack_address(name)} into {PACK_FOLDER}. Its licence allows research that is not commercial."
    )


def missing_pack(name: str) -> str | None:
    """The sentence for a pack that a graph names and nobody has, or None where it is there."""
    try:
        find_pack(name)
    except IPAdapterError as error:
        return str(error)
    return None


def load_pack(name: str, provider: str = AUTO) -> Analysis:
    """The library's FaceAnalysis of a pack. It never fetches one.

    Raises IPAdapterError where library, pack or provider are missing, or the pack does not recognise faces.
    """
    folder, library = find_pack(name), import_library()
    providers = providers_for(provider)
    try:
        analysis = library.FaceAnalysis(name=str(folder), allowed_modules=MODULES, providers=providers)
    except Exception as error:  # the runtime's own, and the library's assertions, for files that are damaged or others
        raise IPAdapterError(
            f"the InsightFace model pack '{name}' cannot be loaded ({summary(error)}): unpack {pack_address(name)} "
            f"into {PACK_FOLDER} again."
        ) from error
    analysis.prepare(ctx_id=-1 if providers[0] == PROVIDERS["CPU"] else 0, det_size=(640, 640))
    return checked(analysis)


def import_library() -> Any:
    """`insightface.app`. Raises IPAdapterError that says how to get it."""
    try:
        import insightface.app
    except ImportError as error:
        raise IPAdapterError(MISSING) from error
    return insightface.app


def summary(error: Exception) -> str:
    """The first line of an error, without its end."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120].rstrip(".")


def providers_for(name: str) -> list[str]:
    """What the runtime is to compute with, CPU last. Raises IPAdapterError for what it was not built for."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    fastest = next((one for one in reversed(PROVIDERS.values()) if one in available), PROVIDERS["CPU"])
    wanted = PROVIDERS.get(name, fastest)
    if wanted not in available:
        there = [short for short, long in PROVIDERS.items() if long in available]
        raise IPAdapterError(
            f"the installed onnxruntime cannot compute with {name}, but with {', '.join(there) or 'nothing known'}: "
            "choose one of them, or install the onnxruntime that is built for it."
        )
    return list(dict.fromkeys([wanted, PROVIDERS["CPU"]]))


def checked(analysis: Analysis) -> Analysis:
    """A FaceAnalysis, ours or another pack's, that finds faces and recognises them. Raises IPAdapterError."""
    models = getattr(analysis, "models", None)
    if not isinstance(models, dict) or not hasattr(analysis, "det_model"):
        raise IPAdapterError("insightface is not what Load InsightFace makes: connect that node.")
    recognition = models.get("recognition")
    width = recognition.output_shape[-1] if recognition is not None else None
    if width != FACE_WIDTH:
        what = "recognises no faces" if recognition is None else f"makes face embeddings {width} wide"
        raise IPAdapterError(
            f"the InsightFace model pack '{pack_of(analysis)}' {what}, where adapters read embeddings {FACE_WIDTH} "
            f"wide: use {PACK}."
        )
    return analysis


def pack_of(analysis: Analysis) -> str:
    """The name of the pack an analysis was made of."""
    return Path(getattr(analysis, "model_dir", "") or "unknown").name


@dataclass(frozen=True)
class FaceReading:
    """Everything but the pictures: which face of each, by size, what is its picture, and what becomes of several."""

    rank: int = 0
    crop: Crop = Crop.ALIGNED
    order: Order = Order.TOGETHER
    weights: Weights | None = None


@dataclass(frozen=True)
class FacePrompt:
    """A prompt of faces, and the picture of each (N, S, S, 3)."""

    prompt: ImagePrompt
    pictures: Tensor


def encode_faces(
    analysis: Analysis,
    image: Tensor,
    reading: FaceReading = FaceReading(),
    clip_vision: comfy.clip_vision.ClipVisionModel | None = None,
    negative: Tensor | None = None,
) -> FacePrompt:
    """The faces of pictures (N, H, W, C) as a prompt; with an image encoder also what it makes of each face's picture.

    With `negative` a picture to move away from takes the place of none where the encoder is read; of a face nothing
    does.
    Raises IPAdapterError where a picture has no such face.
    """
    checked(analysis)
    refuse_unusable(image)
    (weights,) = share_weights(reading.weights, [len(image)])
    faces = read_faces(analysis, image, reading.rank)
    side = CROP if clip_vision is None else crop_side(pixel_format(clip_vision).size)
    pictures = torch.stack(
        [crop_face(picture, face, side, reading.crop) for picture, face in zip(image, faces, strict=True)]
    )
    embeddings = torch.stack([face.embedding for face in faces])  # (N, 512)
    refuse_not_finite(embeddings, analysis)
    seen = look_at(pictures, clip_vision, negative)
    made, nobody = seen.parts[0], torch.zeros(1, FACE_WIDTH)
    away = None if made.negative is None else replace(made.negative, face=nobody.expand(len(made.negative), -1))
    part = Part(replace(made.positive, face=embeddings), away, unless_plain(weights), reading.order)
    nothing = replace(seen.zero_pixels, face=nobody)
    encoder = " and ".join(filter(None, [f"InsightFace {pack_of(analysis)}", seen.encoder]))
    return FacePrompt(ImagePrompt((part,), nothing, encoder), pictures)


def look_at(
    pictures: Tensor, clip_vision: comfy.clip_vision.ClipVisionModel | None, negative: Tensor | None
) -> ImagePrompt:
    """What an image encoder makes of the faces' pictures; without one nothing, 0 wide."""
    if clip_vision is None:
        blank, one = (ImageFeatures(torch.zeros(count, 0)) for count in (len(pictures), 1))
        return ImagePrompt((Part(blank),), one, "")
    return encode_references(clip_vision, pictures, Reading(), negative)


def read_faces(analysis: Analysis, image: Tensor, rank: int) -> list[Face]:
    """The face of each picture, with the host's progress bar, and the user's cancel between pictures."""
    progress, faces = comfy.utils.ProgressBar(len(image)), []
    for index, picture in enumerate(image):
        comfy.model_management.throw_exception_if_processing_interrupted()
        which = "image" if len(image) == 1 else f"picture {index + 1} of {len(image)} of image"
        faces.append(choose_face(find_faces(analysis, picture), rank, which, picture))
        progress.update(1)
    return faces


def refuse_not_finite(embeddings: Tensor, analysis: Analysis) -> None:
    """Refuse what a damaged recognition model makes of good pictures."""
    if not bool(torch.isfinite(embeddings).all()):
        raise IPAdapterError(
            f"the InsightFace model pack '{pack_of(analysis)}' made NaN or infinite embeddings: its files are damaged; "
            f"unpack {pack_address(pack_of(analysis))} into {PACK_FOLDER} again."
        )
