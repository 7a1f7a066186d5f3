"""InstantID: the tensors of a FaceID Portrait unnorm, made with another recognition model and with a ControlNet.

Source: arXiv:2401.07519; InstantX-research/InstantID `pipeline_stable_diffusion_xl_instantid.py`. The two kinds act
alike, so only what a user is told and offered hangs on the file's name.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePath

from ...encoders.published import page
from ..checkpoint import Checkpoint
from ..family import Family, Offer, ProjectionSpec, PublishedFile
from .portrait import PORTRAIT_UNNORM, read_unnorm, resamples_a_face

AS_PUBLISHED = "ip-adapter"  # without its ending
SAYS_INSTANTID = re.compile(r"instant[ _-]?id", re.IGNORECASE)


def is_instantid(checkpoint: Checkpoint, context_dim: int) -> bool:
    """Whether a Resampler reads a face, and the name, folders included, is InstantID's."""
    named = SAYS_INSTANTID.search(checkpoint.name) or PurePath(checkpoint.name).stem.lower() == AS_PUBLISHED
    return bool(named) and resamples_a_face(checkpoint, context_dim)


def read_instantid(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """The Resampler, over a face embedding."""
    return replace(read_unnorm(checkpoint, context_dim), family=INSTANTID)


INSTANTID: Family = replace(
    PORTRAIT_UNNORM,
    title="InstantID",
    recognise=is_instantid,
    read=read_instantid,
    advice="0.8, with its ControlNet at 0.8 in Apply InstantID ControlNet",
    face_pack="antelopev2",
    offers=(Offer(17, "SDXL InstantID"),),
    published=(PublishedFile("instantid-ip-adapter.bin", "SDXL", page("InstantX/InstantID", "ip-adapter.bin")),),
)
