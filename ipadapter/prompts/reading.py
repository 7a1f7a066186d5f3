"""How reference images are read: the squares an encoder is given, and what its features of them become."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import IPAdapterError
from ..images.boxes import Box
from ..images.pixels import (
    SMALLEST_SIDE,
    Fit,
    PixelFormat,
    counting_part,
    prepare_pixels,
    refuse_unusable,
    resize_to_fit,
)
from ..images.tiles import Tiling, rectangle, tile_boxes
from ..numbers import WEIGHT, require, require_all
from .combining import join_features
from .details import cut_subtiles, pool_subtiles
from .prompt import ImageFeatures, Order, Part, Region, merge_features
from .weights import Weights, share_weights, unless_plain


@dataclass(frozen=True)
class Reading:
    """Everything but the pictures.

    `weights` are one for all references or one for each. With `detail` n > 1 and a `detail_weight` other than 0 each
    is also read as n x n sub-tiles, a further reference of that weight.
    """

    fit: Fit | Tiling = Fit.CROP
    order: Order = Order.TOGETHER
    weights: Weights | None = None
    detail: int = 1
    detail_weight: float = 1.0

    def __post_init__(self) -> None:
        require(self.detail_weight, "detail_weight", WEIGHT)
        require_all(self.weights or (), "the weight of an image", WEIGHT)
        if self.order is Order.FRAME_BY_FRAME and (self.has_detail or self.fit is Tiling.TOGETHER):
            raise IPAdapterError(
                "order is 'frame by frame', which gives every frame one image, but fit 'tiles' and detail above 1 make "
                "several of each: set order to together, or fit to tiles in place and detail to 1."
            )

    @property
    def has_detail(self) -> bool:
        """Whether sub-tiles are read."""
        return self.detail > 1 and self.detail_weight != 0

    @property
    def negative_fit(self) -> Fit:
        """How a negative image is read: never by tiles."""
        return self.fit if isinstance(self.fit, Fit) else Fit.CROP

    def weights_of(self, references: int) -> Weights:
        """What each reference weighs. Raises IPAdapterError for a wrong number of weights."""
        (weights,) = share_weights(self.weights, [references])
        return weights


@dataclass(frozen=True)
class ReferenceView:
    """Some of the references, or the same tile of each, as one batch for the encoder."""

    image: Tensor  # (M, h, w, c)
    mask: Tensor | None  # (1 or M, h, w): what of them counts
    fit: Fit
    references: tuple[int, ...]  # which of the references each is
    region: Region | None = None

    def pixels(self, form: PixelFormat) -> Tensor:
        """Normalised pixels (M, 3, size, size)."""
        return prepare_pixels(self.image, self.mask, self.fit, form)

    def subtiles(self, form: PixelFormat, n: int) -> Tensor:
        """Normalised pixels of n x n sub-tiles of each, (M n n, 3, size, size)."""
        return cut_subtiles(self.pixels(PixelFormat(n * form.size, form.mean, form.std)), n)


def views_of(image: Tensor, mask: Tensor | None, reading: Reading, size: int) -> tuple[ReferenceView, ...]:
    """What an encoder of `size` pixels is to see of references (N, H, W, 1 | 3 | 4) and their mask (1 or N, h, w).

    Raises IPAdapterError for pictures and masks that cannot be read so.
    """
    refuse_unusable(image)
    if isinstance(reading.fit, Fit):
        return (ReferenceView(image, mask, reading.fit, tuple(range(len(image)))),)
    height, width = image.shape[1:3]
    boxes = tile_boxes(height, width, reading.fit)
    refuse_small_tiles(height, width, boxes)
    counts = counting_part(image.movedim(-1, 1).float(), mask)  # (1 or N, 1, H, W)
    views = [tile_view(image[..., :3], counts, box, reading, size) for box in boxes]
    return refuse_no_tiles([view for view in views if view.references], len(image), reading.order)


def refuse_small_tiles(height: int, width: int, boxes: Sequence[Box]) -> None:
    """A tile is a picture too."""
    if boxes[0].height < SMALLEST_SIDE:
        raise IPAdapterError(
            f"image is {width}×{height} pixels, too few to cut into tiles of at least {SMALLEST_SIDE}: give a larger "
            "picture, or set fit to crop."
        )


def tile_view(image: Tensor, counts: Tensor | None, box: Box, reading: Reading, size: int) -> ReferenceView:
    """One tile of the references of which something counts there."""
    height, width = image.shape[1:3]
    tile = box.cut(image.movedim(-1, 1)).movedim(1, -1)  # (N, h, w, c)
    part = None if counts is None else box.cut(counts).expand(len(image), -1, -1, -1)  # (N, 1, h, w)
    kept = seen(part, len(image), size)
    mask = None if part is None else part[list(kept), 0]
    region = Region(rectangle(box, height, width)) if reading.fit is Tiling.IN_PLACE else None
    return ReferenceView(tile[list(kept)], mask, Fit.CROP, kept, region)


def seen(counts: Tensor | None, references: int, size: int) -> tuple[int, ...]:
    """The references of whose tile something counts at the encoder's size."""
    if counts is None:
        return tuple(range(references))
    counting = resize_to_fit(counts, Fit.CROP, size).flatten(1).any(dim=1)  # (N,)
    return tuple(torch.nonzero(counting).flatten().tolist())


