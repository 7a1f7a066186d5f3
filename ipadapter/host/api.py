"""The host's node API, imported here and nowhere else, so that another version is one line away."""

from comfy_api.v0_0_2 import ComfyAPI, ComfyExtension, io, ui

__all__ = ["ComfyAPI", "ComfyExtension", "io", "ui"]
