"""Thumbnails for the template browser: what goes into a workflow, and what came out of the laboratory's models.

The browser shows them at two fifths of their size, so that a label is large here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from lab.shown import CIRCLE, CROSS, HEART, STAR, TRIANGLE, made, reference
from lab.world import Scene, edges

SIDE = 512  # pixels
QUALITY = 88
LARGE, SMALL, WIDE = 216, 168, 248  # sides of an only input, of one of several, and of the result
LEFT, RIGHT = 24, 240  # where inputs and the result begin
LABEL, LINE, WORDS = 30, 44, 34  # heights of a label's letters, of its line, and of the letters of a prompt
ROUND = 14
STEPS = 40  # of a drawn curve

Color = tuple[int, int, int]
GROUND, BRIGHT, ARROW = (27, 30, 38), (226, 231, 240), (148, 160, 180)
PAPER, INK, WARM = (241, 238, 229), (60, 66, 80), (201, 104, 82)
FACE, SHIRT, SKY = (232, 180, 140), (38, 78, 104), (150, 197, 222)


@dataclass(frozen=True)
class Part:
    """A picture with what stands below it."""

    picture: Image.Image
    label: str


@dataclass(frozen=True)
class Idea:
    """What a thumbnail shows: one or two inputs, and a result."""

    inputs: tuple[Part, ...]
    result: Part


def given(scene: Scene, label: str = "reference") -> Part:
    return Part(reference(scene), label)


def drawn(name: str, label: str = "result") -> Part:
    return Part(made(name), label)


def words(*lines: str) -> Part:
    """A text prompt, in its own words."""
    image, draw = sheet(PAPER)
    for row, line in enumerate(lines):
        draw.text((SIDE / 2, SIDE / 2 + (row - (len(lines) - 1) / 2) * 110), line, INK, font(92), "mm")
    return Part(image, "text")


def structure(scene: Scene) -> Part:
    return Part(Image.fromarray(edges(scene)), "structure")


def masked(scene: Scene) -> Part:
    """A picture whose middle is to be drawn anew, chequered as editors show what is not there."""
    image = reference(scene)
    draw = ImageDraw.Draw(image)
    for x in range(16, 48, 4):
        for y in range(16, 48, 4):
            draw.rectangle((x, y, x + 3, y + 3), (255, 255, 255) if (x + y) % 8 else (190, 194, 202))
    return Part(image, "to repair")


def in_a_row(pictures: tuple[Image.Image, ...]) -> Image.Image:
    """Pictures beside each other, in a square of their own width."""
    side = pictures[0].width
    image = Image.new("RGB", (side * len(pictures), side * len(pictures)), GROUND)
    for index, picture in enumerate(pictures):
        image.paste(picture, (index * side, (image.height - side) // 2))
    return image


def four(*names: str) -> Image.Image:
    """Four pictures in a square."""
    pictures = [made(name) for name in names]
    side = pictures[0].width
    image = Image.new("RGB", (2 * side + 4, 2 * side + 4), GROUND)
    for index, picture in enumerate(pictures):
        image.paste(picture, (index % 2 * (side + 4), index // 2 * (side + 4)))
    return image


def sheet(color: Color) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    image = Image.new("RGB", (SIDE, SIDE), color)
    return image, ImageDraw.Draw(image)


def plot(height: Callable[[float], float]) -> Image.Image:
    """A curve from left to right; both its coordinates run from 0 to 1, upwards."""
    image, draw = sheet(PAPER)
    draw.line([(60, 40), (60, 452), (472, 452)], INK, 10)
    points = [(60 + 400 * step / STEPS, 440 - 380 * height(step / STEPS)) for step in range(STEPS + 1)]
    draw.line(points, WARM, 18, "curve")
    return image


def falling(x: float) -> float:
    """A weight that is let go."""
    return 0.55 + 0.4 * math.cos(math.pi * min(1.0, max(0.0, (x - 0.3) * 2)))


def learning() -> Callable[[float], float]:
    """A loss that falls and shakes."""
    shake = random.Random(2308)
    return lambda x: 0.12 + 0.8 * math.exp(-4 * x) + shake.uniform(-0.05, 0.05)


def person() -> Image.Image:
    """A head with the five points that a face is known by."""
    image, draw = sheet(SKY)
    draw.pieslice((70, 370, 442, 760), 180, 360, SHIRT)
    draw.ellipse((136, 80, 376, 400), FACE)
    for x, y in ((200, 208), (312, 208), (256, 264), (212, 320), (300, 320)):
        draw.ellipse((x - 13, y - 13, x + 13, y + 13), (255, 255, 255), SHIRT, 5)
    return image


def in_tiles(scene: Scene) -> Image.Image:
    """A reference that is twice as wide as high, and the squares it is read in."""
    picture = in_a_row((reference(scene), reference(scene)))
    side = picture.width // 2
    draw = ImageDraw.Draw(picture)
    for left in (0, side):
        draw.rectangle((left, side // 2, left + side - 1, side * 3 // 2 - 1), outline=(255, 255, 255), width=2)
    return picture


IDEAS: dict[str, Callable[[], Idea]] = {
    "image_prompt": lambda: Idea((given(HEART),), drawn("image alone")),
    "image_and_text_prompt": lambda: Idea((given(STAR), words("on pink")), drawn("image and words")),
    "sdxl_plus": lambda: Idea((given(CROSS),), drawn("one more", "SDXL")),
    "style_transfer": lambda: Idea((given(HEART, "style"), words("a star")), drawn("style and words")),
    "composition": lambda: Idea(
        (given(STAR, "composition"), words("solid", "red on", "tan")), drawn("composition and words")
    ),
    "style_and_composition": lambda: Idea(
        (given(STAR, "style"), given(TRIANGLE, "composition")), drawn("style and composition")
    ),
    "image_prompt_with_controlnet": lambda: Idea((given(CIRCLE), structure(STAR)), drawn("image and structure")),
    "image_to_image": lambda: Idea((given(HEART), given(CROSS, "to change")), drawn("image from image")),
    "inpainting": lambda: Idea((given(HEART), masked(CIRCLE)), drawn("inpainted")),
    "two_adapters": lambda: Idea((given(CIRCLE, "first"), given(HEART, "second")), drawn("two images")),
    "three_regions": lambda: Idea(
        (given(HEART, "left"), given(STAR, "right")),
        Part(in_a_row((made("left region"), made("right region"))), "result"),
    ),
    "faceid": lambda: Idea((Part(person(), "a person"), words("in a", "library")), Part(person(), "same person")),
    "instantid": lambda: Idea((Part(person(), "a person"), words("in a", "garden")), Part(person(), "InstantID")),
    "wide_reference": lambda: Idea((Part(in_tiles(TRIANGLE), "wide"),), drawn("wide reference")),
    "weight_curve": lambda: Idea((given(CIRCLE), Part(plot(falling), "weight")), drawn("a circle")),
    "animation": lambda: Idea(
        (given(HEART, "first"), given(STAR, "last")),
        Part(four("first frame", "second frame", "third frame", "fourth frame"), "frames"),
    ),
    "sd35": lambda: Idea((given(HEART),), drawn("image alone", "SD3.5")),
    "flux": lambda: Idea((given(TRIANGLE),), drawn("another", "FLUX")),
    "flux_controlnet": lambda: Idea((given(HEART), structure(TRIANGLE)), drawn("another and structure", "FLUX")),
    "flux_character": lambda: Idea((given(STAR), words("on pink")), drawn("image and words", "FLUX")),
    "attention_map": lambda: Idea((given(STAR), words("a star")), drawn("where it acted", "where it acted")),
    "evaluate_image_prompt": lambda: Idea(
        (given(HEART),),
        Part(in_a_row((made("no image"), made("image, half"), made("image alone"))), "0        0.5        1"),
    ),
    "train_ip_adapter": lambda: Idea(
        (Part(four("image alone", "a circle", "another", "one more"), "pictures"),), Part(plot(learning()), "training")
    ),
}


def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def place(image: Image.Image, part: Part, left: int, top: int, side: int) -> None:
    """A part's picture with rounded corners, its label below."""
    picture = part.picture.resize((side, side), Image.Resampling.BICUBIC)
    mask = Image.new("L", picture.size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, side - 1, side - 1), ROUND, 255)
    image.paste(picture, (left, top), mask)
    at = (left + side / 2, top + side + LINE / 2)
    ImageDraw.Draw(image).text(at, part.label, BRIGHT, font(LABEL), "mm")


def draw_thumbnail(idea: Idea) -> Image.Image:
    image, draw = sheet(GROUND)
    side = SMALL if len(idea.inputs) > 1 else LARGE - 24
    step = SIDE // len(idea.inputs)
    for index, part in enumerate(idea.inputs):
        place(image, part, LEFT, index * step + (step - side - LINE) // 2, side)
    place(image, idea.result, RIGHT, (SIDE - WIDE - LINE) // 2, WIDE)
    middle = (SIDE - LINE) // 2
    draw.polygon([(RIGHT - 4, middle), (RIGHT - 20, middle - 14), (RIGHT - 20, middle + 14)], ARROW)
    return image


def to_jpeg(image: Image.Image) -> bytes:
    content = BytesIO()
    image.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()
