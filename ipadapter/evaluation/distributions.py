"""FID and KID: how far a set of pictures is from the set of image prompts, by Inception's features (torchmetrics)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from ..errors import IPAdapterError
from ..files.tensors import read_tensors
from ..images.pixels import colour_channels, refuse_unusable
from .judges import device_of
from .nearness import INSTALL_TORCHMETRICS
from .weights import WeightSource, library_file

INCEPTION_WIDTH = 2048
FEWEST_OF_A_SET = 2  # pictures of a set that spread at all
KID_SUBSET, KID_SUBSETS, KID_SEED = 1000, 100, 0  # torchmetrics' own sizes


class Inception(nn.Module):
    """Inception v3 as FID's authors published it, or another network from bytes to features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, picture: Tensor) -> Tensor:
        """(1, H, W, C) in 0 … 1 to features (1, F) in float64 on the CPU."""
        refuse_unusable(picture)
        levels = (colour_channels(picture.movedim(-1, 1).float()) * 255).round().clamp(0, 255).byte()
        made: Tensor = self.network(levels.to(device_of(self.network)))
        return made.double().cpu()


class AlreadyFeatures(nn.Module):
    """In the place of a network where features were made before."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Tensor) -> Tensor:
        return features


def open_inception(source: WeightSource) -> Inception:
    """With weights from a file, or from where torch-fidelity keeps its own if none is named."""
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3
        from torchmetrics.image.fid import NoTrainInceptionV3

        file = source.file if source.text else library_file(URL_INCEPTION_V3, "fid")
        with plain_copy(file) as path:
            network = NoTrainInceptionV3("inception-v3-compat", [str(INCEPTION_WIDTH)], path)
            network.use_antialias = False  # pictures are resized as in published numbers; torchmetrics would otherwise
    except ImportError as error:
        raise IPAdapterError(f"FID {INSTALL_TORCHMETRICS}") from error
    except (RuntimeError, OSError) as error:
        raise IPAdapterError(f"'{source.name}' is not Inception's weights as torch-fidelity publishes them.") from error
    return Inception(network.eval())


@contextmanager
def plain_copy(file: Path) -> Iterator[str]:
    """A file of nothing but tensors for torch-fidelity, which runs whatever code is in the one it is given."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "inception.pth"
        torch.save(dict(read_tensors(file, file.name)), path)
        yield str(path)


def set_features(inception: Inception, pictures: Iterable[Tensor]) -> Tensor:
    """(N, F)."""
    return torch.cat([inception(picture) for picture in pictures])


@dataclass(frozen=True)
class Distances:
    """Between two sets of pictures."""

    fid: float
    kid: float
    pictures: int
    references: int

    @property
    def scores(self) -> dict[str, float]:
        return {"fid": self.fid, "kid": self.kid}


def distances(made: Tensor, wanted: Tensor) -> Distances:
    """FID and KID of features (N, F) and (R, F). Raises IPAdapterError where a set is too small to have a spread."""
    if min(len(made), len(wanted)) < FEWEST_OF_A_SET:
        raise IPAdapterError(
            f"{len(made)} picture(s) and {len(wanted)} reference(s) are no two sets: FID and KID need "
            f"{FEWEST_OF_A_SET} or more of each, and thousands to mean something."
        )
    return Distances(frechet(made, wanted), kernel(made, wanted), len(made), len(wanted))


def frechet(made: Tensor, wanted: Tensor) -> float:
    """torchmetrics' FID of features."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=AlreadyFeatures(made.shape[1])).set_dtype(torch.float64)
    metric.update(wanted, real=True)
    metric.update(made, real=False)
    return float(metric.compute())


def kernel(made: Tensor, wanted: Tensor) -> float:
    """torchmetrics' KID of features, over seeded subsets."""
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(KID_SUBSET, len(made), len(wanted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps features, which are kept anyway
        metric = KernelInceptionDistance(AlreadyFeatures(made.shape[1]), subsets=KID_SUBSETS, subset_size=size)
    metric.update(wanted, real=True)
    metric.update(made, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(KID_SEED)
        mean, _ = metric.compute()
    return float(mean)
