"""Writing adapter files: the reference's layout, flat, with what they were made from, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from .adapter import IPAdapter
from .errors import IPAdapterError

FORMAT = "ip-adapter"


@dataclass(frozen=True)
class Provenance:
    """What an adapter was made from and how long it was trained; in the file's metadata."""

    encoder: str = ""
    steps: int = 0
    license: str = ""

    @staticmethod
    def read(metadata: Mapping[str, str]) -> Provenance:
        """From a file's metadata; nothing from a file of somebody else's."""
        if metadata.get("format") != FORMAT:
            return Provenance()
        steps = metadata.get("steps", "")
        return Provenance(
            metadata.get("encoder", ""), int(steps) if steps.isdecimal() else 0, metadata.get("license", "")
        )


def file_tensors(adapter: IPAdapter, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """The tensors under the public files' names: layer i has key number 2i + 1."""
    names = {}
    for key, tensor in adapter.state_dict().items():
        group, _, rest = key.partition(".")
        if group == "layers":
            index, _, matrix = rest.partition(".")
            key = f"ip_adapter.{2 * int(index) + 1}.{matrix}"
        names[key] = tensor.detach().to("cpu", dtype).contiguous()
    return names


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
    }


def write_adapter(path: Path, adapter: IPAdapter, provenance: Provenance, dtype: torch.dtype | None = None) -> Path:
    """Write a safetensors file. Raises IPAdapterError where the disk does not take it; nothing is replaced then."""
    content = save(file_tensors(adapter, dtype), metadata(adapter, provenance))
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place once it is complete and on the disk."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
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
