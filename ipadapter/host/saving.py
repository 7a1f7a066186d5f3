"""Trained adapters into the user's output folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import folder_paths

from ..errors import IPAdapterError
from ..opening import refuse_name
from ..writing import write_adapter
from .adapter import Adapter


def save_to_output(adapter: Adapter, prefix: str, license: str = "") -> Path:
    """Write an adapter under the next free number. Raises IPAdapterError where that cannot be done."""
    provenance = replace(adapter.provenance, license=license or adapter.provenance.license).of(adapter.spec)
    return write_adapter(next_path(prefix), adapter.patcher.model, provenance)


def next_path(prefix: str) -> Path:
    """`<prefix>_00001_.safetensors` in the output folder, or the next number."""
    refuse_name(prefix)
    try:
        folder, name, counter, *_ = folder_paths.get_save_image_path(prefix, folder_paths.get_output_directory())
    except OSError as error:
        raise IPAdapterError(f"'{prefix}' cannot be saved in the output folder: {error.strerror or error}.") from error
    except Exception as error:  # the host raises a plain Exception for a prefix that leaves the output folder
        raise IPAdapterError(
            f"filename_prefix '{prefix}' is outside the output folder: use a name such as ipadapter/mine."
        ) from error
    return Path(folder) / f"{name}_{counter:05}_.safetensors"
