"""The pack's own socket types."""

from ..ipadapter.host.api import io

IPAdapterSocket = io.Custom("IP_ADAPTER")
ImagePromptSocket = io.Custom("IMAGE_PROMPT")
ImagePromptRecordSocket = io.Custom("IMAGE_PROMPT_RECORD")

CATEGORY = "IP-Adapter"
