"""InsightFace's model packs in the user's folders. Nothing is ever downloaded.

The package is MIT licensed; the models that its authors publish are for non-commercial research only.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import folder_paths

from ...adapters.family import USUAL_PACK
from ...errors import IPAdapterError, refusal
from ...faces.providers import AUTO_PROVIDER, execution_providers
from ...faces.reading import SIDES, FaceAnalysis
from ...files.opening import refuse_name
from ...library.published import pack_address
from ...prompts.prompt import FACE_WIDTH
from ..files import fingerprint_of, searched

HOST_FACES = "insightface"
MODULES = ("detection", "recognition")
TERMS = "for non-commercial research only"


def register_face_folder() -> None:
    """Make `models/insightface` known beside what `extra_model_paths.yaml` has named."""
    folder_paths.add_model_folder_path(HOST_FACES, str(Path(folder_paths.models_dir) / HOST_FACES))


# Packs


def pack_names() -> list[str]:
    """The packs there are, the usual one first."""
    return sorted(packs(), key=lambda name: (name != USUAL_PACK, name))


def packs() -> dict[str, Path]:
    """Each pack by the name of its folder; the first of a name counts, as with the host's own lists."""
    found: dict[str, Path] = {}
    for directory in pack_candidates():
        pack = inside(directory)
        if pack is not None:
            found.setdefault(directory.name, pack)
    return found


def pack_candidates() -> Iterator[Path]:
    """Folders that may be packs: in `models`, where InsightFace puts them, and beside it."""
    for folder in map(Path, searched(HOST_FACES)):
        for place in (folder / "models", folder):
            yield from (one for one in sorted(place.glob("*")) if one.is_dir() and one != folder / "models")


def inside(directory: Path) -> Path | None:
    """Where a pack's files are; antelopev2 is published as a folder in a folder of its name."""
    places = (directory, directory / directory.name)
    return next((place for place in places if any(place.glob("*.onnx"))), None)


def find_pack(name: str) -> Path:
    """The folder of a listed pack. Raises IPAdapterError saying where to get one."""
    refuse_name(name)
    there = packs()
    if name not in there:
        folders = ", ".join(searched(HOST_FACES))
        choose = f"choose one of {', '.join(sorted(there))}, or " if there else ""
        raise IPAdapterError(
            f"the InsightFace model pack '{name}' is not there (searched: {folders}): {choose}{get_pack(name)}"
        )
    return there[name]


def missing_pack(name: str) -> str | None:
    """The sentence for a pack that a graph names and nobody has, or None where it is there."""
    return refusal(lambda: find_pack(name))


def pack_fingerprint(name: str | None) -> str:
    """Another text whenever a file of a pack is replaced; none without a pack."""
    return "" if name is None else fingerprint_of(lambda: sorted(find_pack(name).iterdir()))


def get_pack(name: str) -> str:
    """What to do without one; without one that is not published, where to get the usual one."""
    public = name if pack_address(name) else USUAL_PACK
    place = Path(searched(HOST_FACES)[0], "models") / public
    return f"unpack {pack_address(public)} ({TERMS}) into {place} and press R."


# Loading


def open_pack(name: str, provider: str = AUTO_PROVIDER) -> FaceAnalysis:
    """InsightFace's own object, as other packs' nodes have it. Raises IPAdapterError where it cannot be made."""
    analysis_class = import_insightface()
    directory = find_pack(name)
    providers = execution_providers(provider, available_providers())
    analysis = load_analysis(analysis_class, directory, providers)
    refuse_unsuitable(analysis, directory)
    analysis.prepare(ctx_id=0, det_size=(SIDES[0], SIDES[0]))
    tell_fallback(analysis.det_model, providers[0])
    opened: FaceAnalysis = analysis
    return opened


def import_insightface() -> Any:
    """InsightFace's class."""
    try:
        from insightface.app import FaceAnalysis as Found
    except Exception as error:  # what it needs can be missing or broken in many ways
        raise IPAdapterError(
            f"InsightFace cannot be imported ({error}): install it into ComfyUI's Python with '{sys.executable} -m pip "
            "install insightface onnxruntime' and restart ComfyUI."
        ) from error
    return Found


def available_providers() -> list[str]:
    """What this onnxruntime was built for."""
    import onnxruntime

    return list(onnxruntime.get_available_providers())


def load_analysis(analysis_class: Any, directory: Path, providers: list[str]) -> Any:
    """Load a folder. It is there and named in full, so that no InsightFace goes and downloads one of that name."""
    try:
        return analysis_class(name=str(directory.absolute()), allowed_modules=list(MODULES), providers=providers)
    except AssertionError as error:  # its way to say that nothing in the folder detects faces
        raise unsuitable(directory, "has no model that detects faces") from error
    except Exception as error:  # of onnx, onnxruntime and protobuf
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise unsuitable(directory, f"cannot be loaded, because a file is damaged ({line})") from error


def refuse_unsuitable(analysis: Any, directory: Path) -> None:
    """Refuse packs that load, and make what no FaceID adapter reads."""
    recognition = analysis.models.get("recognition")
    if recognition is None:
        raise unsuitable(directory, "has no model that recognises faces")
    if not getattr(analysis.det_model, "use_kps", True):
        raise unsuitable(directory, "has a detector without keypoints")
    width = getattr(recognition, "output_shape", [FACE_WIDTH])[-1]
    if width != FACE_WIDTH:
        raise unsuitable(directory, f"makes face embeddings {width} wide, where FaceID adapters read {FACE_WIDTH}")


def unsuitable(directory: Path, fault: str) -> IPAdapterError:
    """The refusal of a pack."""
    return IPAdapterError(f"the InsightFace model pack in {directory} {fault}: {get_pack(directory.name)}")


def tell_fallback(detector: Any, wanted: str) -> None:
    """onnxruntime goes on without a provider that does not start, for want of a driver or a library."""
    running = detector.session.get_providers()
    if wanted not in running:
        logging.warning("IP-Adapter: InsightFace runs on %s, because %s did not start.", running[0], wanted)
