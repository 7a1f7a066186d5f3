"""A running ComfyUI, over its HTTP and websocket API."""
