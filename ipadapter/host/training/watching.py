"""What a user sees of a training run: progress with time left, the loss, and a picture now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import comfy.model_management
import comfy.utils
import latent_preview
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from ...drawing.plots import line_plot
from ..adapters.adapter import Adapter
from ..pictures import from_pil
from .data import EncodedPictures
from .drawing import Guides, Sampling, aside, draw_latents, encoded_prompt
from .frozen import FrozenUNet

PLOT = (480, 320)  # pixels
SAMPLES = 8  # pictures a run, at most
FEWEST = 25  # steps between two of them, at least
QUICK = Sampling(steps=12)


@dataclass
class TrainingWatch:
    """The run as its node shows it. `text` is given a line to show on the node."""

    total: int
    text: Callable[[str], None]
    losses: list[float] = field(default_factory=list)
    picture: Image.Image | None = None
    _draw: Callable[[], Image.Image | None] = lambda: None

    def __post_init__(self) -> None:
        self.progress = comfy.utils.ProgressBar(self.total)
        self.bar = tqdm(total=self.total, desc="Training IP-Adapter", disable=not comfy.utils.PROGRESS_BAR_ENABLED)
        self.began = time.monotonic()

    @property
    def steps(self) -> int:
        """Steps made so far."""
        return len(self.losses)

    @contextmanager
    def running(self, frozen: FrozenUNet, data: EncodedPictures, snapshot: Callable[[int], Adapter]) -> Iterator[None]:
        """While the run lasts, pictures can be made."""
        self._draw = lambda: draw_picture(frozen, data, snapshot(self.steps))
        try:
            yield
        finally:
            self._draw = lambda: None
            self.bar.close()

    def after_step(self, step: int, loss: float) -> None:
        """Called after each step. Raises the host's interrupt where the user asked for it."""
        self.losses.append(loss)
        self.bar.update()
        self.bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        if step % max(FEWEST, -(-self.total // SAMPLES)) == 0 or step == self.total:
            self.picture = self._draw()
            self.progress.update_absolute(step, self.total, ("JPEG", self.chart(), max(PLOT)))
        else:
            self.progress.update_absolute(step, self.total)
        self.text(self.line(step, loss))
        comfy.model_management.throw_exception_if_processing_interrupted()

    def line(self, step: int, loss: float) -> str:
        """Where the run is, in a line."""
        left = (time.monotonic() - self.began) / step * (self.total - step)
        return f"step {step} of {self.total}, loss {loss:.4f}, {tqdm.format_interval(left)} left"

    def chart(self) -> Image.Image:
        """The loss, and beside it the last picture."""
        plot = line_plot(self.losses, *PLOT, title=f"Loss, {self.steps} of {self.total} steps")
        if self.picture is None:
            return plot
        side = PLOT[1]
        scaled = self.picture.resize((round(self.picture.width * side / self.picture.height), side))
        chart = Image.new("RGB", (plot.width + scaled.width, side), "white")
        chart.paste(plot, (0, 0))
        chart.paste(scaled, (plot.width, 0))
        return chart

    def chart_tensor(self) -> Tensor:
        """The chart as the host's IMAGE, (1, H, W, 3)."""
        return from_pil(self.chart())


def draw_picture(frozen: FrozenUNet, data: EncodedPictures, adapter: Adapter) -> Image.Image | None:
    """What the adapter makes of the first picture alone: no text, weight 1, seen through the host's latent preview."""
    with aside(frozen):
        empty, first = [data.empty_text], data.features([0], [False])
        told = Guides(encoded_prompt(adapter.spec.family, first, data.nothing), empty, empty)
        return preview(
            frozen, draw_latents(frozen, adapter, told, torch.zeros_like(data.clean[0], device="cpu"), QUICK)
        )


def preview(frozen: FrozenUNet, latents: Tensor) -> Image.Image | None:
    """Latents as a small picture, without a VAE; None where the host knows no such thing for the model."""
    form = frozen.patcher.model.latent_format
    if form.latent_rgb_factors is None:
        return None
    factors = (form.latent_rgb_factors, form.latent_rgb_factors_bias, form.latent_rgb_factors_reshape)
    scaled = frozen.patcher.model.process_latent_in(latents.float().cpu())
    made: Image.Image | None = latent_preview.Latent2RGBPreviewer(*factors).decode_latent_to_preview(scaled)
    return made
