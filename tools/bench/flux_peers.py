"""Other packs for FLUX, each driven through its own nodes, and what they miss in this ComfyUI.

Both have the public widths written into them, in whose place the shape's are put; neither's image encoder takes part.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, redirect_stdout
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import comfy.ldm.flux.layers
import comfy.model_management
import torch
from torch import Tensor, nn

from tools.bench.adapters import Shapes
from tools.bench.flux_packs import INSTANTX, XLABS, FluxAdapter, random_tensors
from tools.bench.models import META, Model
from tools.bench.packs import PLAIN, Use, tensors_of
from tools.standins.flux import FLUX_DEV, FluxShape

PICTURE_SIDE = 8  # pixels; nobody looks at it


@contextmanager
def swapped(owner: Any, **others: Any) -> Iterator[None]:
    """With other things under some of a module's names."""
    own = {name: getattr(owner, name) for name in others}
    for name, other in others.items():
        setattr(owner, name, other)
    try:
        yield
    finally:
        for name, one in own.items():
            setattr(owner, name, one)


@contextmanager
def made_on(device: torch.device) -> Iterator[None]:
    """With modules made on a device, which the host names as its own, and what is printed among the errors."""
    with swapped(comfy.model_management, get_torch_device=lambda: device), device, redirect_stdout(sys.stderr):
        yield


def file_of(shapes: Shapes, device: torch.device) -> dict[str, Tensor]:
    """An adapter's tensors, or their shapes alone."""
    if device == META:
        return {name: torch.empty(size, device=META, dtype=torch.float16) for name, size in shapes.items()}
    return random_tensors(shapes)


def blocks_put_in(model: Model) -> Iterator[Any]:
    """What stands in the place of the model's own parts."""
    yield from model.object_patches.values()


class FixedEncoder(nn.Module):
    """Stands where XLabs' nodes have CLIP-L: every picture's embedding is the same."""

    def __init__(self, _path: str) -> None:
        super().__init__()
        self.model = nn.Linear(1, 1)  # asked for the device it is on

    def forward(self, _image: Tensor) -> Tensor:
        return XLABS.embedding()


class XLabs:
    """x-flux-comfyui."""

    name = "XLabs' nodes"
    counted = FLUX_DEV

    def __init__(self, package: ModuleType) -> None:
        self.nodes = package.NODE_CLASS_MAPPINGS
        self.module = sys.modules[f"{package.__name__}.nodes"]
        self.layers = sys.modules[f"{package.__name__}.xflux.src.flux.modules.layers"]

    def reads(self, adapter: FluxAdapter) -> bool:
        return adapter == XLABS

    def can(self, use: Use) -> bool:
        return use == PLAIN

    def load(self, adapter: FluxAdapter, shape: FluxShape, folder: Path, device: torch.device) -> Any:
        tensors = file_of(adapter.shapes(shape), device)
        with self.shaped(shape), swapped(self.module, load_safetensors=lambda _path: tensors), made_on(device):
            loaded = self.nodes["LoadFluxIPAdapter"]().loadmodel("flux.safetensors", "none", "GPU")[0]
        return shape, device, loaded

    def apply(self, model: Model, loaded: Any, adapter: FluxAdapter, use: Use = PLAIN) -> Model:
        shape, device, own = loaded
        picture = torch.zeros(1, PICTURE_SIDE, PICTURE_SIDE, 3)
        with self.shaped(shape), made_on(device):
            patched = self.nodes["ApplyFluxIPAdapter"]().applymodel(model, own, picture, 1.0)[0]
        if model.model.get_dtype() == torch.float32:
            refine(patched)
        return patched

    def shaped(self, shape: FluxShape) -> AbstractContextManager[None]:
        """With a shape's widths for the public ones."""
        processor, projection = self.module.IPProcessor, self.module.ImageProjModel
        return swapped(
            self.module,
            FluxClipViT=FixedEncoder,
            IPProcessor=lambda _text, _width, *rest: processor(shape.text, shape.width, *rest),
            ImageProjModel=lambda _text, embed, tokens: projection(shape.text, embed, tokens),
        )

    def held(self, model: Model, loaded: Any) -> Iterator[Tensor]:
        for processor in blocks_put_in(model):
            for adapter in processor.ip_adapters:
                yield from tensors_of(adapter)
                yield from (adapter.in_hidden_states_pos, adapter.in_hidden_states_neg)

    def mend(self) -> None:
        """Its block, which it puts in the place of the host's, is called with arguments that it does not know."""
        block = self.layers.DoubleStreamBlock
        block.forward = lambda self, img, txt, vec, pe, **_more: self.processor(self, img, txt, vec, pe)


