"""The miniature world: pictures of one coloured shape in one of four styles on a plain background, with captions."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image, ImageDraw

SIDE = 64  # pixels of a picture's side
OVERSAMPLING = 4  # drawn this much larger, then scaled down, so that edges are smooth
HELD_OUT_SEED = 2308

Colour = tuple[int, int, int]
Point = tuple[float, float]

SHAPES = ("circle", "square", "triangle", "star", "cross", "heart")
COLOURS: dict[str, Colour] = {
    "red": (215, 40, 40),
    "yellow": (245, 205, 40),
    "green": (50, 165, 60),
    "blue": (45, 85, 220),
    "purple": (145, 55, 185),
    "white": (245, 245, 245),
}
STYLES = ("solid", "outlined", "striped", "dotted")
BACKGROUNDS: dict[str, Colour] = {
    "black": (18, 18, 22),
    "grey": (128, 128, 132),
    "teal": (0, 120, 125),
    "tan": (200, 165, 115),
    "pink": (240, 160, 190),
}
DOMAINS = ("day", "night")
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "style": STYLES,
    "background": tuple(BACKGROUNDS),
}

Combination = tuple[str, str, str]  # shape, colour, style


@dataclass(frozen=True)
class Companion:
    """A disc beside the shape, of one of the colours: its centre's offset and its radius, in pixels."""

    colour: str
    x: float
    y: float
    size: float = 5.0


@dataclass(frozen=True)
class Scene:
    """What a picture shows. `x`, `y` are the centre's offset and `size` the radius, in pixels.

    A companion may stand beside the shape: captions tell nothing of it, as they tell nothing of place and size.
    """

    shape: str
    colour: str
    style: str
    background: str
    x: float = 0.0
    y: float = 0.0
    size: float = 20.0
    companion: Companion | None = None

    @property
    def combination(self) -> Combination:
        return self.shape, self.colour, self.style


def held_out_combinations(seed: int = HELD_OUT_SEED) -> frozenset[Combination]:
    """One colour of each shape and style (a sixth of all), each colour equally often; nothing is trained on them."""
    generator = random.Random(seed)
    return frozenset(
        (shape, colour, style)
        for style in STYLES
        for shape, colour in zip(SHAPES, generator.sample(list(COLOURS), len(COLOURS)), strict=True)
    )


HELD_OUT = held_out_combinations()
TRAINED = tuple(one for one in product(SHAPES, COLOURS, STYLES) if one not in HELD_OUT)


Place = Callable[[Combination, random.Random], Scene]


def scenes_of(combinations: Sequence[Combination], count: int, seed: int, placed: Place | None = None) -> list[Scene]:
    """`count` scenes, all combinations of a round before any comes again."""
    generator, placed = random.Random(seed), placed or place
    rounds = (generator.sample(combinations, len(combinations)) for _ in range(math.ceil(count / len(combinations))))
    return [placed(combination, generator) for one in rounds for combination in one][:count]


def place(combination: Combination, generator: random.Random) -> Scene:
    """A combination somewhere on some background."""
    x, y = generator.uniform(-6, 6), generator.uniform(-6, 6)
    return Scene(*combination, generator.choice(list(BACKGROUNDS)), x, y, generator.uniform(18, 24))


def train_scenes(count: int, seed: int) -> list[Scene]:
    """Scenes of the combinations that models are trained on."""
    return scenes_of(TRAINED, count, seed)


def held_out_scenes(count: int, seed: int) -> list[Scene]:
    """Scenes of the combinations that no model has seen."""
    return scenes_of(sorted(HELD_OUT), count, seed)


# Drawing


def around(radii: Sequence[float], start: float = -90.0) -> list[Point]:
    """Points at these radii, evenly around the origin."""
    angles = (math.radians(start + 360.0 * i / len(radii)) for i in range(len(radii)))
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def heart() -> list[Point]:
    """A heart of about unit radius."""
    angles = (2 * math.pi * i / 60 for i in range(60))
    return [
        (
            16 * math.sin(t) ** 3 / 17,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) + 2) / 17,
        )
        for t in angles
    ]


def cross(arm: float = 0.34) -> list[Point]:
    """A plus sign with arms of this half width."""
    quarter = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
    return [again for i in range(4) for again in (turn(point, i) for point in quarter)]


def turn(point: Point, quarters: int) -> Point:
    """A point turned by quarters of a circle."""
    x, y = point
    for _ in range(quarters):
        x, y = -y, x
    return x, y


OUTLINES: dict[str, list[Point]] = {
    "circle": around([0.95] * 72),
    "square": around([1.2] * 4, -45.0),
    "triangle": [(x, y + 0.22) for x, y in around([1.2] * 3)],
    "star": around([1.15, 0.48] * 5),
    "cross": cross(),
    "heart": heart(),
}


