"""What kind of adapter a file is, read from its tensors.

Sources: tencent-ailab/IP-Adapter `ip_adapter.py`, `ip_adapter_faceid.py`, `resampler.py`; diffusers
`loaders/unet.py`. A file's name decides only what no tensor can: whether a FaceID Plus adapter is of the first or the
second version, and whether one that resamples a face is InstantID's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ..errors import IPAdapterError
from .checkpoint import Checkpoint, shape
from .face_settings import FaceSettings, FaceVersion
from .families import FAMILIES
from .family import Family, ProjectionSpec
from .layout import KEYS, UNET_LAYERS, VALUES, LayerLayout
from .lora import LORA_KEY, read_rank
from .spec import AdapterSpec


@dataclass(frozen=True)
class Foreign:
    """A kind of file that is recognised, and refused by name."""

    what: str
    recognise: Callable[[set[str]], bool]


def has(*patterns: str) -> Callable[[set[str]], bool]:
    """A test that every pattern begins some key."""
    compiled = [re.compile(pattern) for pattern in patterns]
    return lambda keys: all(any(pattern.match(key) for key in keys) for pattern in compiled)


def lacking(kind: str, needs: str, *patterns: str) -> Foreign:
    """A kind of adapter that is not read here, with what it would need."""
    return Foreign(f"{kind}, which is not supported: it would need {needs}", has(*patterns))


FOREIGN = (
    lacking("a PuLID adapter for FLUX", "EVA02-CLIP-L-336 and a face parser beside InsightFace", r".*pulid_ca\."),
    lacking(
        "a PuLID adapter for SDXL",
        "EVA02-CLIP-L-336 and a face parser beside InsightFace, and an attention at a right angle to the text's",
        r"(image_proj|.*id_adapter)\.mapping_\d",
    ),
    lacking(
        "an IP-Adapter-Instruct for SD3",
        "an instruction in words beside the picture, and blocks that hand their image tokens on to the next",
        r".*\d+\.add_k_proj_ip\.",
    ),
    lacking(
        "an IP-Adapter for HunyuanDiT",
        "the cross-attentions of that model, and the ViT-H/14 of a Chinese CLIP as image encoder",
        r".*kv_proj_ip_adapter",
    ),
    lacking(
        "an IP-Adapter for Anima that reads PE-Core",
        "that image encoder and the cross-attentions of Anima, with a gate for each",
        r".*ip_(gate|centroid)\b",
    ),
    lacking(
        "an IP-Adapter for Anima that reads SigLIP2",
        "siglip2-base-patch16-512 as image encoder and the cross-attentions of Anima",
        r".*ip_cross_attns\.",
    ),
    Foreign("a CSGO adapter, which has two image projections", has(r"content_image_proj\.", r"style_image_proj\.")),
    Foreign("a LoRA: load it with Load LoRA", has(r".*(lora_up|lora_down|lora_A|lora_B)\b")),
    Foreign("a ControlNet: load it with Load ControlNet Model", has(r"(control_model\.|controlnet_|.*zero_convs)")),
    Foreign("a CLIP image encoder: it belongs in models/clip_vision", has(r"(vision_model\.|visual\.)")),
    Foreign("a checkpoint: load it with Load Checkpoint", has(r"(model\.diffusion_model\.|diffusion_model\.)")),
    Foreign("a VAE: load it with Load VAE", has(r"(first_stage_model\.|decoder\.conv_in\.)")),
)

PUBLIC = "an IP-Adapter file has image_proj and ip_adapter tensors, such as ip-adapter_sd15.safetensors"


def identify(checkpoint: Checkpoint, families: Sequence[Family] = FAMILIES) -> AdapterSpec:
    """Read family, base, widths and token count from the tensors.

    Raises IPAdapterError naming the file for one that is of another kind, or malformed.
    """
    refuse_foreign(checkpoint)
    if not checkpoint.image_proj or not checkpoint.ip_adapter:
        missing = "image_proj" if not checkpoint.image_proj else "ip_adapter"
        raise IPAdapterError(f"'{checkpoint.name}' has no {missing} tensors, so it is not an IP-Adapter: {PUBLIC}.")
    layout = layout_of(checkpoint, families)
    channels, context_dim = read_layers(checkpoint, layout)
    rank = read_rank(checkpoint, channels, context_dim)
    projection = read_projection(checkpoint, context_dim, [one for one in families if one.layers == layout])
    settings = FaceSettings(version_of(checkpoint.name, projection))
    return AdapterSpec(checkpoint.name, projection, channels, rank, settings)


def version_of(name: str, projection: ProjectionSpec) -> FaceVersion:
    """By the file's own name, without its folders; for SDXL and Kolors there has only been the second version."""
    says = re.search(r"v2", PurePath(name).name, re.IGNORECASE)
    return FaceVersion.V2 if says or projection.context_dim >= 2048 else FaceVersion.V1


