"""The host's node API, imported here and nowhere else, so that another version is one line away."""

from comfy_api.v0_0_2 import ComfyExtension, io, ui

__all__ = ["ComfyExtension", "io", "ui"]
