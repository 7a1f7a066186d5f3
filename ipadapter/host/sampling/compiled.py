"""Compiled models: code that was made for one structure, and would not see another."""

from __future__ import annotations

from functools import cache
from typing import Any

import comfy.model_base
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY


def is_compiled(model: comfy.model_base.BaseModel, options: dict[str, Any]) -> bool:
    """Whether the model runs through torch.compile, by the host's wrapper or as a compiled module."""
    wrappers = options.get("wrappers", {}).get(WrappersMP.APPLY_MODEL, {})
    return bool(wrappers.get(COMPILE_KEY)) or hasattr(model.diffusion_model, "_orig_mod")


NO_RESIDUALS: dict[str, Any] = {"input": [], "middle": [], "output": []}  # FLUX asks each without asking whether


@cache
def control_type(structure: str) -> type[dict[str, Any]]:
    """A dictionary type of its own for each structure."""
    return type("MarkedControl", (dict,), {"structure": structure})


def mark_control(control: dict[str, Any] | None, structure: str) -> dict[str, Any]:
    """ControlNet's residuals, or none, in a dictionary whose type tells the structure.

    The host compiles without guards on transformer_options, so a change of structure there (a window that closes, an
    adapter more or less) would go unseen and stale code would run. The type of `control` is guarded.
    """
    return control_type(structure)(control or NO_RESIDUALS)
