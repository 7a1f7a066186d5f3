"""Where the curves of a run go besides `loss.csv`: TensorBoard, Weights & Biases and whatever else accelerate knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
