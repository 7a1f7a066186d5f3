"""SigLIP's image towers: what the tensors of a file say of one, and the pooling head, which the host leaves out.

Source: transformers `modeling_siglip.py`, `SiglipMultiheadAttentionPoolingHead`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

from torch import Tensor, empty, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from ..errors import IPAdapterError
from ..files.tensors import Tensors, copied, read_tensors
from ..files.wrapped_names import unwrap
from .published import SIGLIP

TOWER, HEAD = "vision_model.", "vision_model.head."
PATCHES = "vision_model.embeddings.patch_embedding.weight"  # (D, 3, p, p)
POSITIONS = "vision_model.embeddings.position_embedding.weight"  # (S, D)
LAYER_OF_SIGLIP = "vision_model.encoder.layers.{}.mlp.fc1.weight"  # (F, D)
CLASS_TOKEN = "vision_model.embeddings.class_embedding"  # CLIP's; SigLIP has none
TRUNK = "visual.trunk."
JOINED = "attention.in_proj_"  # queries, keys and values in one
NORM_EPS = 1e-6
SIGLIP_KINDS = {768: ("base", 12), 1024: ("large", 16), 1152: ("so400m", 16)}  # by width: name and heads
ODD_SIZES = {(14, 27): 384}  # patch and patches a side -> pixels, where there is a rest


@dataclass(frozen=True)
class SigLIPSizes:
    """Of a tower and its head."""

    width: int
    depth: int  # layers
    inner: int  # of the perceptrons
    patch: int  # pixels
    side: int  # patches

    @property
    def heads(self) -> int:
        """Of every attention."""
        return SIGLIP_KINDS[self.width][1]

    @property
    def image_size(self) -> int:
        """Side of the square it reads, in pixels."""
        return ODD_SIZES.get((self.patch, self.side), self.patch * self.side)

    @property
    def name(self) -> str:
        """As its makers call it."""
        return f"SigLIP {SIGLIP_KINDS[self.width][0]}/{self.patch}-{self.image_size}"


class PoolingHead(nn.Module):
    """A learned query reads the tokens, and a perceptron is added: one vector of a picture.

    `operations` is the namespace its layers come from, as in a projection.
    """

    def __init__(self, width: int, inner: int, heads: int, operations: Any = nn) -> None:
        super().__init__()
        self.heads = heads
        self.probe = nn.Parameter(empty(1, 1, width))
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (operations.Linear(width, width) for _ in range(4))
        self.layernorm = operations.LayerNorm(width, eps=NORM_EPS)
        self.fc1, self.fc2 = operations.Linear(width, inner), operations.Linear(inner, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """The last hidden states after their LayerNorm (N, S, D) to (N, D)."""
        probe = self.probe.to(tokens).expand(len(tokens), -1, -1)  # (N, 1, D)
        queries, keys, values = map(self.split, (self.q_proj(probe), self.k_proj(tokens), self.v_proj(tokens)))
        pooled = self.out_proj(scaled_dot_product_attention(queries, keys, values).flatten(1))  # (N, h, 1, D / h)
        out: Tensor = pooled + self.fc2(gelu(self.fc1(self.layernorm(pooled)), approximate="tanh"))
        return out

    def split(self, x: Tensor) -> Tensor:
        """(N, S, D) to (N, h, S, D / h)."""
        return x.reshape(*x.shape[:2], self.heads, -1).transpose(1, 2)


def read_siglip(path: Path, name: str) -> Tensors:
    """The image tower's tensors of a file, its head among them. Raises IPAdapterError for any other file."""
    flat = unwrap(read_tensors(path, name), name)
    refuse_other_encoders(flat, name)
    if not any(key.startswith(HEAD) for key in flat):
        raise IPAdapterError(
            f"'{name}' has no pooling head (no '{HEAD}' tensors), so it cannot give one embedding of a picture: get "
            f"{SIGLIP.name} from {SIGLIP.address}; for its hidden states alone, Load CLIP Vision does."
        )
    return copied({key: tensor for key, tensor in flat.items() if key.startswith(TOWER)}, name)


def refuse_other_encoders(flat: Tensors, name: str) -> None:
    """Say which node opens what is not a SigLIP tower of a fixed size."""
    patches = flat.get(PATCHES)
    others = (
        (any(key.startswith(TRUNK) for key in flat), "is in open_clip's layout", "use Load OpenCLIP Vision"),
        (CLASS_TOKEN in flat, "is a CLIP image encoder", "use Load CLIP Vision"),
        (patches is None, f"has no SigLIP image tower (no '{PATCHES}')", f"choose a file such as {SIGLIP.name}"),
        (patches is not None and patches.ndim == 2, "is a SigLIP 2 of any size (NaFlex)", "use Load CLIP Vision"),
    )
    for other, what, advice in others:
        if other:
            raise IPAdapterError(f"'{name}' {what}: {advice}.")


def siglip_sizes(tower: Tensors, name: str) -> SigLIPSizes:
    """Told by the tensors. Raises IPAdapterError for a width whose number of heads nobody has said."""
    ranks = {PATCHES: 4, POSITIONS: 2, LAYER_OF_SIGLIP.format(0): 2}
    if any(key not in tower or tower[key].ndim != rank or 0 in tower[key].shape for key, rank in ranks.items()):
        raise IPAdapterError(f"'{name}' is damaged: what tells the sizes of its image tower is missing.")
    width, _, _, patch = tower[PATCHES].shape
    if width not in SIGLIP_KINDS:
        known = ", ".join(map(str, SIGLIP_KINDS))
        raise IPAdapterError(f"'{name}' is a SigLIP image tower {width} wide, where those of {known} are known.")
    depth = next(i for i in range(len(tower) + 1) if LAYER_OF_SIGLIP.format(i) not in tower)
    side = isqrt(tower[POSITIONS].shape[0])
    return SigLIPSizes(width, depth, tower[LAYER_OF_SIGLIP.format(0)].shape[0], patch, side)


def split_head(tower: Tensors, prefix: str) -> Tensors:
    """The tower's tensors, those of the head under a PoolingHead's names after `prefix`."""
    renamed: Tensors = {}
    for key, tensor in tower.items():
        short = key.removeprefix(HEAD)
        if short == key:
            renamed[key] = tensor
        elif short.startswith(JOINED):
            thirds = tensor.chunk(3) if tensor.ndim else (tensor,)  # (3 D, …) to 3 · (D, …), unless it is damaged
            parts = zip("qkv", thirds, strict=False)
            renamed |= {f"{prefix}{part}_proj.{short.removeprefix(JOINED)}": third for part, third in parts}
        else:
            renamed[prefix + short.removeprefix("attention.").removeprefix("mlp.")] = tensor
    return renamed
