"""InstantX's adapter for SD3.5 Large: tokens of SigLIP's hidden states that follow the noise level.

In each block a second attention reads them beside the picture's own keys. Sources: diffusers
`models/attention_processor.py` (`SD3IPAdapterJointAttnProcessor2_0`), `models/embeddings.py`
(`IPAdapterTimeImageProjection`), `loaders/transformer_sd3.py`.
"""

from __future__ import annotations

from ...backbones.bases import SD35_LARGE
from ...backbones.joint import Joining
from ...backbones.sd3 import SD3
from ...encoders.published import SIGLIP, page
from ...prompts.prompt import Feature
from ..checkpoint import Checkpoint, shape
from ..family import Family, Offer, ProjectionSpec, PublishedFile, Unconditional
from ..layer import TimedProjection
from ..layout import KEYS, VALUES, LayerLayout
from ..projection import TimeResampler
from ..reading import read_perceiver

NORMS = ("norm_ip.linear.weight", "norm_ip.linear.bias", "norm_q.weight", "norm_k.weight", "norm_ip_k.weight")


def read_timed(checkpoint: Checkpoint, context_dim: int) -> ProjectionSpec:
    """`latents` [1, tokens, dim] and `time_embedding.linear_1` [dim, sines]; the rest as in a Resampler."""
    feature_dim, inner_dim, depth, ff_dim = read_perceiver(checkpoint, "")
    _, tokens, dim = shape(checkpoint, "image_proj", "latents", 3)
    _, time_dim = shape(checkpoint, "image_proj", "time_embedding.linear_1.weight", 2)
    return ProjectionSpec(
        INSTANTX_SD3, feature_dim, context_dim, tokens, dim, inner_dim, depth, ff_dim, time_dim=time_dim
    )


INSTANTX_SD3 = Family(
    title="InstantX SD3.5",
    reads=(Feature.PENULTIMATE,),
    nothing=Unconditional.ZERO_EMBEDDING,
    recognise=lambda checkpoint, context_dim: "time_embedding.linear_1.weight" in checkpoint.image_proj,
    read=read_timed,
    projection=TimeResampler,
    advice="0.5 to 0.7",
    backbone=SD3,
    layers=LayerLayout(tensors=(KEYS, VALUES, *NORMS), mark=r"\d+\.norm_ip\.linear\."),
    layer=TimedProjection,
    joining=Joining(own=True),
    base=lambda projection: SD35_LARGE,
    offers=(Offer(16, "SD3.5 InstantX", base=SD35_LARGE),),
    published=(
        PublishedFile(
            "sd3.5-large-ip-adapter-instantx.bin",
            SD35_LARGE,
            page("InstantX/SD3.5-Large-IP-Adapter", "ip-adapter.bin"),
            SIGLIP,
        ),
    ),
)
