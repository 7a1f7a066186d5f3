"""The IP-Adapter engine (arXiv 2308.06721): plain torch, no ComfyUI outside ``ipadapter.host``."""
