"""PickScore (arXiv 2305.01569) and HPS v2 (arXiv 2306.09341): CLIP's two towers, trained on what people chose."""

from __future__ import annotations

from dataclasses import replace

from ..encoders.image_tower import CLIP_MEAN, CLIP_STD
from ..encoders.two_towers import open_towers
from .judges import PreferenceJudge
from .weights import WeightSource

# HPS v2 shows its tower the whole picture, with an edge where it is not square.
WHOLE_PICTURE = {"mean": list(CLIP_MEAN), "std": list(CLIP_STD), "resize_mode": "longest"}


def open_pick_score(source: WeightSource) -> PreferenceJudge:
    """The cosine at the temperature that PickScore was trained to, about 100."""
    encoder = open_towers(source.file, source.name)
    return PreferenceJudge("pick_score", f"PickScore ({source.name})", encoder, encoder.scale)


def open_hps(source: WeightSource) -> PreferenceJudge:
    """The bare cosine, as HPS v2's own code gives it."""
    encoder = open_towers(source.file, source.name)
    whole = replace(encoder, architecture=replace(encoder.architecture, preprocess=WHOLE_PICTURE))
    return PreferenceJudge("hps_v2", f"HPS v2 ({source.name})", whole, 1.0)
