"""This layer runs in a real ComfyUI."""

from tests.comfyui import start_host

start_host()
