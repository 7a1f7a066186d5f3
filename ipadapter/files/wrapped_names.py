"""Names of tensors without what training scripts put around them."""

from __future__ import annotations

import re

from torch import Tensor

from ..errors import IPAdapterError

OUTSIDE = re.compile(r"^(?:(?:ema|state_dict|module|_orig_mod)\.)+")
INSIDE = re.compile(r"(?<=\.)(?:module|_orig_mod)\.")  # of DistributedDataParallel and torch.compile


def unwrap(flat: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The same tensors under bare names. Raises IPAdapterError where two of them then have one."""
    bare: dict[str, Tensor] = {}
    for key, tensor in flat.items():
        short = INSIDE.sub("", OUTSIDE.sub("", key))
        if short in bare:
            raise IPAdapterError(f"'{name}' holds {short} twice, so which one is meant cannot be told.")
        bare[short] = tensor
    return bare
