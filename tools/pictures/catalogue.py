"""Every picture of docs/images but those of the evidence, by its name there. Needs a host that has been started."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from . import marks, method, recipes

RECIPES = (
    recipes.image_prompt,
    recipes.image_and_text,
    recipes.style,
    recipes.controlnet,
    recipes.image_to_image,
    recipes.inpainting,
    recipes.two_references,
    recipes.regions,
    recipes.weight_curve,
    recipes.animation,
    recipes.attention_map,
)
METHOD = (method.layer, method.noise, method.weight, method.weight_curve, method.guidance)
PICTURES: dict[str, Callable[[], Image.Image]] = {
    "result": recipes.result,
    "icon": marks.icon,
    "banner": marks.banner,
    **{f"recipes/{draw.__name__}": draw for draw in RECIPES},
    **{f"method/{draw.__name__}": draw for draw in METHOD},
}
