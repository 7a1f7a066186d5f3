"""ComfyUI_IPAdapter_plus: what its settings mean here, and its graphs."""
