"""The figures of docs/method.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.sample
import comfy.samplers
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ipadapter.drawing.contact_sheet import font_that_has
from ipadapter.drawing.plots import INK, PAPER, font
from lab.evidence import studio
from lab.evidence.__main__ import load
from lab.evidence.charts import draw_growth
from lab.evidence.claims import BASE, WEIGHTS
from lab.evidence.studio import following, latent_of, text
from lab.evidence.verdicts import estimate

from .recipes import DOTTED, STRIPED, drawn, noise_of, shown
from .shown import Shown, picture, rows_of

FINE = 2  # drawn so many times larger, then reduced
TEXT, IMAGE, BOTH = (221, 232, 246), (252, 229, 205), (226, 240, 217)  # what belongs to which prompt
WIDTH, HEIGHT = 860, 330
SIGMAS = (10.0, 3.0, 1.0, 0.3)
GUIDANCES = (1.0, 3.0, 7.0)


@dataclass(frozen=True)
class Box:
    """A step of the layer: its words, its middle, its width and its colour, in pixels of the figure."""

    words: str
    x: int
    y: int
    width: int
    colour: tuple[int, int, int]
    height: int = 40


TEXT_Y, PICTURE_Y, IMAGE_Y = 60, 165, 270
BOXES = (
    Box("text", 50, TEXT_Y, 80, TEXT),
    Box("text encoder\n(frozen)", 180, TEXT_Y, 120, TEXT),
    Box("W_k, W_v\n(frozen)", 360, TEXT_Y, 110, TEXT),
    Box("Attn(Q, K, V)", 560, TEXT_Y, 130, TEXT),
    Box("the picture\nbeing made", 180, PICTURE_Y, 120, BOTH),
    Box("W_q\n(frozen)", 360, PICTURE_Y, 110, BOTH),
    Box("+", 690, PICTURE_Y, 40, BOTH),
    Box("W_o\n(frozen)", 790, PICTURE_Y, 100, BOTH),
    Box("image", 50, IMAGE_Y, 80, IMAGE),
    Box("image encoder\n(frozen)", 180, IMAGE_Y, 120, IMAGE),
    Box("projection\n(learned)", 315, IMAGE_Y, 100, IMAGE),
    Box("W'_k, W'_v\n(learned)", 435, IMAGE_Y, 100, IMAGE),
    Box("Attn(Q, K', V')", 570, IMAGE_Y, 130, IMAGE),
    Box("· λ", 690, IMAGE_Y, 50, IMAGE),
)
ARROWS = (
    ((90, TEXT_Y), (120, TEXT_Y)),
    ((240, TEXT_Y), (305, TEXT_Y)),
    ((415, TEXT_Y), (495, TEXT_Y)),
    ((240, PICTURE_Y), (305, PICTURE_Y)),
    ((415, PICTURE_Y), (545, TEXT_Y + 20)),
    ((415, PICTURE_Y), (550, IMAGE_Y - 20)),
    ((625, TEXT_Y), (684, PICTURE_Y - 20)),
    ((690, IMAGE_Y - 20), (690, PICTURE_Y + 20)),
    ((710, PICTURE_Y), (740, PICTURE_Y)),
    ((90, IMAGE_Y), (120, IMAGE_Y)),
    ((240, IMAGE_Y), (265, IMAGE_Y)),
    ((365, IMAGE_Y), (385, IMAGE_Y)),
    ((485, IMAGE_Y), (505, IMAGE_Y)),
    ((635, IMAGE_Y), (665, IMAGE_Y)),
)
LABELS = (("K, V", 452, TEXT_Y - 12), ("Q", 455, PICTURE_Y - 50), ("Z'", 668, TEXT_Y + 40), ("Z''", 708, IMAGE_Y - 52))


def layer() -> Image.Image:
    """One cross-attention layer with both prompts."""
    image = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), PAPER)
    draw = ImageDraw.Draw(image)
    for start, end in ARROWS:
        arrow(draw, start, end)
    for box in BOXES:
        draw_box(draw, box)
    for words, x, y in LABELS:
        draw.text((x * FINE, y * FINE), words, INK, font(13 * FINE), "mm")
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def draw_box(draw: ImageDraw.ImageDraw, box: Box) -> None:
    """A step with its words."""
    edges = (box.x - box.width / 2, box.y - box.height / 2, box.x + box.width / 2, box.y + box.height / 2)
    draw.rounded_rectangle([edge * FINE for edge in edges], 8 * FINE, box.colour, INK, FINE)
    face = font_that_has(box.words, 13 * FINE)
    draw.multiline_text((box.x * FINE, box.y * FINE), box.words, INK, face, "mm", 2 * FINE, "center")


def arrow(draw: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A line with a head at its end."""
    (x, y), length = end, ((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
    back = (x - 8 * along[0], y - 8 * along[1])
    sides = ((back[0] - 4 * along[1], back[1] + 4 * along[0]), (back[0] + 4 * along[1], back[1] - 4 * along[0]))
    draw.line([(a * FINE, b * FINE) for a, b in (start, back)], INK, 2 * FINE)
    draw.polygon([(a * FINE, b * FINE) for a, b in (end, *sides)], INK)


def weight() -> Image.Image:
    """One seed at five weights."""
    made = [picture(f"λ = {w:g}", drawn(following(studio.model(), STRIPED, BASE, w))) for w in WEIGHTS]
    return rows_of([[shown(STRIPED), *made]], side=120)


def weight_curve() -> Image.Image:
    """CLIP-I over λ with its 95 % interval, as docs/evidence.md has it."""
    table = load("follows")
    found = [(w, estimate(table, f"λ = {w:g}", "CLIP-I")) for w in WEIGHTS]
    return draw_growth(found, "λ", "CLIP-I of picture and reference")


def noise() -> Image.Image:
    """Noisy latents of a picture at some noise levels, and what the model takes them for in one step, without and with
    the picture as image prompt."""
    models = {"without": studio.model(), "with": following(studio.model(), DOTTED, BASE)}
    start, eps = latent_of(DOTTED), noise_of(3, 1, *studio.LATENT)
    rows = [[shown(DOTTED, "x₀"), *(noisy(f"σ = {sigma:g}", start, eps, sigma) for sigma in SIGMAS)]]
    for model in models.values():
        made = [one_step(model, start, eps, sigma) for sigma in SIGMAS]
        rows.append([shown(DOTTED, ""), *(picture("", one) for one in made)])
    return rows_of(rows, ["x₀ + σ ε", "D, nothing said", "D, with the image prompt"], 112)


def noisy(label: str, start: Tensor, eps: Tensor, sigma: float) -> Shown:
    """A noisy latent through the autoencoder, brought to the size of a clean one."""
    scaled = studio.model().model.process_latent_in(start) + sigma * eps
    clean = studio.model().model.process_latent_out(scaled / (1 + sigma**2) ** 0.5)
    return picture(label, studio.vae().decode(clean).clamp(0, 1)[0])


def one_step(model: Any, start: Tensor, eps: Tensor, sigma: float) -> Tensor:
    """What a model makes of a noisy latent in one step of Euler's method at CFG 1: its D."""
    sampler, sigmas = comfy.samplers.sampler_object("euler"), torch.tensor([sigma, 0.0])
    about = (1.0, sampler, sigmas, text(""), text(""), start)
    made = comfy.sample.sample_custom(model, eps, *about, disable_pbar=True, seed=0)
    return studio.vae().decode(made).clamp(0, 1)[0]


def guidance() -> Image.Image:
    """The same seed and reference at three CFG scales."""
    model = following(studio.model(), STRIPED, BASE)
    made = [picture(f"w = {scale:g}", guided(model, scale)) for scale in GUIDANCES]
    return rows_of([[shown(STRIPED), *made]], side=120)


def guided(model: Any, scale: float) -> Tensor:
    """One picture at a CFG scale."""
    noise = noise_of(0, 1, *studio.LATENT)
    settings: Sequence[Any] = (studio.STEPS, scale, studio.SAMPLER, studio.SCHEDULER, text(""), text(""))
    made = comfy.sample.sample(model, noise, *settings, torch.zeros_like(noise), disable_pbar=True, seed=0)
    return studio.vae().decode(made).clamp(0, 1)[0]
