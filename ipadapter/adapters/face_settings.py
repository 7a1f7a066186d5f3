"""Which settings of a FaceID adapter mean something: one that would do nothing is refused."""

from __future__ import annotations

from ..errors import IPAdapterError
from .spec import AdapterSpec, FaceSettings, FaceVersion, Family


def refuse_settings(spec: AdapterSpec, face: FaceSettings) -> None:
    """Raises IPAdapterError for an adapter without a face, and for settings it does not have."""
    plus = spec.family is Family.FACE_ID_PLUS
    kind = f"{spec.family.value} adapter" + (f" used as {face.version.value}" if plus else "")
    structured = plus and face.version is FaceVersion.V2
    objections = (
        (spec.reads_face, "FaceID Settings", "connect a FaceID adapter, or leave this node out"),
        (plus or face.version is spec.face.version, "versions", "leave version as the file is named"),
        (structured or face.structure == 1.0, "structure", f"set structure to 1{', or version to v2' if plus else ''}"),
        (bool(spec.lora_rank) or face.lora == 1.0, "LoRA in its file", "set lora_weight to 1"),
    )
    for good, what, advice in objections:
        if not good:
            raise IPAdapterError(f"'{spec.name}' is a {kind}, which has no {what}: {advice}.")
