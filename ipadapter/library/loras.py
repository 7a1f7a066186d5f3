"""LoRA files of FaceID adapters, for adapter files that have lost theirs.

Such a file changes every attention of a UNet and nothing else; which adapter it was trained with only its name tells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from ..adapters.face_settings import FaceVersion
from ..adapters.families.addresses import TENCENT_FACES
from ..adapters.lora import ATTENTIONS_A_LAYER, LORA_WEIGHTS
from ..adapters.spec import AdapterSpec
from ..encoders.published import page
from ..errors import IPAdapterError
from ..files.headers import Header, read_header
from .catalogue import ListedFile, Survey, listed
from .published import LORA_FOLDER, public_adapter

# as kohya, peft and diffusers write them
CHANGE = re.compile(
    r".*attn(?P<attention>[12]).*to_(?P<weight>q|k|v|out).*(?P<end>up|down|lora_A|lora_B)(\.default)?\.weight"
)
ALPHA = re.compile(r".*attn[12].*alpha")
DOWN = ("down", "lora_A")
WORDS = ("faceid", "plus", "v2")
VERSION_WORDS = {FaceVersion.V1: ("plus",), FaceVersion.V2: ("plus", "v2")}


@dataclass(frozen=True)
class LoRATraits:
    """What a LoRA over attentions changes."""

    changes: int  # weights
    context_dim: int  # of the text the cross-attentions read


def read_lora(path: Path, name: str) -> LoRATraits:
    """What a file changes, by its header. Raises IPAdapterError for one that changes other things."""
    return identify_lora(read_header(path, name))


def identify_lora(header: Header) -> LoRATraits:
    """What a LoRA changes. Raises IPAdapterError for one that changes more than attentions, or is none."""
    matches = {key: CHANGE.fullmatch(key) for key in header.tensors if not ALPHA.fullmatch(key)}
    found = {key: match for key, match in matches.items() if match}
    if not found or len(found) < len(matches):
        raise IPAdapterError(f"'{header.name}' is no LoRA of attentions alone.")
    downs = [key for key, match in found.items() if match["end"] in DOWN]
    reading = [key for key in downs if found[key]["attention"] == "2" and found[key]["weight"] == "k"]
    return LoRATraits(len(downs), header.tensors[reading[0]].shape[-1] if reading else 0)


def choose_lora(spec: AdapterSpec, survey: Survey[LoRATraits], searched: Sequence[str]) -> ListedFile:
    """The LoRA an adapter was trained with. Raises IPAdapterError that says what was found and what to get."""
    objections = [(file, lora_objection(spec, file, traits)) for file, traits in survey.found]
    fitting = [file for file, reason in objections if reason is None]
    if not fitting:
        seen = [(file.name, reason or "") for file, reason in objections] + list(survey.useless)
        raise IPAdapterError(
            f"'{spec.name}' was trained with a LoRA that its file does not hold, and no file in {LORA_FOLDER} is "
            f"that: {advice(spec)}. {listed(seen, searched)}"
        )
    return min(fitting, key=lambda file: file.name)


def lora_objection(spec: AdapterSpec, file: ListedFile, traits: LoRATraits) -> str | None:
    """Why a file is not the one, to be read after its name; None where it is."""
    changes = ATTENTIONS_A_LAYER * len(LORA_WEIGHTS) * len(spec.channels)
    if (traits.changes, traits.context_dim) != (changes, spec.context_dim):
        return f"is for another base than {spec.base}"
    wanted, stem = words_of(spec), PurePath(file.name).stem.lower()
    if {word for word in WORDS if word in stem} != wanted:
        return f"does not say '{'-'.join(word for word in WORDS if word in wanted)}' in its name"
    return None


def words_of(spec: AdapterSpec) -> set[str]:
    """What the name of an adapter's LoRA says."""
    return {"faceid", *(VERSION_WORDS[spec.version] if spec.version else ())}


def advice(spec: AdapterSpec) -> str:
    """What to do about a missing LoRA."""
    public = public_adapter(spec)
    if public is None:
        return "use the published adapter file, which holds it"
    name = f"{PurePath(public.name).stem}_lora.safetensors"
    return f"put {name} there, from {page(TENCENT_FACES, name)}, or use {public.name}, which holds it"
