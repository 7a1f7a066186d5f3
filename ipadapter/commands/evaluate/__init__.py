"""The paper's evaluation over a folder of images, against a running ComfyUI: `python -m ipadapter.evaluate`."""