def refine(model: Model) -> None:
    """Turn XLabs' adapters, bfloat16 whatever the model is, into what an fp32 model can be called with."""
    for processor in blocks_put_in(model):
        processor.float()
        for adapter in processor.ip_adapters:
            adapter.ip_hidden_states = adapter.ip_hidden_states.float()


class NoEncoder(nn.Identity):
    """Stands where Shakker's nodes load SigLIP and its processor."""

    @classmethod
    def from_pretrained(cls, _name: str) -> NoEncoder:
        return cls()


class Shakker:
    """ComfyUI-IPAdapter-Flux."""

    name = "Shakker's nodes"
    counted = FLUX_DEV

    def __init__(self, package: ModuleType) -> None:
        self.nodes = package.NODE_CLASS_MAPPINGS
        self.module = sys.modules[f"{package.__name__}.ipadapter_flux"]
        self.utils: Any = sys.modules[f"{package.__name__}.utils"]

    def reads(self, adapter: FluxAdapter) -> bool:
        return adapter == INSTANTX

    def can(self, use: Use) -> bool:
        return use.mask is None

    def load(self, adapter: FluxAdapter, shape: FluxShape, folder: Path, device: torch.device) -> Any:
        groups: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
        for name, tensor in file_of(adapter.shapes(shape), device).items():
            group, _, key = name.partition(".")
            groups[group][key] = tensor
        torch.save(groups, folder / "flux.bin")
        with self.shaped(shape, folder), made_on(device):
            return self.nodes["IPAdapterFluxLoader"]().load_model("flux.bin", "none", device.type)[0]

    def shaped(self, shape: FluxShape, folder: Path) -> AbstractContextManager[None]:
        """With a shape's widths for the public ones, and a folder to look for the file in."""
        processor, projection = self.module.IPAFluxAttnProcessor2_0, self.module.MLPProjModel
        widths = {"hidden_size": shape.width, "cross_attention_dim": shape.text}
        return swapped(
            self.module,
            MODELS_DIR=str(folder),
            SiglipVisionModel=NoEncoder,
            AutoProcessor=NoEncoder,
            IPAFluxAttnProcessor2_0=lambda **given: processor(**{**given, **widths}),
            MLPProjModel=lambda **given: projection(**{**given, "cross_attention_dim": shape.text}),
        )

    def apply(self, model: Model, loaded: Any, adapter: FluxAdapter, use: Use = PLAIN) -> Model:
        embedding = partial(type(loaded).get_image_embeds, loaded, None, adapter.embedding())
        loaded.get_image_embeds = lambda **_picture: embedding()
        picture = torch.zeros(1, PICTURE_SIDE, PICTURE_SIDE, 3)
        window = (0.0, use.end_at)
        with made_on(torch.device(loaded.device)):
            patched = self.nodes["ApplyIPAdapterFlux"]().apply_ipadapter_flux(model, loaded, picture, 1.0, *window)[0]
        if loaded.device == META.type:
            unread_windows(loaded)
        return patched

    def held(self, model: Model, loaded: Any) -> Iterator[Tensor]:
        yield from tensors_of(loaded.image_proj_model)
        for block in blocks_put_in(model):
            for part in (*getattr(block, "ip_adapter", ()), *getattr(block, "image_emb", ())):
                yield from tensors_of(part)

    def mend(self) -> None:
        """It copies an attribute that the host's block no longer has, and its forward does not know an argument."""
        comfy.ldm.flux.layers.DoubleStreamBlock.flipped_img_txt = False
        self.utils.forward_orig_ipa = without_index(self.utils.forward_orig_ipa)


def without_index(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A forward of FLUX from before the host told it where reference images begin."""
    return lambda *args, timestep_zero_index=None, **more: forward(*args, **more)


def unread_windows(loaded: Any) -> None:
    """Leave out the windows of a model that has shapes only: they are compared with a time read from the device."""
    for processor in loaded.ip_attn_procs.values():
        processor.timestep_range = None
