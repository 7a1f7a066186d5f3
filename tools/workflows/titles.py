"""What each workflow is called: its file below `workflows`, which is what the template browser shows and sorts by.

Code, tests and prompts call a workflow by its short name. The numbers say in which order a person would learn them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tools.environment import LAYOUT

WORKFLOWS = LAYOUT.root / "workflows"

TITLES: Mapping[str, str] = {
    "image_prompt": "IP-Adapter 01 Image prompt",
    "image_and_text_prompt": "IP-Adapter 02 Image and text prompt",
    "sdxl_plus": "IP-Adapter 03 SDXL",
    "style_transfer": "IP-Adapter 04 Style transfer",
    "composition": "IP-Adapter 05 Composition",
    "style_and_composition": "IP-Adapter 06 Style and composition",
    "image_prompt_with_controlnet": "IP-Adapter 07 ControlNet",
    "image_to_image": "IP-Adapter 08 Image to image",
    "inpainting": "IP-Adapter 09 Inpainting",
    "two_adapters": "IP-Adapter 10 Two adapters",
    "three_regions": "IP-Adapter 11 Regions",
    "faceid": "IP-Adapter 12 FaceID",
    "instantid": "IP-Adapter 13 InstantID",
    "wide_reference": "IP-Adapter 14 Wide reference",
    "weight_curve": "IP-Adapter 15 Weight curve",
    "animation": "IP-Adapter 16 Animation",
    "sd35": "IP-Adapter 17 SD3.5",
    "flux": "IP-Adapter 18 FLUX",
    "flux_controlnet": "IP-Adapter 19 FLUX with ControlNet",
    "attention_map": "IP-Adapter 20 Attention map",
    "evaluate_image_prompt": "IP-Adapter 21 Look and measure",
    "train_ip_adapter": "IP-Adapter 22 Train an adapter",
    "flux_character": "IP-Adapter 23 FLUX InstantCharacter",
}


def graph_file(name: str) -> Path:
    """A workflow as the front end saves it."""
    return WORKFLOWS / f"{TITLES[name]}.json"


def thumbnail_file(name: str) -> Path:
    """Its picture in the template browser; the host shows one of the same name that ends so, and no other."""
    return WORKFLOWS / f"{TITLES[name]}.jpg"
