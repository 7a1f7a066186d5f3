"""The host's way in. Nothing of the host is imported before it is known to have what the pack needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ipadapter.host.features import NEEDED, NODES_FEATURE, require_features

if TYPE_CHECKING:
    from .extension import IPAdapterExtension

# A host without this never calls the entrypoint, and would pass over the pack in silence.
require_features(NODES_FEATURE)


async def comfy_entrypoint() -> IPAdapterExtension:
    """The pack's nodes. Raises HostError; the host writes its one sentence into the log."""
    require_features(*NEEDED)
    from .extension import IPAdapterExtension

    return IPAdapterExtension()
