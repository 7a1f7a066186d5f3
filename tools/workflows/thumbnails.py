"""Thumbnails for the template browser: what goes into a workflow, drawn as tiles, and an arrow to a picture to be."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from io import BytesIO

from PIL import Image, ImageDraw, ImageFilter, ImageFont

SIDE = 512  # pixels
FINE = 2  # drawn so many times larger, then reduced
TILE = 128
GAP = 48
INPUTS_X, RESULT_X, RESULT_SIDE = 60, 264, 188
MIDDLE = 218  # height of the arrow
TITLE_Y = 462
NOISE_CELLS = 10
QUALITY = 90

Color = tuple[int, int, int]
Point = tuple[float, float]

GROUND, LINE, LABEL, TITLE = (27, 30, 38), (148, 160, 180), (148, 160, 180), (236, 239, 244)
PAPER, INK, DARK, WHITE = (241, 238, 229), (92, 98, 112), (16, 17, 21), (255, 255, 255)
RIDGES: tuple[tuple[Point, ...], ...] = (
    ((0, 0.72), (0.34, 0.3), (0.62, 0.66), (0.78, 0.5), (1, 0.76), (1, 1), (0, 1)),
    ((0, 0.9), (0.4, 0.66), (0.72, 0.86), (1, 0.7), (1, 1), (0, 1)),
)
SUN = (0.62, 0.12, 0.84, 0.34)  # left, top, right, bottom, in parts of a tile


@dataclass(frozen=True)
class Scene:
    """Colours of a small landscape, far ridge first."""

    sky: Color
    sun: Color
    ridges: tuple[Color, Color]


WARM = Scene((246, 196, 140), (255, 244, 214), ((201, 104, 82), (122, 58, 72)))
COOL = Scene((150, 197, 222), (250, 252, 255), ((78, 130, 158), (38, 78, 104)))


class Tile(Enum):
    """What can go into a workflow, with its label."""

    REFERENCE = "reference"
    SECOND = "second reference"
    START = "start"
    MASKED = "start and mask"
    EDGES = "structure"
    WORDS = "words"
    PICTURES = "pictures"
    CAPTIONS = "captions"
    STYLE = "style"
    COMPOSITION = "composition"
    REGIONS = "regions"
    CURVE = "weight"
    WIDE = "wide reference"
    FACE = "face"


class Result(Enum):
    """What can come out of a workflow."""

    PICTURE = "picture"
    LOSS = "loss"
    SCORES = "scores"
    FRAMES = "frames"
    HEAT = "heat map"


@dataclass(frozen=True)
class Idea:
    """What a thumbnail shows."""

    title: str
    tiles: tuple[Tile, ...]
    result: Result = Result.PICTURE


IDEAS = {
    "image_prompt": Idea("Image prompt", (Tile.REFERENCE,)),
    "image_and_text_prompt": Idea("Image and text prompt", (Tile.REFERENCE, Tile.WORDS)),
    "image_prompt_with_controlnet": Idea("Image prompt + ControlNet", (Tile.REFERENCE, Tile.EDGES)),
    "image_to_image": Idea("Image to image", (Tile.REFERENCE, Tile.START)),
    "inpainting": Idea("Inpainting", (Tile.REFERENCE, Tile.MASKED)),
    "two_adapters": Idea("Two adapters", (Tile.REFERENCE, Tile.SECOND)),
    "sdxl_plus": Idea("Image prompt, SDXL Plus", (Tile.REFERENCE,)),
    "train_ip_adapter": Idea("Train an adapter", (Tile.PICTURES, Tile.CAPTIONS), Result.LOSS),
    "evaluate_image_prompt": Idea("Look and measure", (Tile.REFERENCE, Tile.WORDS), Result.SCORES),
    "style_transfer": Idea("Style transfer", (Tile.STYLE, Tile.WORDS)),
    "composition": Idea("Composition", (Tile.COMPOSITION, Tile.WORDS)),
    "style_and_composition": Idea("Style + composition", (Tile.STYLE, Tile.COMPOSITION)),
    "three_regions": Idea("Three regions", (Tile.REGIONS, Tile.WORDS)),
    "animation": Idea("Animation batch", (Tile.REFERENCE, Tile.SECOND), Result.FRAMES),
    "weight_curve": Idea("Weight curve", (Tile.REFERENCE, Tile.CURVE)),
    "wide_reference": Idea("Wide reference", (Tile.WIDE,)),
    "faceid": Idea("A person", (Tile.FACE, Tile.WORDS)),
    "flux": Idea("FLUX", (Tile.REFERENCE, Tile.WORDS)),
    "flux_controlnet": Idea("FLUX + ControlNet", (Tile.REFERENCE, Tile.EDGES)),
    "sd35": Idea("SD3.5", (Tile.REFERENCE, Tile.WORDS)),
    "instantid": Idea("InstantID", (Tile.FACE, Tile.WORDS)),
    "attention_map": Idea("Attention map", (Tile.REFERENCE, Tile.WORDS), Result.HEAT),
}


def canvas(side: int, color: Color) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (side * FINE, side * FINE), color)
    return image, ImageDraw.Draw(image)


def fine(*values: float) -> tuple[float, ...]:
    """Thumbnail pixels to the pixels of the enlarged drawing."""
    return tuple(value * FINE for value in values)


def draw_scene(scene: Scene) -> Image.Image:
    image, draw = canvas(TILE, scene.sky)
    draw.ellipse(fine(*(part * TILE for part in SUN)), scene.sun)
    for ridge, color in zip(RIDGES, scene.ridges, strict=True):
        draw.polygon([fine(x * TILE, y * TILE) for x, y in ridge], color)
    return image


def draw_masked() -> Image.Image:
    """A landscape with a hole, chequered as editors show what is not there."""
    image = draw_scene(COOL)
    hole, draw = canvas(TILE, WHITE)
    cell = TILE / 16
    for row in range(16):
        for column in range(row % 2, 16, 2):
            draw.rectangle(fine(column * cell, row * cell, (column + 1) * cell, (row + 1) * cell), (200, 203, 210))
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).ellipse(fine(TILE * 0.2, TILE * 0.34, TILE * 0.66, TILE * 0.8), 255)
    image.paste(hole, mask=mask)
    return image


def draw_edges() -> Image.Image:
    image, draw = canvas(TILE, DARK)
    draw.ellipse(fine(*(part * TILE for part in SUN)), outline=WHITE, width=2 * FINE)
    for ridge in RIDGES:
        draw.line([fine(x * TILE, y * TILE) for x, y in ridge[:-2]], WHITE, 2 * FINE, "curve")
    return image


def draw_words() -> Image.Image:
    image, draw = canvas(TILE, PAPER)
    for row, length in enumerate((0.74, 0.6, 0.7, 0.4)):
        y = TILE * (0.26 + 0.16 * row)
        draw.rounded_rectangle(fine(TILE * 0.13, y, TILE * (0.13 + length), y + 8), 4 * FINE, INK)
    return image


def draw_noise(side: int) -> Image.Image:
    """What sampling begins with: the picture that is not there yet."""
    image, draw = canvas(side, GROUND)
    grays = random.Random(2308)
    cell = side / NOISE_CELLS
    for row in range(NOISE_CELLS):
        for column in range(NOISE_CELLS):
            gray = grays.randint(62, 176)
            box = fine(column * cell, row * cell, (column + 1) * cell, (row + 1) * cell)
            draw.rectangle(box, (gray - 10, gray, gray + 14))
    return image


def draw_pictures() -> Image.Image:
    """A stack of landscapes, the second showing behind the first."""
    image, _ = canvas(TILE, GROUND)
    side = round(TILE * 0.8 * FINE)
    for scene, corner in ((COOL, TILE * 0.2 * FINE), (WARM, 0)):
        image.paste(draw_scene(scene).resize((side, side), Image.Resampling.LANCZOS), (round(corner), round(corner)))
    return image


def draw_loss(side: int) -> Image.Image:
    """A falling curve."""
    image, draw = canvas(side, PAPER)
    shake = random.Random(2308)
    heights = [0.2 + 0.6 * (1 - 0.75 ** (step / 2)) + shake.uniform(-0.05, 0.05) for step in range(24)]
    points = [fine(side * (0.1 + 0.8 * index / 23), side * height) for index, height in enumerate(heights)]
    draw.line(points, WARM.ridges[0], 3 * FINE, "curve")
    draw.line([fine(side * 0.1, side * part) for part in (0.1, 0.9)], INK, 2 * FINE)
    draw.line([fine(side * part, side * 0.9) for part in (0.1, 0.9)], INK, 2 * FINE)
    return image


def draw_scores(side: int) -> Image.Image:
    """Three bars, each higher than the one before."""
    image, draw = canvas(side, PAPER)
    for index, height in enumerate((0.3, 0.5, 0.68)):
        left, top = side * (0.17 + 0.24 * index), side * (0.86 - height)
        draw.rounded_rectangle(fine(left, top, left + side * 0.17, side * 0.86), 5 * FINE, COOL.ridges[0])
    return image


def draw_style() -> Image.Image:
    """Bands of colour, as brush strokes."""
    image, draw = canvas(TILE, WARM.sky)
    strokes = random.Random(7)
    for color in (WARM.sun, *WARM.ridges, COOL.ridges[0]) * 3:
        y, slope = strokes.uniform(0, TILE), strokes.uniform(-30, 30)
        draw.line(fine(-8, y, TILE + 8, y + slope), color, round(strokes.uniform(5, 13)) * FINE)
    return image


def draw_composition() -> Image.Image:
    """Where things stand, without saying what they are."""
    image, draw = canvas(TILE, PAPER)
    draw.ellipse(fine(*(part * TILE for part in SUN)), (196, 192, 182))
    for ridge, gray in zip(RIDGES, ((176, 174, 168), (122, 124, 130)), strict=True):
        draw.polygon([fine(x * TILE, y * TILE) for x, y in ridge], gray)
    return image


def draw_regions() -> Image.Image:
    """Three strips with a figure in each."""
    image, draw = canvas(TILE, PAPER)
    third = TILE / 3
    for index, color in enumerate((WARM.ridges[0], COOL.ridges[0], (128, 110, 150))):
        left, middle = index * third, (index + 0.5) * third
        draw.rectangle(fine(left, 0, left + third - 2, TILE), tuple(220 - (220 - part) // 3 for part in color))
        draw.ellipse(fine(middle - 11, 34, middle + 11, 56), color)
        draw.pieslice(fine(middle - 19, 62, middle + 19, 138), 180, 360, color)
    return image


def draw_curve() -> Image.Image:
    """A weight that falls."""
    image, draw = canvas(TILE, PAPER)
    points = [(x / 40, 0.5 - 0.28 * math.cos(math.pi * min(1, max(0, (x / 40 - 0.3) * 2)))) for x in range(41)]
    line = [fine(TILE * (0.12 + 0.76 * x), TILE * (0.08 + 0.84 * y)) for x, y in points]
    draw.line(line, WARM.ridges[0], 4 * FINE, "curve")
    draw.line([fine(TILE * 0.12, TILE * part) for part in (0.12, 0.88)], INK, 2 * FINE)
    draw.line([fine(TILE * part, TILE * 0.88) for part in (0.12, 0.88)], INK, 2 * FINE)
    return image


def draw_wide() -> Image.Image:
    """A strip with the squares it is read in."""
    image, draw = canvas(TILE, GROUND)
    scene = draw_scene(WARM)
    strip = scene.resize((TILE * FINE, TILE * FINE // 2), Image.Resampling.LANCZOS)
    image.paste(strip, (0, TILE * FINE // 4))
    half = TILE / 2
    for left in (0, half):
        draw.rectangle(fine(left + 1, half / 2, left + half - 1, half * 1.5), outline=WHITE, width=2 * FINE)
    return image


def draw_face() -> Image.Image:
    """A head with the five points a face is known by."""
    image, draw = canvas(TILE, COOL.sky)
    draw.pieslice(fine(18, 92, 110, 190), 180, 360, COOL.ridges[1])
    draw.ellipse(fine(34, 20, 94, 100), (232, 180, 140))
    for x, y in ((50, 52), (78, 52), (64, 66), (53, 80), (75, 80)):
        draw.ellipse(fine(x - 3, y - 3, x + 3, y + 3), WHITE, COOL.ridges[1], FINE)
    return image


def draw_frames(side: int) -> Image.Image:
    """Landscapes that change from one to the other."""
    image, _ = canvas(side, GROUND)
    first, last = draw_scene(WARM), draw_scene(COOL)
    cell = round(side * FINE * 0.47)
    for index in range(4):
        mixed = Image.blend(first, last, index / 3).resize((cell, cell), Image.Resampling.LANCZOS)
        offset = side * FINE - cell
        image.paste(mixed, (index % 2 * offset, index // 2 * offset))
    return image


def draw_heat(side: int) -> Image.Image:
    """A landscape with a warm glow where the image prompt acted."""
    scene = draw_scene(COOL).resize((side * FINE, side * FINE), Image.Resampling.LANCZOS)
    glow, draw = canvas(side, (38, 24, 74))
    for step, color in enumerate(((104, 38, 110), (184, 62, 92), (236, 120, 60), (250, 214, 110))):
        reach = side * (0.44 - 0.1 * step)
        draw.ellipse(fine(side * 0.5 - reach, side * 0.56 - reach, side * 0.5 + reach, side * 0.56 + reach), color)
    return Image.blend(scene, glow.filter(ImageFilter.GaussianBlur(side * FINE / 14)), 0.7)


RESULTS: dict[Result, Callable[[int], Image.Image]] = {
    Result.PICTURE: draw_noise,
    Result.LOSS: draw_loss,
    Result.SCORES: draw_scores,
    Result.FRAMES: draw_frames,
    Result.HEAT: draw_heat,
}
DRAWINGS: dict[Tile, Callable[[], Image.Image]] = {
    Tile.REFERENCE: lambda: draw_scene(WARM),
    Tile.SECOND: lambda: draw_scene(COOL),
    Tile.START: lambda: draw_scene(COOL),
    Tile.MASKED: draw_masked,
    Tile.EDGES: draw_edges,
    Tile.WORDS: draw_words,
    Tile.PICTURES: draw_pictures,
    Tile.CAPTIONS: draw_words,
    Tile.STYLE: draw_style,
    Tile.COMPOSITION: draw_composition,
    Tile.REGIONS: draw_regions,
    Tile.CURVE: draw_curve,
    Tile.WIDE: draw_wide,
    Tile.FACE: draw_face,
}


def paste_rounded(image: Image.Image, drawing: Image.Image, x: float, y: float) -> None:
    mask = Image.new("L", drawing.size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, *drawing.size), 10 * FINE, 255)
    image.paste(drawing, (round(x * FINE), round(y * FINE)), mask)


def write(draw: ImageDraw.ImageDraw, at: Point, text: str, size: int, color: Color) -> None:
    draw.text((at[0] * FINE, at[1] * FINE), text, color, ImageFont.load_default(size * FINE), anchor="mm")


def draw_plus(draw: ImageDraw.ImageDraw, x: float, y: float) -> None:
    draw.line(fine(x - 8, y, x + 8, y), LINE, 3 * FINE)
    draw.line(fine(x, y - 8, x, y + 8), LINE, 3 * FINE)


def draw_arrow(draw: ImageDraw.ImageDraw, start: float, end: float, y: float) -> None:
    draw.line(fine(start, y, end - 8, y), LINE, 4 * FINE)
    draw.polygon([fine(end, y), fine(end - 16, y - 10), fine(end - 16, y + 10)], LINE)


def draw_inputs(image: Image.Image, draw: ImageDraw.ImageDraw, tiles: tuple[Tile, ...]) -> None:
    """Tiles below each other around the middle, each with its label, a plus between them."""
    top = MIDDLE - (len(tiles) * TILE + (len(tiles) - 1) * GAP) / 2
    for index, tile in enumerate(tiles):
        y = top + index * (TILE + GAP)
        paste_rounded(image, DRAWINGS[tile](), INPUTS_X, y)
        write(draw, (INPUTS_X + TILE / 2, y + TILE + 15), tile.value, 15, LABEL)
        if index:
            draw_plus(draw, INPUTS_X - 26, y - GAP / 2)


def draw_thumbnail(idea: Idea) -> Image.Image:
    image, draw = canvas(SIDE, GROUND)
    draw_inputs(image, draw, idea.tiles)
    draw_arrow(draw, INPUTS_X + TILE + 18, RESULT_X - 14, MIDDLE)
    paste_rounded(image, RESULTS[idea.result](RESULT_SIDE), RESULT_X, MIDDLE - RESULT_SIDE / 2)
    write(draw, (SIDE / 2, TITLE_Y), idea.title, 30, TITLE)
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def to_jpeg(image: Image.Image) -> bytes:
    content = BytesIO()
    image.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()
