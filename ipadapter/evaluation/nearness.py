"""LPIPS (arXiv 1801.03924): how far apart two pictures are to a network that learned it of people; 0 is the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import IPAdapterError
from ..images.pixels import Fit, colour_channels, refuse_unusable, resize_to_fit
from .judges import LibraryModule, Measuring, device_of
from .weights import WeightSource, library_file

LPIPS_SIDE = 256  # pixels of the square in which two pictures of any shapes are compared
# By the names that torchvision has for their weights.
LPIPS_NETWORKS = {"alex": "AlexNet_Weights", "vgg": "VGG16_Weights", "squeeze": "SqueezeNet1_1_Weights"}
INSTALL_TORCHMETRICS = (
    "needs torchmetrics, which is not installed: run `pip install torchmetrics torch-fidelity` in ComfyUI's Python "
    "environment."
)


@dataclass(frozen=True)
class LpipsJudge:
    """torchmetrics' LPIPS."""

    label: str
    module: nn.Module

    def against(self, image: Tensor, captions: Sequence[str]) -> Measuring:
        wanted = square(image).to(device_of(self.module))

        def measure(picture: Tensor) -> dict[str, float]:
            return {"lpips": float(self.module(square(picture).to(wanted.device), wanted))}

        return measure


def square(picture: Tensor) -> Tensor:
    """(1, H, W, C) to its middle, (1, 3, LPIPS_SIDE, LPIPS_SIDE) in 0 … 1."""
    refuse_unusable(picture)
    return resize_to_fit(colour_channels(picture.movedim(-1, 1).float()), Fit.CROP, LPIPS_SIDE)


def open_lpips(source: WeightSource) -> LpipsJudge:
    """One of its networks by name; AlexNet, which its authors recommend, where none is named.

    torchmetrics has the rest of it; the network's own weights are where torchvision keeps them.
    """
    network = source.text or next(iter(LPIPS_NETWORKS))
    if network not in LPIPS_NETWORKS:
        raise IPAdapterError(f"LPIPS knows no network '{network}': choose {', '.join(LPIPS_NETWORKS)}.")
    try:
        from torchmetrics.image import lpip
    except ImportError as error:
        raise IPAdapterError(f"LPIPS {INSTALL_TORCHMETRICS}") from error
    import torchvision.models

    library_file(getattr(torchvision.models, LPIPS_NETWORKS[network]).DEFAULT.url, f"lpips={network}")
    made: Any = lpip
    metric = made.LearnedPerceptualImagePatchSimilarity(network, normalize=True).eval()
    return LpipsJudge(f"LPIPS ({network})", LibraryModule(metric))
