"""The pack's own socket types, and where its nodes are found."""

from __future__ import annotations

from ..ipadapter.host.api import io

CATEGORY = "IP-Adapter"
LOADERS = f"{CATEGORY}/loaders"
FACES = f"{CATEGORY}/faces"
PROMPTS = f"{CATEGORY}/image prompts"
STRENGTH = f"{CATEGORY}/strength"
MEASURING = f"{CATEGORY}/measuring"
TRAINING = f"{CATEGORY}/training"
IPAdapterSocket = io.Custom("IP_ADAPTER")
OtherAdapterSocket = io.Custom("IPADAPTER")  # of other packs: an adapter's tensors, in a mapping
ImagePromptSocket = io.Custom("IMAGE_PROMPT")
StrengthSocket = io.Custom("IMAGE_PROMPT_STRENGTH")
InsightFaceSocket = io.Custom("INSIGHTFACE")  # as other packs name it: the library's own object
ImagePromptRecordSocket = io.Custom("IMAGE_PROMPT_RECORD")
