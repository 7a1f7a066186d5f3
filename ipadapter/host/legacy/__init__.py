"""What the nodes of ComfyUI_IPAdapter_plus do, by this pack's engine."""
