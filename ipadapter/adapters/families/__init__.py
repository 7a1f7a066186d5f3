"""The families of adapters, a file each, in the order in which a file is asked for them."""

from ...errors import IPAdapterError
from ...prompts.prompt import Feature
from ..family import Family
from .ai_toolkit import TOOLKIT_FLUX, TOOLKIT_FLUX_PLUS
from .base import BASE
from .face_id import FACE_ID
from .face_id_plus import FACE_ID_PLUS, KOLORS_FACE_ID_PLUS
from .full_face import FULL_FACE
from .instant_character import INSTANT_CHARACTER
from .instantid import INSTANTID
from .instantx import INSTANTX_FLUX
from .instantx_sd3 import INSTANTX_SD3
from .plus import PLUS
from .portrait import PORTRAIT, PORTRAIT_UNNORM
from .xlabs import XLABS


def reads_faces(family: Family) -> bool:
    """Whether it is given faces, which need more than an image encoder."""
    return Feature.FACE in family.reads


def sees(family: Family) -> bool:
    """Whether it is given what an image encoder makes of pictures."""
    return family.reads[-1] is not Feature.FACE


# The order is diffusers'; of two that have the same tensors the one that asks for more comes first.
FAMILIES: tuple[Family, ...] = (
    BASE,
    FULL_FACE,
    KOLORS_FACE_ID_PLUS,
    FACE_ID_PLUS,
    PORTRAIT,
    FACE_ID,
    INSTANTID,
    PORTRAIT_UNNORM,
    PLUS,
    XLABS,
    INSTANTX_FLUX,
    INSTANT_CHARACTER,
    TOOLKIT_FLUX,
    TOOLKIT_FLUX_PLUS,
    INSTANTX_SD3,
)
# Faces last, and those that read more behind those that read less.
TRAINABLE = {
    family.title: family
    for family in sorted(FAMILIES, key=lambda family: (reads_faces(family), len(family.reads)))
    if family.training
}


def trainable(title: str) -> Family:
    """A family that can be trained, by its title. Raises IPAdapterError for any other."""
    if title not in TRAINABLE:
        raise not_trained(title)
    return TRAINABLE[title]


def not_trained(title: str) -> IPAdapterError:
    """What to say where something else is to be trained."""
    return IPAdapterError(f"kind is {title}, but what can be trained is {' or '.join(TRAINABLE)}.")


__all__ = [
    "BASE",
    "FACE_ID",
    "FACE_ID_PLUS",
    "FAMILIES",
    "FULL_FACE",
    "INSTANT_CHARACTER",
    "INSTANTID",
    "INSTANTX_FLUX",
    "INSTANTX_SD3",
    "KOLORS_FACE_ID_PLUS",
    "PLUS",
    "PORTRAIT",
    "PORTRAIT_UNNORM",
    "TOOLKIT_FLUX",
    "TOOLKIT_FLUX_PLUS",
    "TRAINABLE",
    "XLABS",
    "not_trained",
    "reads_faces",
    "sees",
    "trainable",
]
