"""How many graphs for ComfyUI_IPAdapter_plus are valid on a server without it: `python -m tools.old_graphs FOLDER`."""
