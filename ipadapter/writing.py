"""Writing adapter files: the reference's layout, flat, with what they were made from, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from .adapter import IPAdapter
from .errors import IPAdapterError
from .families import AdapterSpec, FaceVersion, Family

FORMAT = "ip-adapter"
PART = ".part"  # the ending of a file that is not complete
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
        return replace(self, face_version=spec.face.version.value if spec.family is Family.FACE_ID_PLUS else "")

    def told(self, spec: AdapterSpec) -> AdapterSpec:
        """An adapter's spec with what the file says that no tensor tells."""
        versions = {version.value: version for version in FaceVersion}
        return replace(spec, face=replace(spec.face, version=versions.get(self.face_version, spec.face.version)))


def file_tensors(adapter: IPAdapter, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The tensors under the public files' names: layer i has key number 2i + 1."""
    names: dict[str, Tensor] = {}
    for key, tensor in adapter.state_dict().items():
        group, _, rest = key.partition(".")
        if group == "layers":
            index, _, matrix = rest.partition(".")
            key = f"ip_adapter.{2 * int(index) + 1}.{matrix}"
        names[key] = tensor
    names |= {f"ip_adapter.{key}": tensor for key, tensor in adapter.lora.items()}
    return {key: tensor.detach().to("cpu", dtype).contiguous() for key, tensor in names.items()}


def metadata(adapter: IPAdapter, provenance: Provenance) -> dict[str, str]:
    """What the file says of itself."""
    spec = adapter.spec
    return {
        "format": FORMAT,
        "kind": spec.family.value,
        "base": spec.base,
        "encoder": provenance.encoder or spec.encoder,
        "tokens": str(spec.projection.tokens or "one a patch"),
        "steps": str(provenance.steps),
        "license": provenance.license,
    } | ({"face_version": provenance.face_version} if provenance.face_version else {})


def write_adapter(path: Path, adapter: IPAdapter, provenance: Provenance, dtype: torch.dtype | None = None) -> Path:
    """Write a safetensors file. Raises IPAdapterError where the disk does not take it; nothing is replaced then."""
    return write_whole(path, save(file_tensors(adapter, dtype), readable(metadata(adapter, provenance))))


def readable(notes: Mapping[str, str]) -> dict[str, str]:
    """Notes that a file can hold: half of a character, which no text has, becomes a question mark."""
    return {key: note.encode("utf-8", "replace").decode() for key, note in notes.items()}


def write_whole(path: Path, content: bytes) -> Path:
    """Write a file that is either all there or not at all. Raises IPAdapterError where the disk does not take it."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place once it is complete and on the disk."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise IPAdapterError(
            f"'{path}' could not be written: {error.strerror or error}; what was there before is unchanged. Make room, "
            "or choose another place."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # it has taken its place, or could not be made
            temporary.unlink()


def clear_parts(folder: Path, seconds: float = 0.0) -> None:
    """Remove what processes that were killed have left of files they were writing here, at least so long ago."""
    for part in folder.glob(f".*{PART}"):
        with contextlib.suppress(OSError):  # its writer is done with it
            if time.time() - part.stat().st_mtime >= seconds:
                part.unlink()
