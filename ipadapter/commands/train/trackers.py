"""Where the curves of a run go besides `loss.csv`: TensorBoard, Weights & Biases and whatever else accelerate knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ...errors import IPAdapterError

TENSORBOARD = "tensorboard"
PACKAGES = {"comet_ml": "comet-ml"}  # what is installed under another name


def refuse_trackers(names: Sequence[str]) -> None:
    """Refuse those that accelerate does not know, and those whose package is not there."""
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    available = {str(tracker.value) for tracker in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise IPAdapterError(
                f"output.trackers names '{name}', which accelerate does not know: there are "
                f"{', '.join(sorted(LOGGER_TYPE_TO_CLASS))}."
            )
        if name not in available:
            setting = "output.tensorboard" if name == TENSORBOARD else "output.trackers"
            raise IPAdapterError(
                f"{setting} needs its package: pip install {PACKAGES.get(name, name)}, or leave '{name}' out."
            )


def open_trackers(accelerator: Any, project: str, step: int, facts: Mapping[str, Any]) -> None:
    """Begin, or go on with, the curves at a step, and tell what the run's settings are.

    TensorBoard would make a curve of its own of the settings.
    """
    accelerator.init_trackers(project, init_kwargs={TENSORBOARD: {"purge_step": step + 1}})
    settings = {name: value if isinstance(value, (int, float, str)) else str(value) for name, value in facts.items()}
    for tracker in accelerator.trackers:
        if tracker.name != TENSORBOARD:
            tracker.store_init_configuration(settings)


def log_picture(accelerator: Any, name: str, picture: Image.Image, step: int) -> None:
    """Show a picture in every tracker that takes pictures."""
    for tracker in accelerator.trackers:
        form = PICTURE_FORMS.get(tracker.name)
        if form is not None:
            tracker.log_images({name: form(picture)}, step=step)


def as_batch(picture: Image.Image) -> Any:
    """(1, 3, H, W) levels, as TensorBoard's writer takes them."""
    return np.asarray(picture)[None].transpose(0, 3, 1, 2)


# What each tracker's `log_images` takes under a name.
PICTURE_FORMS: dict[str, Callable[[Image.Image], Any]] = {
    TENSORBOARD: as_batch,
    "wandb": lambda picture: [picture],
    "swanlab": lambda picture: [picture],
    "aim": lambda picture: picture,
    "clearml": lambda picture: picture,
}
