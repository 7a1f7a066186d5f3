"""Trained adapters into the user's output folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import comfy.utils

from ...adapters.writing import write_adapter
from ..files import next_path
from .adapter import Adapter


def save_to_output(adapter: Adapter, prefix: str, license: str = "") -> Path:
    """Write an adapter under the next free number. Raises IPAdapterError where that cannot be done."""
    provenance = replace(adapter.provenance, license=license or adapter.provenance.license).of(adapter.spec)
    progress = comfy.utils.ProgressBar(1).update_absolute
    return write_adapter(next_path(prefix), adapter.patcher.model, provenance, progress=progress)
