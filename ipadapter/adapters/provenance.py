"""What an adapter was made from, as its file says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from .face_settings import FaceVersion
from .spec import AdapterSpec

FORMAT = "ip-adapter"
MOST_DIGITS = 18  # of a file's count of steps


@dataclass(frozen=True)
class Provenance:
    """What an adapter was made from and how long it was trained; in the file's metadata.

    `face_version` is that of FaceID Plus, which no tensor tells.
    """

    encoder: str = ""
    steps: int = 0
    license: str = ""
    face_version: str = ""

    @staticmethod
    def read(metadata: Mapping[str, str]) -> Provenance:
        """From a file's metadata; nothing from a file of somebody else's."""
        if metadata.get("format") != FORMAT:
            return Provenance()
        steps = metadata.get("steps", "")
        return Provenance(
            metadata.get("encoder", ""),
            int(steps) if steps.isdecimal() and len(steps) <= MOST_DIGITS else 0,
            metadata.get("license", ""),
            metadata.get("face_version", ""),
        )

    def of(self, spec: AdapterSpec) -> Provenance:
        """This, for an adapter as it is used."""
        return replace(self, face_version=spec.version.value if spec.version else "")

    def told(self, spec: AdapterSpec) -> AdapterSpec:
        """An adapter's spec with what the file says that no tensor tells."""
        versions = {version.value: version for version in FaceVersion}
        return replace(spec, face=replace(spec.face, version=versions.get(self.face_version, spec.face.version)))
