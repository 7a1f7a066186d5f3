"""Adapters as diffusers names them inside a UNet, translated to the names of the public files.

Source: diffusers `loaders/unet.py` (the conversion in the other direction) and `models/embeddings.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch

from ..errors import IPAdapterError
from ..files.tensors import Tensors

LAYER = re.compile(
    r"(?:unet\.)?(?P<part>down_blocks|up_blocks|mid_block)\.(?P<path>[\w.]*?)attn2\.processor\."
    r"(?P<matrix>to_[kv]_ip)\.0\.weight"
)
PROJECTION = re.compile(r"(?:unet\.)?encoder_hid_proj\.image_projection_layers\.0\.(?P<rest>.+)$")
SECOND = re.compile(r"(attn2\.processor\.to_[kv]_ip|image_projection_layers)\.[1-9]")
PROCESSOR = re.compile(  # with the LoRA of FaceID adapters
    r"unet\.(?P<part>down_blocks|up_blocks|mid_block)\.(?P<path>[\w.]*?)attn(?P<attention>[12])\.processor\."
    r"(?P<rest>to_[kv]_ip\.weight|to_(?:q|k|v|out)_lora\.(?:down|up)\.weight)"
)
DIFFUSERS_PARTS = ("down_blocks", "up_blocks", "mid_block")

# diffusers' name inside one projection layer -> the public file's
PROJECTION_NAMES = (
    (re.compile(r"^proj\.net\.0\.proj\."), "proj.0."),
    (re.compile(r"^proj\.net\.2\."), "proj.2."),
    (re.compile(r"^image_embeds\."), "proj."),
    (re.compile(r"^ff\.net\.0\.proj\."), "proj.0."),
    (re.compile(r"^ff\.net\.2\."), "proj.2."),
    (re.compile(r"^layers\.(\d+)\.ln0\."), r"layers.\1.0.norm1."),
    (re.compile(r"^layers\.(\d+)\.ln1\."), r"layers.\1.0.norm2."),
    (re.compile(r"^layers\.(\d+)\.attn\.to_q\."), r"layers.\1.0.to_q."),
    (re.compile(r"^layers\.(\d+)\.attn\.to_out\.0\."), r"layers.\1.0.to_out."),
    (re.compile(r"^layers\.(\d+)\.ff\.0\."), r"layers.\1.1.0."),
    (re.compile(r"^layers\.(\d+)\.ff\.1\.net\.0\.proj\."), r"layers.\1.1.1."),
    (re.compile(r"^layers\.(\d+)\.ff\.1\.net\.2\."), r"layers.\1.1.3."),
)
SPLIT_KEY = re.compile(r"^layers\.(\d+)\.attn\.to_k\.weight$")


def public_names(flat: Tensors, name: str) -> Tensors:
    """The tensors of a file of any layout under the public files' names. Raises IPAdapterError as `from_diffusers`."""
    if is_diffusers_layout(flat):
        return from_diffusers(flat, name)
    return from_trainer(flat) if is_trainer_layout(flat) else flat


def is_trainer_layout(flat: Tensors) -> bool:
    """Whether the layers are the trainer's UNet's alone: of two names of one tensor, safetensors keeps one."""
    layers_too = any(key.startswith(("adapter_modules.", "ip_adapter.")) for key in flat)
    projects = any(key.startswith(("image_proj_model.", "image_proj.")) for key in flat)
    return projects and not layers_too and any(PROCESSOR.fullmatch(key) for key in flat)


def from_trainer(flat: Tensors) -> Tensors:
    """The reference trainer's checkpoint with the public names; the UNet's own tensors are left out.

    Its `adapter_modules` are the UNet's attention processors: 2i is the i-th block's self-attention's, 2i + 1 the
    cross-attention's.
    """
    found = [(match, flat[key]) for key in flat if (match := PROCESSOR.fullmatch(key))]
    order = {place: index for index, place in enumerate(sorted({position(match) for match, _ in found}))}
    numbered = {
        f"ip_adapter.{2 * order[position(match)] + int(match['attention']) - 1}.{match['rest']}": tensor
        for match, tensor in found
    }
    return {key: tensor for key, tensor in flat.items() if key.startswith("image_proj")} | numbered


def is_diffusers_layout(flat: Tensors) -> bool:
    """Whether the names are those of a diffusers UNet that carries an adapter."""
    return any(LAYER.match(key) for key in flat) and any(PROJECTION.match(key) for key in flat)


def from_diffusers(flat: Tensors, name: str) -> Tensors:
    """The same adapter with the public files' names; the UNet's own tensors are left out.

    Raises IPAdapterError where the UNet carries several adapters, as one of them would have to be chosen.
    """
    if any(SECOND.search(key) for key in flat):
        raise IPAdapterError(f"'{name}' is a diffusers UNet with several IP-Adapters in it: save it with one.")
    return projection(flat) | layers(flat)


def layers(flat: Tensors) -> Tensors:
    """`to_k_ip` and `to_v_ip`, numbered 1, 3, 5 ... in the order down, up, middle."""
    found = [(match, flat[key]) for key in flat if (match := LAYER.fullmatch(key))]
    order = sorted({position(match) for match, _ in found})
    number = {place: 2 * index + 1 for index, place in enumerate(order)}
    return {f"ip_adapter.{number[position(match)]}.{match['matrix']}.weight": tensor for match, tensor in found}


def position(match: re.Match[str]) -> tuple[int, ...]:
    """Where a layer stands in the reference's order."""
    return (DIFFUSERS_PARTS.index(match["part"]), *(int(digits) for digits in re.findall(r"[0-9]{1,9}", match["path"])))


def projection(flat: Tensors) -> Tensors:
    """The image projection: renamed, the Resampler's split keys and values joined again."""
    raw = {match["rest"]: tensor for key, tensor in flat.items() if (match := PROJECTION.match(key))}
    joined = {
        f"layers.{match[1]}.0.to_kv.weight": torch.cat([raw[key], raw[key.replace("to_k", "to_v")]])
        for key in raw
        if (match := SPLIT_KEY.match(key)) and key.replace("to_k", "to_v") in raw
    }
    single = {key: tensor for key, tensor in raw.items() if ".attn.to_k." not in key and ".attn.to_v." not in key}
    renamed = {public_name(key): tensor for key, tensor in single.items()} | joined
    settle = settled_for(raw)
    return {f"image_proj.{settle(key)}": tensor for key, tensor in renamed.items()}


def public_name(key: str) -> str:
    """One projection tensor's public name, but for what the families call differently."""
    for pattern, replacement in PROJECTION_NAMES:
        if pattern.match(key):
            return pattern.sub(replacement, key)
    return key


def settled_for(raw: Tensors) -> Callable[[str], str]:
    """How a projection's family calls what diffusers calls alike in all; `raw` is by diffusers' names."""
    if "proj.net.2.weight" in raw:
        return in_face_id_plus
    # Full-face normalises what its perceptron gives, FaceID each of several tokens of it.
    wide, norm = (raw.get(key) for key in ("ff.net.2.weight", "norm.weight"))
    is_full_face = wide is not None and norm is not None and wide.shape[:1] == norm.shape
    return in_full_face if is_full_face else str


def in_face_id_plus(key: str) -> str:
    """All but the perceptron and its norm is the perceiver's."""
    return key if key.startswith(("proj.", "norm.")) else f"perceiver_resampler.{key}"


def in_full_face(key: str) -> str:
    """The norm is the perceptron's last layer."""
    return key.replace("norm.", "proj.3.") if key.startswith("norm.") else key
