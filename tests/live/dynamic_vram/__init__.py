"""For a server without a card: what its `main.py` switches on where there is one, before any model is loaded."""

import comfy.memory_management
import comfy.model_management
import comfy_aimdo.control

# Maps files into memory; placing weights in a card's memory is the part of it that needs a card.
comfy.memory_management.aimdo_enabled = comfy_aimdo.control.init()
comfy.model_management.WINDOWS = True  # older versions build layers without parameters there alone
NODE_CLASS_MAPPINGS: dict[str, type] = {}
