"""The pack's mark, a speech bubble that says a picture: the icon and the banner of the registry."""

from __future__ import annotations

from dataclasses import replace

from PIL import Image, ImageDraw

from ipadapter.drawing.contact_sheet import font_that_has
from lab.evidence.page import as_image
from lab.evidence.studio import following, model, picture_of
from lab.world import Scene

from .recipes import BASE, SQUARE, STRIPED, TRIANGLE, drawn

FINE = 4  # drawn so many times larger, then reduced
ICON = 400  # pixels, the registry's most
BANNER = (1260, 540)  # 21 : 9
GROUND, BUBBLE, INK, QUIET = (23, 30, 54), (255, 255, 255), (255, 255, 255), (168, 180, 212)
TITLE, LINE = "Image Prompt Adapter", "IP-Adapter for ComfyUI: prompt with a picture"
FORMULA = "Z = Attn(Q, K, V) + λ · Attn(Q, K', V')"


def bubble(scene: Scene, side: int) -> Image.Image:
    """A speech bubble with a scene in it, on the ground's colour."""
    whole = side * FINE
    image = Image.new("RGB", (whole, whole), GROUND)
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = (round(whole * part) for part in (0.1, 0.08, 0.9, 0.8))
    draw.rounded_rectangle((left, top, right, bottom), whole // 10, BUBBLE)
    draw.polygon([(whole * x, whole * y) for x, y in ((0.24, 0.78), (0.46, 0.78), (0.2, 0.95))], BUBBLE)
    rim = whole // 22
    size = (right - left - 2 * rim, bottom - top - 2 * rim)
    shown = as_image(picture_of(scene)[0].numpy()).resize(size, Image.Resampling.BICUBIC)
    image.paste(shown, (left + rim, top + rim), rounded(shown.size, whole // 16))
    return image.resize((side, side), Image.Resampling.LANCZOS)


def rounded(size: tuple[int, int], radius: int) -> Image.Image:
    """White within round corners."""
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius, 255)
    return mask


def icon() -> Image.Image:
    """400 pixels square."""
    return bubble(replace(STRIPED, x=0.0, y=0.0, size=27.0), ICON)


def banner() -> Image.Image:
    """21 : 9. Three references in bubbles, below each what the laboratory's model makes of it."""
    image = Image.new("RGB", BANNER, GROUND)
    draw = ImageDraw.Draw(image)
    draw.text((64, 200), TITLE, INK, font_that_has(TITLE, 58), "lm")
    draw.text((66, 268), LINE, QUIET, font_that_has(LINE, 25), "lm")
    draw.text((66, 330), FORMULA, QUIET, font_that_has(FORMULA, 22), "lm")
    for number, scene in enumerate((SQUARE, STRIPED, TRIANGLE)):
        left = 700 + 180 * number
        image.paste(bubble(scene, 190), (left - 8, 56))
        made = as_image(drawn(following(model(), scene, BASE)).numpy()).resize((164, 164), Image.Resampling.BICUBIC)
        image.paste(made, (left + 4, 300), rounded(made.size, 14))
    return image