def refuse_no_tiles(views: Sequence[ReferenceView], references: int, order: Order) -> tuple[ReferenceView, ...]:
    """At least one tile must have something in it; of frames, one of each."""
    if not views:
        raise IPAdapterError(
            "mask or transparency leaves nothing of the reference image in any of its tiles: paint more of it."
        )
    blank = set(range(references)).difference(*(view.references for view in views))
    if blank and order is Order.FRAME_BY_FRAME:
        raise IPAdapterError(
            f"mask or transparency leaves nothing of frame {min(blank) + 1} of the reference images in any of its "
            "tiles: paint more of it, or leave the frame out."
        )
    return tuple(views)


def make_parts(
    views: Sequence[ReferenceView],
    whole: Sequence[ImageFeatures],
    detail: Sequence[ImageFeatures],
    reading: Reading,
    references: int,
    negative: ImageFeatures | None,
) -> tuple[Part, ...]:
    """One part for all views without a region, or one for each of those that have one.

    `whole` are the features of the views, `detail` those of their sub-tiles where they are read.
    """
    weights = reading.weights_of(references)
    closer = detail if reading.has_detail else [None] * len(views)
    images = [images_of_view(*one, weights, reading) for one in zip(views, whole, closer, strict=True)]
    if reading.order is Order.FRAME_BY_FRAME:
        images = [by_frame(one, view, references) for one, view in zip(images, views, strict=True)]
    regions = [view.region for view in views]
    if None in regions:
        images, regions = [join_images(images)], [None]
    return tuple(
        Part(one.features, negative, unless_plain(one.weights), reading.order, region=region)
        for one, region in zip(images, regions, strict=True)
    )


@dataclass(frozen=True)
class Images:
    """Features of some images and what each of them weighs."""

    features: ImageFeatures
    weights: Weights


def by_frame(images: Images, view: ReferenceView, frames: int) -> Images:
    """One for each frame: where a view has none of a frame, one of another's that weighs nothing."""
    at = {frame: index for index, frame in enumerate(view.references)}
    if len(at) == frames:
        return images
    rows = [at.get(frame, 0) for frame in range(frames)]
    weights = tuple(images.weights[at[frame]] if frame in at else 0.0 for frame in range(frames))
    return Images(merge_features([images.features], lambda tensors: tensors[0][rows]), weights)


def join_images(images: Sequence[Images]) -> Images:
    """All of them."""
    weights = tuple(weight for one in images for weight in one.weights)
    return Images(join_features([one.features for one in images]), weights)


def images_of_view(
    view: ReferenceView, whole: ImageFeatures, detail: ImageFeatures | None, weights: Weights, reading: Reading
) -> Images:
    """The images of a view, then their detail."""
    own = tuple(weights[index] for index in view.references)
    if detail is None:
        return Images(whole, own)
    close = tuple(reading.detail_weight * weight for weight in own)
    return join_images([Images(whole, own), Images(pool_subtiles(detail, reading.detail), close)])
