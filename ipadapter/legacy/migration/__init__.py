"""Graphs made for ComfyUI_IPAdapter_plus, turned into graphs of this pack."""
