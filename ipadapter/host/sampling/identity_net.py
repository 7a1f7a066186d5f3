"""InstantID's ControlNet (IdentityNet): the host's, with a face's tokens in the place of the text.

Source: arXiv:2401.07519, section 3.3; InstantX-research/InstantID `pipeline_stable_diffusion_xl_instantid.py`. The
unconditional is a zero face embedding through the same projection. The host's own key for a ControlNet's text
(`cross_attn_controlnet`) would replace it for every ControlNet of a conditioning, where only this one was trained so.
Hence the tokens have a key of their own, and the ControlNet reads them under the host's name in its own call alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from typing import Any

import comfy.conds
import comfy.controlnet
import comfy.model_management
import torch
from torch import Tensor

from ...adapters.families import INSTANTID, PORTRAIT_UNNORM
from ...adapters.features import features_for
from ...adapters.spec import AdapterSpec
from ...attention.application import project
from ...backbones.unet import UNET
from ...errors import IPAdapterError
from ...images.pixels import refuse_unusable
from ...numbers import Range, require
from ...prompts.prompt import ImagePrompt, Part
from ...strength.strength import window_fault
from ..adapters.adapter import Adapter
from .application import on_device
from .conditioning import Conditioning

HOST_KEY = "crossattn_controlnet"  # where the host's ControlNets look before they read the text
FACE_KEY = "ip_adapter_face"
STRENGTH = Range(0.0, 10.0)

Control = dict[str, list[Tensor | None]]  # residuals by the part of the UNet that they are added to


@dataclass(frozen=True)
class ControlWindow:
    """How strongly a ControlNet acts, and the part of the sampling in which it does, 0 … 1."""

    strength: float = 0.8
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        require(self.strength, "strength", STRENGTH)
        if sentence := window_fault(self.start, self.end):
            raise IPAdapterError(sentence)


@dataclass(frozen=True)
class FaceTokens:
    """What the ControlNet reads beside the positive text and beside the negative, (P, T, C) and (1, T', C)."""

    positive: Tensor
    negative: Tensor


class HeldTokens(comfy.conds.CONDCrossAttn):  # type: ignore[misc]  # the host has no types
    """Tokens (P, T, C) as the host hands them to a call: a row for each picture, the last one held."""

    def process_cond(self, batch_size: int, **kwargs: Any) -> HeldTokens:
        """Those of a batch."""
        held: HeldTokens = self._copy_with(hold_last(self.cond, batch_size))
        return held


def hold_last(rows: Tensor, count: int) -> Tensor:
    """As many rows as are asked for."""
    return rows[torch.arange(count, device=rows.device).clamp(max=len(rows) - 1)]


# Making


def attach_identity_net(
    texts: tuple[Conditioning | None, Conditioning | None],
    control_net: Any,
    adapter: Adapter,
    prompt: ImagePrompt,
    hint: Tensor,
    window: ControlWindow,
) -> tuple[Conditioning | None, Conditioning | None]:
    """A positive and a negative text with InstantID's ControlNet, whose `hint` (N, H, W, C) is a face's key points.

    Strength 0, or a prompt that weighs nothing, leaves them as they are. Raises IPAdapterError where ControlNet,
    adapter, prompt and picture do not fit each other.
    """
    refuse_unusable(hint)
    refuse_other_adapter(adapter.spec)
    refuse_other_control(control_net, adapter.spec)
    parts = [part for part in prompt.parts if not part.silent]
    if not window.strength or not parts:
        return texts
    tokens = face_tokens(adapter, prompt, parts)
    acting = control_net.copy().set_cond_hint(
        hint[..., :3].expand(-1, -1, -1, 3).movedim(-1, 1), window.strength, (window.start, window.end)
    )
    chains: dict[Any, Any] = {}
    positive, negative = texts
    return controlled(positive, acting, tokens.positive, chains), controlled(negative, acting, tokens.negative, chains)


def controlled(
    conditioning: Conditioning | None, acting: Any, tokens: Tensor, chains: dict[Any, Any]
) -> Conditioning | None:
    """A conditioning with the ControlNet behind what controls it already; `chains` are those made, by what is before:
    rows with one and the same can go through the model in one call."""
    if conditioning is None:
        return None
    made: Conditioning = []
    for text, values in conditioning:
        before = values.get("control")
        if before not in chains:
            chains[before] = reading_face(acting.copy(), key_after(before)).set_previous_controlnet(before)
        conds = values.get("model_conds", {}) | {chains[before].face_key: HeldTokens(tokens)}
        made.append(
            [text, values | {"control": chains[before], "control_apply_to_uncond": False, "model_conds": conds}]
        )
    return made


def key_after(before: Any) -> str:
    """A key that no other face of a chain has; the same each time, so that a compiled model is not compiled anew."""
    faces = 0
    while before is not None:
        faces += hasattr(before, "face_key")
        before = before.previous_controlnet
    return f"{FACE_KEY}_{faces}"


def face_tokens(adapter: Adapter, prompt: ImagePrompt, parts: Sequence[Part]) -> FaceTokens:
    """The image tokens of all parts, one after another. What weighs them is the adapter's; the ControlNet has a
    strength."""
    store = comfy.model_management.intermediate_device()
    read = [features_for(adapter.spec, prompt, part) for part in parts]
    comfy.model_management.load_models_gpu([adapter.patcher])
    module, (images, none) = adapter.patcher.model, zip(*read, strict=True)
    shown = [
        project(module, part.order, on_device(adapter, one)).to(store) for part, one in zip(parts, images, strict=True)
    ]
    nothing = [module.tokens(*on_device(adapter, one)).to(store) for one in none]
    frames = max(map(len, shown))
    return FaceTokens(torch.cat([hold_last(rows, frames) for rows in shown], dim=1), torch.cat(nothing, dim=1))


# Acting


def reading_face(control: Any, key: str) -> Any:
    """A copy of a ControlNet, which from now on reads the tokens under a key in the place of the text."""
    kind: Any = type(control)
    control.__class__ = face_class(kind)
    control.face_key = key
    return control


@cache
def face_class(kind: Any) -> type[Any]:
    """A kind of ControlNet of the host that reads a face, and else is what it was: others look into it and copy it."""

    def get_control(self: Any, x_noisy: Tensor, t: Tensor, cond: dict[str, Any], *more: Any) -> Control | None:
        """Its residuals, and those of what is before it, which goes on reading what it read."""
        before = self.previous_controlnet
        others = None if before is None else before.get_control(x_noisy, t, cond, *more)
        with alone(self):
            own = kind.get_control(self, x_noisy, t, seeing_face(cond, self.face_key), *more)
        return add_controls(own, others)

    def copy(self: Any) -> Any:
        """Another that reads the same face."""
        return reading_face(kind.copy(self), self.face_key)

    return type(f"{kind.__name__}OfFace", (kind,), {"get_control": get_control, "copy": copy})


@contextmanager
def alone(control: Any) -> Iterator[None]:
    """A ControlNet without what is before it."""
    before, control.previous_controlnet = control.previous_controlnet, None
    try:
        yield
    finally:
        control.previous_controlnet = before


def seeing_face(cond: dict[str, Any], key: str) -> dict[str, Any]:
    """What a call of the model was given, the face's tokens in the place of the text."""
    if key not in cond:
        raise IPAdapterError(
            "InstantID's ControlNet met a text prompt without the face's tokens, which a node between Apply InstantID "
            "ControlNet and the sampler has left out: put Apply InstantID ControlNet behind that node."
        )
    return cond | {HOST_KEY: cond[key]}


def add_controls(one: Control | None, other: Control | None) -> Control | None:
    """The sum of two ControlNets' residuals, place by place."""
    if one is None or other is None:
        return other if one is None else one
    return {
        part: [add_residuals(*pair) for pair in zip_longest(one.get(part, ()), other.get(part, ()))]
        for part in one.keys() | other.keys()
    }


def add_residuals(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    """Where only one has something, that."""
    if one is None or other is None:
        return other if one is None else one
    return one + other


# Refusing


def refuse_other_adapter(spec: AdapterSpec) -> None:
    """Refuse an adapter whose tokens the ControlNet was not trained with."""
    if spec.family not in (INSTANTID, PORTRAIT_UNNORM):  # which have the same tensors: the name may be another
        raise IPAdapterError(
            f"ip_adapter is '{spec.name}', of the family {spec.family}, but InstantID's ControlNet reads the tokens of "
            "InstantID's own adapter: load its ip-adapter.bin."
        )


def refuse_other_control(control_net: Any, spec: AdapterSpec) -> None:
    """Refuse what reads no text, or another width of it. A ControlNet that is made when a run begins is not known."""
    if not isinstance(control_net, comfy.controlnet.ControlNet):
        raise not_identity_net(f"a {type(control_net).__name__}, which reads no text")
    model = getattr(control_net, "control_model", None)
    if model is None:
        return
    width = text_width(model)
    if width is None:
        raise not_identity_net("a ControlNet for another kind of model than SDXL")
    if width != spec.context_dim:
        raise not_identity_net(f"a ControlNet that reads text {width} wide, where '{spec.name}' has {spec.context_dim}")


def text_width(model: torch.nn.Module) -> int | None:
    """The width of the text that a UNet's ControlNet reads; None where it has no cross-attention."""
    blocks = UNET.find_blocks(model)
    return blocks[0].layer.context_dim if blocks else None


def not_identity_net(what: str) -> IPAdapterError:
    """The refusal of a ControlNet."""
    return IPAdapterError(f"control_net is {what}: load InstantID's, which is for SDXL.")