def refuse_foreign(checkpoint: Checkpoint) -> None:
    """Refuse by name what is recognised and not supported."""
    keys = checkpoint.keys()
    kind = next((foreign.what for foreign in FOREIGN if foreign.recognise(keys)), None)
    if kind:
        raise IPAdapterError(f"'{checkpoint.name}' is {kind}.")


def layout_of(checkpoint: Checkpoint, families: Sequence[Family]) -> LayerLayout:
    """How a file's layers are laid out; what has no mark is asked last."""
    layouts = sorted({family.layers for family in families}, key=lambda layout: len(layout.mark), reverse=True)
    return next((layout for layout in layouts if layout.has(checkpoint.ip_adapter)), UNET_LAYERS)


def read_layers(checkpoint: Checkpoint, layout: LayerLayout) -> tuple[tuple[int, ...], int]:
    """Each layer's width, in the order of the file's numbers, and the width of the tokens they read."""
    name = checkpoint.name
    tensors = [key for key in checkpoint.ip_adapter if not LORA_KEY.fullmatch(key)]
    unknown = sorted(key for key in tensors if not layout.knows(key))
    if unknown:
        raise IPAdapterError(f"'{name}' has a tensor ip_adapter.{unknown[0]}, which no known adapter has: {PUBLIC}.")
    numbers = sorted(int(key.removesuffix(f".{KEYS}")) for key in tensors if key.endswith(f".{KEYS}"))
    expected = [layout.number(index) for index in range(len(numbers))]
    if not numbers or numbers != expected or len(tensors) != len(layout.tensors) * len(numbers):
        raise IPAdapterError(
            f"'{name}' is incomplete: its {len(tensors)} layer tensors are not {layout.words}; download it again."
        )
    context_dim = shape(checkpoint, "ip_adapter", f"{layout.first}.{KEYS}", 2)[1]
    return tuple(layer_channels(checkpoint, number, context_dim) for number in numbers), context_dim


def layer_channels(checkpoint: Checkpoint, number: int, context_dim: int) -> int:
    """The width of one layer, after checking that its two matrices agree."""
    key = shape(checkpoint, "ip_adapter", f"{number}.{KEYS}", 2)
    value = shape(checkpoint, "ip_adapter", f"{number}.{VALUES}", 2)
    if key != value or key[1] != context_dim or 0 in key:
        raise IPAdapterError(
            f"'{checkpoint.name}': layer {number} has to_k_ip {list(key)} and to_v_ip {list(value)}, where both "
            f"should be [channels, {context_dim}]; the file is damaged or mixes two adapters."
        )
    return key[0]


def read_projection(checkpoint: Checkpoint, context_dim: int, families: Sequence[Family]) -> ProjectionSpec:
    """The image projection's family, the first that recognises it, and sizes."""
    for family in families:
        if family.recognise(checkpoint, context_dim):
            return family.read(checkpoint, context_dim)
    raise IPAdapterError(
        f"'{checkpoint.name}' has an image projection of no known family "
        f"({', '.join(sorted(checkpoint.image_proj)[:4])} …): supported are base, plus, full-face and FaceID adapters."
    )