def draw(scene: Scene) -> np.ndarray:
    """The picture: uint8 (64, 64, 3), antialiased."""
    side = SIDE * OVERSAMPLING
    picture = Image.new("RGB", (side, side), BACKGROUNDS[scene.background])
    picture.paste(PAINT[scene.style](scene), mask=silhouette(scene))
    if scene.companion:
        ImageDraw.Draw(picture).ellipse(box_of(scene.companion), fill=COLOURS[scene.companion.colour])
    return np.array(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


def outline(scene: Scene) -> list[Point]:
    """The shape's corners on the large canvas."""
    cx, cy = centre(scene)
    radius = scene.size * OVERSAMPLING
    return [(cx + radius * x, cy + radius * y) for x, y in OUTLINES[scene.shape]]


def box_of(disc: Companion) -> tuple[float, float, float, float]:
    """A companion's left, top, right and bottom on the large canvas."""
    x, y, r = SIDE / 2 + disc.x, SIDE / 2 + disc.y, disc.size
    left, top, right, bottom = (OVERSAMPLING * edge for edge in (x - r, y - r, x + r, y + r))
    return left, top, right, bottom


def centre(scene: Scene) -> Point:
    """The shape's centre on the large canvas."""
    return (SIDE / 2 + scene.x) * OVERSAMPLING, (SIDE / 2 + scene.y) * OVERSAMPLING


def silhouette(scene: Scene) -> Image.Image:
    """White where the shape is, on the large canvas."""
    mask = Image.new("L", (SIDE * OVERSAMPLING,) * 2)
    ImageDraw.Draw(mask).polygon(outline(scene), fill=255)
    return mask


def canvas(colour: Colour) -> Image.Image:
    return Image.new("RGB", (SIDE * OVERSAMPLING,) * 2, colour)


def darker(colour: Colour) -> Colour:
    r, g, b = (round(0.4 * channel) for channel in colour)
    return r, g, b


def solid(scene: Scene) -> Image.Image:
    return canvas(COLOURS[scene.colour])


def outlined(scene: Scene) -> Image.Image:
    """The background again, with a broad line along the shape's edge."""
    paint = canvas(BACKGROUNDS[scene.background])
    points = outline(scene)
    line = [*points, points[0], points[1]]
    ImageDraw.Draw(paint).line(line, fill=COLOURS[scene.colour], width=10 * OVERSAMPLING, joint="curve")
    return paint


def striped(scene: Scene) -> Image.Image:
    """Level stripes, five pixels of the colour and five of a darker one."""
    paint = canvas(COLOURS[scene.colour])
    pen, (_, cy), step = ImageDraw.Draw(paint), centre(scene), 10 * OVERSAMPLING
    for i in range(-6, 6):
        pen.rectangle(
            (0, cy + (i + 0.25) * step, paint.width, cy + (i + 0.75) * step), fill=darker(COLOURS[scene.colour])
        )
    return paint


def dotted(scene: Scene) -> Image.Image:
    """Dark dots of three pixels' radius, eleven pixels apart."""
    paint = canvas(COLOURS[scene.colour])
    pen, (cx, cy), step, r = ImageDraw.Draw(paint), centre(scene), 11 * OVERSAMPLING, 3.2 * OVERSAMPLING
    for i, j in product(range(-3, 4), repeat=2):
        x, y = cx + (i + 0.5) * step, cy + (j + 0.5) * step
        pen.ellipse((x - r, y - r, x + r, y + r), fill=darker(COLOURS[scene.colour]))
    return paint


PAINT: dict[str, Callable[[Scene], Image.Image]] = {
    "solid": solid,
    "outlined": outlined,
    "striped": striped,
    "dotted": dotted,
}


def edges(scene: Scene) -> np.ndarray:
    """The structure alone, as a control picture: white lines along the shape's edge on black, uint8 (64, 64, 3)."""
    points = outline(scene)
    picture = canvas((0, 0, 0))
    line = [*points, points[0], points[1]]
    ImageDraw.Draw(picture).line(line, fill=(255, 255, 255), width=2 * OVERSAMPLING, joint="curve")
    return np.array(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


TINT, GLOW = np.array([0.6, 0.65, 0.85]), np.array([0.0, 4.0, 34.0])  # of the night


def at_night(picture: np.ndarray) -> np.ndarray:
    """The same picture in the second domain: dim, bluish, dark towards the corners. uint8 (..., 64, 64, 3)."""
    return (picture * TINT * vignette() + GLOW).round().clip(0, 255).astype(np.uint8)


def vignette() -> np.ndarray:
    """How much light each pixel keeps by night, (64, 64, 1)."""
    across = np.linspace(-1, 1, SIDE)
    light: np.ndarray = 1 - 0.3 * (across[:, None] ** 2 + across[None, :] ** 2)
    return light[..., None]


def undo_night(pictures: np.ndarray) -> np.ndarray:
    """What pictures of the second domain, 0 to 1, would be by day, (..., 64, 64, 3)."""
    by_day: np.ndarray = (pictures - GLOW / 255) / (TINT * vignette())
    return by_day.clip(0, 1)


DOMAIN_LOOKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"day": lambda picture: picture, "night": at_night}


# Words


@dataclass(frozen=True)
class Mention:
    """What a caption tells of a scene."""

    style: bool = True
    colour: bool = True
    shape: bool = True
    background: bool = True


EVERYTHING = Mention()
MENTIONS = tuple(Mention(*flags) for flags in product((True, False), repeat=4))


def caption(scene: Scene, mention: Mention = EVERYTHING) -> str:
    """A sentence such as "a striped red star on a teal background"; what is not mentioned is left open."""
    words = [scene.style] * mention.style + [scene.colour] * mention.colour
    words.append(scene.shape if mention.shape else "shape")
    article = "an" if words[0][0] in "aeiou" else "a"
    place = f" on a {scene.background} background" if mention.background else ""
    return f"{article} {' '.join(words)}{place}"


def captions(scene: Scene) -> list[str]:
    """Every caption of a scene, the full one first."""
    return [caption(scene, mention) for mention in MENTIONS]


def every_caption() -> Iterator[str]:
    """Every caption there is, each once, with the empty one first."""
    every = product(*ATTRIBUTES.values())
    scenes = (Scene(shape, colour, style, background) for shape, colour, style, background in every)
    yield from dict.fromkeys(["", *(text for scene in scenes for text in captions(scene))])
